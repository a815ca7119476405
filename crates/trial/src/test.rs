//! What a test is given: [`Test`], and what can be made of it.

use std::cell::RefCell;

use ropewalk_core::{Failure, IntoDeferred};
use ropewalk_reactor::Handle;

thread_local! {
    /// The tests that run on this thread: a test within a test is the last.
    static RUNNING: RefCell<Vec<Test>> = const { RefCell::new(Vec::new()) };
}

/// One run of a test: its reactor and its seed.
#[derive(Clone, Debug)]
pub struct Test {
    reactor: Handle,
    seed: u64,
}

impl Test {
    pub(crate) fn new(reactor: Handle, seed: u64) -> Self {
        Self { reactor, seed }
    }

    /// The reactor that it runs on.
    #[must_use]
    pub fn reactor(&self) -> &Handle {
        &self.reactor
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
/// #[ropewalk::test(driver = "poll")]
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
/// #[ropewalk::test(driver = "poll", seeds = 10)]
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

/// The seed of a run, for whatever a test chooses at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl FromTest for Seed {
    fn from_test(test: &Test) -> Self {
        Self(test.seed)
    }
}

/// What a test has come to. For `#[test]`, which writes calls of it.
#[doc(hidden)]
pub async fn finish(result: impl IntoDeferred<()>) -> Result<(), Failure> {
    result.into_deferred().await
}
