//! Something that has happened or has not, and those who wait for it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::Deferred;
use super::waiters::{MAX_WAITERS, TooManyWaiters, Waiters};

/// A flag that can be waited for. Setting it lets all go who wait, in the order in which they
/// came, and all who come until it is cleared. Up to 65,536 wait; the next is refused with
/// [`TooManyWaiters`].
///
/// Clones are the same event.
///
/// ```
/// use ropewalk_core::{Deferred, DeferredEvent};
///
/// let ready = DeferredEvent::new();
/// let served: Deferred<()> = ready.wait().add_callback(|()| println!("serving"));
/// assert!(!served.is_fired());
/// ready.set(); // prints "serving"
/// assert!(served.is_fired());
/// assert!(ready.wait().is_fired());
/// ```
#[derive(Clone)]
pub struct DeferredEvent {
    shared: Rc<Shared>,
}

struct Shared {
    set: Cell<bool>,
    waiters: Waiters<()>,
    /// Those with a lower number go.
    until: Cell<u64>,
    max_waiters: usize,
}

impl DeferredEvent {
    /// An event that has not happened.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max_waiters(MAX_WAITERS)
    }

    /// As [`new`](Self::new), with another limit to how many wait.
    #[must_use]
    pub fn with_max_waiters(max_waiters: usize) -> Self {
        Self {
            shared: Rc::new(Shared {
                set: Cell::new(false),
                waiters: Waiters::new(),
                until: Cell::new(0),
                max_waiters,
            }),
        }
    }

    /// It has happened: lets all go who wait. Those go too who wait now if a callback of one of
    /// them clears it.
    pub fn set(&self) {
        let Shared {
            set,
            waiters,
            until,
            ..
        } = &*self.shared;
        set.set(true);
        until.set(waiters.next_number());
        waiters.serve(|number| (number < until.get()).then_some(()));
    }

    /// It has not happened any more: who comes now waits.
    pub fn clear(&self) {
        self.shared.set.set(false);
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.shared.set.get()
    }

    /// Fires when it has happened; at once, if it has.
    #[track_caller]
    pub fn wait(&self) -> Deferred<()> {
        let limit = self.shared.max_waiters;
        if self.is_set() {
            Deferred::succeed(())
        } else if self.waiting() >= limit {
            Deferred::fail(TooManyWaiters { limit })
        } else {
            self.shared.waiters.wait()
        }
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiters.len()
    }
}

impl Default for DeferredEvent {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DeferredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredEvent")
            .field("set", &self.is_set())
            .field("waiting", &self.waiting())
            .finish()
    }
}
