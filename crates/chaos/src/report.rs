//! What a run is reported as.

use std::cell::Cell;
use std::fmt;

use ropewalk_core::Failure;
use ropewalk_sim::{Found, explore};

use crate::log::logged;
use crate::run::{Outcome, Plan, Run};
use crate::workload::Workload;

/// A run, and what it has found. As text it is one line.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub plan: Plan,
    /// How many faults there were.
    pub faults: usize,
    /// How it went.
    pub outcome: Outcome,
    /// The fewest faults with which something does not hold, if that is so, and what happens then.
    pub found: Option<Box<Found>>,
}

/// Runs the workloads, or one of them, for so many hours of the world.
#[must_use]
pub fn run(seed: u64, hours: u32, only: Option<Workload>) -> Report {
    run_plan(&Plan {
        seed,
        hours,
        only,
        mistake: None,
    })
}

/// Runs a plan under the faults of its seed. If something does not hold, it is run again and again
/// with fewer faults.
#[must_use]
pub fn run_plan(plan: &Plan) -> Report {
    let all = plan.schedule();
    let faults = all.0.len();
    let first = Cell::new(None);
    let explored = logged(|| {
        explore(
            plan.seed,
            |_| all,
            |world, faults| {
                // To note what is begun takes its time: that is for what has failed.
                let before = first.take();
                let is_tracked = before.is_some() || std::env::var_os("CHAOS_TRACK").is_some();
                let outcome = Run::new(plan, world, is_tracked).run(faults);
                let wrong = outcome.violations.join("\n");
                let told = before.unwrap_or(outcome);
                first.set(Some(told));
                match wrong.is_empty() {
                    true => Ok(()),
                    false => Err(Failure::msg(wrong)),
                }
            },
        )
    });
    let found = explored.err();
    let panicked = || Outcome {
        violations: found.iter().map(|found| found.what.clone()).collect(),
        ..Outcome::default()
    };
    Report {
        plan: *plan,
        faults,
        outcome: first.take().unwrap_or_else(panicked),
        found,
    }
}

impl Report {
    /// How much did not hold. A run ends with the first.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.outcome.violations.len()
    }

    /// What was found, in words, with the one command that runs it again; `None` if all held.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let Plan {
            seed, hours, only, ..
        } = self.plan;
        let only = only.map_or(String::new(), |only| format!(" --only {only}"));
        let found = self.found.as_ref()?;
        Some(format!(
            "{found}\nto run it again:\n  \
             cargo run --release --example chaos -- --seed {seed} --hours {hours}{only}"
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { seed, hours, .. } = self.plan;
        let Outcome { events, hash, .. } = self.outcome;
        let (faults, violations) = (self.faults, self.violations());
        write!(
            f,
            "seed={seed} hours={hours} events={events} faults={faults} violations={violations} \
             hash={hash:016x}"
        )
    }
}
