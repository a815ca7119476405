//! The streams of a connection that were handed to other protocols.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::{Address, CarriedConnection, ConnectionLimits, Protocol, ReactorCore};

use super::stream::H2Stream;

/// Those of one connection, so that they are told of a shutdown.
#[derive(Default)]
pub(super) struct Tunnels {
    carried: RefCell<Vec<CarriedConnection>>,
    is_draining: Cell<bool>,
}

impl Tunnels {
    /// Runs `protocol` over `stream`, from the first of `addresses` to the second.
    pub(super) fn open(
        &self,
        reactor: &Rc<dyn ReactorCore>,
        stream: H2Stream,
        protocol: Box<dyn Protocol>,
        limits: ConnectionLimits,
        addresses: (Address, Address),
    ) {
        let carried = CarriedConnection::start(reactor, stream, protocol, limits, addresses);
        if self.is_draining.get() {
            carried.drain();
        }
        // There are no more of them than streams at a time.
        let mut all = self.carried.borrow_mut();
        all.retain(|carried| !carried.is_over());
        all.push(carried);
    }

    /// The program is shutting down, or the connection is to end.
    pub(super) fn drain(&self) {
        self.is_draining.set(true);
        for carried in self.carried.borrow().iter() {
            carried.drain();
        }
    }
}
