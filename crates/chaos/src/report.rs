//! What a run is reported as, and what a failure is reduced to.

use std::cell::Cell;
use std::fmt;

use ropewalk_sim::Schedule;

use crate::run::{Outcome, Plan};
use crate::workload::Workload;

/// How often a failing run is repeated, at most, to find the fewest faults that it needs.
const REPEATS: u32 = 150;

/// How many lines of the trace are shown.
const LINES: usize = 60;

/// A run, and what it has found. As text it is one line.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub plan: Plan,
    /// How many faults there were.
    pub faults: usize,
    /// How it went.
    pub outcome: Outcome,
    /// What is known of the failure, if it is one.
    pub failure: Option<Failure>,
}

/// A failure, and the fewest faults that still bring it about. As text it is what a person wants to
/// know.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub plan: Plan,
    /// The fewest faults with which something does not hold.
    pub schedule: Schedule,
    /// How it went with these.
    pub outcome: Outcome,
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

/// Runs a plan under the faults of its seed, and reduces it if something does not hold.
#[must_use]
pub fn run_plan(plan: &Plan) -> Report {
    let schedule = plan.schedule();
    let outcome = plan.run(&schedule);
    let failed = !outcome.violations.is_empty();
    Report {
        plan: *plan,
        faults: schedule.0.len(),
        failure: failed.then(|| reduce(plan, &schedule, &outcome)),
        outcome,
    }
}

/// The least of a failing schedule.
fn reduce(plan: &Plan, schedule: &Schedule, failed: &Outcome) -> Failure {
    let begun = schedule.0.iter().filter(|fault| fault.at <= failed.time);
    let begun = Schedule(begun.cloned().collect());
    let repeats = Cell::new(REPEATS);
    let least = begun.shrink(|faults| {
        let Some(left) = repeats.get().checked_sub(1) else {
            return false;
        };
        repeats.set(left);
        !plan.run(faults).violations.is_empty()
    });
    Failure {
        plan: *plan,
        outcome: plan.run(&least),
        schedule: least,
    }
}

impl Report {
    /// How much did not hold.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.outcome.violations.len()
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            seed, hours, only, ..
        } = self.plan;
        writeln!(f, "seed {seed}: at {:?} of the world", self.outcome.time)?;
        for violation in &self.outcome.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "the fewest faults that bring it about:")?;
        for line in self.schedule.to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        let lines: Vec<_> = self.outcome.trace.lines().collect();
        writeln!(f, "what happened last:")?;
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "to run it again:")?;
        write!(
            f,
            "  cargo run --release --example chaos -- --seed {seed} --hours {hours}"
        )?;
        match only {
            Some(workload) => write!(f, " --only {workload}"),
            None => Ok(()),
        }
    }
}
