//! A program on a host of the world: what its parts are lent, and how they begin.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::policies::TimeoutFactory;
use ropewalk_core::{Connection, Factory, Failure, Port};
use ropewalk_reactor::{Handle, Ledger};
use ropewalk_sim::{Disk, Random};

use crate::certificates::Certificates;
use crate::checker::{Checker, Phase, Request};
use crate::files::Files;
use crate::mistake::Mistake;

/// How long a program waits before it tries again to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// How long a port is open, and then closed, on average.
const OPEN: Duration = Duration::from_secs(120);
const CLOSED: Duration = Duration::from_secs(1);

/// How much more often is asked while programs are stopped: so that each of the few stops finds
/// something begun.
const HURRY: u32 = 8;

/// How long a server keeps a connection on which nothing happens.
const IDLE: Duration = Duration::from_secs(120);

/// What all programs of a world have in common, and what outlives them.
pub(crate) struct Surroundings {
    pub(crate) checker: Rc<Checker>,
    pub(crate) random: RefCell<Random>,
    pub(crate) certificates: Certificates,
    pub(crate) files: Rc<Files>,
    /// That of the server.
    pub(crate) disk: Disk,
    pub(crate) mistake: Option<Mistake>,
    /// The address that nobody talks to.
    pub(crate) shunned: IpAddr,
    /// What the programs that run have begun, if it is noted.
    pub(crate) ledgers: RefCell<BTreeMap<&'static str, Ledger>>,
}

/// A program that runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) reactor: Handle,
    pub(crate) around: Rc<Surroundings>,
}

impl Program {
    pub(crate) fn checker(&self) -> &Rc<Checker> {
        &self.around.checker
    }

    /// A number below `limit`.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.around.random.borrow_mut().below(limit)
    }

    /// Any length up to `most`, a small one more likely.
    pub(crate) fn length(&self, most: u64) -> usize {
        let most = self.below(most + 1);
        self.below(most + 1) as usize
    }

    /// A time of `mean` on average.
    pub(crate) fn pause(&self, mean: Duration) -> Duration {
        let mut random = self.around.random.borrow_mut();
        random.between(Duration::ZERO, mean * 2)
    }

    /// Listens, and if that cannot be done, tries again later. As long as there are faults, the port
    /// is closed now and then, and opened again.
    pub(crate) fn listen(&self, endpoint: &str, factory: Rc<dyn Factory>) {
        let parsed = endpoint.parse().expect("the endpoints here are right");
        let listening = self.reactor.listen(&parsed, Rc::clone(&factory));
        let (program, endpoint) = (self.clone(), endpoint.to_owned());
        let again = move || program.listen(&endpoint, factory);
        match listening {
            Err(_) => drop(self.reactor.call_later(LISTEN_AGAIN, again)),
            Ok(port) if self.checker().phase() == Phase::Faults => self.close_later(port, again),
            Ok(_) => {}
        }
    }

    fn close_later(&self, port: Port, again: impl FnOnce() + 'static) {
        let program = self.clone();
        let close = move || {
            if program.checker().phase() == Phase::Faults {
                port.stop_listening();
                let closed = program.pause(CLOSED);
                drop(program.reactor.call_later(closed, again));
            }
        };
        drop(self.reactor.call_later(self.pause(OPEN), close));
    }

    /// Listens, and ends connections that are idle: a peer that has crashed says nothing.
    pub(crate) fn serve(&self, endpoint: &str, factory: impl Factory) {
        let factory = TimeoutFactory::new(factory).idle(Some(IDLE));
        self.listen(endpoint, Rc::new(factory));
    }

    /// Connects, which is a request of `workload` too.
    pub(crate) fn connect(&self, workload: &'static str, endpoint: &str, factory: impl Factory) {
        let request = self.checker().ask(workload);
        self.attempt_or(request, endpoint, Rc::new(factory), || ());
    }

    /// Connects, for this request; calls `otherwise` when that is not possible.
    pub(crate) fn attempt_or(
        &self,
        request: Request,
        endpoint: &str,
        factory: Rc<dyn Factory>,
        otherwise: impl FnOnce() + 'static,
    ) {
        let parsed = endpoint.parse().expect("the endpoints here are right");
        let connected = self.reactor.connect(&parsed, factory);
        let told = |connected: Result<Connection, Failure>| match connected {
            Ok(_) => request.answered(),
            Err(failure) => {
                request.failed(&failure);
                otherwise();
            }
        };
        drop(connected.add_both(told));
    }

    /// Calls `begin` every now and then, `mean` apart on average, until all is to come to rest; and
    /// then `end`.
    pub(crate) fn every(
        &self,
        mean: Duration,
        begin: impl Fn(&Self) + 'static,
        end: impl FnOnce() + 'static,
    ) {
        let hurry = match self.checker().phase() {
            Phase::Stopping => HURRY,
            _ => 1,
        };
        let (program, pause) = (self.clone(), self.pause(mean / hurry));
        let call = move || {
            if program.checker().phase() == Phase::Quiet {
                return end();
            }
            begin(&program);
            program.every(mean, begin, end);
        };
        drop(self.reactor.call_later(pause, call));
    }
}
