//! The suites on Ropewalk.

pub mod allocations;
mod deferred;
mod simulation;
mod threads;
mod timers;

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;

use ropewalk::{Deferred, Failure, Handle, Reactor};

use crate::{Arguments, Suite};

/// Measures the suite, and prints its figures.
///
/// # Errors
/// The system gave no descriptor, backtraces are asked for, or standard output takes no more.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let sizes = arguments.sizes();
    match arguments.suite {
        Suite::Timers => timers::run(&sizes),
        Suite::Deferred => deferred::run(&sizes),
        Suite::Threads => threads::run(&sizes),
        Suite::Simulation => simulation::run(&sizes),
    }
}

/// Runs `work` as a task on a reactor of its own.
fn on_a_reactor<T: 'static>(
    work: impl AsyncFnOnce(Handle) -> Result<T, Failure> + 'static,
) -> Result<T, Box<dyn Error>> {
    let reactor = Reactor::new()?;
    let handle = reactor.handle();
    let outcome = Rc::new(Cell::new(None));
    let filled = Rc::clone(&outcome);
    reactor.spawn(async move {
        filled.set(Some(work(handle.clone()).await));
        handle.stop();
    });
    reactor.run()?;
    let outcome = outcome.take().ok_or("the work ended in a panic")?;
    outcome.map_err(|failure| failure.to_string().into())
}

/// Lets the loop go round once.
async fn turn(handle: &Handle) -> Result<(), Failure> {
    let (resolver, turned) = Deferred::pair();
    handle.call_when_running(|| resolver.callback(()));
    turned.await
}
