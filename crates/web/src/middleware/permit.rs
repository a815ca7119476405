//! How many are at work, for those that hold much memory while they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One of those that may be at work, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    at_work: Arc<AtomicUsize>,
}

impl Permit {
    /// `None` when so many are at work.
    pub(super) fn take(at_work: &Arc<AtomicUsize>, at_most: usize) -> Option<Self> {
        // Also when there are too many, there is a permit to be dropped.
        let before = at_work.fetch_add(1, Ordering::Relaxed);
        let at_work = Arc::clone(at_work);
        let permit = Self { at_work };
        (before < at_most).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}
