//! Operations that are tried again when they fail.

use std::cell::Cell;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::{Backoff, RetryBudget};
use crate::{Cancelled, Deferred, DelayedCall, Failure, IntoDeferred, ReactorTime, Resolver};

/// Which failures are tried again, how often, for how long, and with which pauses: one policy for
/// any operation, callbacks or `async`.
///
/// Unless it is said otherwise, all failures but [`Cancelled`] are tried again, with the delays
/// of [`Backoff::new`], until ten attempts were made or five minutes have passed.
///
/// ```
/// use ropewalk_core::testing::Clock;
/// use ropewalk_core::{Deferred, Failure, Retry};
/// use std::{rc::Rc, time::Duration};
///
/// let clock = Clock::new();
/// let divide = |attempt| match 10_u32.checked_div(attempt - 1) {
///     Some(quotient) => Ok(quotient),
///     None => Err(Failure::msg("cannot divide by zero")),
/// };
/// let random = || 0.5; // a generator with a seed, in earnest
/// let quotient: Deferred<u32> = Retry::new().run(Rc::new(clock.clone()), random, divide);
/// clock.advance(Duration::from_secs(1));
/// # let quotient: Deferred<()> =
/// quotient.add_callback(|quotient| assert_eq!(quotient, 10));
/// # assert!(quotient.is_fired());
/// ```
#[derive(Clone)]
pub struct Retry {
    backoff: Backoff,
    attempts: u32,
    deadline: Duration,
    retries: Rc<dyn Fn(&Failure) -> bool>,
    budget: Option<RetryBudget>,
}

impl Retry {
    /// The policy that is described above.
    #[must_use]
    pub fn new() -> Self {
        Self {
            backoff: Backoff::new(),
            attempts: 10,
            deadline: Duration::from_secs(300),
            retries: Rc::new(|failure| failure.check::<Cancelled>().is_none()),
            budget: None,
        }
    }

    /// The delays between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many attempts are made, the first one included. `u32::MAX` is as often as it takes.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long it may take in all. An attempt that is not done by then is cancelled, and none is
    /// begun after it. `Duration::MAX` is for ever.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Tries again only after failures that `test` is true for. It is not asked about
    /// [`Cancelled`].
    #[must_use]
    pub fn only_if(mut self, test: impl Fn(&Failure) -> bool + 'static) -> Self {
        self.retries =
            Rc::new(move |failure| failure.check::<Cancelled>().is_none() && test(failure));
        self
    }

    /// Shares a budget with others.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Calls `operation`, which is told the number of the attempt, from 1, until it succeeds or
    /// the policy gives up: then it fails with the last failure, and a context that says why no
    /// further attempt was made. `random` gives numbers from 0 up to 1.
    ///
    /// Cancelling the Deferred cancels the attempt that is being made, or the pause.
    ///
    /// An operation that is `async` is made a Deferred by [`Deferred::from_future`].
    #[track_caller]
    pub fn run<T: 'static, R: IntoDeferred<T>>(
        &self,
        reactor: Rc<dyn ReactorTime>,
        random: impl FnMut() -> f64 + 'static,
        mut operation: impl FnMut(u32) -> R + 'static,
    ) -> Deferred<T> {
        let run = Rc::new(Run {
            policy: self.clone(),
            began: reactor.now(),
            reactor,
            random: Cell::new(Some(Box::new(random))),
            operation: Cell::new(Some(Box::new(move |n| operation(n).into_deferred()))),
            attempts: Cell::new(0),
            waits_for: Cell::default(),
            cancelled: Cell::new(false),
            outcome: Cell::default(),
        });
        let weak = Rc::downgrade(&run);
        let (resolver, outcome) = Deferred::with_canceller(move || {
            if let Some(run) = Weak::upgrade(&weak) {
                run.cancel();
            }
        });
        run.outcome.set(Some(resolver));
        run.attempt();
        outcome
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("backoff", &self.backoff)
            .field("attempts", &self.attempts)
            .field("deadline", &self.deadline)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

type Random = Box<dyn FnMut() -> f64>;
type Operation<T> = Box<dyn FnMut(u32) -> Deferred<T>>;

struct Run<T: 'static> {
    policy: Retry,
    began: Instant,
    reactor: Rc<dyn ReactorTime>,
    /// `None` while it is called.
    random: Cell<Option<Random>>,
    /// `None` while it is called.
    operation: Cell<Option<Operation<T>>>,
    attempts: Cell<u32>,
    waits_for: Cell<Option<WaitsFor>>,
    cancelled: Cell<bool>,
    outcome: Cell<Option<Resolver<T>>>,
}

enum WaitsFor {
    Attempt(Deferred<()>),
    Pause(DelayedCall),
}

impl<T: 'static> Run<T> {
    fn attempt(self: &Rc<Self>) {
        let number = self.attempts.get().saturating_add(1);
        self.attempts.set(number);
        // If it panics, all this is dropped, and so the outcome is abandoned.
        let Some(mut operation) = self.operation.take() else {
            return;
        };
        let mut result = operation(number);
        self.operation.set(Some(operation));
        if self.policy.deadline < Duration::MAX {
            result = result.add_timeout(self.left(), &*self.reactor);
        }
        let run = self.clone();
        let attempt = result.add_both(move |result| run.attempted(result));
        if self.cancelled.get() {
            // By the operation itself.
            attempt.cancel();
        } else if !attempt.is_fired() {
            self.waits_for.set(Some(WaitsFor::Attempt(attempt)));
        }
    }

    fn attempted(self: &Rc<Self>, result: Result<T, Failure>) {
        drop(self.waits_for.take());
        if let (Ok(_), Some(budget)) = (&result, &self.policy.budget) {
            budget.deposit();
        }
        if self.cancelled.get() {
            return;
        }
        let result = match result {
            Err(failure) if (self.policy.retries)(&failure) => match self.next_delay() {
                Ok(delay) => return self.pause(delay),
                Err(why) => Err(failure.context(format!(
                    "given up after {} attempts in {:?}, as {why}",
                    self.attempts.get(),
                    self.elapsed(),
                ))),
            },
            result => result,
        };
        if let Some(resolver) = self.outcome.take() {
            resolver.fire(result);
        }
    }

    fn pause(self: &Rc<Self>, delay: Duration) {
        let run = self.clone();
        let timer = (self.reactor).call_later(delay, Box::new(move || run.attempt()));
        self.waits_for.set(Some(WaitsFor::Pause(timer)));
    }

    /// How long to wait before the next attempt, or why there is none.
    fn next_delay(&self) -> Result<Duration, &'static str> {
        let attempts = self.attempts.get();
        if attempts >= self.policy.attempts {
            return Err("no more are allowed");
        }
        let delay = self.policy.backoff.delay(attempts, self.random());
        if delay >= self.left() {
            return Err("no time is left");
        }
        match &self.policy.budget {
            Some(budget) if !budget.withdraw() => Err("the budget for repetitions is spent"),
            _ => Ok(delay),
        }
    }

    fn random(&self) -> f64 {
        let Some(mut random) = self.random.take() else {
            return 0.0;
        };
        let number = random();
        self.random.set(Some(random));
        number
    }

    fn elapsed(&self) -> Duration {
        let now = self.reactor.now();
        now.saturating_duration_since(self.began)
    }

    fn left(&self) -> Duration {
        self.policy.deadline.saturating_sub(self.elapsed())
    }

    fn cancel(&self) {
        self.cancelled.set(true);
        // Not to fire it now is to be cancelled.
        drop(self.outcome.take());
        match self.waits_for.take() {
            Some(WaitsFor::Attempt(attempt)) => attempt.cancel(),
            Some(WaitsFor::Pause(timer)) => drop(timer.cancel()),
            None => {}
        }
    }
}
