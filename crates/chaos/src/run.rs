//! A run: a world with all workloads under faults, hour by hour.
//!
//! In each hour faults come and go for a while. Then they end; some minutes later each request must
//! have its answer; then programs are stopped, which finish what they have begun; and then nobody asks
//! any more, and all must come to rest.

use std::cell::RefCell;
use std::net::Ipv6Addr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_reactor::Ledger;
use ropewalk_sim::{Fault, Host, Link, Planned, Random, Schedule, World};

use crate::certificates::Certificates;
use crate::checker::{Checker, Phase};
use crate::files::Files;
use crate::log::take_errors;
use crate::mistake::Mistake;
use crate::names::SERVICE;
use crate::program::{Program, Surroundings};
use crate::workload::{HOSTS, Workload};

/// Before the first hour all begin to listen.
const BEGINNING: Duration = Duration::from_secs(1);

/// The parts of an hour.
const FAULTS: Duration = Duration::from_secs(36 * 60);
const SETTLING: Duration = Duration::from_secs(10 * 60);
const JUDGED: Duration = Duration::from_secs(5 * 60);
const STOPPING: Duration = Duration::from_secs(2 * 60); // As long as all of STOPS takes.
const QUIET: Duration = Duration::from_secs(7 * 60);

/// One fault in so long, on average; and how long one lasts at most, but for one in so many: often
/// and short, so that most requests meet one, and most get through.
const GAP: Duration = Duration::from_secs(6);
const MOST: Duration = Duration::from_secs(15);
const LONG_ONES: u64 = 50;

/// The hosts whose programs are stopped when nothing is wrong, how often, and how far apart: so that
/// each can finish the longest that it has begun. They are away for a second at least.
const STOPS: [(&str, u32, Duration); 3] = [
    ("server", 5, Duration::from_secs(18)),
    ("gate", 3, Duration::from_secs(7)),
    ("second", 1, Duration::from_secs(9)),
];
const AWAY: Duration = Duration::from_secs(1);

/// The ways that most requests go, on which faults come so often, each.
const WAYS: [(&str, &str); 4] = [
    ("client", "server"),
    ("far", "server"),
    ("client", "gate"),
    ("gate", "server"),
];
const GAP_OF_WAYS: Duration = Duration::from_secs(25);

/// The error that is expected while a host may have no more descriptors.
const CANNOT_ACCEPT: &str = "cannot accept connections; trying again";

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// For how long, in the time of the world.
    pub hours: u32,
    /// Only this workload.
    pub only: Option<Workload>,
    /// What the server of lines does wrong, to see that it is found.
    pub mistake: Option<Mistake>,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How much happened.
    pub events: u64,
    /// How many requests were made, and answered.
    pub asked: u64,
    /// See [`asked`](Self::asked).
    pub answered: u64,
    /// How many were made while there were faults, and cut off.
    pub asked_under_faults: u64,
    /// See [`asked_under_faults`](Self::asked_under_faults).
    pub cut_under_faults: u64,
    /// What did not hold. The run ends with the first.
    pub violations: Vec<String>,
    /// Two runs with the same one were the same.
    pub hash: u64,
}

impl Plan {
    /// The faults of its seed.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let mut random = Random::stream(self.seed, 77);
        let mut all = Vec::new();
        for hour in 0..self.hours {
            let mut faults = Schedule::random(&mut random, &HOSTS, FAULTS, GAP).0;
            for (one, other) in WAYS {
                let ends = [one, other];
                faults.extend(Schedule::random(&mut random, &ends, FAULTS, GAP_OF_WAYS).0);
            }
            faults.sort_by_key(|planned| planned.at);
            let begins = BEGINNING + HOUR * hour;
            for mut planned in faults {
                if random.below(LONG_ONES) > 0 {
                    planned.lasts = planned.lasts.min(MOST);
                }
                let at = begins + planned.at;
                all.push(Planned { at, ..planned });
            }
        }
        Schedule(all)
    }
}

/// All parts of an hour together.
const HOUR: Duration = Duration::from_secs(3600);
const _: () = assert!(
    FAULTS.as_secs() + SETTLING.as_secs() + JUDGED.as_secs() + STOPPING.as_secs() + QUIET.as_secs()
        == HOUR.as_secs()
);

/// What a host has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    connections: usize,
    ports: usize,
    /// When it has something to do again, with nobody asking.
    next_turn: Option<Duration>,
}

pub(crate) struct Run {
    plan: Plan,
    is_tracked: bool,
    world: World,
    hosts: Vec<Host>,
    workloads: Vec<Workload>,
    checker: Rc<Checker>,
    around: Rc<Surroundings>,
}

impl Run {
    /// If `is_tracked`, what is left over is called by its name and its place.
    pub(crate) fn new(plan: &Plan, world: &World, is_tracked: bool) -> Self {
        // The end of another world may have left some.
        drop(take_errors());
        let hosts: Vec<_> = HOSTS.iter().map(|name| world.host(name)).collect();
        let far = hosts[HOSTS.len() - 1].clone();
        for host in &hosts[..HOSTS.len() - 1] {
            world.set_link(host, &far, &far_away());
        }
        let nobody = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xffff);
        let [server, _] = hosts[0].addresses();
        let [second, second_v6] = hosts[1].addresses();
        world.set_name(SERVICE, [nobody.into(), second_v6, server, second]);
        let checker = Checker::new();
        let around = Rc::new(Surroundings {
            checker: Rc::clone(&checker),
            random: RefCell::new(world.random(1)),
            certificates: Certificates::new().expect("a temporary folder takes certificates"),
            files: Rc::new(Files::new().expect("a temporary folder takes files")),
            disk: hosts[0].disk(),
            mistake: plan.mistake,
            shunned: far.addresses()[0],
            ledgers: RefCell::default(),
        });
        let all = Workload::ALL.into_iter();
        let workloads = all.filter(|one| plan.only.is_none_or(|only| only == *one));
        Self {
            plan: *plan,
            is_tracked,
            world: world.clone(),
            hosts,
            workloads: workloads.collect(),
            checker,
            around,
        }
    }

    /// Runs it under these faults.
    pub(crate) fn run(&self, faults: &Schedule) -> Outcome {
        self.world.plan(faults);
        self.begin();
        let at_rest = self.held();
        let living = self.checker.all_living();
        for _ in 0..self.plan.hours {
            if !self.hour(&at_rest, &living) {
                break;
            }
        }
        self.outcome()
    }

    /// All programs begin.
    fn begin(&self) {
        self.checker.set_phase(Phase::Quiet);
        for (host, name) in self.hosts.iter().zip(HOSTS) {
            let (around, workloads) = (Rc::clone(&self.around), self.workloads.clone());
            let is_tracked = self.is_tracked;
            host.start(move |reactor| {
                let around = Rc::clone(&around);
                if is_tracked {
                    around.ledgers.borrow_mut().insert(name, reactor.track());
                }
                let reactor = reactor.clone();
                let program = Program { reactor, around };
                for workload in &workloads {
                    workload.serve(&program, name);
                    if program.checker().phase() != Phase::Quiet {
                        workload.call(&program, name);
                    }
                }
            });
        }
        self.goes_on(BEGINNING);
    }

    /// One hour. Whether all held.
    fn hour(&self, at_rest: &[Held], living: &[(&'static str, usize)]) -> bool {
        self.checker.set_phase(Phase::Faults);
        for (host, name) in self.hosts.iter().zip(HOSTS) {
            let Some(reactor) = host.handle() else {
                continue;
            };
            let around = Rc::clone(&self.around);
            let program = Program { reactor, around };
            for workload in &self.workloads {
                workload.call(&program, name);
            }
        }
        if !self.goes_on(FAULTS) {
            return false;
        }
        self.checker.set_phase(Phase::Settling);
        if !self.goes_on(SETTLING) {
            return false;
        }
        self.checker.set_phase(Phase::Judged);
        if !self.goes_on(JUDGED) {
            return false;
        }
        for workload in &self.workloads {
            if self.checker.counts(workload.name()).recovered == 0 {
                let text = format!("{workload}: nothing was answered after the faults");
                self.checker.violation(text);
            }
        }
        self.checker.set_phase(Phase::Stopping);
        if !self.stops() {
            return false;
        }
        self.checker.set_phase(Phase::Quiet);
        self.goes_on(QUIET) && self.rests(at_rest, living)
    }

    /// One after the other, those that serve are asked to end, and started again. Whether all held.
    fn stops(&self) -> bool {
        STOPS.iter().all(|(name, count, apart)| {
            (0..*count).all(|_| {
                self.world.inflict(&Fault::Stop((*name).to_owned()), AWAY);
                self.goes_on(*apart)
            })
        })
    }

    /// Lets time pass, until something does not hold. Whether all held.
    fn goes_on(&self, time: Duration) -> bool {
        let checker = &self.checker;
        let faults = checker.phase() == Phase::Faults;
        self.world.run_until(time, || {
            for error in take_errors() {
                // What a server is to say that has run out of descriptors.
                let is_expected = error.starts_with(CANNOT_ACCEPT) && faults;
                if !is_expected {
                    checker.violation(format!("an error was logged: {error}"));
                }
            }
            checker.has_violation()
        });
        !checker.has_violation()
    }

    /// Nothing is held that was not held before anybody came.
    fn rests(&self, at_rest: &[Held], living: &[(&'static str, usize)]) -> bool {
        for ((host, before), now) in self.hosts.iter().zip(at_rest).zip(self.held()) {
            if *before != now {
                let name = host.name();
                let left = self.left(&name);
                let text = format!("at rest, {name} has {now:?}, not {before:?}{left}");
                self.checker.violation(text);
            }
        }
        let now = self.checker.all_living();
        if now != living {
            let text = format!("at rest, these live: {now:?}, not {living:?}");
            self.checker.violation(text);
        }
        !self.checker.has_violation()
    }

    /// What the program of a host has begun, a line each, if it is noted.
    fn left(&self, host: &str) -> String {
        let ledgers = self.around.ledgers.borrow();
        let live = ledgers.get(host).map(Ledger::live).unwrap_or_default();
        live.iter().map(|live| format!("\n  {live}")).collect()
    }

    fn held(&self) -> Vec<Held> {
        let of = |host: &Host| {
            let handle = host.handle();
            Held {
                descriptors: host.descriptors(),
                connections: handle.as_ref().map_or(0, |handle| handle.connections()),
                ports: handle.as_ref().map_or(0, |handle| handle.datagram_ports()),
                next_turn: host.next_turn(),
            }
        };
        self.hosts.iter().map(of).collect()
    }

    fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::default();
        for workload in &self.workloads {
            let counts = self.checker.counts(workload.name());
            self.world.say(&format!("{workload}: {counts:?}"));
            outcome.asked += counts.asked;
            outcome.answered += counts.answered;
            outcome.asked_under_faults += counts.asked_under_faults;
            outcome.cut_under_faults += counts.cut_under_faults;
        }
        let violations = self.checker.violations();
        for violation in &violations {
            self.world.say(&format!("does not hold: {violation}"));
        }
        // They know the tasks, which know them.
        drop(self.around.ledgers.take());
        Outcome {
            events: self.world.events(),
            hash: self.world.hash(),
            violations,
            ..outcome
        }
    }
}

/// Another continent.
fn far_away() -> Link {
    Link {
        latency: Duration::from_millis(30)..=Duration::from_millis(60),
        delayed: 0.01,
        bandwidth: Some(2_000_000),
        loss: 0.003,
        ..Link::default()
    }
}
