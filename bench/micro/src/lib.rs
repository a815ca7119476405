//! What needs no network: timers, Deferreds and calls from other threads, on Ropewalk and on tokio.
//!
//! Each program runs one suite on one thread, and prints a line of JSON for each figure. The same work
//! has the same name everywhere, in `peers/python/micro_twisted.py` too; what a library has no equal of
//! is left out there. What is measured is what a user of the library would write, through its public
//! interface, inside its running loop.

mod args;
mod figure;
mod generator;
pub mod on_ropewalk;
pub mod on_tokio;
mod population;
mod sizes;

pub use args::{Arguments, Suite};
pub use figure::{Figure, print};
pub use sizes::Sizes;
