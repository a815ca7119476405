//! A call that is made again and again.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use crate::{Deferred, DelayedCall, Failure, IntoDeferred, ReactorTime, Resolver};

/// Calls a function every so often.
///
/// The calls stay on the grid of `start + n × interval`, and never drift. While a Deferred that
/// the function returned has not fired, no call is made: the ticks that pass are skipped, and
/// [`with_count`](Self::with_count) tells how many there were. A failure ends the loop.
///
/// Clones are the same loop. It goes on when the handles are dropped, until it is stopped, its
/// Deferred is cancelled, or the reactor is gone.
///
/// ```
/// use ropewalk_core::LoopingCall;
/// use ropewalk_core::testing::Clock;
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// let clock = Clock::new();
/// let calls = Rc::new(Cell::new(0));
/// let count = calls.clone();
/// let beat = LoopingCall::new(Rc::new(clock.clone()), move || count.set(count.get() + 1));
/// let ended = beat.start(Duration::from_secs(10), true);
/// clock.advance(Duration::from_secs(30));
/// assert_eq!(calls.get(), 4);
/// beat.stop();
/// assert!(ended.is_fired());
/// ```
#[derive(Clone)]
pub struct LoopingCall {
    shared: Rc<Shared>,
}

type Call = Box<dyn FnMut(u64) -> Deferred<()>>;

struct Shared {
    reactor: Rc<dyn ReactorTime>,
    /// `None` while it runs.
    call: RefCell<Option<Call>>,
    interval: Cell<Duration>,
    /// Where the grid begins.
    began: Cell<Instant>,
    /// The first tick of the grid that no call has counted.
    uncounted: Cell<u64>,
    timer: RefCell<Option<DelayedCall>>,
    /// What the last call returned, if that has not fired.
    waits_for: Cell<Option<Deferred<()>>>,
    stopping: Cell<bool>,
    /// How often it was started: a call of an earlier round says nothing in this one.
    round: Cell<u64>,
    /// `Some` while the loop runs.
    ended: Cell<Option<Resolver<()>>>,
}

impl LoopingCall {
    /// A loop of calls of `function`, which may return a value, a `Result` or a Deferred. It
    /// doesn't run yet.
    pub fn new<R: IntoDeferred<()>>(
        reactor: Rc<dyn ReactorTime>,
        mut function: impl FnMut() -> R + 'static,
    ) -> Self {
        Self::with_count(reactor, move |_| function())
    }

    /// As [`new`](Self::new); `function` is told how many ticks there were since the last call:
    /// 1, or more if some were skipped.
    ///
    /// ```
    /// # use ropewalk_core::{Deferred, LoopingCall, defer_later};
    /// # use ropewalk_core::testing::Clock;
    /// # use std::{cell::RefCell, rc::Rc, time::Duration};
    /// const SECOND: Duration = Duration::from_secs(1);
    /// let clock = Clock::new();
    /// let counts = Rc::new(RefCell::new(Vec::new()));
    /// let (log, time) = (counts.clone(), clock.clone());
    /// let slow = LoopingCall::with_count(Rc::new(clock.clone()), move |count| {
    ///     log.borrow_mut().push(count);
    ///     defer_later::<(), _>(&time, SECOND * 5 / 2, || ())
    /// });
    /// let ended = slow.start(SECOND, true);
    /// clock.advance(6 * SECOND);
    /// assert_eq!(*counts.borrow(), [1, 3, 3]);
    /// # drop(ended);
    /// ```
    pub fn with_count<R: IntoDeferred<()>>(
        reactor: Rc<dyn ReactorTime>,
        mut function: impl FnMut(u64) -> R + 'static,
    ) -> Self {
        let now = reactor.now();
        let call: Call = Box::new(move |count| function(count).into_deferred());
        Self {
            shared: Rc::new(Shared {
                reactor,
                call: RefCell::new(Some(call)),
                interval: Cell::default(),
                began: Cell::new(now),
                uncounted: Cell::new(0),
                timer: RefCell::default(),
                waits_for: Cell::default(),
                stopping: Cell::new(false),
                round: Cell::new(0),
                ended: Cell::default(),
            }),
        }
    }

    /// Begins to call, with the first call `now` or after one interval. With an interval of zero,
    /// a call is made each turn.
    ///
    /// The Deferred fires when the loop has ended: by [`stop`](Self::stop), or with the failure of
    /// a call. Cancelling it stops the loop, and cancels what the last call waits for. A loop that
    /// runs already fails with [`AlreadyRunning`], and goes on.
    #[track_caller]
    pub fn start(&self, interval: Duration, now: bool) -> Deferred<()> {
        if self.is_running() {
            return Deferred::fail(AlreadyRunning);
        }
        let Shared {
            reactor, stopping, ..
        } = &*self.shared;
        let weak = Rc::downgrade(&self.shared);
        let (resolver, ended) = Deferred::with_canceller(move || {
            if let Some(shared) = Weak::upgrade(&weak) {
                shared.cancel();
            }
        });
        self.shared.ended.set(Some(resolver));
        self.shared.round.set(self.shared.round.get() + 1);
        stopping.set(false);
        self.shared.interval.set(interval);
        self.shared.began.set(reactor.now());
        self.shared.uncounted.set(u64::from(!now));
        match now {
            true => self.shared.tick(),
            false => self.shared.schedule(),
        }
        ended
    }

    /// Makes no more calls. The Deferred of [`start`](Self::start) fires now, or when the call that
    /// is being made has its result. Returns whether the loop ran.
    pub fn stop(&self) -> bool {
        let running = self.is_running();
        self.shared.stopping.set(running);
        if self.shared.take_timer() {
            self.shared.end(Ok(()));
        }
        running
    }

    /// Puts the next call off to one interval from now, where the grid begins again.
    pub fn reset(&self) {
        self.shared.began.set(self.shared.reactor.now());
        self.shared.uncounted.set(1);
        if self.shared.take_timer() {
            self.shared.schedule();
        }
    }

    /// Whether it was started and has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.is_running()
    }
}

impl Shared {
    fn is_running(&self) -> bool {
        let ended = self.ended.take();
        let running = ended.is_some();
        self.ended.set(ended);
        running
    }

    fn schedule(self: &Rc<Self>) {
        let delay = match self.interval.get() {
            Duration::ZERO => Duration::ZERO,
            interval => interval - duration(self.elapsed() % interval.as_nanos()),
        };
        let shared = self.clone();
        let timer = (self.reactor).call_later(delay, Box::new(move || shared.tick()));
        *self.timer.borrow_mut() = Some(timer);
    }

    /// Nanoseconds since the grid began.
    fn elapsed(&self) -> u128 {
        let now = self.reactor.now();
        now.saturating_duration_since(self.began.get()).as_nanos()
    }

    fn tick(self: &Rc<Self>) {
        *self.timer.borrow_mut() = None;
        let call = self.call.borrow_mut().take();
        let Some(call) = call else {
            // It was started anew by the very call, which is not made within itself.
            return self.schedule();
        };
        let round = self.round.get();
        let result = Calling::new(self, call).run(self.count());
        let shared = self.clone();
        let called = result.add_both(move |result| shared.called(round, result));
        if !self.is_running() {
            // It was cancelled by the call itself, or is over.
            called.cancel();
        } else if !called.is_fired() {
            self.waits_for.set(Some(called));
        }
    }

    /// How many ticks there were that no call has counted.
    fn count(&self) -> u64 {
        let Some(tick) = self.elapsed().checked_div(self.interval.get().as_nanos()) else {
            return 1;
        };
        let ticks = u64::try_from(tick).unwrap_or(u64::MAX).saturating_add(1);
        let count = ticks.saturating_sub(self.uncounted.replace(ticks));
        count.max(1)
    }

    fn called(self: &Rc<Self>, round: u64, result: Result<(), Failure>) {
        if round != self.round.get() || !self.is_running() {
            return;
        }
        drop(self.waits_for.take());
        match result {
            Ok(()) if self.stopping.get() => self.end(Ok(())),
            Ok(()) => self.schedule(),
            Err(failure) => self.end(Err(failure)),
        }
    }

    fn end(&self, result: Result<(), Failure>) {
        if let Some(resolver) = self.ended.take() {
            resolver.fire(result);
        }
    }

    fn cancel(&self) {
        // Not to fire it now is to be cancelled.
        drop(self.ended.take());
        self.stopping.set(true);
        self.take_timer();
        if let Some(waits_for) = self.waits_for.take() {
            waits_for.cancel();
        }
    }

    /// Cancels the next call. Whether there was one to come.
    fn take_timer(&self) -> bool {
        let timer = self.timer.borrow_mut().take();
        timer.is_some_and(|timer| timer.cancel())
    }
}

/// Puts the function back when it has run. If it panics, the loop has ended.
struct Calling<'a> {
    shared: &'a Shared,
    call: Option<Call>,
    returned: bool,
}

impl<'a> Calling<'a> {
    fn new(shared: &'a Shared, call: Call) -> Self {
        Self {
            shared,
            call: Some(call),
            returned: false,
        }
    }

    fn run(mut self, count: u64) -> Deferred<()> {
        let result = (self.call.as_mut()).map(|call| call(count));
        self.returned = true;
        result.unwrap_or_else(|| Deferred::succeed(()))
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        *self.shared.call.borrow_mut() = self.call.take();
        if !self.returned {
            drop(self.shared.ended.take());
        }
    }
}

impl fmt::Debug for LoopingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopingCall")
            .field("running", &self.is_running())
            .field("interval", &self.shared.interval.get())
            .finish_non_exhaustive()
    }
}

/// The loop was started when it ran already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyRunning;

impl fmt::Display for AlreadyRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the LoopingCall was started while it runs: stop it first, or make another")
    }
}

impl Error for AlreadyRunning {}

/// From nanoseconds, fewer than an interval has.
fn duration(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    Duration::new((nanos / SECOND) as u64, (nanos % SECOND) as u32)
}
