//! How fast a body must come: who sends it byte by byte is not waited for forever.

use std::time::{Duration, Instant};

use super::Limits;

/// The time that one body has been waited for, and how much has come of it.
#[derive(Debug, Default)]
pub(super) struct BodyPace {
    waited: Duration,
    since: Option<Instant>,
    received: u64,
}

impl BodyPace {
    /// More has come.
    pub(super) fn received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// It is not waited for from now on: its reader does not keep up.
    pub(super) fn pause(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// It is waited for from now on. How long may it take until the next of it is there?
    pub(super) fn wait(&mut self, now: Instant, limits: &Limits) -> Duration {
        self.pause(now);
        self.since = Some(now);
        if limits.body_rate == 0 {
            return limits.idle_timeout;
        }
        let earned = Duration::from_secs(self.received / limits.body_rate);
        let left = (limits.body_timeout + earned).saturating_sub(self.waited);
        left.min(limits.idle_timeout)
    }
}
