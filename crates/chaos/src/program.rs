//! A program on a host of the world: what its parts are lent, and how they begin.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::policies::TimeoutFactory;
use ropewalk_core::{Connection, Factory, Failure};
use ropewalk_reactor::Handle;
use ropewalk_sim::{Disk, Random};

use crate::certificates::Certificates;
use crate::checker::{Checker, Phase, Request};
use crate::files::Files;
use crate::mistake::Mistake;

/// How long a program waits before it tries again to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

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
    fn pause(&self, mean: Duration) -> Duration {
        let mut random = self.around.random.borrow_mut();
        random.between(Duration::ZERO, mean * 2)
    }

    /// Listens, and if that cannot be done, tries again later.
    pub(crate) fn listen(&self, endpoint: &str, factory: Rc<dyn Factory>) {
        let parsed = endpoint.parse().expect("the endpoints here are right");
        if self.reactor.listen(&parsed, Rc::clone(&factory)).is_err() {
            let (program, endpoint) = (self.clone(), endpoint.to_owned());
            let again = move || program.listen(&endpoint, factory);
            drop(self.reactor.call_later(LISTEN_AGAIN, again));
        }
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
        let (program, pause) = (self.clone(), self.pause(mean));
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
