//! Datagram ports: UDP between hosts, with multicast, and Unix sockets within one.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ropewalk_core::endpoint::{DatagramClientEndpoint, DatagramEndpoint, UdpListen};
use ropewalk_core::{
    Address, DatagramError, DatagramOption, DatagramQueue, DatagramSendStatus, DatagramSocket,
};
use ropewalk_reactor::driver::{DatagramId, DatagramTarget, OpenedDatagrams};
use rustix::io::Errno;

use crate::listeners::is_any;
use crate::machine::{HostId, PathOwner, Ready, host_at};
use crate::net::{Event, Net};
use crate::packet::{Body, Packet};
use crate::trace::What;

/// What a port keeps for a program that does not receive, in bytes (Linux: `rmem_default`).
const BUFFER: usize = 212_992;

/// What the kernel adds to each datagram that it keeps.
const OVERHEAD: usize = 512;

/// The largest there is: what an IP packet holds besides its headers.
const LARGEST: usize = 65_507;

/// What is told of at once.
const ERRORS: usize = 64;

/// How likely the kernel takes nothing for a moment.
const BLOCKED: f64 = 1.0 / 64.0;

pub(crate) struct Port {
    pub(crate) id: DatagramId,
    host: Address,
    peer: Option<Address>,
    shares: bool,
    only_v6: bool,
    pub(crate) max_size: usize,
    groups: BTreeSet<IpAddr>,
    /// Whether multicast that it sends comes back.
    loopback: bool,
    pub(crate) reading: bool,
    pub(crate) queued: bool,
    pub(crate) inbound: VecDeque<(Bytes, Address)>,
    kept: usize,
    capacity: usize,
    overflowed: u64,
    pub(crate) errors: VecDeque<DatagramError>,
    blocked: bool,
    pub(crate) writable: bool,
}

impl Port {
    fn new(id: DatagramId, host: Address, peer: Option<Address>, max_size: usize) -> Self {
        Self {
            id,
            host,
            peer,
            shares: false,
            only_v6: false,
            max_size: max_size.clamp(1, LARGEST),
            groups: BTreeSet::new(),
            loopback: true,
            reading: true,
            queued: false,
            inbound: VecDeque::new(),
            kept: 0,
            capacity: BUFFER,
            overflowed: 0,
            errors: VecDeque::new(),
            blocked: false,
            writable: false,
        }
    }

    /// Whether it receives what is sent to `target` from `source`.
    fn receives(&self, source: SocketAddr, target: SocketAddr) -> bool {
        let Address::Udp(own) = self.host else {
            return false;
        };
        let is_own = own.ip() == target.ip() || is_any(own.ip(), target.ip(), self.only_v6);
        // A port hears of the groups that it has joined itself, as on the poll driver.
        let joined = !target.ip().is_multicast() || self.groups.contains(&target.ip());
        let peer = self.peer.as_ref().and_then(Address::socket_addr);
        own.port() == target.port() && is_own && joined && peer.is_none_or(|peer| peer == source)
    }

    /// Whether there is something to tell of it.
    pub(crate) fn has_news(&self) -> bool {
        self.writable || !self.errors.is_empty() || self.reading && !self.inbound.is_empty()
    }

    pub(crate) fn receive(&mut self) -> Option<(Bytes, Address)> {
        let (data, from) = self.inbound.pop_front()?;
        self.kept -= data.len() + OVERHEAD;
        Some((data, from))
    }

    fn has_room(&self, size: usize) -> bool {
        self.kept + size + OVERHEAD <= self.capacity
    }

    fn keep(&mut self, data: Bytes, from: Address) {
        self.kept += data.len() + OVERHEAD;
        self.inbound.push_back((data, from));
    }
}

impl Net {
    pub(crate) fn open_port(
        &mut self,
        host: HostId,
        id: DatagramId,
        target: DatagramTarget<'_>,
    ) -> io::Result<(Address, Option<Address>)> {
        let port = match target {
            DatagramTarget::Bound(DatagramEndpoint::Udp(listen)) => {
                self.udp_bound(host, id, listen)?
            }
            DatagramTarget::Bound(DatagramEndpoint::Unix(listen)) => {
                let path: Arc<Path> = listen.path.as_path().into();
                self.take_path(host, &path, PathOwner::Port(id.index))?;
                Port::new(id, Address::Unix(Some(path)), None, listen.options.max_size)
            }
            DatagramTarget::Connected(DatagramClientEndpoint::Udp(connect), Some(to)) => {
                let machine = self.machine(host);
                let own = connect.bind.unwrap_or_else(|| machine.towards(to.ip()));
                let own = if machine.has(to.ip()) { to.ip() } else { own };
                let own = SocketAddr::new(own, self.free_udp(host, own)?);
                let size = connect.options.max_size;
                Port::new(id, Address::Udp(own), Some(Address::Udp(to)), size)
            }
            DatagramTarget::Connected(DatagramClientEndpoint::Unix(connect), _) => {
                self.unix_port(host, &connect.path)?;
                let own: Option<Arc<Path>> = connect.bind.as_deref().map(Into::into);
                if let Some(path) = &own {
                    self.take_path(host, path, PathOwner::Port(id.index))?;
                }
                let peer = Address::Unix(Some(connect.path.as_path().into()));
                Port::new(id, Address::Unix(own), Some(peer), connect.options.max_size)
            }
            DatagramTarget::Bound(_) | DatagramTarget::Connected(..) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        if let Err(error) = self.machine(host).take_descriptor() {
            self.free_port_path(host, &port);
            return Err(error);
        }
        let opened = (port.host.clone(), port.peer.clone());
        self.machine(host).ports.insert(id.index, port);
        Ok(opened)
    }

    fn udp_bound(&mut self, host: HostId, id: DatagramId, listen: &UdpListen) -> io::Result<Port> {
        let any = match &listen.group {
            Some(group) if group.address.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
            _ => Ipv6Addr::UNSPECIFIED.into(),
        };
        let own = listen.interface.unwrap_or(any);
        let machine = self.machine(host);
        if !own.is_unspecified() && !own.is_multicast() && !machine.has(own) {
            return Err(Errno::ADDRNOTAVAIL.into());
        }
        let excludes = |port: &Port, number| {
            let overlaps = |other: SocketAddr| {
                other.port() == number
                    && (other.ip() == own
                        || is_any(other.ip(), own, port.only_v6)
                        || is_any(own, other.ip(), listen.only_v6))
            };
            let shares = port.shares && listen.reuse_port;
            port.host.socket_addr().is_some_and(overlaps) && !shares
        };
        let number = match listen.port {
            0 => self.free_udp(host, own)?,
            number if machine.ports.values().any(|port| excludes(port, number)) => {
                return Err(Errno::ADDRINUSE.into());
            }
            number => number,
        };
        let own = Address::Udp(SocketAddr::new(own, number));
        let mut port = Port::new(id, own, None, listen.options.max_size);
        port.shares = listen.reuse_port;
        port.only_v6 = listen.only_v6;
        port.capacity = listen.options.receive_buffer.unwrap_or(BUFFER).max(2048);
        port.groups
            .extend(listen.group.as_ref().map(|group| group.address));
        Ok(port)
    }

    fn free_udp(&mut self, host: HostId, own: IpAddr) -> io::Result<u16> {
        let range = self.machine(host).ephemeral.clone();
        let count = u64::from(range.end().saturating_sub(*range.start())) + 1;
        let first = self.random.below(count);
        let machine = self.machine(host);
        let is_free = |number: &u16| {
            !machine.ports.values().any(|port| {
                let other = port.host.socket_addr();
                other.is_some_and(|other| {
                    other.port() == *number
                        && (other.ip() == own
                            || other.ip().is_unspecified()
                            || own.is_unspecified())
                })
            })
        };
        (0..count)
            .map(|step| range.start() + ((first + step) % count) as u16)
            .find(is_free)
            .ok_or_else(|| Errno::ADDRINUSE.into())
    }

    fn free_port_path(&mut self, host: HostId, port: &Port) {
        if let Address::Unix(Some(path)) = &port.host {
            self.free_path(host, path, PathOwner::Port(port.id.index));
        }
    }

    pub(crate) fn close_port(&mut self, host: HostId, id: DatagramId) {
        let machine = self.machine(host);
        if machine
            .ports
            .get(&id.index)
            .is_none_or(|port| port.id != id)
        {
            return;
        }
        if let Some(port) = machine.ports.remove(&id.index) {
            machine.free_descriptor();
            self.free_port_path(host, &port);
        }
    }

    pub(crate) fn port(&mut self, host: HostId, id: DatagramId) -> Option<&mut Port> {
        let port = self.machine(host).ports.get_mut(&id.index)?;
        (port.id == id).then_some(port)
    }

    /// The loop is to be given a turn with it, if there is something to tell.
    pub(crate) fn queue_port(&mut self, host: HostId, id: DatagramId) {
        let Some(port) = self.port(host, id) else {
            return;
        };
        if port.has_news() && !port.queued {
            port.queued = true;
            self.tell(host, Ready::Port(id));
        }
    }

    /// The port of a Unix path.
    fn unix_port(&mut self, host: HostId, path: &Path) -> io::Result<DatagramId> {
        let machine = self.machine(host);
        match machine.paths.get(path) {
            None => Err(Errno::NOENT.into()),
            Some(PathOwner::Port(index)) => match machine.ports.get(index) {
                Some(port) => Ok(port.id),
                None => Err(Errno::CONNREFUSED.into()),
            },
            Some(PathOwner::Listener(_)) => Err(Errno::PROTOTYPE.into()),
            Some(PathOwner::Nobody) => Err(Errno::CONNREFUSED.into()),
        }
    }

    /// Sends one datagram. `false` when there is no room for it at present.
    fn send_datagram(
        &mut self,
        host: HostId,
        id: DatagramId,
        data: &[u8],
        to: Option<&Address>,
    ) -> io::Result<bool> {
        let port = self.port(host, id).ok_or(io::ErrorKind::NotConnected)?;
        let to = match to.or(port.peer.as_ref()) {
            Some(to) => to.clone(),
            None => return Err(Errno::DESTADDRREQ.into()),
        };
        let (own, loopback) = (port.host.clone(), port.loopback);
        let number = own.port().unwrap_or(0).into();
        match (&own, &to) {
            (Address::Udp(own), Address::Udp(to) | Address::Tcp(to)) => {
                if data.len() > LARGEST {
                    return Err(Errno::MSGSIZE.into());
                }
                self.trace(host, What::DatagramSent, number, data.len() as u64);
                self.send_udp(host, *own, *to, loopback, data)?;
            }
            (Address::Unix(_), Address::Unix(Some(path))) => {
                let receiver = self.unix_port(host, path)?;
                let port = self.port(host, receiver);
                let port = port.ok_or(io::Error::from(Errno::CONNREFUSED))?;
                if port.peer.as_ref().is_some_and(|peer| *peer != own) {
                    return Err(Errno::PERM.into());
                }
                if !port.has_room(data.len()) {
                    return Ok(false);
                }
                port.keep(Bytes::copy_from_slice(data), own);
                self.queue_port(host, receiver);
            }
            _ => return Err(Errno::AFNOSUPPORT.into()),
        }
        Ok(true)
    }

    fn send_udp(
        &mut self,
        host: HostId,
        own: SocketAddr,
        to: SocketAddr,
        loopback: bool,
        data: &[u8],
    ) -> io::Result<()> {
        let target = match to.ip() {
            IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            other => other.to_canonical(),
        };
        let machine = self.machine(host);
        let source = match own.ip().is_unspecified() {
            true if machine.has(target) => target,
            true => machine.towards(target),
            false => own.ip(),
        };
        if source.is_ipv4() != target.is_ipv4() || own.is_ipv4() && target.is_ipv6() {
            return Err(Errno::AFNOSUPPORT.into());
        }
        let source = SocketAddr::new(source, own.port());
        let target = SocketAddr::new(target, to.port());
        let hosts: Vec<HostId> = if target.ip().is_multicast() {
            let all = (0..self.machines.len() as u32).map(HostId);
            all.filter(|other| loopback || *other != host).collect()
        } else if machine.has(target.ip()) {
            vec![host]
        } else {
            let known = |other: &HostId| (other.0 as usize) < self.machines.len();
            host_at(target.ip()).into_iter().filter(known).collect()
        };
        for other in hosts {
            // A packet that is cut into fragments is lost with any of them.
            let link = self.links.get(host, other).present();
            let fragments = data.len() / link.mtu.max(1);
            let loss = link.loss;
            if (0..fragments).any(|_| self.random.chance(loss)) {
                continue;
            }
            let data = Bytes::copy_from_slice(data);
            let body = Body::Datagram {
                source,
                target,
                data,
            };
            self.transmit(Packet {
                from: host,
                to: other,
                body,
            });
        }
        Ok(())
    }

    /// A datagram has come.
    pub(crate) fn datagram(
        &mut self,
        from: HostId,
        host: HostId,
        source: SocketAddr,
        target: SocketAddr,
        data: &Bytes,
    ) {
        let ports = self.machine(host).ports.values();
        let is_multicast = target.ip().is_multicast();
        let receivers: Vec<_> = ports
            .filter(|port| port.receives(source, target))
            .map(|port| (port.peer.is_some(), port.id))
            .collect();
        let to: Vec<DatagramId> = if is_multicast {
            receivers.into_iter().map(|(_, id)| id).collect()
        } else {
            // One that is connected to where it comes from goes before others.
            let connected = receivers.iter().any(|(connected, _)| *connected);
            let of_kind = receivers.iter().filter(|(one, _)| *one == connected);
            let ids: Vec<_> = of_kind.map(|(_, id)| *id).collect();
            // Those that share a port: what comes from one place goes to one of them (Linux:
            // `udp_ehashfn`).
            let chosen = flow(source) % ids.len().max(1) as u64;
            ids.get(chosen as usize).copied().into_iter().collect()
        };
        if to.is_empty() && !is_multicast {
            let body = Body::Unreachable { source, target };
            return self.transmit(Packet {
                from: host,
                to: from,
                body,
            });
        }
        for id in to {
            let Some(port) = self.port(host, id) else {
                continue;
            };
            if port.has_room(data.len()) {
                port.keep(data.clone(), Address::Udp(source));
                self.queue_port(host, id);
            } else {
                port.overflowed += 1;
                let number = target.port().into();
                self.trace(host, What::DatagramOverflow, number, data.len() as u64);
            }
        }
    }

    /// Nobody receives at `target` what was sent from `source`.
    pub(crate) fn unreachable(&mut self, host: HostId, source: SocketAddr, target: SocketAddr) {
        let ports = self.machine(host).ports.values_mut();
        let is_sender = |port: &&mut Port| {
            let own = port.host.socket_addr();
            let is_own = |own: SocketAddr| {
                own.port() == source.port()
                    && (own.ip() == source.ip() || is_any(own.ip(), source.ip(), port.only_v6))
            };
            let peer = port.peer.as_ref().and_then(Address::socket_addr);
            own.is_some_and(is_own) && peer.is_none_or(|peer| peer == target)
        };
        let Some(port) = ports.into_iter().find(is_sender) else {
            return;
        };
        if port.errors.len() < ERRORS {
            port.errors.push_back(DatagramError::Undelivered {
                to: Some(Address::Udp(target)),
                source: Errno::CONNREFUSED.into(),
            });
        }
        let id = port.id;
        self.queue_port(host, id);
    }

    /// A port that took nothing for a moment takes datagrams again.
    pub(crate) fn port_writable(&mut self, host: HostId, index: u32) {
        let Some(port) = self.machine(host).ports.get_mut(&index) else {
            return;
        };
        if std::mem::replace(&mut port.blocked, false) {
            port.writable = true;
            let id = port.id;
            self.queue_port(host, id);
        }
    }
}

/// A number for who sends.
fn flow(source: SocketAddr) -> u64 {
    let address = match source.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mixed = u128::from(address) << 16 ^ u128::from(source.port());
    let mixed = (mixed ^ mixed >> 64) as u64;
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// What sends for a port.
struct SimSocket {
    net: Rc<RefCell<Net>>,
    host: HostId,
    incarnation: u32,
    id: DatagramId,
}

/// What the loop gets of a port that was opened.
pub(crate) fn opened(
    net: &Rc<RefCell<Net>>,
    host: HostId,
    incarnation: u32,
    id: DatagramId,
    (own, peer): (Address, Option<Address>),
) -> OpenedDatagrams {
    let socket = SimSocket {
        net: Rc::clone(net),
        host,
        incarnation,
        id,
    };
    OpenedDatagrams {
        socket: Rc::new(socket),
        host: own,
        peer,
    }
}

impl SimSocket {
    fn with<R>(&self, action: impl FnOnce(&mut Net) -> io::Result<R>) -> io::Result<R> {
        let mut net = self.net.borrow_mut();
        if net.machine(self.host).incarnation != self.incarnation {
            return Err(io::ErrorKind::NotConnected.into());
        }
        action(&mut net)
    }

    fn port<R>(&self, action: impl FnOnce(&mut Port) -> io::Result<R>) -> io::Result<R> {
        self.with(|net| {
            action(
                net.port(self.host, self.id)
                    .ok_or(io::ErrorKind::NotConnected)?,
            )
        })
    }
}

impl DatagramSocket for SimSocket {
    fn send(&self, queue: &mut DatagramQueue) -> io::Result<DatagramSendStatus> {
        self.with(|net| {
            let blocks = net.random.chance(BLOCKED);
            while let Some((data, to)) = queue.front() {
                let is_udp = net
                    .port(self.host, self.id)
                    .is_some_and(|port| matches!(port.host, Address::Udp(_)));
                if blocks && is_udp {
                    let later = net.now + net.random.below(500_000);
                    let index = self.id.index;
                    if let Some(port) = net.port(self.host, self.id) {
                        port.blocked = true;
                    }
                    net.schedule(later, Event::PortWritable(self.host, index));
                    return Ok(DatagramSendStatus::Blocked);
                }
                if !net.send_datagram(self.host, self.id, data, to)? {
                    return Ok(DatagramSendStatus::TryAgain);
                }
                queue.pop(1);
            }
            Ok(DatagramSendStatus::Sent)
        })
    }

    fn connect(&self, peer: &Address) -> io::Result<()> {
        self.port(|port| {
            port.peer = Some(peer.clone());
            Ok(())
        })
    }

    fn set_option(&self, option: &DatagramOption) -> io::Result<()> {
        self.port(|port| match option {
            DatagramOption::JoinGroup(group, _) if !group.is_multicast() => {
                Err(Errno::INVAL.into())
            }
            DatagramOption::JoinGroup(group, _) => match port.groups.insert(*group) {
                true => Ok(()),
                false => Err(Errno::ADDRINUSE.into()),
            },
            DatagramOption::LeaveGroup(group, _) => match port.groups.remove(group) {
                true => Ok(()),
                false => Err(Errno::ADDRNOTAVAIL.into()),
            },
            DatagramOption::LoopbackMode(on) => {
                port.loopback = *on;
                Ok(())
            }
            _ => Ok(()),
        })
    }

    fn set_reading(&self, on: bool) {
        // A port that is closed reads nothing.
        let _ = self.with(|net| {
            if let Some(port) = net.port(self.host, self.id) {
                port.reading = on;
            }
            net.queue_port(self.host, self.id);
            Ok(())
        });
    }

    fn overflowed(&self) -> u64 {
        self.port(|port| Ok(port.overflowed)).unwrap_or(0)
    }
}
