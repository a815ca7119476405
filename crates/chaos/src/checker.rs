//! What holds whatever happens, and who is told when it does not.
//!
//! A request is answered once or cut off; when nothing is wrong any more, it is answered. What is
//! alive is counted, so that at rest nothing is left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ropewalk_core::Failure;

/// What the time of a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults come and go.
    Faults,
    /// They have ended, and what they did may still be felt.
    Settling,
    /// Each request has its answer.
    Judged,
    /// Programs are stopped, which finish what they are at. What a server has accepted is answered.
    Stopping,
    /// Nobody asks for anything; all comes to rest.
    Quiet,
}

/// How the requests of one workload went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) cut: u64,
    /// Answered since the faults were over.
    pub(crate) recovered: u64,
    /// Asked while there were faults, and those of them that were cut off.
    pub(crate) asked_under_faults: u64,
    /// See [`asked_under_faults`](Self::asked_under_faults).
    pub(crate) cut_under_faults: u64,
}

pub(crate) struct Checker {
    phase: Cell<Phase>,
    violations: RefCell<Vec<String>>,
    live: RefCell<BTreeMap<&'static str, usize>>,
    counts: RefCell<BTreeMap<&'static str, Counts>>,
    number: Cell<u64>,
    /// The requests that servers have begun to answer, since nothing is wrong.
    accepted: RefCell<BTreeSet<u64>>,
}

impl Checker {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Faults),
            violations: RefCell::default(),
            live: RefCell::default(),
            counts: RefCell::default(),
            number: Cell::new(0),
            accepted: RefCell::default(),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
        if phase == Phase::Faults {
            self.accepted.borrow_mut().clear();
        }
        if phase == Phase::Judged {
            for counts in self.counts.borrow_mut().values_mut() {
                counts.recovered = 0;
            }
        }
    }

    /// Something does not hold.
    pub(crate) fn violation(&self, what: impl Into<String>) {
        self.violations.borrow_mut().push(what.into());
    }

    pub(crate) fn has_violation(&self) -> bool {
        !self.violations.borrow().is_empty()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }

    /// A number that no other request has.
    pub(crate) fn next_number(&self) -> u64 {
        let number = self.number.get() + 1;
        self.number.set(number);
        number
    }

    /// The number of the latest request.
    pub(crate) fn last_number(&self) -> u64 {
        self.number.get()
    }

    /// A request of this workload begins.
    pub(crate) fn ask(self: &Rc<Self>, workload: &'static str) -> Request {
        let phase = self.phase();
        let mut counts = self.counts.borrow_mut();
        let counts = counts.entry(workload).or_default();
        counts.asked += 1;
        counts.asked_under_faults += u64::from(phase == Phase::Faults);
        Request {
            number: self.next_number(),
            workload,
            asked_in: phase,
            must: matches!(phase, Phase::Judged | Phase::Stopping),
            checker: Rc::clone(self),
            over: false,
        }
    }

    /// A server begins to answer this request: a stop does not keep it from that.
    pub(crate) fn accept(&self, number: u64) {
        if matches!(self.phase(), Phase::Judged | Phase::Stopping) {
            self.accepted.borrow_mut().insert(number);
        }
    }

    /// Whether this request, which was made when nothing was wrong, is to be answered.
    fn owes(&self, number: u64) -> bool {
        let is_stopping = matches!(self.phase(), Phase::Stopping | Phase::Quiet);
        !is_stopping || self.accepted.borrow().contains(&number)
    }

    /// Something of this kind lives as long as what is returned.
    pub(crate) fn live(self: &Rc<Self>, kind: &'static str) -> Live {
        *self.live.borrow_mut().entry(kind).or_default() += 1;
        Live {
            kind,
            checker: Rc::clone(self),
        }
    }

    /// How many of a kind live.
    pub(crate) fn living(&self, kind: &'static str) -> usize {
        self.live.borrow().get(kind).copied().unwrap_or(0)
    }

    /// All that lives.
    pub(crate) fn all_living(&self) -> Vec<(&'static str, usize)> {
        let live = self.live.borrow();
        let some = live.iter().filter(|(_, count)| **count > 0);
        some.map(|(kind, count)| (*kind, *count)).collect()
    }

    pub(crate) fn counts(&self, workload: &'static str) -> Counts {
        let counts = self.counts.borrow();
        counts.get(workload).copied().unwrap_or_default()
    }
}

/// A request that was sent. Dropped before it is over, it was cut off.
pub(crate) struct Request {
    pub(crate) number: u64,
    workload: &'static str,
    asked_in: Phase,
    /// Nothing is wrong: it must be answered.
    must: bool,
    checker: Rc<Checker>,
    over: bool,
}

impl Request {
    /// It has had its answer, whole and right.
    pub(crate) fn answered(mut self) {
        self.over = true;
        let mut counts = self.checker.counts.borrow_mut();
        let counts = counts.entry(self.workload).or_default();
        counts.answered += 1;
        counts.recovered += 1;
    }

    /// It was not possible, and this is why.
    pub(crate) fn failed(mut self, failure: &Failure) {
        self.cut_off(&format!(": {failure}"));
    }

    fn cut_off(&mut self, why: &str) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let (number, workload) = (self.number, self.workload);
        let mut counts = self.checker.counts.borrow_mut();
        let of_workload = counts.entry(workload).or_default();
        of_workload.cut += 1;
        of_workload.cut_under_faults += u64::from(self.asked_in == Phase::Faults);
        drop(counts);
        if self.must && self.checker.owes(number) {
            self.checker.violation(format!(
                "{workload}: request {number} got no answer, though all faults were over{why}"
            ));
        }
    }

    /// It need not be answered, whatever the time: what it goes to may turn it away.
    pub(crate) fn may_fail(mut self) -> Self {
        self.must = false;
        self
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.cut_off("");
    }
}

/// Something that is alive.
pub(crate) struct Live {
    kind: &'static str,
    checker: Rc<Checker>,
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut live = self.checker.live.borrow_mut();
        if let Some(count) = live.get_mut(self.kind) {
            *count -= 1;
        }
    }
}
