//! How fast a body must come: who sends it byte by byte is not waited for forever.

use std::time::{Duration, Instant};

use super::Limits;

/// The time that one body has been waited for, and how much has come of it.
#[derive(Debug, Default)]
pub(crate) struct BodyPace {
    waited: Duration,
    since: Option<Instant>,
    received: u64,
}

impl BodyPace {
    /// More has come.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// It is not waited for from now on: its reader does not keep up.
    pub(crate) fn pause(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// It is waited for from now on. How long may it take until the next of it is there?
    pub(crate) fn wait(&mut self, now: Instant, limits: &Limits) -> Duration {
        self.pause(now);
        self.since = Some(now);
        if limits.body_rate == 0 {
            return limits.idle_timeout;
        }
        let earned = Duration::from_secs(self.received / limits.body_rate);
        let allowed = limits.body_timeout.saturating_add(earned);
        let left = allowed.saturating_sub(self.waited);
        left.min(limits.idle_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_have_all_the_time_there_is() {
        let mut limits = Limits {
            body_timeout: Duration::MAX,
            ..Limits::default()
        };
        let (mut pace, now) = (BodyPace::default(), Instant::now());
        pace.received(10_000);
        assert_eq!(pace.wait(now, &limits), limits.idle_timeout);
        limits.idle_timeout = Duration::MAX;
        assert_eq!(pace.wait(now, &limits), Duration::MAX);
    }
}
