//! What needs no network: timers, Deferreds and calls from other threads, on Ropewalk and on tokio.
//!
//! Each program runs one suite on one thread, and prints a line of JSON for each figure. The same work
//! has the same name everywhere, in `peers/python/micro_twisted.py` too; what a library has no equal of
//! is left out there. What is measured is what a user of the library would write, through its public
//! interface, inside its running loop.
//!
//! ```console
//! $ taskset -c 1 bench-micro-ropewalk timers
//! {"work":"timers add, 10 k live","per_second":26410810.01,"nanoseconds":37.86,"operations":2000000}
//! ```
//!
//! A figure is the median of five repetitions after a warm-up. `bench-micro-allocations` counts what the
//! chains of Deferreds allocate; it is a program of its own, as counting takes time.

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
