//! Those who wait for a turn: first come, first served, and who is cancelled leaves the queue.
//!
//! What a lock, a semaphore, a queue and an event have in common. Serving inside serving (a
//! callback that releases what it was just given) goes on in the outermost call, so a row of
//! waiters of any length takes no stack.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread;

use super::{Deferred, Resolver};

/// How many may wait, unless it is said otherwise.
pub(super) const MAX_WAITERS: usize = 65_536;

/// Who waits for a `T`.
pub(super) struct Waiters<T> {
    /// By their numbers, which grow. Not borrowed while other people's code runs.
    queue: Rc<RefCell<BTreeMap<u64, Resolver<T>>>>,
    next_number: Cell<u64>,
    serving: Cell<bool>,
}

impl<T: 'static> Waiters<T> {
    pub(super) fn new() -> Self {
        Self {
            queue: Rc::default(),
            next_number: Cell::new(0),
            serving: Cell::new(false),
        }
    }

    /// Joins the queue.
    #[track_caller]
    pub(super) fn wait(&self) -> Deferred<T> {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let queue = Rc::downgrade(&self.queue);
        let (resolver, deferred) = Deferred::with_canceller(move || {
            // Not to fire it now is to be cancelled.
            let left = queue
                .upgrade()
                .and_then(|queue| queue.borrow_mut().remove(&number));
            drop(left);
        });
        self.queue.borrow_mut().insert(number, resolver);
        deferred
    }

    /// Gives the waiters in turn what `take` makes for them, until that has nothing for the
    /// first of them; it is told the waiter's number.
    ///
    /// The first panic of a callback unwinds from here when all are served.
    pub(super) fn serve(&self, mut take: impl FnMut(u64) -> Option<T>) {
        if self.serving.replace(true) {
            return;
        }
        let mut panicked = None;
        while let Some(number) = self.first()
            && let Some(value) = take(number)
        {
            let first = self.queue.borrow_mut().remove(&number);
            let Some(resolver) = first else {
                continue;
            };
            let fire = AssertUnwindSafe(|| resolver.callback(value));
            if let Err(payload) = panic::catch_unwind(fire) {
                panicked.get_or_insert(payload);
            }
        }
        self.serving.set(false);
        if let Some(payload) = panicked
            && !thread::panicking()
        {
            panic::resume_unwind(payload);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// The number that the next waiter will have.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number.get()
    }

    fn first(&self) -> Option<u64> {
        let queue = self.queue.borrow();
        queue.first_key_value().map(|(number, _)| *number)
    }
}

/// As many wait already as may: the operation was refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyWaiters {
    /// How many may wait.
    pub limit: usize,
}

impl fmt::Display for TooManyWaiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} are waiting already, which is the limit: turn work away, or raise it by \
             with_max_waiters",
            self.limit
        )
    }
}

impl Error for TooManyWaiters {}
