//! The datagram ports of a reactor in memory: one machine, on which nothing is lost but what a
//! port has no room for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::endpoint::{DatagramClientEndpoint, DatagramEndpoint};
use crate::{
    Address, ConnectError, DatagramChannel, DatagramError, DatagramOption, DatagramPort,
    DatagramProtocol, DatagramQueue, DatagramSendStatus, DatagramSocket, DatagramStep, Deferred,
    Incoming, ListenError, LoopContext,
};

/// Where the ports are that name no address of their own.
const MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The first port that is given where any is wanted.
const FIRST_FREE: u16 = 1024;

/// Datagrams that wait for a port; what is beyond is lost.
const WINDOW: usize = 1024;

/// All ports, by a number that is never used again, and so in the order in which they were opened.
#[derive(Default)]
pub(super) struct Datagrams {
    places: Rc<RefCell<Places>>,
    touched: Rc<RefCell<Vec<u32>>>,
}

#[derive(Default)]
struct Places {
    opened: u32,
    open: BTreeMap<u32, Place>,
}

struct Place {
    /// `None` while it is at work.
    channel: Option<DatagramChannel>,
    host: Address,
    peer: Option<Address>,
    groups: BTreeSet<IpAddr>,
    /// Whether multicast that it sends comes back.
    loopback: bool,
    reading: bool,
    max_size: usize,
    inbound: VecDeque<(Vec<u8>, Address)>,
    /// What the network says of what it has sent.
    undelivered: VecDeque<Address>,
}

struct MemorySocket {
    places: Weak<RefCell<Places>>,
    id: u32,
}

impl Datagrams {
    pub(super) fn listen(
        &self,
        context: &Rc<LoopContext>,
        endpoint: &DatagramEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort, ListenError> {
        let mut groups = BTreeSet::new();
        let host = match endpoint {
            DatagramEndpoint::Udp(listen) => {
                groups.extend(listen.group.as_ref().map(|group| group.address));
                let interface = listen.interface.filter(|address| !address.is_unspecified());
                let host = self.udp(interface.unwrap_or(MACHINE), listen.port);
                if !listen.reuse_port && self.places.borrow().at(&host).is_some() {
                    let error = io::ErrorKind::AddrInUse.into();
                    return Err(ListenError::from_io(endpoint, error));
                }
                host
            }
            DatagramEndpoint::Unix(listen) => {
                let host = Address::Unix(Some(Arc::from(listen.path.as_path())));
                if self.places.borrow().at(&host).is_some() {
                    let error = io::ErrorKind::AddrInUse.into();
                    return Err(ListenError::from_io(endpoint, error));
                }
                host
            }
        };
        let max_size = endpoint.options().max_size;
        Ok(self.open(context, protocol, Place::new(host, None, groups, max_size)))
    }

    pub(super) fn connect(
        &self,
        context: &Rc<LoopContext>,
        endpoint: &DatagramClientEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort> {
        let (host, peer, max_size) = match endpoint {
            // Hosts are not told apart, as those of connections are not.
            DatagramClientEndpoint::Udp(connect) => (
                self.udp(connect.bind.unwrap_or(MACHINE), 0),
                Address::Udp(SocketAddr::new(MACHINE, connect.port)),
                connect.options.max_size,
            ),
            DatagramClientEndpoint::Unix(connect) => {
                let peer = Address::Unix(Some(Arc::from(connect.path.as_path())));
                if self.places.borrow().at(&peer).is_none() {
                    let error = io::ErrorKind::NotFound.into();
                    return Deferred::fail(ConnectError::from_io(endpoint, error));
                }
                let host = Address::Unix(connect.bind.as_deref().map(Arc::from));
                (host, peer, connect.options.max_size)
            }
        };
        let place = Place::new(host, Some(peer), BTreeSet::new(), max_size);
        Deferred::succeed(self.open(context, protocol, place))
    }

    /// The address with this port, or with one that is free.
    fn udp(&self, interface: IpAddr, port: u16) -> Address {
        let address = |port| Address::Udp(SocketAddr::new(interface, port));
        if port != 0 {
            return address(port);
        }
        let places = self.places.borrow();
        let is_free = |port: &u16| places.at(&address(*port)).is_none();
        address((FIRST_FREE..).find(is_free).unwrap_or(0))
    }

    fn open(
        &self,
        context: &Rc<LoopContext>,
        protocol: Box<dyn DatagramProtocol>,
        place: Place,
    ) -> DatagramPort {
        let id = {
            let mut places = self.places.borrow_mut();
            places.opened += 1;
            places.opened
        };
        let socket = MemorySocket {
            places: Rc::downgrade(&self.places),
            id,
        };
        let touched = Rc::downgrade(&self.touched);
        let touch = move || {
            if let Some(touched) = touched.upgrade() {
                touched.borrow_mut().push(id);
            }
        };
        let limits = protocol.limits();
        let channel = DatagramChannel::new(
            Rc::clone(context),
            protocol,
            Rc::new(socket),
            limits,
            place.host.clone(),
            place.peer.clone(),
            Box::new(touch),
        );
        let port = channel.port();
        self.places.borrow_mut().open.insert(
            id,
            Place {
                channel: Some(channel),
                ..place
            },
        );
        self.with(id, DatagramChannel::start);
        port
    }

    /// Gives each port what has come for it, and serves those that were touched; whether there
    /// was anything.
    pub(super) fn round(&self) -> bool {
        let ids: Vec<_> = self.places.borrow().open.keys().copied().collect();
        let mut busy = false;
        for id in ids {
            busy |= self.deliver(id);
        }
        let touched = self.touched.take();
        busy |= !touched.is_empty();
        for id in touched {
            self.with(id, |_| ());
        }
        busy
    }

    fn deliver(&self, id: u32) -> bool {
        let (inbound, undelivered, max_size) = {
            let mut places = self.places.borrow_mut();
            let Some(place) = places.open.get_mut(&id) else {
                return false;
            };
            let inbound = match place.reading {
                true => std::mem::take(&mut place.inbound),
                false => VecDeque::new(),
            };
            (
                inbound,
                std::mem::take(&mut place.undelivered),
                place.max_size,
            )
        };
        if inbound.is_empty() && undelivered.is_empty() {
            return false;
        }
        self.with(id, |channel| {
            for to in undelivered {
                channel.failed(DatagramError::Undelivered {
                    to: Some(to),
                    source: io::ErrorKind::ConnectionRefused.into(),
                });
            }
            channel.received(&mut inbound.iter().map(|(data, from)| Incoming {
                data: &data[..data.len().min(max_size)],
                from: from.clone(),
                truncated: data.len() > max_size,
            }));
        });
        true
    }

    fn with(&self, id: u32, event: impl FnOnce(&mut DatagramChannel)) {
        let channel = match self.places.borrow_mut().open.get_mut(&id) {
            Some(place) => place.channel.take(),
            None => None,
        };
        let Some(mut channel) = channel else { return };
        event(&mut channel);
        match channel.settle() {
            DatagramStep::Close => {
                let place = self.places.borrow_mut().open.remove(&id);
                drop(place);
                return channel.stopped();
            }
            DatagramStep::Again => self.touched.borrow_mut().push(id),
            DatagramStep::Wait | DatagramStep::TryLater => {}
        }
        if let Some(place) = self.places.borrow_mut().open.get_mut(&id) {
            place.channel = Some(channel);
        }
    }

    /// The reactor goes: closes all.
    pub(super) fn stop(&self) {
        let ids: Vec<_> = self.places.borrow().open.keys().copied().collect();
        for id in ids {
            self.with(id, DatagramChannel::stop);
        }
    }
}

impl Place {
    fn new(
        host: Address,
        peer: Option<Address>,
        groups: BTreeSet<IpAddr>,
        max_size: usize,
    ) -> Self {
        Self {
            channel: None,
            host,
            peer,
            groups,
            loopback: true,
            reading: true,
            max_size,
            inbound: VecDeque::new(),
            undelivered: VecDeque::new(),
        }
    }

    fn take(&mut self, data: &[u8], from: &Address) {
        let is_wanted = self.peer.as_ref().is_none_or(|peer| peer == from);
        if is_wanted && self.inbound.len() < WINDOW {
            self.inbound.push_back((data.to_vec(), from.clone()));
        }
    }
}

impl Places {
    /// The first that was opened there.
    fn at(&self, host: &Address) -> Option<u32> {
        let mut open = self.open.iter();
        open.find_map(|(id, place)| (place.host == *host).then_some(*id))
    }

    fn send(&mut self, id: u32, data: &[u8], to: &Address) -> io::Result<()> {
        let Some(sender) = self.open.get(&id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let (from, loopback) = (sender.host.clone(), sender.loopback);
        let group = to.socket_addr().filter(|to| to.ip().is_multicast());
        if let Some(group) = group {
            let members = self.open.iter_mut().filter(|(member, place)| {
                let is_member = place.groups.contains(&group.ip());
                is_member && place.host.port() == Some(group.port()) && (loopback || **member != id)
            });
            members.for_each(|(_, member)| member.take(data, &from));
            return Ok(());
        }
        match (self.at(to), to) {
            (Some(found), _) => {
                if let Some(place) = self.open.get_mut(&found) {
                    place.take(data, &from);
                }
                Ok(())
            }
            // A Unix socket is known to be there, or not to be.
            (None, Address::Unix(_)) => Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                if let Some(sender) = self.open.get_mut(&id) {
                    sender.undelivered.push_back(to.clone());
                }
                Ok(())
            }
        }
    }
}

impl MemorySocket {
    fn place<R>(&self, action: impl FnOnce(&mut Place) -> io::Result<R>) -> io::Result<R> {
        let places = self.places.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let mut places = places.borrow_mut();
        let place = places.open.get_mut(&self.id);
        action(place.ok_or(io::ErrorKind::NotConnected)?)
    }
}

impl DatagramSocket for MemorySocket {
    fn send(&self, queue: &mut DatagramQueue) -> io::Result<DatagramSendStatus> {
        let places = self.places.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let mut places = places.borrow_mut();
        let peer = places
            .open
            .get(&self.id)
            .and_then(|place| place.peer.clone());
        while let Some((data, to)) = queue.front() {
            let to = to.or(peer.as_ref()).ok_or(io::ErrorKind::NotConnected)?;
            places.send(self.id, data, to)?;
            queue.pop(1);
        }
        Ok(DatagramSendStatus::Sent)
    }

    fn connect(&self, peer: &Address) -> io::Result<()> {
        self.place(|place| {
            place.peer = Some(peer.clone());
            Ok(())
        })
    }

    fn set_option(&self, option: &DatagramOption) -> io::Result<()> {
        self.place(|place| match option {
            DatagramOption::JoinGroup(group, _) if !group.is_multicast() => {
                Err(io::ErrorKind::InvalidInput.into())
            }
            DatagramOption::JoinGroup(group, _) => {
                place.groups.insert(*group);
                Ok(())
            }
            DatagramOption::LeaveGroup(group, _) => match place.groups.remove(group) {
                true => Ok(()),
                false => Err(io::ErrorKind::AddrNotAvailable.into()),
            },
            DatagramOption::LoopbackMode(on) => {
                place.loopback = *on;
                Ok(())
            }
            _ => Ok(()),
        })
    }

    fn set_reading(&self, on: bool) {
        // A port that is closed reads nothing.
        let _ = self.place(|place| {
            place.reading = on;
            Ok(())
        });
    }
}
