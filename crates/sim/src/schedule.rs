//! Faults by chance, and the least of them that still makes something fail.

use std::fmt;
use std::time::Duration;

use crate::fault::Fault;
use crate::link::Link;
use crate::random::Random;
use crate::world::World;

/// A fault, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When it begins, from the beginning of the schedule.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub fault: Fault,
}

/// Faults that are to come.
///
/// ```
/// use ropewalk_sim::{Fault, Planned, Random, Schedule, World};
/// use std::time::Duration;
///
/// let world = World::new(3);
/// let (one, other) = (world.host("one"), world.host("other"));
/// let hour = Duration::from_secs(3600);
/// let schedule = Schedule::random(&mut Random::new(3), &["one", "other"], hour, hour / 100);
/// world.plan(&schedule);
/// world.run_for(hour);
/// assert!(schedule.0.len() > 20);
///
/// // A schedule that makes something fail is reduced to what is needed for that.
/// let kills = |schedule: &Schedule| {
///     schedule.0.iter().any(|planned| matches!(planned.fault, Fault::Kill(_)))
/// };
/// let least = schedule.shrink(kills);
/// assert_eq!(least.0.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule(pub Vec<Planned>);

impl Schedule {
    /// Faults of all kinds, among these hosts, for so long: one in every `gap`, on average. Each has
    /// ended when the time is over.
    #[must_use]
    pub fn random(random: &mut Random, hosts: &[&str], time: Duration, gap: Duration) -> Self {
        let mut planned = Vec::new();
        let mut at = random.between(Duration::ZERO, gap * 2);
        while at < time && !hosts.is_empty() {
            let fault = any_fault(random, hosts);
            let lasts = any_length(random).min(time - at);
            planned.push(Planned { at, lasts, fault });
            at += random.between(Duration::ZERO, gap * 2);
        }
        Self(planned)
    }

    /// The shortest that still fails, found by leaving out faults, and then by making them shorter.
    /// `fails` is asked many times; it must give the same answer to the same schedule. If all of it
    /// does not fail, it is returned as it is.
    #[must_use]
    pub fn shrink(&self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut least = self.0.clone();
        // Delta debugging: leave out pieces, first large ones, then smaller ones.
        let mut piece = least.len();
        while piece > 0 {
            let mut from = 0;
            while from < least.len() {
                let mut fewer = least.clone();
                fewer.drain(from..(from + piece).min(least.len()));
                let fewer = Self(fewer);
                match fails(&fewer) {
                    true => least = fewer.0,
                    false => from += piece,
                }
            }
            piece /= 2;
        }
        for at in 0..least.len() {
            loop {
                let lasts = least[at].lasts / 2;
                if lasts < Duration::from_millis(1) {
                    break;
                }
                let mut shorter = Self(least.clone());
                shorter.0[at].lasts = lasts;
                if !fails(&shorter) {
                    break;
                }
                least = shorter.0;
            }
        }
        Self(least)
    }
}

/// A line for each, as a person reads it.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Planned { at, lasts, fault } in &self.0 {
            writeln!(f, "at {at:?} for {lasts:?}: {fault}")?;
        }
        Ok(())
    }
}

impl World {
    /// Lets the faults of a schedule come, from now on.
    ///
    /// # Panics
    /// When one comes, and there is no host of a name.
    pub fn plan(&self, schedule: &Schedule) {
        for Planned { at, lasts, fault } in &schedule.0 {
            let (world, lasts, fault) = (self.downgrade(), *lasts, fault.clone());
            self.call_later(*at, move || {
                if let Some(world) = world.upgrade() {
                    world.inflict(&fault, lasts);
                }
            });
        }
    }
}

fn any_length(random: &mut Random) -> Duration {
    let most = match random.below(10) {
        0..4 => Duration::from_secs(1),
        4..8 => Duration::from_secs(30),
        8 => Duration::from_secs(300),
        _ => Duration::from_secs(1200),
    };
    random.between(Duration::from_millis(1), most)
}

fn any_fault(random: &mut Random, hosts: &[&str]) -> Fault {
    let first = random.index(hosts.len());
    let one = hosts[first].to_owned();
    if hosts.len() < 2 {
        return of_one(random, one);
    }
    let second = (first + 1 + random.index(hosts.len() - 1)) % hosts.len();
    let other = hosts[second].to_owned();
    match random.below(12) {
        0 => Fault::Partition(one, other),
        1 => Fault::PartitionOneWay(one, other),
        2 => Fault::Hold(one, other),
        3 => Fault::Degradation(one, other, any_link(random)),
        4 => Fault::Reset(one, other),
        _ => of_one(random, one),
    }
}

fn of_one(random: &mut Random, host: String) -> Fault {
    match random.below(14) {
        0 => Fault::Isolation(host),
        1 => Fault::Refusal(host),
        2 => Fault::Darkness(host),
        3 => Fault::Kill(host),
        4 => Fault::Crash(host),
        5 => Fault::Pause(host),
        6 => Fault::SlowReading(host, 10 + random.below(10_000)),
        7 => Fault::SlowWriting(host, 200 + random.below(10_000)),
        8 => Fault::Drift(host, random.below(1_000_000) as i64 - 500_000),
        9 => Fault::ClockJump(host, random.below(200_000) as i64 - 100_000),
        10 => Fault::Descriptors(host, random.index(4)),
        11 => Fault::Freeze(host),
        12 => Fault::Stop(host),
        _ => Fault::NoNames(host),
    }
}

fn any_link(random: &mut Random) -> Link {
    let least = random.between(Duration::from_micros(100), Duration::from_millis(200));
    let most = least + random.between(Duration::ZERO, Duration::from_millis(200));
    Link {
        latency: least..=most,
        delayed: random.unit() / 4.0,
        delay: random.between(Duration::ZERO, Duration::from_secs(2)),
        bandwidth: Some(10_000 + random.below(10_000_000)),
        loss: random.unit() / 10.0,
        duplication: random.unit() / 10.0,
        mtu: 60 + random.index(1441),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u64]) -> Schedule {
        let planned = numbers.iter().map(|number| Planned {
            at: Duration::from_secs(*number),
            lasts: Duration::from_secs(64),
            fault: Fault::Pause("host".to_owned()),
        });
        Schedule(planned.collect())
    }

    fn numbers(schedule: &Schedule) -> Vec<u64> {
        schedule.0.iter().map(|one| one.at.as_secs()).collect()
    }

    #[test]
    fn what_is_needed_together_stays_together_and_as_long_as_it_must_last() {
        let all = of(&(0..100).collect::<Vec<_>>());
        let fails = |schedule: &Schedule| {
            let lasting = |number| {
                let mut all = schedule.0.iter();
                all.any(|one| one.at.as_secs() == number && one.lasts.as_secs() >= 10)
            };
            lasting(3) && lasting(71)
        };
        let least = all.shrink(fails);
        assert_eq!(numbers(&least), [3, 71]);
        assert!(least.0.iter().all(|one| one.lasts.as_secs() == 16));
        assert_eq!(numbers(&of(&[1, 2]).shrink(|_| false)), [1, 2]);
        assert_eq!(numbers(&of(&[1, 2]).shrink(|_| true)), []);
    }

    #[test]
    fn a_schedule_keeps_to_its_time_and_is_its_seeds() {
        let hour = Duration::from_secs(3600);
        let make = |seed| {
            let mut random = Random::new(seed);
            Schedule::random(&mut random, &["a", "b", "c"], hour, hour / 60)
        };
        assert_eq!(make(5), make(5));
        assert_ne!(make(5), make(6));
        let all: Vec<_> = (0..100).flat_map(|seed| make(seed).0).collect();
        assert!(all.iter().all(|one| one.at + one.lasts <= hour));
        assert!(all.len() > 5000 && all.len() < 7000, "{}", all.len());
        let alone = Schedule::random(&mut Random::new(1), &["a"], hour, hour / 60);
        assert!(alone.0.iter().all(|one| one.fault.hosts() == ["a"]));
    }
}
