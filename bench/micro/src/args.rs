//! The command line of the programs.

use clap::{Parser, ValueEnum};

use crate::Sizes;

/// Measures one suite, and prints a line of JSON for each figure.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// What to measure.
    #[arg(value_enum)]
    pub suite: Suite,
    /// Do next to nothing, only to see that all of it works. The figures mean nothing then.
    #[arg(long)]
    pub quick: bool,
}

/// A group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Calls in the future, with many of them waiting.
    Timers,
    /// Results to come, in chains and awaited.
    Deferred,
    /// Calls from another thread.
    Threads,
    /// Time of a simulated world.
    Simulation,
}

impl Arguments {
    /// How much is done for each figure.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        if self.quick {
            Sizes::quick()
        } else {
            Sizes::full()
        }
    }
}
