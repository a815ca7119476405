//! The handle of a call that was asked for with `call_later`.

use std::rc::Weak;
use std::time::{Duration, Instant};

use super::TimerId;
use super::timers::Shared;

/// A call that will run later, unless it is cancelled.
///
/// The handle is weak: dropping it changes nothing, and keeping it keeps nothing alive. Acting on
/// a call that has run, was cancelled, or whose reactor is gone does nothing and returns false.
/// While a call runs, it counts as having run.
///
/// ```
/// use ropewalk_core::testing::Clock;
/// use std::time::Duration;
///
/// let clock = Clock::new();
/// let call = clock.call_later(Duration::from_secs(5), || println!("too late"));
/// assert!(call.delay(Duration::from_secs(5)));
/// assert_eq!(call.time(), Some(clock.now() + Duration::from_secs(10)));
///
/// clock.advance(Duration::from_secs(9));
/// assert!(call.is_active());
/// assert!(call.cancel());
/// assert!(!call.cancel());
/// ```
#[derive(Clone, Debug)]
pub struct DelayedCall {
    timers: Weak<Shared>,
    id: TimerId,
}

impl DelayedCall {
    pub(super) fn new(timers: Weak<Shared>, id: TimerId) -> Self {
        Self { timers, id }
    }

    /// Keeps the call from running, and drops it. Returns whether it was still to run.
    pub fn cancel(&self) -> bool {
        self.timers
            .upgrade()
            .is_some_and(|timers| timers.cancel(self.id))
    }

    /// Lets the call run when `delay` has passed from now, whatever its time was. Now is the
    /// time of the reactor's turn. Returns whether the call was still to run.
    pub fn reset(&self, delay: Duration) -> bool {
        self.timers
            .upgrade()
            .is_some_and(|timers| timers.reset(self.id, delay))
    }

    /// Lets the call run `by` later than it would have. Returns whether it was still to run.
    pub fn delay(&self, by: Duration) -> bool {
        self.timers
            .upgrade()
            .is_some_and(|timers| timers.delay(self.id, by))
    }

    /// Whether the call is still to run.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.timers
            .upgrade()
            .is_some_and(|timers| timers.is_active(self.id))
    }

    /// When the call is to run, if it is still to run.
    #[must_use]
    pub fn time(&self) -> Option<Instant> {
        self.timers.upgrade()?.time(self.id)
    }
}
