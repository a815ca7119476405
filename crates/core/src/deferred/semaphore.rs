//! A number of permits, of which each holder has one.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::waiters::{MAX_WAITERS, TooManyWaiters, Waiters};
use super::{Deferred, IntoDeferred};

/// At most so many at a time. Who comes when all permits are out waits for one, first come, first
/// served; up to 65,536 wait, and the next is refused with [`TooManyWaiters`].
///
/// Clones are the same semaphore. Cancelling the Deferred of a waiter, or dropping the task that
/// awaits it, takes it out of the queue, and no permit is lost. [`run`](Self::run) is for
/// callbacks; in a task, the permit itself holds as long as it lives.
///
/// ```
/// use ropewalk_core::{Deferred, DeferredSemaphore};
///
/// let downloads = DeferredSemaphore::new(2);
/// let (resolver, page) = Deferred::<u16>::pair();
/// let first = downloads.run(|| page);
/// assert_eq!(downloads.available(), 1);
/// resolver.callback(200);
/// assert_eq!(downloads.available(), 2);
/// # let _: Deferred<()> = first.add_callback(|code: u16| assert_eq!(code, 200));
/// ```
#[derive(Clone)]
pub struct DeferredSemaphore {
    shared: Rc<Shared>,
}

struct Shared {
    permits: usize,
    available: Cell<usize>,
    waiters: Waiters<Permit>,
    max_waiters: usize,
}

impl DeferredSemaphore {
    /// A semaphore of so many permits. With none, everybody waits for ever.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self::with_max_waiters(permits, MAX_WAITERS)
    }

    /// As [`new`](Self::new), with another limit to how many wait.
    #[must_use]
    pub fn with_max_waiters(permits: usize, max_waiters: usize) -> Self {
        Self {
            shared: Rc::new(Shared {
                permits,
                available: Cell::new(permits),
                waiters: Waiters::new(),
                max_waiters,
            }),
        }
    }

    /// A permit, now or when its turn has come. Dropping the permit gives it back.
    #[track_caller]
    pub fn acquire(&self) -> Deferred<Permit> {
        let Shared {
            waiters,
            max_waiters: limit,
            ..
        } = &*self.shared;
        if waiters.is_empty()
            && let Some(permit) = Permit::take(&self.shared)
        {
            Deferred::succeed(permit)
        } else if waiters.len() >= *limit {
            Deferred::fail(TooManyWaiters { limit: *limit })
        } else {
            waiters.wait()
        }
    }

    /// Calls `function` with a permit, which is given back when its result is there.
    #[track_caller]
    pub fn run<T: 'static, R: IntoDeferred<T>>(
        &self,
        function: impl FnOnce() -> R + 'static,
    ) -> Deferred<T> {
        self.acquire().add_callback(move |permit| {
            function().into_deferred().add_both::<T, _>(move |result| {
                drop(permit);
                result
            })
        })
    }

    /// How many permits there are in all.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.shared.permits
    }

    /// How many are not out.
    #[must_use]
    pub fn available(&self) -> usize {
        self.shared.available.get()
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiters.len()
    }
}

impl fmt::Debug for DeferredSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredSemaphore")
            .field("permits", &self.permits())
            .field("available", &self.available())
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// One permit of a [`DeferredSemaphore`], or the holding of a
/// [`DeferredLock`](super::DeferredLock): until it is dropped.
#[must_use = "dropping it gives it back at once"]
pub struct Permit {
    shared: Rc<Shared>,
}

impl Permit {
    fn take(shared: &Rc<Shared>) -> Option<Self> {
        let left = shared.available.get().checked_sub(1)?;
        shared.available.set(left);
        Some(Self {
            shared: shared.clone(),
        })
    }

    /// Gives it back: the same as dropping it.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let available = &self.shared.available;
        available.set(available.get() + 1);
        self.shared.waiters.serve(|_| Self::take(&self.shared));
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
