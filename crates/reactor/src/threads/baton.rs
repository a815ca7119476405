//! Threads that take turns with the loop: for drivers whose time is their own.

use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static BATON: RefCell<Option<Arc<dyn Baton>>> = const { RefCell::new(None) };
}

/// What a thread of a pool must hold to run, where it takes turns with the loop.
pub trait Baton: Send + Sync {
    /// On the thread: it is about to wait for the loop, and gives the baton away.
    fn give(&self);

    /// On the loop: what the thread waits for has come.
    fn answered(&self);

    /// On the thread: it has what it waited for. Returns when it has the baton again.
    fn take(&self);
}

/// The baton of this thread, if it runs by one.
pub(super) fn present() -> Option<Arc<dyn Baton>> {
    BATON.with_borrow(Clone::clone)
}

/// Runs `wait`, which waits for the loop.
pub(super) fn wait<R>(baton: Option<&dyn Baton>, wait: impl FnOnce() -> R) -> R {
    let Some(baton) = baton else { return wait() };
    baton.give();
    let waited = wait();
    baton.take();
    waited
}

/// Runs `run` on this thread by a baton, which it holds.
pub(super) fn run_by(baton: Arc<dyn Baton>, run: impl FnOnce()) {
    BATON.set(Some(baton));
    run();
    BATON.set(None);
}
