//! An attempt to connect: look up the name, try its addresses as Happy Eyeballs does, and see the
//! connection's layers ready. All of it together has the time that the endpoint gives it.
//!
//! An address that has not answered for a while is not given up: the next one is tried beside it,
//! and the first to be connected wins.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ropewalk_core::endpoint::{ClientEndpoint, Host};
use ropewalk_core::{
    Address, ConnectError, Connection, ConnectionId, Deferred, DelayedCall, Factory, Failure,
    Resolver,
};

use crate::connections::Side;
use crate::driver::Target;
use crate::event_loop::{EventLoop, guard};
use crate::happy_eyeballs::{ATTEMPT_DELAY, interleave};
use crate::inherited;
use crate::stdio::Streams;

pub(crate) struct Attempt {
    event_loop: Weak<EventLoop>,
    /// As it was asked for: for its time, and for messages.
    endpoint: ClientEndpoint,
    /// What it stands on.
    bottom: ClientEndpoint,
    factory: Rc<dyn Factory>,
    /// Whom it leads to, where that is known beforehand.
    peer: Cell<Option<Address>>,
    /// What it is made of, where that is there beforehand.
    streams: Cell<Option<Streams>>,
    /// Those not tried yet.
    addresses: RefCell<VecDeque<SocketAddr>>,
    stage: RefCell<Stage>,
    /// What has become of the addresses that were tried in vain.
    failed: RefCell<Vec<(SocketAddr, io::Error)>>,
    /// Ends the attempt.
    timer: Cell<Option<DelayedCall>>,
    /// Tries the next address.
    next: Cell<Option<DelayedCall>>,
    /// `None` when it has succeeded, failed, or was cancelled.
    resolver: Cell<Option<Resolver<Connection>>>,
}

/// How far it is.
#[derive(Default)]
enum Stage {
    #[default]
    Over,
    /// The name is being looked up; under which number the loop knows of it.
    Lookup(u64, Deferred<()>),
    /// These are being tried.
    Trying(Vec<(ConnectionId, Option<SocketAddr>)>),
    /// The connection is up; its layers are getting ready.
    Layers(ConnectionId, Connection),
}

impl Attempt {
    pub(crate) fn begin(
        event_loop: &Rc<EventLoop>,
        endpoint: ClientEndpoint,
        bottom: ClientEndpoint,
        factory: Rc<dyn Factory>,
        (peer, streams): (Option<Address>, Option<Streams>),
    ) -> Deferred<Connection> {
        let attempt = Rc::new(Self {
            event_loop: Rc::downgrade(event_loop),
            endpoint,
            bottom,
            factory,
            peer: Cell::new(peer),
            streams: Cell::new(streams),
            addresses: RefCell::default(),
            stage: RefCell::default(),
            failed: RefCell::default(),
            timer: Cell::new(None),
            next: Cell::new(None),
            resolver: Cell::new(None),
        });
        let cancelled = Rc::downgrade(&attempt);
        let (resolver, deferred) = Deferred::with_canceller(move || {
            if let Some(attempt) = cancelled.upgrade() {
                attempt.stop_trying();
            }
        });
        attempt.resolver.set(Some(resolver));
        event_loop.ledger.attempt(event_loop, &attempt);
        let late = Rc::downgrade(&attempt);
        let timer = event_loop.call_later(
            attempt.endpoint.timeout(),
            Box::new(move || {
                if let Some(attempt) = late.upgrade() {
                    let endpoint = attempt.endpoint.to_string();
                    let after = attempt.endpoint.timeout();
                    attempt.fail(ConnectError::TimedOut { endpoint, after });
                }
            }),
        );
        attempt.timer.set(Some(timer));
        attempt.start(event_loop);
        deferred
    }

    fn start(self: Rc<Self>, event_loop: &EventLoop) {
        match &self.bottom {
            ClientEndpoint::Unix(connect) => {
                let path = Arc::from(connect.path.as_path());
                self.peer.set(Some(Address::Unix(Some(path))));
                Rc::clone(&self).connect_one(event_loop, Target::Unix(connect));
            }
            ClientEndpoint::Tcp(connect) => match &connect.host {
                Host::Ip(address) => {
                    let address = SocketAddr::new(*address, connect.port);
                    self.addresses.borrow_mut().push_back(address);
                    self.try_next();
                }
                Host::Name(name) => {
                    let found = event_loop
                        .names
                        .resolver()
                        .resolve_host_name(name, connect.port);
                    self.await_addresses(event_loop, found);
                }
            },
            ClientEndpoint::Fd(descriptor) => match inherited::connected(descriptor) {
                Ok((socket, peer)) => {
                    let known = self.peer.take();
                    self.peer.set(known.or(Some(peer)));
                    self.connect_one(event_loop, Target::Descriptor(socket.as_fd()));
                }
                Err(error) => self.fail(ConnectError::from_io(&self.endpoint, error)),
            },
            ClientEndpoint::Stdio => match self.streams.take() {
                Some(Streams::Socket(socket)) => {
                    self.connect_one(event_loop, Target::Descriptor(socket.as_fd()));
                }
                Some(Streams::Pair { read, write }) => {
                    self.connect_one(event_loop, Target::Pair(read.as_fd(), write.as_fd()));
                }
                None => self.fail_io(io::ErrorKind::NotConnected),
            },
            _ => self.fail_io(io::ErrorKind::Unsupported),
        }
    }

    fn await_addresses(self: Rc<Self>, event_loop: &EventLoop, found: Deferred<Vec<SocketAddr>>) {
        let number = event_loop.next_attempt();
        let me = Rc::downgrade(&self);
        let told = found.add_both(move |found| {
            if let Some(attempt) = me.upgrade() {
                attempt.resolved(number, found);
            }
        });
        // A resolver may know at once.
        if !told.is_fired() {
            let mut looking_up = event_loop.looking_up.borrow_mut();
            looking_up.insert(number, Rc::clone(&self));
            self.set_stage(Stage::Lookup(number, told));
        }
    }

    fn resolved(self: Rc<Self>, number: u64, found: Result<Vec<SocketAddr>, Failure>) {
        if let Some(event_loop) = self.event_loop.upgrade() {
            let known = event_loop.looking_up.borrow_mut().remove(&number);
            drop(known);
        }
        if !self.is_wanted() {
            return;
        }
        // The Deferred of the look-up is firing: it is dropped when this has returned.
        let lookup = self.set_stage(Stage::Over);
        match found {
            Ok(found) => {
                *self.addresses.borrow_mut() = interleave(found);
                Rc::clone(&self).try_next();
            }
            Err(failure) => {
                let endpoint = self.endpoint.to_string();
                let source = io::Error::other(failure.to_string());
                self.fail(ConnectError::NameNotFound { endpoint, source });
            }
        }
        drop(lookup);
    }

    /// The connection is up: whether it is wanted. Its channel stands in its entry then.
    pub(crate) fn opened(self: Rc<Self>, id: ConnectionId, host: &Rc<Address>) -> bool {
        let Some(event_loop) = self.event_loop.upgrade() else {
            return false;
        };
        let won = self.take_tried(id);
        self.give_up_trying(&event_loop);
        let peer = match won {
            Some(Some(address)) => Address::Tcp(address),
            _ => self.peer.take().unwrap_or(Address::Unix(None)),
        };
        // It can be cancelled by the factory.
        self.set_stage(Stage::Trying(vec![(id, None)]));
        let limits = || Rc::new(self.factory.limits());
        if !event_loop.adopt(id, &*self.factory, limits, peer, host) {
            self.fail(ConnectError::FactoryRefused);
            return false;
        }
        event_loop.ledger.connected(&event_loop, id, &self);
        let connection = event_loop.connection(id).unwrap_or_default();
        self.set_stage(Stage::Layers(id, connection));
        event_loop.awaited.borrow_mut().insert(id, self);
        true
    }

    /// What it is to connect to.
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    /// Whether there is no connection yet, and there is to be one.
    pub(crate) fn is_trying(&self) -> bool {
        self.is_wanted() && !matches!(&*self.stage.borrow(), Stage::Layers(..))
    }

    /// The protocol has had its `connection_made`.
    pub(crate) fn ready(&self, connection: Connection) {
        self.set_stage(Stage::Over);
        self.cancel_timers();
        fire(self.resolver.take(), Ok(connection));
    }

    /// The connection ended before it was ready.
    pub(crate) fn lost(&self, reason: Failure) {
        self.set_stage(Stage::Over);
        self.cancel_timers();
        let endpoint = &self.endpoint;
        let reason = reason.context(format!("cannot connect to {endpoint}"));
        fire(self.resolver.take(), Err(reason));
    }

    /// One of those that are being tried cannot be connected to.
    pub(crate) fn failed(self: Rc<Self>, id: ConnectionId, error: io::Error) {
        match self.take_tried(id) {
            Some(Some(address)) => {
                self.failed.borrow_mut().push((address, error));
                self.try_next();
            }
            Some(None) => self.fail(ConnectError::from_io(&self.endpoint, error)),
            None => {}
        }
    }

    /// The reactor ends.
    pub(crate) fn give_up(self: Rc<Self>) {
        self.fail(ConnectError::ReactorStopped);
    }

    /// Tries the next address, and the one after it when that has not answered for a while.
    fn try_next(self: Rc<Self>) {
        if let Some(next) = self.next.take() {
            next.cancel();
        }
        let Some(event_loop) = self.event_loop.upgrade() else {
            return;
        };
        let ClientEndpoint::Tcp(connect) = &self.bottom else {
            return;
        };
        loop {
            let Some(address) = self.addresses.borrow_mut().pop_front() else {
                return self.fail_if_none_is_left();
            };
            let id = event_loop.connections.borrow_mut().open(Side::Connected);
            match event_loop.driver.connect(id, Target::Tcp(address, connect)) {
                Ok(()) => {
                    Rc::clone(&self).trying(&event_loop, id, Some(address));
                    return self.await_next(&event_loop);
                }
                Err(error) => {
                    event_loop.free(id);
                    self.failed.borrow_mut().push((address, error));
                }
            }
        }
    }

    fn await_next(self: Rc<Self>, event_loop: &EventLoop) {
        if self.addresses.borrow().is_empty() {
            return;
        }
        let late = Rc::downgrade(&self);
        let next = event_loop.call_later(
            ATTEMPT_DELAY,
            Box::new(move || {
                if let Some(attempt) = late.upgrade() {
                    attempt.try_next();
                }
            }),
        );
        self.next.set(Some(next));
    }

    /// Connects where there is one address.
    fn connect_one(self: Rc<Self>, event_loop: &EventLoop, target: Target<'_>) {
        let id = event_loop.connections.borrow_mut().open(Side::Connected);
        match event_loop.driver.connect(id, target) {
            Ok(()) => self.trying(event_loop, id, None),
            Err(error) => {
                event_loop.free(id);
                self.fail(ConnectError::from_io(&self.endpoint, error));
            }
        }
    }

    fn trying(self: Rc<Self>, event_loop: &EventLoop, id: ConnectionId, to: Option<SocketAddr>) {
        match &mut *self.stage.borrow_mut() {
            Stage::Trying(tried) => tried.push((id, to)),
            stage => *stage = Stage::Trying(vec![(id, to)]),
        }
        event_loop
            .attempts
            .borrow_mut()
            .insert(id, Rc::clone(&self));
    }

    /// Takes one out of those that are being tried.
    fn take_tried(&self, id: ConnectionId) -> Option<Option<SocketAddr>> {
        match &mut *self.stage.borrow_mut() {
            Stage::Trying(tried) => {
                let at = tried.iter().position(|(one, _)| *one == id)?;
                Some(tried.swap_remove(at).1)
            }
            _ => None,
        }
    }

    fn fail_if_none_is_left(&self) {
        if matches!(&*self.stage.borrow(), Stage::Trying(tried) if !tried.is_empty()) {
            return;
        }
        let mut failed = self.failed.take();
        let error = match (failed.len(), failed.pop()) {
            (0, _) | (_, None) => {
                let error = io::Error::other("the name has no address");
                ConnectError::from_io(&self.endpoint, error)
            }
            (1, Some((_, error))) => ConnectError::from_io(&self.endpoint, error),
            (_, Some(last)) => {
                failed.push(last);
                ConnectError::AllFailed {
                    endpoint: self.endpoint.to_string(),
                    attempts: failed,
                }
            }
        };
        self.fail(error);
    }

    fn fail(&self, error: ConnectError) {
        // First, so that nothing of what is undone is taken for the outcome.
        let resolver = self.resolver.take();
        self.stop_trying();
        fire(resolver, Err(Failure::from(error)));
    }

    fn fail_io(&self, kind: io::ErrorKind) {
        self.fail(ConnectError::from_io(&self.endpoint, kind.into()));
    }

    /// Whether it has neither succeeded nor failed, and was not cancelled.
    fn is_wanted(&self) -> bool {
        let resolver = self.resolver.take();
        let is_wanted = resolver
            .as_ref()
            .is_some_and(|resolver| !resolver.is_cancelled());
        self.resolver.set(resolver);
        is_wanted
    }

    fn set_stage(&self, stage: Stage) -> Stage {
        mem::replace(&mut self.stage.borrow_mut(), stage)
    }

    /// Undoes what is under way.
    fn stop_trying(&self) {
        self.cancel_timers();
        let Some(event_loop) = self.event_loop.upgrade() else {
            return;
        };
        match self.set_stage(Stage::Over) {
            Stage::Lookup(number, lookup) => {
                let attempt = event_loop.looking_up.borrow_mut().remove(&number);
                lookup.cancel();
                drop(attempt);
            }
            Stage::Trying(tried) => abort(&event_loop, tried),
            Stage::Layers(id, connection) => {
                let attempt = event_loop.awaited.borrow_mut().remove(&id);
                connection.abort_connection();
                drop(attempt);
            }
            Stage::Over => {}
        }
    }

    /// Another address has won.
    fn give_up_trying(&self, event_loop: &EventLoop) {
        if let Some(next) = self.next.take() {
            next.cancel();
        }
        self.addresses.borrow_mut().clear();
        if let Stage::Trying(tried) = self.set_stage(Stage::Over) {
            abort(event_loop, tried);
        }
    }

    fn cancel_timers(&self) {
        for timer in [self.timer.take(), self.next.take()].into_iter().flatten() {
            timer.cancel();
        }
    }
}

fn abort(event_loop: &EventLoop, tried: Vec<(ConnectionId, Option<SocketAddr>)>) {
    for (id, _) in tried {
        let attempt = event_loop.attempts.borrow_mut().remove(&id);
        event_loop.driver.abort(id);
        event_loop.free(id);
        drop(attempt);
    }
}

fn fire(resolver: Option<Resolver<Connection>>, result: Result<Connection, Failure>) {
    if let Some(resolver) = resolver {
        guard("a callback of a connect", || resolver.fire(result));
    }
}
