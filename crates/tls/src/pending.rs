//! How many handshakes are under way at once.

use std::cell::Cell;
use std::rc::Rc;

/// A limited number of places for handshakes.
#[derive(Clone, Debug)]
pub(crate) struct PendingHandshakes {
    taken: Rc<Cell<usize>>,
    max: usize,
}

/// One of the places; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct PendingHandshake {
    taken: Rc<Cell<usize>>,
}

impl PendingHandshakes {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            taken: Rc::default(),
            max,
        }
    }

    /// `None` if all places are taken.
    pub(crate) fn take(&self) -> Option<PendingHandshake> {
        if self.taken.get() >= self.max {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        Some(PendingHandshake {
            taken: Rc::clone(&self.taken),
        })
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
    }
}
