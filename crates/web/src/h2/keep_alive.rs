//! Asking a silent peer whether it lives (RFC 9113, section 6.7).

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};

use super::alarm::Alarm;
use super::governed::Watch;

/// Sends a PING after some silence, and knows when it was not answered.
pub(super) struct KeepAlive {
    after: Option<Duration>,
    watch: Rc<Watch>,
    alarm: Alarm,
    pings: Option<PingPong>,
    /// A PING is under way.
    asked: bool,
}

/// What PINGs are sent by.
pub(super) trait Pings {
    /// Given once, when the connection is there.
    fn ping_pong(&mut self) -> Option<PingPong>;
}

impl KeepAlive {
    pub(super) fn new(after: Option<Duration>, watch: &Rc<Watch>) -> Self {
        Self {
            after,
            watch: Rc::clone(watch),
            alarm: Alarm::new(watch.reactor()),
            pings: None,
            asked: false,
        }
    }

    /// Ready when the peer is taken for dead.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, connection: &mut impl Pings) -> Poll<()> {
        let Some(after) = self.after else {
            return Poll::Pending;
        };
        if self.pings.is_none() {
            self.pings = connection.ping_pong();
            self.alarm.set(after);
        }
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        if self.asked && pings.poll_pong(cx).is_ready() {
            self.asked = false;
        }
        while self.alarm.poll(cx).is_ready() {
            let Some(reactor) = self.watch.reactor().upgrade() else {
                return Poll::Pending;
            };
            let silence = reactor.now().saturating_duration_since(self.watch.heard());
            if silence < after {
                self.alarm.set(after - silence);
                continue;
            }
            if self.asked || pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.asked = true;
            self.alarm.set(after);
        }
        Poll::Pending
    }
}
