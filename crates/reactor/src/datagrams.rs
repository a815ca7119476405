//! The datagram ports of a loop.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{DatagramClientEndpoint, DatagramEndpoint, Host};
use ropewalk_core::{
    ConnectError, DatagramChannel, DatagramPort, DatagramProtocol, DatagramStep, Deferred, Failure,
    ListenError, TimedOut,
};
use slab::Slab;

use crate::driver::{DatagramId, DatagramTarget, OpenedDatagrams};
use crate::event_loop::{EventLoop, guard};

/// When a port is tried again whose datagrams nobody has room for, and nobody tells when.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Ports that act on one another are served so many rounds in one turn.
const ROUNDS: usize = 16;

#[derive(Default)]
pub(crate) struct Datagrams {
    open: RefCell<Slab<OpenPort>>,
    opened: Cell<u32>,
    touched: Rc<RefCell<Vec<DatagramId>>>,
}

struct OpenPort {
    serial: u32,
    /// `None` while it is at work.
    channel: Option<DatagramChannel>,
    /// It will be tried again.
    retrying: bool,
}

impl Datagrams {
    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.borrow().is_empty()
    }

    /// Serves those that were touched from outside their own callbacks. Returns whether there
    /// were any.
    pub(crate) fn settle_touched(&self, event_loop: &EventLoop) -> bool {
        let mut any = false;
        for _ in 0..ROUNDS {
            let touched = self.touched.take();
            if touched.is_empty() {
                break;
            }
            any = true;
            for id in touched {
                self.with(event_loop, id, |_| ());
            }
        }
        any
    }

    /// Tells a port of an event, then does what it asks for.
    pub(crate) fn with(
        &self,
        event_loop: &EventLoop,
        id: DatagramId,
        event: impl FnOnce(&mut DatagramChannel),
    ) {
        let channel = self.look(id, |port| port.channel.take()).flatten();
        let Some(mut channel) = channel else { return };
        event(&mut channel);
        match channel.settle() {
            DatagramStep::Wait => {}
            DatagramStep::Again => self.touched.borrow_mut().push(id),
            DatagramStep::TryLater => self.try_later(event_loop, id),
            DatagramStep::Close => {
                event_loop.driver.close_datagrams(id);
                let port = self.open.borrow_mut().try_remove(id.index as usize);
                drop(port);
                return channel.stopped();
            }
        }
        self.look(id, |port| port.channel = Some(channel));
    }

    fn look<R>(&self, id: DatagramId, action: impl FnOnce(&mut OpenPort) -> R) -> Option<R> {
        let mut open = self.open.borrow_mut();
        let port = open.get_mut(id.index as usize)?;
        (port.serial == id.serial).then(|| action(port))
    }

    fn try_later(&self, event_loop: &EventLoop, id: DatagramId) {
        if self.look(id, |port| std::mem::replace(&mut port.retrying, true)) != Some(false) {
            return;
        }
        let later = event_loop.weak();
        let again = move || {
            if let Some(event_loop) = later.upgrade() {
                let datagrams = &event_loop.datagrams;
                datagrams.look(id, |port| port.retrying = false);
                datagrams.with(&event_loop, id, DatagramChannel::try_again);
            }
        };
        event_loop.call_later(TRY_AGAIN, Box::new(again));
    }

    pub(crate) fn listen(
        &self,
        event_loop: &EventLoop,
        endpoint: &DatagramEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort, ListenError> {
        if event_loop.is_over() {
            return Err(ListenError::ReactorStopped);
        }
        let target = DatagramTarget::Bound(endpoint);
        self.open(event_loop, target, protocol)
            .map_err(|error| ListenError::from_io(endpoint, error))
    }

    fn open(
        &self,
        event_loop: &EventLoop,
        target: DatagramTarget<'_>,
        protocol: Box<dyn DatagramProtocol>,
    ) -> io::Result<DatagramPort> {
        let (id, opened) = self.open_socket(event_loop, target)?;
        Ok(self.start(event_loop, id, opened, protocol))
    }

    fn open_socket(
        &self,
        event_loop: &EventLoop,
        target: DatagramTarget<'_>,
    ) -> io::Result<(DatagramId, OpenedDatagrams)> {
        let serial = self.opened.get();
        self.opened.set(serial.wrapping_add(1));
        let index = self.open.borrow_mut().insert(OpenPort {
            serial,
            channel: None,
            retrying: false,
        });
        let id = DatagramId {
            index: u32::try_from(index).expect("fewer than 2^32 ports"),
            serial,
        };
        let opened = event_loop.driver.open_datagrams(id, target);
        if opened.is_err() {
            self.open.borrow_mut().remove(index);
        }
        Ok((id, opened?))
    }

    fn start(
        &self,
        event_loop: &EventLoop,
        id: DatagramId,
        opened: OpenedDatagrams,
        protocol: Box<dyn DatagramProtocol>,
    ) -> DatagramPort {
        let OpenedDatagrams { socket, host, peer } = opened;
        let touched = Rc::clone(&self.touched);
        let name = protocol.type_name();
        let limits = guard("the limits of a datagram protocol", || protocol.limits());
        let mut channel = DatagramChannel::new(
            Rc::clone(&event_loop.context),
            protocol,
            socket,
            limits.unwrap_or_default(),
            host,
            peer,
            Box::new(move || touched.borrow_mut().push(id)),
        );
        let port = channel.port();
        event_loop.ledger.datagram_port(event_loop, &port, name);
        channel.start();
        self.look(id, |port| port.channel = Some(channel));
        self.with(event_loop, id, |_| ());
        port
    }

    pub(crate) fn connect(
        &self,
        event_loop: &EventLoop,
        endpoint: &DatagramClientEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort> {
        if event_loop.is_over() {
            return Deferred::fail(ConnectError::ReactorStopped);
        }
        let DatagramClientEndpoint::Udp(udp) = endpoint else {
            return self.connect_to(event_loop, endpoint, [None], protocol);
        };
        let name = match &udp.host {
            Host::Ip(address) => {
                let peer = SocketAddr::new(*address, udp.port);
                return self.connect_to(event_loop, endpoint, [Some(peer)], protocol);
            }
            Host::Name(name) => name,
        };
        let found = event_loop
            .names
            .resolver()
            .resolve_host_name(name, udp.port)
            .add_timeout(udp.timeout, event_loop);
        let later = event_loop.weak();
        let (endpoint, timeout) = (endpoint.clone(), udp.timeout);
        found.add_both(move |found: Result<Vec<SocketAddr>, Failure>| {
            let Some(event_loop) = later.upgrade().filter(|event_loop| !event_loop.is_over())
            else {
                return Deferred::fail(ConnectError::ReactorStopped);
            };
            match found {
                Ok(addresses) => {
                    let datagrams = &event_loop.datagrams;
                    // Which of them has a receiver cannot be known: it is the first that there
                    // is a way to.
                    let peers = addresses.into_iter().map(Some);
                    datagrams.connect_to(&event_loop, &endpoint, peers, protocol)
                }
                Err(failure) => Deferred::fail(not_found(&endpoint, timeout, &failure)),
            }
        })
    }

    /// Connects to the first of `peers` that there is a way to; to one that needs no address, if
    /// there is none.
    fn connect_to(
        &self,
        event_loop: &EventLoop,
        endpoint: &DatagramClientEndpoint,
        peers: impl IntoIterator<Item = Option<SocketAddr>>,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort> {
        let mut last = io::Error::other("the name has no address");
        for peer in peers {
            let target = DatagramTarget::Connected(endpoint, peer);
            match self.open_socket(event_loop, target) {
                Ok((id, opened)) => {
                    return Deferred::succeed(self.start(event_loop, id, opened, protocol));
                }
                Err(error) => last = error,
            }
        }
        Deferred::fail(ConnectError::from_io(endpoint, last))
    }

    /// Closes all.
    pub(crate) fn stop_all(&self, event_loop: &EventLoop) {
        let ids: Vec<_> = self
            .open
            .borrow()
            .iter()
            .map(|(index, port)| DatagramId {
                index: index as u32,
                serial: port.serial,
            })
            .collect();
        for id in ids {
            self.with(event_loop, id, DatagramChannel::stop);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }
}

/// Why there is no port, when there is no address.
fn not_found(
    endpoint: &DatagramClientEndpoint,
    after: Duration,
    failure: &Failure,
) -> ConnectError {
    let endpoint = endpoint.to_string();
    if failure.check::<TimedOut>().is_some() {
        return ConnectError::TimedOut { endpoint, after };
    }
    let source = io::Error::other(failure.to_string());
    ConnectError::NameNotFound { endpoint, source }
}
