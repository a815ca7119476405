//! A time that a task waits for, among other things.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ropewalk_core::{DelayedCall, ReactorCore};

/// Rings once, when the time that was set has passed, and wakes who polled it last.
pub(super) struct Alarm {
    reactor: Weak<dyn ReactorCore>,
    call: Option<DelayedCall>,
    bell: Rc<Bell>,
}

#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Alarm {
    pub(super) fn new(reactor: Weak<dyn ReactorCore>) -> Self {
        Self {
            reactor,
            call: None,
            bell: Rc::default(),
        }
    }

    /// Rings `after` so long, and not when it was to before.
    pub(super) fn set(&mut self, after: Duration) {
        self.clear();
        let bell = Rc::clone(&self.bell);
        let ring = move || {
            bell.rung.set(true);
            if let Some(waker) = bell.waker.take() {
                waker.wake();
            }
        };
        let reactor = self.reactor.upgrade();
        self.call = reactor.map(|reactor| reactor.call_later(after, Box::new(ring)));
    }

    pub(super) fn clear(&mut self) {
        self.bell.rung.set(false);
        if let Some(call) = self.call.take() {
            call.cancel();
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.call.is_some()
    }

    /// Ready once, when it rings.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.bell.rung.get() {
            self.clear();
            return Poll::Ready(());
        }
        if self.is_set() {
            self.bell.waker.set(Some(cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}
