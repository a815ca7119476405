//! Why a test has failed: [`TestFailed`].

use std::error::Error;
use std::fmt;
use std::time::Duration;

use ropewalk_core::{Failure, Panicked};
use ropewalk_reactor::Live;
use tracing::Level;

use crate::LogEvent;

/// So many events of the log are shown, the last.
const EVENTS_SHOWN: usize = 20;

/// So many lines of the trace are shown, the last.
const TRACE_SHOWN: usize = 40;

/// So many things of one kind are shown.
const SHOWN: usize = 30;

/// A test that has failed: why, and how it is run again. Its text is the whole report.
#[derive(Debug)]
#[non_exhaustive]
pub struct TestFailed {
    /// The test, by its path.
    pub name: String,
    /// The seed of the run that failed.
    pub seed: u64,
    /// What was wrong, one at least.
    pub problems: Vec<Problem>,
    /// What that run had logged.
    pub log: Vec<LogEvent>,
    /// What had happened in its world, if that was a simulated one: a line for each event.
    pub trace: String,
    /// The command that runs it again, with that seed.
    pub again: String,
}

/// What was wrong with a test.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// It came to a failure.
    Failed(Failure),
    /// It panicked, as a failed assertion does.
    Panicked(Panicked),
    /// It had no result in time.
    TimedOut {
        /// How long it may take, of the reactor's time.
        after: Duration,
        /// What had not ended.
        live: Vec<Live>,
    },
    /// The reactor was stopped before it had a result.
    Stopped,
    /// It has left these behind.
    Left(Vec<Live>),
    /// Errors were logged that it has not flushed.
    Logged {
        /// The first of them.
        errors: Vec<LogEvent>,
        /// How many more there were.
        more: u64,
    },
    /// It could not be run: there is no reactor, or no such seed.
    NotRun(Failure),
}

impl fmt::Display for TestFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} failed with seed {}", self.name, self.seed)?;
        for problem in &self.problems {
            writeln!(f, "\n{problem}")?;
        }
        let told = |event: &&LogEvent| event.level <= Level::INFO;
        let told: Vec<_> = self.log.iter().filter(told).collect();
        let shown = &told[told.len().saturating_sub(EVENTS_SHOWN)..];
        if !shown.is_empty() {
            writeln!(
                f,
                "\nits log, the last {} of {} lines:",
                shown.len(),
                told.len()
            )?;
            for event in shown {
                writeln!(f, "    {event}")?;
            }
        }
        let lines: Vec<_> = self.trace.lines().collect();
        let shown = &lines[lines.len().saturating_sub(TRACE_SHOWN)..];
        if !shown.is_empty() {
            let (count, all) = (shown.len(), lines.len());
            writeln!(f, "\nits world, the last {count} of {all} events:")?;
            for line in shown {
                writeln!(f, "    {line}")?;
            }
        }
        write!(f, "\nrun it again: {}", self.again)
    }
}

impl Error for TestFailed {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "it came to a failure: {}", failure.traceback()),
            Self::Panicked(panicked) => panicked.fmt(f),
            Self::TimedOut { after, live } => {
                write!(f, "it had no result after {after:?}")?;
                match &live[..] {
                    [] => f.write_str(
                        ", and nothing was live that could bring one: was a Resolver forgotten?",
                    ),
                    _ => list(f, "; this was live:", live, 0),
                }
            }
            Self::Stopped => f.write_str(
                "the reactor was stopped before the test had a result; its test stops it, so leave \
                 that to it",
            ),
            Self::Left(live) => list(
                f,
                "it has left these behind; end them before the test does:",
                live,
                0,
            ),
            Self::Logged { errors, more } => list(
                f,
                "errors were logged; take those that are meant to come by flush_logged_errors or \
                 flush_logged_if:",
                errors,
                *more,
            ),
            Self::NotRun(failure) => write!(f, "it could not be run: {}", failure.traceback()),
        }
    }
}

fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    items: &[impl fmt::Display],
    more: u64,
) -> fmt::Result {
    f.write_str(title)?;
    for item in items.iter().take(SHOWN) {
        write!(f, "\n    {item}")?;
    }
    match items.len().saturating_sub(SHOWN) as u64 + more {
        0 => Ok(()),
        more => write!(f, "\n    and {more} more"),
    }
}
