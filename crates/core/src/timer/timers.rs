//! The timed calls of a reactor.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{DelayedCall, TimerId, Wheel};
use crate::Panicked;
use crate::inherited::ContextSnapshot;

type Call = Box<dyn FnOnce()>;

/// A [`Wheel`] of calls, shared by its clones: what a reactor needs to offer `call_later`.
///
/// It reads no clock. The reactor tells the time of its turn, sleeps no longer than
/// [`next_wake`](Self::next_wake), and then calls [`run_due`](Self::run_due). Calls may add,
/// cancel and reset timers freely.
///
/// ```
/// use ropewalk_core::timer::Timers;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let timers = Timers::new(start);
/// let call = timers.call_later(start, Duration::from_secs(2), Box::new(|| println!("tick")));
/// assert_eq!(timers.next_wake(), Some(start + Duration::from_secs(2)));
/// assert_eq!(timers.run_due(start + Duration::from_secs(1)), 0);
/// assert_eq!(timers.run_due(start + Duration::from_secs(2)), 1);
/// assert!(!call.is_active());
/// ```
#[derive(Clone)]
pub struct Timers {
    shared: Rc<Shared>,
}

pub(super) struct Shared {
    epoch: Instant,
    /// The latest time that was told, in nanoseconds since the epoch. The wheel may be behind it:
    /// only running moves that on.
    now: Cell<u64>,
    /// Never borrowed while a call runs or is dropped, which may come back here.
    wheel: RefCell<Wheel<Call>>,
}

impl Timers {
    /// No calls yet. No time before `epoch` can be told apart from it.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self {
            shared: Rc::new(Shared {
                epoch,
                now: Cell::new(0),
                wheel: RefCell::new(Wheel::new()),
            }),
        }
    }

    /// Tells the time of the turn, from which [`DelayedCall::reset`] counts. Time never goes
    /// back: an earlier one is ignored. [`run_due`](Self::run_due) and
    /// [`call_later`](Self::call_later) tell it too.
    pub fn set_now(&self, now: Instant) {
        let now = self.shared.nanos(now);
        self.shared.now.set(self.shared.now.get().max(now));
    }

    /// Lets `call` run once, at the first [`run_due`](Self::run_due) at `now + delay` or later.
    /// A delay beyond what the clock can count (584 years) lasts until then. `call` runs with the
    /// values and in the span that hold here ([`ContextKey`](crate::ContextKey)).
    pub fn call_later(
        &self,
        now: Instant,
        delay: Duration,
        call: Box<dyn FnOnce()>,
    ) -> DelayedCall {
        self.set_now(now);
        let call = match ContextSnapshot::capture_any() {
            None => call,
            Some(context) => Box::new(move || context.run(call)),
        };
        let deadline = after(self.shared.nanos(now), delay);
        let id = self.shared.wheel.borrow_mut().insert(deadline, call);
        DelayedCall::new(Rc::downgrade(&self.shared), id)
    }

    /// When to call [`run_due`](Self::run_due) next; `None` if there are no calls. Never later
    /// than the earliest call. It may be earlier when calls were cancelled or reset; see
    /// [`Wheel::next_wake`].
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.shared.instant(self.shared.wheel.borrow().next_wake()?)
    }

    /// Runs the calls that are due at `now`, in the order of their times; equal ones in the order
    /// in which they were made or last reset. Returns how many ran.
    ///
    /// Calls that are added or reset meanwhile wait for the next `run_due`, even with no delay.
    /// A call that panics is logged, and the others run.
    pub fn run_due(&self, now: Instant) -> usize {
        self.run_due_each(now, || ())
    }

    /// As [`run_due`](Self::run_due), and calls `before` before each of them.
    pub fn run_due_each(&self, now: Instant, before: impl Fn()) -> usize {
        self.advance(now);
        let mut count = 0;
        while let Some(call) = self.pop_due() {
            count += 1;
            before();
            if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
                let panicked = Panicked::new("a timed call", &*payload);
                tracing::error!(
                    panic = panicked.as_error(),
                    "a call made with call_later panicked; the other calls go on"
                );
            }
        }
        count
    }

    /// How many calls there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.wheel.borrow().len()
    }

    /// Whether there are no calls.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cancels all calls.
    pub fn clear(&self) {
        let calls = self.shared.wheel.borrow_mut().clear();
        drop(calls);
    }

    /// Queues the calls that are due at `now` for [`pop_due`](Self::pop_due).
    pub(crate) fn advance(&self, now: Instant) {
        self.set_now(now);
        let now = self.shared.now.get();
        self.shared.wheel.borrow_mut().advance(now);
    }

    /// Takes out the first call that is due, to be run by the caller.
    pub(crate) fn pop_due(&self) -> Option<Call> {
        let (_, call) = self.shared.wheel.borrow_mut().pop_due()?;
        Some(call)
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("len", &self.len())
            .field("next_wake", &self.next_wake())
            .finish_non_exhaustive()
    }
}

/// What a [`DelayedCall`] does.
impl Shared {
    pub(super) fn cancel(&self, id: TimerId) -> bool {
        let call = self.wheel.borrow_mut().cancel(id);
        call.is_some()
    }

    pub(super) fn reset(&self, id: TimerId, delay: Duration) -> bool {
        let deadline = after(self.now.get(), delay);
        self.wheel.borrow_mut().reset(id, deadline)
    }

    pub(super) fn delay(&self, id: TimerId, by: Duration) -> bool {
        let mut wheel = self.wheel.borrow_mut();
        wheel
            .deadline(id)
            .is_some_and(|deadline| wheel.reset(id, after(deadline, by)))
    }

    pub(super) fn is_active(&self, id: TimerId) -> bool {
        self.wheel.borrow().get(id).is_some()
    }

    pub(super) fn time(&self, id: TimerId) -> Option<Instant> {
        self.instant(self.wheel.borrow().deadline(id)?)
    }

    fn nanos(&self, time: Instant) -> u64 {
        after(0, time.saturating_duration_since(self.epoch))
    }

    /// `None` for a time that this platform's clock can't count to.
    fn instant(&self, nanos: u64) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_nanos(nanos))
    }
}

fn after(nanos: u64, delay: Duration) -> u64 {
    let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    nanos.saturating_add(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Timers, and a list of names that calls append to.
    struct Fixture {
        start: Instant,
        timers: Timers,
        ran: Rc<RefCell<Vec<&'static str>>>,
    }

    impl Fixture {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                start,
                timers: Timers::new(start),
                ran: Rc::default(),
            }
        }

        fn note(&self, name: &'static str) -> impl FnOnce() + 'static {
            let ran = Rc::clone(&self.ran);
            move || ran.borrow_mut().push(name)
        }

        fn later(&self, delay: Duration, call: impl FnOnce() + 'static) -> DelayedCall {
            self.timers.call_later(self.start, delay, Box::new(call))
        }

        fn ran(&self) -> Vec<&'static str> {
            self.ran.take()
        }
    }

    #[test]
    fn calls_run_in_the_order_of_their_times() {
        let f = Fixture::new();
        f.later(2 * SECOND, f.note("b"));
        f.later(SECOND, f.note("a"));
        f.later(2 * SECOND, f.note("c"));
        f.later(3 * SECOND, f.note("d"));
        assert_eq!(f.timers.run_due(f.start + 2 * SECOND), 3);
        assert_eq!(f.ran(), ["a", "b", "c"]);
        assert_eq!(f.timers.len(), 1);
        assert_eq!(f.timers.next_wake(), Some(f.start + 3 * SECOND));
    }

    #[test]
    fn a_call_added_by_a_call_waits_for_the_next_run_even_with_no_delay() {
        let f = Fixture::new();
        let (timers, start, note) = (f.timers.clone(), f.start, f.note("second"));
        f.later(SECOND, move || {
            timers.call_later(start + SECOND, Duration::ZERO, Box::new(note));
        });
        assert_eq!(f.timers.run_due(f.start + SECOND), 1);
        assert_eq!(f.ran(), [""; 0]);
        assert_eq!(f.timers.next_wake(), Some(f.start + SECOND));
        assert_eq!(f.timers.run_due(f.start + SECOND), 1);
        assert_eq!(f.ran(), ["second"]);
    }

    #[test]
    fn a_call_may_cancel_or_put_off_one_that_is_due_with_it() {
        let f = Fixture::new();
        let others: Rc<RefCell<Vec<DelayedCall>>> = Rc::default();
        let theirs = Rc::clone(&others);
        f.later(SECOND, move || {
            assert!(theirs.borrow()[0].cancel());
            assert!(theirs.borrow()[1].reset(Duration::ZERO));
            assert!(theirs.borrow()[2].delay(SECOND));
        });
        let names = ["cancelled", "reset", "delayed"];
        *others.borrow_mut() = names.map(|name| f.later(SECOND, f.note(name))).to_vec();
        assert_eq!(f.timers.run_due(f.start + SECOND), 1);
        assert_eq!(f.timers.run_due(f.start + SECOND), 1);
        assert_eq!(f.ran(), ["reset"]);
        assert_eq!(f.timers.run_due(f.start + 2 * SECOND), 1);
        assert_eq!(f.ran(), ["delayed"]);
    }

    #[test]
    fn reset_counts_from_the_time_of_the_turn_and_delay_from_the_present_deadline() {
        let f = Fixture::new();
        let reset = f.later(10 * SECOND, || ());
        let delayed = f.later(10 * SECOND, || ());
        f.timers.set_now(f.start + 5 * SECOND);
        assert!(reset.reset(SECOND));
        assert!(delayed.delay(SECOND));
        assert_eq!(reset.time(), Some(f.start + 6 * SECOND));
        assert_eq!(delayed.time(), Some(f.start + 11 * SECOND));
    }

    #[test]
    fn a_time_told_by_call_later_or_run_due_is_the_turns_time_and_none_goes_back() {
        let f = Fixture::new();
        let call = f.later(10 * SECOND, || ());
        let expect = |seconds: u32| {
            assert!(call.reset(SECOND));
            assert_eq!(call.time(), Some(f.start + (seconds + 1) * SECOND));
        };
        f.timers.run_due(f.start + SECOND);
        expect(1);
        f.timers
            .call_later(f.start + 3 * SECOND, SECOND, Box::new(|| ()));
        expect(3);
        f.timers.set_now(f.start + 2 * SECOND);
        expect(3);
    }

    #[test]
    fn a_call_that_ran_or_was_cancelled_is_out_of_reach() {
        let f = Fixture::new();
        let own: Rc<RefCell<Option<DelayedCall>>> = Rc::default();
        let inside = Rc::clone(&own);
        let ran = f.later(SECOND, move || {
            let own = inside.take().expect("the handle was put there");
            assert!(!own.is_active() && !own.cancel(), "it is running");
        });
        own.replace(Some(ran.clone()));
        let cancelled = f.later(SECOND, f.note("cancelled"));
        assert!(ran.is_active() && cancelled.is_active());
        assert!(cancelled.cancel());
        assert_eq!(f.timers.run_due(f.start + SECOND), 1);
        assert!(own.borrow().is_none(), "the call went through");

        let orphan = {
            let gone = Timers::new(f.start);
            gone.call_later(f.start, SECOND, Box::new(|| ()))
        };
        for call in [ran, cancelled, orphan] {
            assert!(!call.is_active());
            assert_eq!(call.time(), None);
            assert!(!call.cancel() && !call.reset(SECOND) && !call.delay(SECOND));
        }
        assert!(f.timers.is_empty());
    }

    #[test]
    fn a_delay_beyond_the_clock_is_never_soon() {
        let f = Fixture::new();
        let call = f.later(Duration::MAX, f.note("never"));
        assert!(call.delay(Duration::MAX));
        assert!(call.reset(Duration::MAX));
        assert_eq!(f.timers.run_due(f.start + 86_400 * 365 * 100 * SECOND), 0);
        assert!(call.reset(SECOND));
        assert_eq!(f.timers.run_due(f.start + 86_400 * 365 * 101 * SECOND), 1);
    }

    #[test]
    fn what_a_dropped_call_held_may_use_the_timers_as_it_goes() {
        struct CancelsOnDrop(DelayedCall);
        impl Drop for CancelsOnDrop {
            fn drop(&mut self) {
                self.0.cancel();
            }
        }
        let f = Fixture::new();
        let holder = |seconds| {
            let held = CancelsOnDrop(f.later(SECOND, || ()));
            f.later(seconds * SECOND, move || drop(held))
        };
        let cancelled = holder(2);
        assert!(cancelled.cancel());
        assert!(f.timers.is_empty());
        holder(2);
        holder(3);
        f.timers.clear();
        assert!(f.timers.is_empty());
        assert_eq!(f.timers.next_wake(), None);
    }

    #[test]
    fn a_call_that_panics_is_logged_and_the_others_run() {
        let f = Fixture::new();
        f.later(SECOND, || panic!("number {}", 42));
        f.later(SECOND, || panic!("in words"));
        f.later(SECOND, f.note("other"));
        let mut ran = 0;
        let log = crate::deferred::logged_by(|| ran = f.timers.run_due(f.start + SECOND));
        assert_eq!(ran, 3);
        assert_eq!(f.ran(), ["other"]);
        assert!(
            log.contains("number 42") && log.contains("in words"),
            "{log}"
        );
    }
}
