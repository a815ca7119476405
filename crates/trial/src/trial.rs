//! A test, and how it is run: [`Trial`].

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ropewalk_core::{Deferred, Failure, Panicked, defer_later};
use ropewalk_reactor::{Handle, Reactor, RunError};
use ropewalk_sim::World;

use crate::capture::{LogCapture, Store, Taken};
use crate::replay::{self, Target};
use crate::{Problem, Test, TestFailed};

/// How long a test may take, of the reactor's time.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How long what a test leaves may take to end by itself, of the reactor's time: the other end of a
/// connection that it has closed, for instance.
const SETTLE: Duration = Duration::from_secs(1);

/// The host that a test runs on, in a simulated world.
const HOST: &str = "test";

type Body = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// What a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// A host of a simulated world, called `test`: the seed decides all that happens there, and time
    /// passes as fast as nothing happens.
    Sim,
    /// Real sockets and real time.
    Poll,
}

impl Driver {
    /// A reactor for one run of a test, and the world that it is in.
    fn reactor(self, seed: u64) -> Result<(Reactor, Option<World>), Failure> {
        match self {
            Self::Sim => {
                let world = World::new(seed);
                Ok((world.host(HOST).reactor(), Some(world)))
            }
            Self::Poll => match Reactor::new() {
                Ok(reactor) => Ok((reactor, None)),
                Err(error) => Err(Failure::new(error).context("making the reactor")),
            },
        }
    }
}

/// A test: what `#[ropewalk::test]` makes of a function, and what a harness of your own may call.
///
/// ```
/// use ropewalk_core::Failure;
/// use ropewalk_trial::{Problem, Trial};
/// use std::time::Duration;
///
/// let trial = Trial::new("ropes::hold");
/// let failed = trial
///     .run(|test| async move {
///         test.reactor().call_later(Duration::from_secs(60), || ());
///         Ok(())
///     })
///     .unwrap_err();
/// assert!(matches!(&failed.problems[..], [Problem::Left(left)] if left.len() == 1));
/// println!("{failed}");
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is run"]
pub struct Trial {
    name: String,
    target: Target,
    driver: Driver,
    seeds: u64,
    timeout: Duration,
}

impl Trial {
    /// A test of this name, which is its path: `crate::module::function`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            target: Target::default(),
            driver: Driver::Sim,
            seeds: 1,
            timeout: TIMEOUT,
        }
    }

    /// What it is part of.
    #[doc(hidden)]
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// What it runs on. [`Driver::Sim`].
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// For how many seeds it is run, 0 and up. 1.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// How long one run may take, of the reactor's time. 120 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs `body` once for each seed, until one fails; or for the one seed alone that the
    /// environment variable `ROPEWALK_SEED` has. What is sent in the simulated world goes to the file
    /// that `ROPEWALK_PCAP` names, in the format that Wireshark reads; the last run's, if there are
    /// several.
    ///
    /// # Errors
    /// It failed, or left something behind.
    pub fn run<F>(&self, body: impl Fn(Test) -> F + 'static) -> Result<(), Box<TestFailed>>
    where
        F: Future<Output = Result<(), Failure>> + 'static,
    {
        match replay::wanted_seed() {
            Ok(Some(seed)) => self.run_with([seed], body),
            Ok(None) => self.run_with(0..self.seeds, body),
            Err(failure) => Err(self.failed(0, vec![Problem::NotRun(failure)], Taken::default())),
        }
    }

    /// Runs `body` for these seeds, until one fails.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with<F>(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        body: impl Fn(Test) -> F + 'static,
    ) -> Result<(), Box<TestFailed>>
    where
        F: Future<Output = Result<(), Failure>> + 'static,
    {
        let body: Rc<dyn Fn(Test) -> Body> = Rc::new(move |test| Box::pin(body(test)));
        let capture = LogCapture::start();
        for seed in seeds {
            self.run_once(seed, &capture.store(), &body)?;
        }
        Ok(())
    }

    fn run_once(
        &self,
        seed: u64,
        log: &Arc<Store>,
        body: &Rc<dyn Fn(Test) -> Body>,
    ) -> Result<(), Box<TestFailed>> {
        let mut trace = String::new();
        let end = match self.driver.reactor(seed) {
            Ok((reactor, world)) => {
                let test = Test::new(reactor.handle(), world.clone(), seed);
                replay::begin_capture(world.as_ref());
                let mut end = run_on(reactor, test, self.timeout, log, body);
                if let Err(failure) = replay::end_capture(world.as_ref()) {
                    end.problems.push(Problem::NotRun(failure));
                }
                trace = world.as_ref().map(World::trace).unwrap_or_default();
                end.dropping(|| drop(world))
            }
            Err(failure) => End::of(Problem::NotRun(failure)),
        };
        // What follows from things that were left is no news.
        let mut taken = end.taken.unwrap_or_else(|| log.take());
        let mut problems = end.problems;
        if !taken.errors.is_empty() {
            problems.push(Problem::Logged {
                errors: mem::take(&mut taken.errors),
                more: taken.more_errors,
            });
        }
        match problems.is_empty() {
            true => Ok(()),
            false => {
                let mut failed = self.failed(seed, problems, taken);
                failed.trace = trace;
                Err(failed)
            }
        }
    }

    fn failed(&self, seed: u64, problems: Vec<Problem>, taken: Taken) -> Box<TestFailed> {
        Box::new(TestFailed {
            name: self.name.clone(),
            seed,
            problems,
            log: taken.events,
            trace: String::new(),
            again: replay::command(&self.target, &self.name, seed),
        })
    }
}

/// Runs the body on `reactor`, and ends that.
fn run_on(
    reactor: Reactor,
    test: Test,
    after: Duration,
    log: &Arc<Store>,
    body: &Rc<dyn Fn(Test) -> Body>,
) -> End {
    let _running = test.enter();
    let end: Rc<Cell<Option<End>>> = Rc::default();
    // The timer and the task are there before anything is noted: they are not the test's.
    let timeout = defer_later(&*reactor, after, || ());
    let (told, log, body) = (Rc::clone(&end), Arc::clone(log), Rc::clone(body));
    reactor.spawn(async move {
        let reactor = test.reactor().clone();
        let mut ended = watch(&reactor, move || body(test), timeout, after).await;
        if !ended.problems.is_empty() {
            ended.taken = Some(log.take());
        }
        told.set(Some(ended));
        reactor.stop_now();
    });
    let mut ran = Ok(());
    let dropped = End::default().dropping(|| {
        ran = reactor.run();
        drop(reactor);
    });
    match (end.take(), ran) {
        (Some(end), _) if !end.problems.is_empty() => end,
        _ if !dropped.problems.is_empty() => dropped,
        (Some(end), _) => end,
        (None, Err(RunError::Driver(error))) => End::of(Problem::NotRun(error.into())),
        (None, _) => End::of(Problem::Stopped),
    }
}

/// How a run has ended.
#[derive(Default)]
struct End {
    problems: Vec<Problem>,
    /// The log, if it is to have nothing of what comes later.
    taken: Option<Taken>,
}

impl End {
    fn of(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            taken: None,
        }
    }

    /// Lets `drops` drop what the test has made. That this panics is no news if it has failed
    /// already, and does not hide why.
    fn dropping(mut self, drops: impl FnOnce()) -> Self {
        let dropped = catch_unwind(AssertUnwindSafe(drops));
        if let (Err(payload), true) = (dropped, self.problems.is_empty()) {
            let panicked = Panicked::new("what was dropped at the end", &*payload);
            self.problems.push(Problem::Panicked(panicked));
        }
        self
    }
}

/// Runs a body to its end, within the loop, and sees what it has left.
async fn watch(
    reactor: &Handle,
    body: impl FnOnce() -> Body,
    mut timeout: Deferred<()>,
    after: Duration,
) -> End {
    let ledger = reactor.track();
    // It begins within the poll, where its panics are caught.
    let mut body = Box::pin(async move { body().await });
    let outcome = poll_fn(|context| {
        let body = body.as_mut();
        let polled = catch_unwind(AssertUnwindSafe(|| body.poll(context)));
        match polled {
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(Problem::Failed)),
            Ok(Poll::Pending) => Pin::new(&mut timeout).poll(context).map(|_| {
                let live = ledger.live();
                Err(Problem::TimedOut { after, live })
            }),
            Err(payload) => Poll::Ready(Err(Problem::Panicked(panicked(&*payload)))),
        }
    })
    .await;
    timeout.cancel();
    // One that has not ended is dropped here: that it panics then is no news.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(body)));
    if let Err(problem) = outcome {
        // That it has left things then is no wonder.
        return End::of(problem);
    }
    match ledger.settled(SETTLE).await {
        Ok(left) if !left.is_empty() => End::of(Problem::Left(left)),
        _ => End::default(),
    }
}

fn panicked(payload: &(dyn Any + Send)) -> Panicked {
    Panicked::new("the test", payload)
}
