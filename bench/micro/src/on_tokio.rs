//! The suites on tokio, with its current-thread runtime.

mod deferred;
mod simulation;
mod threads;
mod timers;

use std::error::Error;
use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::{Arguments, Suite};

/// Measures the suite, and prints its figures.
///
/// # Errors
/// The system gave no descriptor, or standard output takes no more.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let sizes = arguments.sizes();
    match arguments.suite {
        Suite::Timers => timers::run(&sizes),
        Suite::Deferred => deferred::run(&sizes),
        Suite::Threads => threads::run(&sizes),
        Suite::Simulation => simulation::run(&sizes),
    }
}

/// As a server has it, with its driver of sockets.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
