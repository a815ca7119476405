//! What a test is given: [`Test`], and what can be made of it.

use std::cell::{Cell, RefCell};
use std::fmt;

use ropewalk_core::{Deferred, Failure, IntoDeferred};
use ropewalk_reactor::Handle;
use ropewalk_sim::World;

thread_local! {
    /// The tests that run on this thread: a test within a test is the last.
    static RUNNING: RefCell<Vec<Test>> = const { RefCell::new(Vec::new()) };
}

/// One run of a test: its reactor and its seed.
#[derive(Clone, Debug)]
pub struct Test {
    reactor: Handle,
    world: Option<World>,
    seed: u64,
}

impl Test {
    pub(crate) fn new(reactor: Handle, world: Option<World>, seed: u64) -> Self {
        Self {
            reactor,
            world,
            seed,
        }
    }

    /// The reactor that it runs on.
    #[must_use]
    pub fn reactor(&self) -> &Handle {
        &self.reactor
    }

    /// The simulated world around it, where the test's host is called `test`. `None` on real sockets.
    #[must_use]
    pub fn world(&self) -> Option<&World> {
        self.world.as_ref()
    }

    /// The seed of this run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// It is the one that runs on this thread, until this is dropped.
    pub(crate) fn enter(&self) -> impl Drop + use<> {
        struct Entered;
        impl Drop for Entered {
            fn drop(&mut self) {
                let left = RUNNING.with(|running| running.borrow_mut().pop());
                drop(left);
            }
        }
        RUNNING.with(|running| running.borrow_mut().push(self.clone()));
        Entered
    }
}

/// The reactor of the test that runs on this thread, for tests without a parameter and for what
/// they call.
///
/// ```
/// # use ropewalk_trial as trial;
/// # mod ropewalk { pub(crate) use ropewalk_trial::run_when_called as test; }
/// #[ropewalk::test]
/// async fn time_passes() {
///     let reactor = trial::reactor();
///     assert!(reactor.now() <= reactor.now());
/// }
/// # time_passes();
/// ```
///
/// # Panics
/// No test of this kit runs on this thread.
#[must_use]
#[track_caller]
pub fn reactor() -> Handle {
    let running = RUNNING.with(|running| running.borrow().last().cloned());
    match running {
        Some(test) => test.reactor,
        None => panic!(
            "no test runs on this thread that has a reactor: mark it with #[ropewalk::test], and \
             call this on its own thread"
        ),
    }
}

/// What a test can have as a parameter.
///
/// ```
/// # use ropewalk_trial as trial;
/// # mod ropewalk { pub(crate) use ropewalk_trial::run_when_called as test; }
/// use trial::{FromTest, Test};
///
/// /// A number of ropes that depends on the seed.
/// struct Ropes(u64);
///
/// impl FromTest for Ropes {
///     fn from_test(test: &Test) -> Self {
///         Self(test.seed() % 7)
///     }
/// }
///
/// #[ropewalk::test(seeds = 10)]
/// async fn there_are_never_too_many(ropes: Ropes) {
///     assert!(ropes.0 < 7);
/// }
/// # there_are_never_too_many();
/// ```
pub trait FromTest: Sized {
    /// Makes it, on the reactor's thread, when the reactor runs.
    fn from_test(test: &Test) -> Self;
}

impl FromTest for Test {
    fn from_test(test: &Test) -> Self {
        test.clone()
    }
}

impl FromTest for Handle {
    fn from_test(test: &Test) -> Self {
        test.reactor.clone()
    }
}

/// The simulated world around the test, whose own host is called `test`.
///
/// ```
/// # use ropewalk_trial as trial;
/// # mod ropewalk { pub(crate) use ropewalk_trial::run_when_called as test; }
/// use ropewalk_sim::World;
///
/// #[ropewalk::test(seeds = 10)]
/// async fn each_world_has_a_seed_of_its_own(world: World, trial::Seed(seed): trial::Seed) {
///     assert_eq!(world.seed(), seed);
///     assert!(world.find("test").is_some());
/// }
/// # each_world_has_a_seed_of_its_own();
/// ```
///
/// # Panics
/// The test runs on real sockets.
impl FromTest for World {
    fn from_test(test: &Test) -> Self {
        match &test.world {
            Some(world) => world.clone(),
            None => panic!("a test on real sockets has no World; leave `driver = \"poll\"` out"),
        }
    }
}

/// The seed of a run, for whatever a test chooses at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl FromTest for Seed {
    fn from_test(test: &Test) -> Self {
        Self(test.seed)
    }
}

/// What a test has come to. For `#[test]`, which writes `Outcome::new(result).finish()`: what can be
/// a Deferred is one ([`Finish`]); of any other `Result` ([`FinishByText`], found by reference) the
/// error's text is told, as the standard library's own tests tell it. `Box<dyn Error>` is no
/// `Error`, and so cannot be a failure itself.
#[doc(hidden)]
pub struct Outcome<T>(Cell<Option<T>>);

impl<T> Outcome<T> {
    pub fn new(result: T) -> Self {
        Self(Cell::new(Some(result)))
    }
}

#[doc(hidden)]
pub trait Finish {
    fn finish(self) -> Deferred<()>;
}

impl<T: IntoDeferred<()>> Finish for Outcome<T> {
    fn finish(self) -> Deferred<()> {
        let result = self.0.take();
        result.map_or_else(|| Deferred::succeed(()), T::into_deferred)
    }
}

#[doc(hidden)]
pub trait FinishByText {
    fn finish(&self) -> Deferred<()>;
}

impl<E: fmt::Debug> FinishByText for Outcome<Result<(), E>> {
    #[track_caller]
    fn finish(&self) -> Deferred<()> {
        match self.0.take() {
            Some(Err(error)) => Deferred::fail(Failure::msg(format!("{error:?}"))),
            _ => Deferred::succeed(()),
        }
    }
}
