//! One at a time.

use super::{Deferred, DeferredSemaphore, IntoDeferred, Permit};

/// A lock that is waited for without blocking: a [`DeferredSemaphore`] of one permit, with all
/// that is promised there.
///
/// ```
/// use ropewalk_core::{Deferred, DeferredLock};
/// use std::{cell::RefCell, rc::Rc};
///
/// let lock = DeferredLock::new();
/// let log = Rc::new(RefCell::new(Vec::new()));
/// let (first, second) = (log.clone(), log.clone());
/// let (resolver, written) = Deferred::<()>::pair();
/// let one: Deferred<()> = lock.run(move || written.add_callback(move |()| first.borrow_mut().push(1)));
/// let two: Deferred<()> = lock.run(move || second.borrow_mut().push(2));
/// assert!(lock.is_locked());
/// resolver.callback(());
/// assert_eq!(*log.borrow(), [1, 2]);
/// # drop((one, two));
/// ```
#[derive(Clone, Debug)]
pub struct DeferredLock(DeferredSemaphore);

impl DeferredLock {
    /// A lock that nobody holds.
    #[must_use]
    pub fn new() -> Self {
        Self(DeferredSemaphore::new(1))
    }

    /// As [`new`](Self::new), where so many may wait.
    #[must_use]
    pub fn with_max_waiters(max_waiters: usize) -> Self {
        Self(DeferredSemaphore::with_max_waiters(1, max_waiters))
    }

    /// The lock, now or when its turn has come. Dropping the permit unlocks it.
    #[track_caller]
    pub fn acquire(&self) -> Deferred<Permit> {
        self.0.acquire()
    }

    /// Calls `function` with the lock held, until its result is there.
    #[track_caller]
    pub fn run<T: 'static, R: IntoDeferred<T>>(
        &self,
        function: impl FnOnce() -> R + 'static,
    ) -> Deferred<T> {
        self.0.run(function)
    }

    /// Whether somebody holds it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.available() == 0
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }
}

impl Default for DeferredLock {
    fn default() -> Self {
        Self::new()
    }
}
