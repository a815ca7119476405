//! A moment that a future waits for, by a reactor's timer.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ropewalk_core::{DelayedCall, ReactorTime};

/// Rings once. Dropping it cancels its timer.
pub(super) struct Alarm {
    call: DelayedCall,
    bell: Rc<Bell>,
}

#[derive(Default)]
struct Bell {
    rang: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl Alarm {
    pub(super) fn after(reactor: &dyn ReactorTime, delay: Duration) -> Self {
        let bell: Rc<Bell> = Rc::default();
        let ring = Rc::clone(&bell);
        let call = reactor.call_later(
            delay,
            Box::new(move || {
                ring.rang.set(true);
                if let Some(waker) = ring.waiting.take() {
                    waker.wake();
                }
            }),
        );
        Self { call, bell }
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.bell.rang.get() {
            return Poll::Ready(());
        }
        self.bell.waiting.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.call.cancel();
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm")
            .field("rang", &self.bell.rang.get())
            .finish()
    }
}
