//! Running a scenario under faults by chance, and making what was found small enough to read.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ropewalk_core::Failure;

use crate::random::Random;
use crate::schedule::Schedule;
use crate::world::World;

/// How often a scenario that has failed is run again, at most, to find fewer faults.
const RUNS: usize = 200;

/// How many lines of the trace are shown.
const SHOWN: usize = 200;

/// What a run was, that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What stands for all that has happened: see [`World::hash`].
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How many faults there were.
    pub faults: usize,
}

/// What a run has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed that finds it again.
    pub seed: u64,
    /// What was wrong, with the fewest faults.
    pub what: String,
    /// The fewest faults that still make it fail.
    pub faults: Schedule,
    /// What happened then.
    pub trace: String,
    /// How many faults there were at first.
    pub of: usize,
}

/// Runs `scenario` in a world of this seed, under the faults that `faults` makes of chance. If it
/// fails, or panics, it is run again and again with fewer faults, until none can be left out, or it
/// was run 200 times. A scenario that ends as soon as something is wrong helps: what was to come later
/// is left out first.
///
/// The scenario makes its hosts, [plans](World::plan) the schedule, lets time pass, and says what is
/// wrong, if something is. It must do the same for the same seed and the same schedule. A panic in a
/// program of a host ends what it happened in, and is logged, as on any reactor: a scenario whose
/// programs assert something notes in its own way that it failed, or looks at the log.
///
/// ```
/// use ropewalk_core::Failure;
/// use ropewalk_sim::{Schedule, World, explore};
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3600);
/// let scenario = |world: &World, faults: &Schedule| {
///     let host = world.host("host");
///     host.start(|_| ());
///     world.plan(faults);
///     world.run_for(hour);
///     match host.is_running() {
///         true => Ok(()),
///         false => Err(Failure::msg("it should have been started again")),
///     }
/// };
/// let passed = explore(7, |random| Schedule::random(random, &["host"], hour, hour / 20), scenario);
/// assert!(passed.unwrap().faults > 10);
/// ```
///
/// # Errors
/// What was wrong, and the fewest faults that make it so.
pub fn explore(
    seed: u64,
    faults: impl FnOnce(&mut Random) -> Schedule,
    scenario: impl Fn(&World, &Schedule) -> Result<(), Failure>,
) -> Result<Passed, Box<Found>> {
    let all = faults(&mut Random::stream(seed, 2));
    let run = |schedule: &Schedule| {
        let world = World::new(seed);
        let ran = catch_unwind(AssertUnwindSafe(|| scenario(&world, schedule)));
        let wrong = match ran {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure.to_string()),
            Err(panic) => Some(words(&*panic).to_owned()),
        };
        world.clear();
        (world, wrong)
    };
    let (world, wrong) = run(&all);
    if wrong.is_none() {
        return Ok(Passed {
            hash: world.hash(),
            events: world.events(),
            faults: all.0.len(),
        });
    }
    let least = least(&all, world.now(), |schedule| run(schedule).1.is_some());
    drop(world);
    let (world, what) = run(&least);
    Err(Box::new(Found {
        seed,
        what: what
            .unwrap_or_else(|| "it does not fail again: it is not its seed's alone".to_owned()),
        faults: least,
        trace: world.trace(),
        of: all.0.len(),
    }))
}

/// The fewest of these faults that still fail, as far as it is found in time. All of them failed at
/// `end`.
fn least(all: &Schedule, end: Duration, fails: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut runs = 0;
    let mut fails = |schedule: &Schedule| {
        runs += 1;
        runs <= RUNS && fails(schedule)
    };
    let begun = all.0.iter().filter(|planned| planned.at <= end);
    let begun = Schedule(begun.cloned().collect());
    let fewer = match begun.0.len() < all.0.len() && fails(&begun) {
        true => &begun,
        false => all,
    };
    fewer.shrink(fails)
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.trace.lines().collect();
        let hidden = lines.len().saturating_sub(SHOWN);
        writeln!(f, "{}", self.what)?;
        writeln!(
            f,
            "seed {}; {} of {} faults suffice:",
            self.seed,
            self.faults.0.len(),
            self.of
        )?;
        write!(f, "{}", self.faults)?;
        if hidden > 0 {
            writeln!(f, "… {hidden} lines of the trace before …")?;
        }
        lines[hidden..]
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl std::error::Error for Found {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::schedule::Planned;

    fn faults(count: u64) -> Schedule {
        let planned = (0..count).map(|number| Planned {
            at: Duration::from_secs(number),
            lasts: Duration::from_millis(1),
            fault: Fault::Pause("host".to_owned()),
        });
        Schedule(planned.collect())
    }

    #[test]
    fn what_was_to_come_after_the_failure_is_left_out_first() {
        let asked = std::cell::RefCell::new(Vec::new());
        let found = least(&faults(1000), Duration::from_secs(3), |schedule| {
            asked.borrow_mut().push(schedule.0.len());
            schedule.0.iter().any(|one| one.at.as_secs() == 2)
        });
        assert_eq!(found.0.len(), 1);
        assert_eq!(asked.borrow()[0], 4);
        assert!(asked.borrow().len() < 12, "{asked:?}");
    }

    #[test]
    fn the_fewest_faults_are_not_looked_for_for_ever() {
        let runs = std::cell::Cell::new(0);
        let all = faults(1000);
        let found = least(&all, Duration::from_secs(2000), |schedule| {
            runs.set(runs.get() + 1);
            // Every second one is needed.
            let needed = schedule.0.iter().filter(|one| one.at.as_secs() % 2 == 0);
            needed.count() == 500
        });
        assert_eq!(runs.get(), RUNS);
        assert!(found.0.len() > 500 && found.0.len() <= 1000);
    }
}
