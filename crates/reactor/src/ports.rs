//! The ports that a loop listens on.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Address, ConnectionLimits, Factory, ListenError, Port};
use slab::Slab;

use crate::dealing::Seat;
use crate::driver::{Driver, ListenerId};
use crate::event_loop::{EventLoop, guard};

#[derive(Default)]
pub(crate) struct Ports {
    open: RefCell<Slab<OpenPort>>,
    opened: Cell<u64>,
}

struct OpenPort {
    /// Tells this port from an earlier one under the same id.
    serial: u64,
    endpoint: String,
    factory: Rc<dyn Factory>,
    limits: Rc<ConnectionLimits>,
    /// It could not accept, and this was logged.
    failing: bool,
    /// Its place among the workers that share it.
    seat: Option<Seat>,
}

impl Ports {
    /// Opens a port with `factory`. `begin` lets the driver listen, and may bring something back
    /// for the caller; `endpoint` is for messages.
    pub(crate) fn open<T>(
        &self,
        event_loop: &EventLoop,
        endpoint: String,
        factory: &Rc<dyn Factory>,
        begin: impl FnOnce(&dyn Driver, ListenerId) -> io::Result<(Address, T)>,
    ) -> Result<(Port, T), ListenError> {
        let serial = self.opened.get();
        self.opened.set(serial + 1);
        let limits = Rc::new(factory.limits());
        let id = self.open.borrow_mut().insert(OpenPort {
            serial,
            endpoint,
            limits,
            factory: Rc::clone(factory),
            failing: false,
            seat: None,
        });
        let listener = listener_id(id);
        let (address, brought) = match begin(&*event_loop.driver, listener) {
            Ok(begun) => begun,
            Err(error) => {
                let unused = self.open.borrow_mut().remove(id);
                return Err(ListenError::from_io(&unused.endpoint, error));
            }
        };
        let started = catch_unwind(AssertUnwindSafe(|| factory.start_factory()));
        if let Err(payload) = started {
            // It is the caller's matter; but nothing may listen that nobody can stop.
            self.close(&*event_loop.driver, listener, serial);
            resume_unwind(payload);
        }
        event_loop.ledger.port(event_loop, listener, serial);
        let event_loop = event_loop.weak();
        let stop = move || {
            if let Some(event_loop) = event_loop.upgrade() {
                event_loop
                    .ports
                    .close(&*event_loop.driver, listener, serial);
            }
        };
        Ok((Port::new(address, Rc::new(stop)), brought))
    }

    /// What an open port listens at.
    pub(crate) fn endpoint(&self, listener: ListenerId, serial: u64) -> Option<String> {
        let open = self.open.borrow();
        let port = open.get(listener.0 as usize)?;
        (port.serial == serial).then(|| port.endpoint.clone())
    }

    /// The port is shared, and its connections are dealt out.
    pub(crate) fn take_seat(&self, listener: ListenerId, seat: Seat) {
        if let Some(port) = self.open.borrow_mut().get_mut(listener.0 as usize) {
            port.seat = Some(seat);
        }
    }

    /// Hands the connection that was just accepted to the worker that is to have it, if that is
    /// another one.
    pub(crate) fn hand_over(
        &self,
        listener: ListenerId,
    ) -> Option<impl FnOnce(OwnedFd, Address, Address) + use<>> {
        let open = self.open.borrow();
        open.get(listener.0 as usize)?.seat.as_ref()?.next()
    }

    /// What serves a connection that was just accepted.
    pub(crate) fn factory(
        &self,
        listener: ListenerId,
    ) -> Option<(Rc<dyn Factory>, Rc<ConnectionLimits>)> {
        let mut open = self.open.borrow_mut();
        let port = open.get_mut(listener.0 as usize)?;
        port.failing = false;
        Some((Rc::clone(&port.factory), Rc::clone(&port.limits)))
    }

    /// The port could not accept: it is left alone for a while. Said once, until it could again.
    pub(crate) fn rest(
        &self,
        event_loop: &EventLoop,
        listener: ListenerId,
        error: &io::Error,
        rest: Duration,
    ) {
        let serial = match self.open.borrow_mut().get_mut(listener.0 as usize) {
            Some(port) => {
                if !std::mem::replace(&mut port.failing, true) {
                    tracing::error!(
                        endpoint = port.endpoint,
                        %error,
                        "cannot accept connections; trying again every {rest:?}"
                    );
                }
                port.serial
            }
            None => return,
        };
        let event_loop_later = event_loop.weak();
        let resume = move || {
            if let Some(event_loop) = event_loop_later.upgrade() {
                event_loop
                    .ports
                    .resume(&*event_loop.driver, listener, serial);
            }
        };
        event_loop.call_later(rest, Box::new(resume));
    }

    fn resume(&self, driver: &dyn Driver, listener: ListenerId, serial: u64) {
        let port = self
            .open
            .borrow()
            .get(listener.0 as usize)
            .map(|port| port.serial);
        if port == Some(serial) {
            driver.resume_accepting(listener);
        }
    }

    fn close(&self, driver: &dyn Driver, listener: ListenerId, serial: u64) {
        let id = listener.0 as usize;
        let port = {
            let mut open = self.open.borrow_mut();
            match open.get(id) {
                Some(port) if port.serial == serial => open.remove(id),
                _ => return,
            }
        };
        driver.close_listener(listener);
        guard("stop_factory", || port.factory.stop_factory());
    }

    pub(crate) fn close_all(&self, driver: &dyn Driver) {
        let all: Vec<_> = self
            .open
            .borrow()
            .iter()
            .map(|(id, port)| (listener_id(id), port.serial))
            .collect();
        for (listener, serial) in all {
            self.close(driver, listener, serial);
        }
    }
}

fn listener_id(id: usize) -> ListenerId {
    ListenerId(u32::try_from(id).expect("fewer than 2^32 ports"))
}
