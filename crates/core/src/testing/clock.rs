//! A clock that stands still until a test moves it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::timer::Timers;
use crate::{DelayedCall, ReactorTime};

/// Midnight of 1 January 2026 UTC, in seconds since the Unix epoch.
const WALL_CLOCK_START: Duration = Duration::from_secs(1_767_225_600);

/// Time by hand: it moves, and timed calls run, only in [`advance`](Self::advance).
///
/// Clones share one time. While a call runs, [`now`](Self::now) is the call's own time, as if the
/// clock had ticked there: so a call that runs every second runs ten times in an advance of ten
/// seconds. (Twisted's `Clock` moves to the end first.) A call that panics, as a failed
/// assertion does, passes its panic on to whoever advanced.
///
/// ```
/// use ropewalk_core::testing::Clock;
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// let clock = Clock::new();
/// let rang = Rc::new(Cell::new(false));
/// let bell = Rc::clone(&rang);
/// clock.call_later(Duration::from_secs(60), move || bell.set(true));
///
/// clock.advance(Duration::from_secs(59));
/// assert!(!rang.get());
/// clock.advance(Duration::from_secs(1));
/// assert!(rang.get());
/// ```
#[derive(Clone)]
pub struct Clock {
    shared: Rc<Shared>,
}

struct Shared {
    start: Instant,
    now: Cell<Instant>,
    timers: Timers,
}

impl Clock {
    /// A clock with no calls, at some [`now`](Self::now), and a [`wall_clock`](Self::wall_clock)
    /// of 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an `Instant` can't be made up; only its distance from other ones is ever seen"
        )]
        let start = Instant::now();
        Self {
            shared: Rc::new(Shared {
                start,
                now: Cell::new(start),
                timers: Timers::new(start),
            }),
        }
    }

    /// The time, as it was left by the last [`advance`](Self::advance).
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.now.get()
    }

    /// The time of day: 2026-01-01T00:00:00Z and what the clock was advanced by since.
    #[must_use]
    pub fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + WALL_CLOCK_START + (self.now() - self.shared.start)
    }

    /// Lets `call` run once, when the clock has been advanced by `delay`.
    pub fn call_later(&self, delay: Duration, call: impl FnOnce() + 'static) -> DelayedCall {
        self.shared
            .timers
            .call_later(self.now(), delay, Box::new(call))
    }

    /// Moves the time on by `by`, and runs what is due on the way, in the order of time. What
    /// these calls add runs too, if it is due before the end. So a call that adds itself again
    /// with no delay never lets this return.
    ///
    /// # Panics
    /// When a call panics, and when the time is more than an [`Instant`] can hold.
    pub fn advance(&self, by: Duration) {
        let Shared { now, timers, .. } = &*self.shared;
        let end = now.get() + by;
        while let Some(wake) = timers.next_wake().filter(|wake| *wake <= end) {
            // A call may have advanced the clock itself.
            now.set(wake.max(now.get()));
            timers.advance(now.get());
            while let Some(call) = timers.pop_due() {
                call();
            }
        }
        now.set(end.max(now.get()));
        timers.set_now(now.get());
    }

    /// Advances by each of `steps` in turn.
    ///
    /// # Panics
    /// As [`advance`](Self::advance).
    pub fn pump(&self, steps: impl IntoIterator<Item = Duration>) {
        for step in steps {
            self.advance(step);
        }
    }

    /// Moves the time on to `now` and runs nothing yet.
    pub(super) fn move_to(&self, now: Instant) {
        self.shared.now.set(now.max(self.now()));
        self.shared.timers.set_now(self.now());
    }

    /// When the next call is due, or may be.
    pub(super) fn next_call(&self) -> Option<Instant> {
        self.shared.timers.next_wake()
    }

    /// How many calls are still to run.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared.timers.len()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl ReactorTime for Clock {
    fn now(&self) -> Instant {
        self.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.wall_clock()
    }

    fn call_later(&self, delay: Duration, call: Box<dyn FnOnce()>) -> DelayedCall {
        self.call_later(delay, call)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("elapsed", &(self.now() - self.shared.start))
            .field("pending", &self.pending())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const SECOND: Duration = Duration::from_secs(1);

    /// Runs `call` now, and again each second.
    fn tick(clock: &Clock, call: Rc<dyn Fn()>) {
        call();
        let again = clock.clone();
        clock.call_later(SECOND, move || tick(&again, call));
    }

    #[test]
    fn a_call_that_repeats_itself_sees_each_of_its_times_in_one_advance() {
        let clock = Clock::new();
        let start = clock.now();
        let times: Rc<RefCell<Vec<Duration>>> = Rc::default();
        let (seen, shown) = (Rc::clone(&times), clock.clone());
        tick(
            &clock,
            Rc::new(move || seen.borrow_mut().push(shown.now() - start)),
        );
        clock.advance(3 * SECOND + SECOND / 2);
        assert_eq!(times.take(), [0, 1, 2, 3].map(|n| n * SECOND));
        assert_eq!(clock.now() - start, 3 * SECOND + SECOND / 2);
        assert_eq!(clock.pending(), 1);
    }

    #[test]
    fn calls_with_no_delay_run_in_turn_within_an_advance_by_nothing() {
        let clock = Clock::new();
        let order: Rc<RefCell<Vec<u8>>> = Rc::default();
        let (first, second, third) = (Rc::clone(&order), Rc::clone(&order), Rc::clone(&order));
        let inner = clock.clone();
        clock.call_later(Duration::ZERO, move || {
            first.borrow_mut().push(1);
            inner.call_later(Duration::ZERO, move || third.borrow_mut().push(3));
        });
        clock.call_later(Duration::ZERO, move || second.borrow_mut().push(2));
        assert_eq!(order.borrow().len(), 0);
        clock.advance(Duration::ZERO);
        assert_eq!(order.take(), [1, 2, 3]);
    }

    #[test]
    fn the_wall_clock_starts_with_2026_and_moves_along() {
        let clock = Clock::new();
        let seconds = || {
            let since = clock.wall_clock().duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap().as_secs()
        };
        // `date -u -d 2026-01-01 +%s`
        assert_eq!(seconds(), 1_767_225_600);
        clock.pump([SECOND, 2 * SECOND, 3 * SECOND]);
        assert_eq!(seconds(), 1_767_225_606);
    }

    #[test]
    fn reset_counts_from_where_the_clock_stands() {
        let clock = Clock::new();
        let call = clock.call_later(10 * SECOND, || ());
        clock.advance(9 * SECOND);
        assert!(call.reset(10 * SECOND));
        clock.advance(9 * SECOND);
        assert!(call.is_active());
        clock.advance(SECOND);
        assert!(!call.is_active());
    }

    #[test]
    fn a_panic_in_a_call_reaches_the_test_and_the_rest_still_runs() {
        let clock = Clock::new();
        clock.call_later(SECOND, || panic!("as an assertion would"));
        let other = clock.call_later(SECOND, || ());
        let advance = AssertUnwindSafe(|| clock.advance(SECOND));
        assert!(catch_unwind(advance).is_err());
        assert!(other.is_active());
        clock.advance(Duration::ZERO);
        assert!(!other.is_active());
    }

    #[test]
    fn a_call_may_advance_the_clock_and_time_never_goes_back() {
        let clock = Clock::new();
        let start = clock.now();
        let inner = clock.clone();
        clock.call_later(SECOND, move || inner.advance(10 * SECOND));
        let (late, seen) = (clock.clone(), Rc::new(Cell::new(start)));
        let at = Rc::clone(&seen);
        clock.call_later(2 * SECOND, move || at.set(late.now()));
        clock.advance(2 * SECOND);
        assert_eq!(seen.get() - start, 2 * SECOND);
        assert_eq!(clock.now() - start, 11 * SECOND);
    }
}
