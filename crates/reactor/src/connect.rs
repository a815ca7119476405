//! An attempt to connect: look up the name, try one address after the other, and see the
//! connection's layers ready. All of it together has the time that the endpoint gives it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
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
use crate::driver::{QueryId, Target};
use crate::event_loop::{EventLoop, guard};
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
    /// What is being tried.
    current: Cell<Option<Trying>>,
    timer: Cell<Option<DelayedCall>>,
    /// `None` when it has succeeded, failed, or was cancelled.
    resolver: Cell<Option<Resolver<Connection>>>,
}

enum Trying {
    Lookup(QueryId),
    Connection(ConnectionId, Option<SocketAddr>),
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
            current: Cell::new(None),
            timer: Cell::new(None),
            resolver: Cell::new(None),
        });
        let cancelled = Rc::downgrade(&attempt);
        let (resolver, deferred) = Deferred::with_canceller(move || {
            if let Some(attempt) = cancelled.upgrade() {
                attempt.stop_trying();
            }
        });
        attempt.resolver.set(Some(resolver));
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
                    self.try_next(None);
                }
                Host::Name(name) => {
                    let query = event_loop.next_query();
                    self.current.set(Some(Trying::Lookup(query)));
                    event_loop
                        .lookups
                        .borrow_mut()
                        .insert(query.0, Rc::clone(&self));
                    event_loop.driver.resolve(query, name, connect.port);
                }
            },
            ClientEndpoint::Fd(descriptor) => match inherited::connected(descriptor) {
                Ok((socket, peer)) => {
                    let known = self.peer.take();
                    self.peer.set(known.or(Some(peer)));
                    self.connect_one(event_loop, Target::Descriptor(socket.as_fd()));
                }
                Err(error) => self.fail_io(Some(error)),
            },
            ClientEndpoint::Stdio => match self.streams.take() {
                Some(Streams::Socket(socket)) => {
                    self.connect_one(event_loop, Target::Descriptor(socket.as_fd()));
                }
                Some(Streams::Pair { read, write }) => {
                    self.connect_one(event_loop, Target::Pair(read.as_fd(), write.as_fd()));
                }
                None => self.fail_io(Some(io::ErrorKind::NotConnected.into())),
            },
            _ => self.fail_io(Some(io::ErrorKind::Unsupported.into())),
        }
    }

    pub(crate) fn resolved(self: Rc<Self>, result: io::Result<Vec<SocketAddr>>) {
        self.current.set(None);
        match result {
            Ok(addresses) => {
                self.addresses.borrow_mut().extend(addresses);
                self.try_next(None);
            }
            Err(source) => {
                let endpoint = self.endpoint.to_string();
                self.fail(ConnectError::NameNotFound { endpoint, source });
            }
        }
    }

    /// The connection is up: whether it is wanted. Its channel stands in its entry then.
    pub(crate) fn opened(self: Rc<Self>, id: ConnectionId, host: &Rc<Address>) -> bool {
        let Some(event_loop) = self.event_loop.upgrade() else {
            return false;
        };
        let trying = self.current.take();
        let peer = match &trying {
            Some(Trying::Connection(_, Some(address))) => Address::Tcp(*address),
            _ => self.peer.take().unwrap_or(Address::Unix(None)),
        };
        // It can be cancelled by the factory.
        self.current.set(trying);
        let limits = || Rc::new(self.factory.limits());
        if !event_loop.adopt(id, &*self.factory, limits, peer, host) {
            self.fail(ConnectError::FactoryRefused);
            return false;
        }
        let connection = event_loop.connection(id).unwrap_or_default();
        self.current.set(Some(Trying::Layers(id, connection)));
        event_loop.awaited.borrow_mut().insert(id, self);
        true
    }

    /// The protocol has had its `connection_made`.
    pub(crate) fn ready(&self, connection: Connection) {
        self.current.take();
        self.cancel_timer();
        self.fire(Ok(connection));
    }

    /// The connection ended before it was ready.
    pub(crate) fn lost(&self, reason: Failure) {
        self.current.take();
        self.cancel_timer();
        let endpoint = &self.endpoint;
        self.fire(Err(reason.context(format!("cannot connect to {endpoint}"))));
    }

    pub(crate) fn failed(self: Rc<Self>, error: io::Error) {
        self.current.set(None);
        self.try_next(Some(error));
    }

    /// The reactor ends.
    pub(crate) fn give_up(self: Rc<Self>) {
        self.fail(ConnectError::ReactorStopped);
    }

    fn try_next(self: Rc<Self>, mut last: Option<io::Error>) {
        let Some(event_loop) = self.event_loop.upgrade() else {
            return;
        };
        let ClientEndpoint::Tcp(connect) = &self.bottom else {
            return self.fail_io(last);
        };
        loop {
            let Some(address) = self.addresses.borrow_mut().pop_front() else {
                return self.fail_io(last);
            };
            let id = event_loop.connections.borrow_mut().open(Side::Connected);
            match event_loop.driver.connect(id, Target::Tcp(address, connect)) {
                Ok(()) => return self.trying(&event_loop, id, Some(address)),
                Err(error) => {
                    event_loop.free(id);
                    last = Some(error);
                }
            }
        }
    }

    /// Connects where there is one address.
    fn connect_one(self: Rc<Self>, event_loop: &EventLoop, target: Target<'_>) {
        let id = event_loop.connections.borrow_mut().open(Side::Connected);
        match event_loop.driver.connect(id, target) {
            Ok(()) => self.trying(event_loop, id, None),
            Err(error) => {
                event_loop.free(id);
                self.fail_io(Some(error));
            }
        }
    }

    fn trying(self: Rc<Self>, event_loop: &EventLoop, id: ConnectionId, to: Option<SocketAddr>) {
        self.current.set(Some(Trying::Connection(id, to)));
        event_loop.attempts.borrow_mut().insert(id, self);
    }

    fn fail_io(&self, error: Option<io::Error>) {
        let error = error.unwrap_or_else(|| io::Error::other("the name has no address"));
        self.fail(ConnectError::from_io(&self.endpoint, error));
    }

    fn fail(&self, error: ConnectError) {
        self.stop_trying();
        self.fire(Err(Failure::from(error)));
    }

    fn fire(&self, result: Result<Connection, Failure>) {
        if let Some(resolver) = self.resolver.take() {
            guard("a callback of a connect", || resolver.fire(result));
        }
    }

    /// Undoes what is under way.
    fn stop_trying(&self) {
        self.cancel_timer();
        let Some(event_loop) = self.event_loop.upgrade() else {
            return;
        };
        match self.current.take() {
            Some(Trying::Lookup(query)) => {
                let lookup = event_loop.lookups.borrow_mut().remove(&query.0);
                drop(lookup);
            }
            Some(Trying::Connection(id, _)) => {
                let attempt = event_loop.attempts.borrow_mut().remove(&id);
                event_loop.driver.abort(id);
                event_loop.free(id);
                drop(attempt);
            }
            Some(Trying::Layers(id, connection)) => {
                let attempt = event_loop.awaited.borrow_mut().remove(&id);
                connection.abort_connection();
                drop(attempt);
            }
            None => {}
        }
    }

    fn cancel_timer(&self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}
