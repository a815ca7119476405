//! The attribute, as a user writes it.

use std::error::Error;
use std::time::Duration;

use ropewalk_core::{Deferred, Failure, IntoDeferred, defer_later};
use ropewalk_reactor::Handle;
use ropewalk_sim::World;
use ropewalk_trial::{Seed, Test};

// A kit under another name, and at another path.
use ropewalk_trial as kit;
mod deep {
    pub(crate) mod within {
        pub(crate) use ropewalk_trial as kit;
    }
}

const SHORT: Duration = Duration::from_millis(1);

#[kit::test(crate = "kit", driver = "poll")]
async fn an_async_fn_with_a_reactor_and_a_result(reactor: Handle) -> Result<(), Failure> {
    defer_later::<(), _>(&reactor, SHORT, || ()).await?;
    Ok(())
}

#[kit::test(crate = "kit", driver = "poll")]
async fn an_async_fn_with_a_reactor_by_reference(reactor: &Handle) {
    let waited = defer_later::<(), _>(reactor, SHORT, || ()).await;
    assert!(waited.is_ok());
}

#[kit::test(crate = "kit", driver = "poll")]
async fn an_async_fn_without_a_parameter() -> Result<(), std::num::ParseIntError> {
    let reactor = kit::reactor();
    let waited = defer_later::<(), _>(&reactor, SHORT, || ()).await;
    assert!(waited.is_ok());
    "7".parse::<u8>().map(drop)
}

#[kit::test(crate = "kit", driver = "poll")]
fn a_function_that_returns_a_deferred(reactor: &Handle) -> Deferred<()> {
    defer_later(reactor, SHORT, || ())
}

#[kit::test(crate = "kit", driver = "poll")]
fn a_function_that_returns_what_can_be_one(reactor: &Handle) -> impl IntoDeferred<()> + use<> {
    defer_later::<(), _>(reactor, SHORT, || ())
}

#[kit::test(crate = "deep::within::kit", driver = "poll")]
fn a_function_that_returns_nothing(reactor: &Handle) {
    assert_eq!(reactor.connections(), 0);
}

#[kit::test(crate = "kit", driver = "poll", seeds = 3, timeout = "10s")]
async fn more_parameters(test: Test, Seed(seed): Seed, mut reactor: Handle, again: &mut Seed) {
    assert_eq!(test.seed(), seed);
    again.0 += 1;
    assert_eq!(again.0, seed + 1);
    reactor = reactor.clone();
    assert_eq!(reactor.datagram_ports(), 0);
}

#[kit::test(crate = "kit")]
async fn a_result_as_tests_of_the_standard_library_may_have() -> Result<(), Box<dyn Error>> {
    "7".parse::<u8>()?;
    Ok(())
}

#[kit::test(crate = "kit")]
#[should_panic(expected = "InvalidDigit")]
fn an_error_that_is_no_failure() -> Result<(), Box<dyn Error + Send + Sync>> {
    "x".parse::<u8>()?;
    Ok(())
}

/// A doc comment, and attributes of others.
#[kit::test(crate = "kit", driver = "poll")]
#[should_panic(expected = "Traceback: no rope")]
#[allow(clippy::unused_async)]
async fn a_failure_that_is_expected() -> Result<(), Failure> {
    Err(Failure::msg("no rope"))
}

#[kit::test(crate = "kit", driver = "poll")]
#[should_panic(expected = "as they say")]
fn a_panic_that_is_expected() {
    assert_eq!(1 + 1, 3, "as they say");
}

#[kit::test(crate = "kit", driver = "poll")]
#[should_panic(expected = "a timer, due in")]
async fn a_leak_that_is_expected(reactor: Handle) {
    reactor.call_later(Duration::from_secs(60), || ());
}

#[kit::test(crate = "kit", driver = "poll", timeout = "5ms")]
#[should_panic(expected = "it had no result after 5ms")]
async fn a_test_that_waits_for_ever() {
    std::future::pending::<()>().await;
}

#[kit::test(crate = "kit")]
async fn a_simulated_world_by_default(reactor: &Handle, world: World) -> Result<(), Failure> {
    let before = reactor.now();
    defer_later::<(), _>(reactor, 100 * SHORT, || ()).await?;
    assert!(reactor.now() >= before + 100 * SHORT);
    assert!(world.now() >= 100 * SHORT);
    assert_eq!(world.seed(), 0);
    Ok(())
}

#[kit::test(crate = "kit", driver = "sim", seeds = 10)]
fn a_simulated_world_by_name(test: &Test, Seed(seed): Seed) {
    assert_eq!(test.world().map(World::seed), Some(seed));
}

#[kit::test(crate = "kit", driver = "poll")]
#[should_panic(expected = "leave `driver = \"poll\"` out")]
async fn real_sockets_have_no_world(_world: World) {}

// Its name is that of nothing in what the attribute writes.
#[kit::test(crate = "kit")]
async fn test() {}

mod inner {
    use super::kit;

    #[kit::test(crate = "kit", driver = "poll")]
    async fn paths_hold_in_modules() {}
}
