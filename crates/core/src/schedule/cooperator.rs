//! Long work in small steps, so that the loop stays free between them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use crate::inherited;
use crate::{ContextSnapshot, Deferred, Failure, IntoDeferred, Panicked, ReactorTime, Resolver};

/// How many steps are made in a turn of the loop, unless it is said otherwise.
const STEPS: usize = 64;

/// Runs iterators for what they do: a step of each in turn, so many steps in a turn of the loop,
/// and on in the next turn.
///
/// A step may be a value, a `Result` (a failure ends the task), or a Deferred, which is waited
/// for while the others go on. Steps are counted, not timed, so that a run is the same each time:
/// a step should take well under a millisecond.
///
/// Clones are the same cooperator.
///
/// ```
/// use ropewalk_core::Cooperator;
/// use ropewalk_core::testing::Clock;
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// let clock = Clock::new();
/// let sum = Rc::new(Cell::new(0));
/// let total = sum.clone();
/// let cooperator = Cooperator::new(Rc::new(clock.clone()));
/// let task = cooperator.cooperate((1..=1000).map(move |n| total.set(total.get() + n)));
/// let done = task.when_done();
/// clock.advance(Duration::ZERO);
/// assert!(done.is_fired());
/// assert_eq!(sum.get(), 500_500);
/// ```
#[derive(Clone)]
pub struct Cooperator {
    shared: Rc<Shared>,
}

struct Shared {
    reactor: Rc<dyn ReactorTime>,
    steps: usize,
    /// The tasks that have a step to make, each once.
    ready: RefCell<VecDeque<Rc<Job>>>,
    /// Whether a turn was asked for.
    scheduled: Cell<bool>,
}

type Steps = Box<dyn FnMut() -> Option<Deferred<()>>>;

struct Job {
    /// `None` while it runs, and when it is done.
    steps: Cell<Option<Steps>>,
    /// What held where the task was started.
    context: Option<ContextSnapshot>,
    pauses: Cell<usize>,
    queued: Cell<bool>,
    /// What the last step returned, if that has not fired.
    waits_for: Cell<Option<Deferred<()>>>,
    result: RefCell<Option<Result<(), Failure>>>,
    observers: RefCell<Vec<Resolver<()>>>,
}

impl Cooperator {
    /// A cooperator that makes 64 steps in a turn.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorTime>) -> Self {
        Self::with_steps(reactor, STEPS)
    }

    /// A cooperator that makes so many steps in a turn, at least one.
    #[must_use]
    pub fn with_steps(reactor: Rc<dyn ReactorTime>, steps: usize) -> Self {
        Self {
            shared: Rc::new(Shared {
                reactor,
                steps: steps.max(1),
                ready: RefCell::default(),
                scheduled: Cell::new(false),
            }),
        }
    }

    /// Starts a task of the iterator's steps. The first is made in a later turn. They run with the
    /// values and in the span that hold here ([`ContextKey`](crate::ContextKey)).
    pub fn cooperate<I>(&self, iterator: I) -> CooperativeTask
    where
        I: IntoIterator,
        I::IntoIter: 'static,
        I::Item: IntoDeferred<()>,
    {
        let mut iterator = iterator.into_iter();
        let steps: Steps = Box::new(move || iterator.next().map(IntoDeferred::into_deferred));
        let job = Rc::new(Job {
            steps: Cell::new(Some(steps)),
            context: ContextSnapshot::capture_any(),
            pauses: Cell::new(0),
            queued: Cell::new(false),
            waits_for: Cell::default(),
            result: RefCell::default(),
            observers: RefCell::default(),
        });
        self.shared.queue(&job);
        CooperativeTask {
            shared: self.shared.clone(),
            job,
        }
    }

    /// As [`cooperate`](Self::cooperate), for those who only want to know when it is done.
    pub fn coiterate<I>(&self, iterator: I) -> Deferred<()>
    where
        I: IntoIterator,
        I::IntoIter: 'static,
        I::Item: IntoDeferred<()>,
    {
        self.cooperate(iterator).when_done()
    }
}

impl Shared {
    /// Lets the job have its turn, if it has anything to do.
    fn queue(self: &Rc<Self>, job: &Rc<Job>) {
        if job.pauses.get() > 0 || job.is_waiting() || job.is_done() || job.queued.replace(true) {
            return;
        }
        self.ready.borrow_mut().push_back(job.clone());
        self.schedule();
    }

    fn schedule(self: &Rc<Self>) {
        if !self.scheduled.replace(true) {
            let shared = self.clone();
            (self.reactor).call_later(Duration::ZERO, Box::new(move || shared.turn()));
        }
    }

    fn turn(self: &Rc<Self>) {
        self.scheduled.set(false);
        // The timer has what held for the task that asked for this turn: not for all of them.
        let _outside = inherited::leave();
        let _rest = Rest(self);
        for _ in 0..self.steps {
            let job = self.ready.borrow_mut().pop_front();
            let Some(job) = job else {
                return;
            };
            job.queued.set(false);
            match &job.context {
                Some(context) => context.run(|| self.step(&job)),
                None => self.step(&job),
            }
        }
    }

    fn step(self: &Rc<Self>, job: &Rc<Job>) {
        if job.pauses.get() > 0 {
            return;
        }
        let Some(mut steps) = job.steps.take() else {
            return;
        };
        let step = match panic::catch_unwind(AssertUnwindSafe(&mut steps)) {
            Ok(Some(step)) => step,
            Ok(None) => return job.finish(Ok(())),
            Err(payload) => {
                let failure = Panicked::new("a step of a cooperative task", &*payload);
                return job.finish(Err(failure.into()));
            }
        };
        // It may have stopped itself.
        if job.is_done() {
            return step.cancel();
        }
        job.steps.set(Some(steps));
        let (shared, this) = (self.clone(), job.clone());
        let stepped = step.add_both(move |result| {
            drop(this.waits_for.take());
            match result {
                Ok(()) => shared.queue(&this),
                Err(failure) => this.finish(Err(failure)),
            }
        });
        if !stepped.is_fired() {
            job.waits_for.set(Some(stepped));
        }
    }
}

/// Those who had no step in a turn have one in the next: also when this one ends by a panic, of a
/// callback of who waits for a task.
struct Rest<'a>(&'a Rc<Shared>);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if !self.0.ready.borrow().is_empty() {
            self.0.schedule();
        }
    }
}

impl Job {
    fn is_waiting(&self) -> bool {
        let waits_for = self.waits_for.take();
        let waiting = waits_for.is_some();
        self.waits_for.set(waits_for);
        waiting
    }

    fn is_done(&self) -> bool {
        self.result.borrow().is_some()
    }

    fn finish(&self, result: Result<(), Failure>) {
        if self.is_done() {
            return;
        }
        *self.result.borrow_mut() = Some(result.clone());
        drop(self.steps.take());
        let observers = self.observers.take();
        if observers.is_empty() {
            // Nobody asked: a failure is reported.
            drop(Deferred::from(result));
            return;
        }
        tell(observers, &result);
    }
}

/// Tells all who wait for a task. The first panic of a callback unwinds from here when all are
/// told.
fn tell(observers: Vec<Resolver<()>>, result: &Result<(), Failure>) {
    let mut panicked = None;
    for observer in observers {
        let fire = AssertUnwindSafe(|| observer.fire(result.clone()));
        if let Err(payload) = panic::catch_unwind(fire) {
            panicked.get_or_insert(payload);
        }
    }
    if let Some(payload) = panicked
        && !thread::panicking()
    {
        panic::resume_unwind(payload);
    }
}

/// A task of a [`Cooperator`]. Dropping it lets the task go on.
#[derive(Clone)]
pub struct CooperativeTask {
    shared: Rc<Shared>,
    job: Rc<Job>,
}

impl CooperativeTask {
    /// Makes no steps until [`resume`](Self::resume) was called as often as this.
    pub fn pause(&self) {
        self.job.pauses.set(self.job.pauses.get() + 1);
    }

    /// Undoes one [`pause`](Self::pause). Returns whether there was one.
    pub fn resume(&self) -> bool {
        let Some(pauses) = self.job.pauses.get().checked_sub(1) else {
            return false;
        };
        self.job.pauses.set(pauses);
        self.shared.queue(&self.job);
        true
    }

    /// Makes no more steps, drops the iterator, and cancels what it waits for. Who waits for the
    /// task is told [`TaskStopped`]. Returns whether it was not done.
    pub fn stop(&self) -> bool {
        if self.job.is_done() {
            return false;
        }
        let stopped = Failure::new(TaskStopped);
        *self.job.result.borrow_mut() = Some(Err(stopped.clone()));
        // First, as the iterator may hold what fires it.
        if let Some(waits_for) = self.job.waits_for.take() {
            waits_for.cancel();
        }
        drop(self.job.steps.take());
        tell(self.job.observers.take(), &Err(stopped));
        true
    }

    /// Fires when the iterator has come to its end; fails when a step did, or the task was
    /// stopped. It may be asked for more than once.
    #[track_caller]
    pub fn when_done(&self) -> Deferred<()> {
        if let Some(result) = &*self.job.result.borrow() {
            return Deferred::from(result.clone());
        }
        let (resolver, done) = Deferred::pair();
        let mut observers = self.job.observers.borrow_mut();
        observers.retain(|observer| !observer.is_cancelled());
        observers.push(resolver);
        done
    }
}

impl fmt::Debug for CooperativeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CooperativeTask")
            .field("done", &self.job.is_done())
            .field("pauses", &self.job.pauses.get())
            .field("waiting", &self.job.is_waiting())
            .finish()
    }
}

impl fmt::Debug for Cooperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cooperator")
            .field("steps", &self.shared.steps)
            .field("ready", &self.shared.ready.borrow().len())
            .finish_non_exhaustive()
    }
}

/// The task was stopped before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStopped;

impl fmt::Display for TaskStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cooperative task was stopped before it was done")
    }
}

impl Error for TaskStopped {}
