//! Windows that a peer makes larger than they can be, on streams whose answer was given (RFC 9113, section
//! 6.9.1).
//!
//! The `h2` crate looks at the windows of streams on which there is something to send. Where only
//! the request is still to end, it is the [`Governor`](super::Governor) who sees them, and the
//! exchange that resets the stream.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::Waker;

/// Between who sees it and who ends it. One for each connection.
#[derive(Default)]
pub(super) struct Overruns {
    /// The latest. (One that another follows at once goes by: it does no harm.)
    stream: Cell<u32>,
    waiting: RefCell<BTreeMap<u32, Waker>>,
}

impl Overruns {
    /// It has happened to this stream.
    pub(super) fn tell(&self, stream: u32) {
        self.stream.set(stream);
        let waker = self.waiting.borrow_mut().remove(&stream);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it has happened to this stream. If not, `waker` is woken when it does.
    pub(super) fn has_befallen(&self, stream: u32, waker: &Waker) -> bool {
        if self.stream.get() == stream {
            return true;
        }
        self.waiting.borrow_mut().insert(stream, waker.clone());
        false
    }

    /// The stream is over.
    pub(super) fn forget(&self, stream: u32) {
        self.waiting.borrow_mut().remove(&stream);
    }
}
