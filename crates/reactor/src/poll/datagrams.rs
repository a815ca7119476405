//! A datagram port's socket, and what is known of it.
//!
//! It is registered for reading once. Writability is asked for while the kernel takes nothing, and
//! only then: the kernel tells of it after each datagram that leaves.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use ropewalk_core::endpoint::{
    DatagramClientEndpoint, DatagramEndpoint, DatagramOptions, Interface, MAX_DATAGRAM,
    MulticastGroup, UdpConnect, UdpListen, UnixDatagramConnect, UnixDatagramListen,
};
use ropewalk_core::{
    Address, DatagramError, DatagramOption, DatagramQueue, DatagramSendStatus, DatagramSocket,
};
use rustix::io::Errno;
use rustix::net::{
    MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketAddrUnix, send, sendmmsg, sendto,
};
use socket2::{Domain, InterfaceIndexOrAddress, SockAddr, Socket, Type};

use super::listener::{Bound, bind_unix_socket, no_ipv6};
use super::{Ready, error_queue, overflow};
use crate::driver::{DatagramId, DatagramTarget, OpenedDatagrams};

/// So many datagrams are sent by one call.
const SENT_TOGETHER: usize = 64;

/// So many errors of the network are taken up between two turns of a port.
const ERRORS_IN_A_ROW: usize = 64;

/// So often in a row sending may meet errors of the network, each time as many as are taken up.
const RETRIES: u32 = 16;

/// So often in a row receiving may fail before it is left until the kernel tells of more.
const FAILURES_IN_A_ROW: u32 = 16;

/// What came of receiving.
pub(super) enum Received {
    Batch,
    /// It may be well the next time.
    Error,
    Nothing,
}

/// A datagram port of the driver.
pub(super) struct PollPort {
    pub(super) id: DatagramId,
    socket: Socket,
    /// The path that it has in the file system.
    _bound: Option<Bound>,
    is_udp: bool,
    is_v6: bool,
    connected: Cell<bool>,
    max_size: usize,
    registry: Rc<Registry>,
    token: Token,
    ready: Rc<RefCell<VecDeque<Ready>>>,
    queued: Cell<bool>,
    /// The loop wants what comes, and something may have come.
    reading: Cell<bool>,
    readable: Cell<bool>,
    /// The kernel takes nothing, and was asked to say when it does.
    blocked: Cell<bool>,
    writable: Cell<bool>,
    /// The network may have something to say.
    errors_wait: Cell<bool>,
    /// What it has said, and the loop has not been told.
    errors: RefCell<VecDeque<DatagramError>>,
    failures: Cell<u32>,
}

impl PollPort {
    pub(super) fn open(
        id: DatagramId,
        target: DatagramTarget<'_>,
        registry: &Rc<Registry>,
        token: Token,
        ready: &Rc<RefCell<VecDeque<Ready>>>,
    ) -> io::Result<(Rc<Self>, OpenedDatagrams)> {
        let (socket, bound, max_size) = match target {
            DatagramTarget::Bound(DatagramEndpoint::Udp(listen)) => {
                (bind_udp(listen)?, None, listen.options.max_size)
            }
            DatagramTarget::Bound(DatagramEndpoint::Unix(listen)) => {
                let (socket, bound) = bind_unix(listen)?;
                (socket, bound, listen.options.max_size)
            }
            DatagramTarget::Connected(DatagramClientEndpoint::Udp(connect), Some(peer)) => {
                (connect_udp(connect, peer)?, None, connect.options.max_size)
            }
            DatagramTarget::Connected(DatagramClientEndpoint::Unix(connect), _) => {
                let (socket, bound) = connect_unix(connect)?;
                (socket, bound, connect.options.max_size)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        // Whoever sets the field may set it to anything.
        let max_size = max_size.clamp(1, MAX_DATAGRAM);
        let connected = matches!(target, DatagramTarget::Connected(..));
        let domain = socket.domain()?;
        let is_udp = domain != Domain::UNIX;
        let is_v6 = domain == Domain::IPV6;
        if is_udp {
            error_queue::ask(socket.as_fd(), is_v6)?;
        }
        let host = address(&socket.local_addr()?);
        let peer = match connected {
            true => Some(address(&socket.peer_addr()?)),
            false => None,
        };
        let fd = socket.as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        let port = Rc::new(Self {
            id,
            socket,
            _bound: bound,
            is_udp,
            is_v6,
            connected: Cell::new(connected),
            max_size,
            registry: Rc::clone(registry),
            token,
            ready: Rc::clone(ready),
            queued: Cell::new(false),
            reading: Cell::new(true),
            readable: Cell::new(false),
            blocked: Cell::new(false),
            writable: Cell::new(false),
            errors_wait: Cell::new(false),
            errors: RefCell::default(),
            failures: Cell::new(0),
        });
        if let DatagramTarget::Bound(DatagramEndpoint::Udp(UdpListen {
            group: Some(MulticastGroup { address, interface }),
            ..
        })) = target
        {
            port.set_option(&DatagramOption::JoinGroup(*address, interface.clone()))?;
        }
        let opened = OpenedDatagrams {
            socket: Rc::clone(&port) as Rc<dyn DatagramSocket>,
            host,
            peer,
        };
        Ok((port, opened))
    }

    /// What the kernel says of it.
    pub(super) fn note(&self, event: &mio::event::Event) {
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.readable.set(true);
        }
        if event.is_error() {
            self.errors_wait.set(true);
        }
        if event.is_writable() && self.blocked.get() {
            self.writable.set(true);
        }
        self.queue();
    }

    /// Makes it ready, unless it is already.
    fn queue(&self) {
        if !self.queued.replace(true) {
            let ready = Ready::Datagrams(self.id.index);
            self.ready.borrow_mut().push_back(ready);
        }
    }

    /// Its turn begins. Returns whether it has become writable.
    pub(super) fn begin_turn(&self) -> bool {
        self.queued.set(false);
        if !self.writable.replace(false) {
            return false;
        }
        self.blocked.set(false);
        if let Err(error) = self.register(Interest::READABLE) {
            tracing::debug!(%error, "a datagram port stays registered for writing");
        }
        true
    }

    fn may_read(&self) -> bool {
        self.readable.get() && self.reading.get()
    }

    pub(super) fn queue_if_readable(&self) {
        if self.may_read() {
            self.queue();
        }
    }

    /// Receives what waits, if the loop wants it, by a call that says whether there may be more.
    pub(super) fn receive(
        &self,
        call: impl FnOnce(BorrowedFd<'_>, usize) -> io::Result<bool>,
    ) -> Received {
        if !self.may_read() {
            return Received::Nothing;
        }
        match call(self.socket.as_fd(), self.max_size) {
            Ok(full) => {
                self.failures.set(0);
                // A batch that is not full has emptied the socket.
                self.readable.set(full);
                return Received::Batch;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => self.readable.set(false),
                io::ErrorKind::Interrupted => {}
                _ => self.receive_failed(error),
            },
        }
        Received::Error
    }

    /// Receiving has failed.
    fn receive_failed(&self, source: io::Error) {
        let was_told = self.take_errors();
        if was_told && is_of_the_network(&source) {
            return;
        }
        self.failures.set(self.failures.get() + 1);
        if self.failures.get() >= FAILURES_IN_A_ROW {
            // The next datagram, or error, is a new beginning.
            self.failures.set(0);
            self.readable.set(false);
        }
        let error = match is_of_the_network(&source) {
            true => DatagramError::Undelivered { to: None, source },
            false => DatagramError::Receive(source),
        };
        self.keep(error);
    }

    /// The errors that the loop is to be told of.
    pub(super) fn take_told(&self) -> VecDeque<DatagramError> {
        if self.errors_wait.replace(false) {
            self.take_errors();
        }
        self.errors.take()
    }

    /// Takes up what the network has said; whether there was anything.
    fn take_errors(&self) -> bool {
        if !self.is_udp {
            // It has no such queue: what is taken would be a datagram.
            return false;
        }
        let mut any = false;
        for _ in 0..ERRORS_IN_A_ROW {
            let Some((to, error)) = error_queue::take(self.socket.as_fd()) else {
                return any;
            };
            if let Some(source) = error {
                any = true;
                let to = to.map(canonical);
                self.keep(DatagramError::Undelivered { to, source });
            }
        }
        // There may be more.
        self.errors_wait.set(true);
        self.queue();
        any
    }

    fn keep(&self, error: DatagramError) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < ERRORS_IN_A_ROW {
            errors.push_back(error);
        }
        drop(errors);
        self.queue();
    }

    fn register(&self, interest: Interest) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        self.registry
            .reregister(&mut SourceFd(&fd), self.token, interest)
    }

    /// Whether the datagram at the front goes to another place than the port is connected to.
    fn names_one(&self, queue: &DatagramQueue) -> bool {
        !self.connected.get() || queue.front().is_some_and(|(_, to)| to.is_some())
    }

    /// Sends one or several from the front; returns how many.
    fn send_some(&self, queue: &DatagramQueue) -> io::Result<usize> {
        let socket = self.socket.as_fd();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if let (1, Some((data, to))) = (queue.len(), queue.front()) {
            match to {
                Some(to) => sendto(socket, data, flags, &self.name(to)?)?,
                None => send(socket, data, flags)?,
            };
            return Ok(1);
        }
        self.send_together(queue, flags)
    }

    #[cfg(target_os = "linux")]
    fn send_together(&self, queue: &DatagramQueue, flags: SendFlags) -> io::Result<usize> {
        let count = queue.len().min(SENT_TOGETHER);
        let mut names = Vec::with_capacity(count);
        let mut slices = Vec::with_capacity(count);
        for (data, to) in queue.iter().take(count) {
            match to.map(|to| self.name(to)).transpose() {
                Ok(name) => names.push(name),
                // Told when it is at the front.
                Err(error) if names.is_empty() => return Err(error),
                Err(_) => break,
            }
            slices.push([IoSlice::new(data)]);
        }
        let mut controls: Vec<_> = names
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        let mut messages: Vec<_> = names
            .iter()
            .zip(&slices)
            .zip(&mut controls)
            .map(|((name, slice), control)| match name {
                Some(name) => MMsgHdr::new_with_addr(name, slice, control),
                None => MMsgHdr::new(slice, control),
            })
            .collect();
        Ok(sendmmsg(self.socket.as_fd(), &mut messages, flags)?)
    }

    /// One at a time, where the system has no call for several.
    #[cfg(not(target_os = "linux"))]
    fn send_together(&self, queue: &DatagramQueue, flags: SendFlags) -> io::Result<usize> {
        let socket = self.socket.as_fd();
        if let Some((data, to)) = queue.front() {
            match to {
                Some(to) => sendto(socket, data, flags, &self.name(to)?)?,
                None => send(socket, data, flags)?,
            };
        }
        Ok(1)
    }

    /// An address as the kernel takes it for this socket.
    fn name(&self, to: &Address) -> io::Result<SocketAddrAny> {
        match to {
            Address::Udp(to) | Address::Tcp(to) => Ok(self.of_family(*to).into()),
            Address::Unix(Some(path)) => unix_name(path),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "who is there has no address to send to",
            )),
        }
    }

    /// An IPv6 socket sends to IPv4 addresses under the names that these have in IPv6 (RFC 4291
    /// section 2.5.5.2).
    fn of_family(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.is_v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        }
    }
}

impl DatagramSocket for PollPort {
    fn send(&self, queue: &mut DatagramQueue) -> io::Result<DatagramSendStatus> {
        let mut retries = 0;
        let mut unexplained = None;
        while !queue.is_empty() {
            let error = match self.send_some(queue) {
                Ok(sent) => {
                    if let Some(source) = unexplained.take()
                        && self.connected.get()
                    {
                        self.keep(DatagramError::Undelivered { to: None, source });
                    }
                    queue.pop(sent);
                    retries = 0;
                    continue;
                }
                Err(error) => error,
            };
            match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                // Nobody tells when the queue of a Unix socket has room that is not connected to.
                Some(Errno::AGAIN) if !self.is_udp && self.names_one(queue) => {
                    return Ok(DatagramSendStatus::TryAgain);
                }
                Some(Errno::AGAIN) => {
                    self.register(Interest::READABLE | Interest::WRITABLE)?;
                    self.blocked.set(true);
                    return Ok(DatagramSendStatus::Blocked);
                }
                // The queue of the network interface is full, or the kernel has no memory.
                Some(Errno::NOBUFS | Errno::NOMEM) => return Ok(DatagramSendStatus::TryAgain),
                // It may be said of an earlier datagram, and this one was not sent. There may be
                // more to be said; what nothing is known of is this one's when it comes again.
                Some(_)
                    if self.is_udp
                        && is_of_the_network(&error)
                        && unexplained.is_none()
                        && retries < RETRIES =>
                {
                    retries += 1;
                    if !self.take_errors() {
                        unexplained = Some(error);
                    }
                }
                _ => return Err(error),
            }
        }
        Ok(DatagramSendStatus::Sent)
    }

    fn connect(&self, peer: &Address) -> io::Result<()> {
        let name = match peer {
            Address::Udp(peer) | Address::Tcp(peer) => self.of_family(*peer).into(),
            Address::Unix(Some(path)) => SockAddr::unix(path)?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        self.socket.connect(&name)?;
        self.connected.set(true);
        Ok(())
    }

    fn set_option(&self, option: &DatagramOption) -> io::Result<()> {
        if !self.is_udp {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a Unix socket has no groups, hops or broadcasts",
            ));
        }
        let socket = &self.socket;
        match option {
            DatagramOption::JoinGroup(IpAddr::V4(group), interface) => {
                match self.of_v4(interface)? {
                    InterfaceIndexOrAddress::Address(by) => socket.join_multicast_v4(group, &by),
                    by => socket.join_multicast_v4_n(group, &by),
                }
            }
            DatagramOption::LeaveGroup(IpAddr::V4(group), interface) => {
                match self.of_v4(interface)? {
                    InterfaceIndexOrAddress::Address(by) => socket.leave_multicast_v4(group, &by),
                    by => socket.leave_multicast_v4_n(group, &by),
                }
            }
            DatagramOption::JoinGroup(IpAddr::V6(group), interface) => {
                socket.join_multicast_v6(group, self.index(interface)?)
            }
            DatagramOption::LeaveGroup(IpAddr::V6(group), interface) => {
                socket.leave_multicast_v6(group, self.index(interface)?)
            }
            DatagramOption::OutgoingInterface(IpAddr::V4(_), interface) => {
                match self.of_v4(interface)? {
                    InterfaceIndexOrAddress::Address(by) => socket.set_multicast_if_v4(&by),
                    InterfaceIndexOrAddress::Index(_) => Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "the outgoing interface of IPv4 is said by its address",
                    )),
                }
            }
            DatagramOption::OutgoingInterface(IpAddr::V6(_), interface) => {
                socket.set_multicast_if_v6(self.index(interface)?)
            }
            DatagramOption::LoopbackMode(on) => self.by_family(
                || socket.set_multicast_loop_v4(*on),
                || socket.set_multicast_loop_v6(*on),
            ),
            DatagramOption::MulticastTtl(hops) => self.by_family(
                || socket.set_multicast_ttl_v4((*hops).into()),
                || socket.set_multicast_hops_v6((*hops).into()),
            ),
            DatagramOption::Ttl(hops) => self.by_family(
                || socket.set_ttl_v4((*hops).into()),
                || socket.set_unicast_hops_v6((*hops).into()),
            ),
            DatagramOption::Broadcast(on) => socket.set_broadcast(*on),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn overflowed(&self) -> u64 {
        overflow::overflowed(self.socket.as_fd())
    }

    fn set_reading(&self, on: bool) {
        self.reading.set(on);
        self.queue_if_readable();
    }
}

impl PollPort {
    /// An IPv6 socket sends over IPv4 too.
    fn by_family(
        &self,
        v4: impl FnOnce() -> io::Result<()>,
        v6: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_v6 {
            v6()?;
            // A socket that takes no IPv4 has no such option.
            let _ = v4();
            return Ok(());
        }
        v4()
    }

    fn of_v4(&self, interface: &Interface) -> io::Result<InterfaceIndexOrAddress> {
        match interface {
            Interface::Any => Ok(InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED)),
            Interface::Address(IpAddr::V4(address)) => {
                Ok(InterfaceIndexOrAddress::Address(*address))
            }
            other => self.index(other).map(InterfaceIndexOrAddress::Index),
        }
    }

    fn index(&self, interface: &Interface) -> io::Result<u32> {
        match interface {
            Interface::Any => Ok(0),
            Interface::Index(index) => Ok(*index),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Interface::Name(name) => {
                rustix::net::netdevice::name_to_index(self.socket.as_fd(), name).map_err(|error| {
                    let message = format!("the interface {name}: {}", io::Error::from(error));
                    io::Error::new(io::Error::from(error).kind(), message)
                })
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an interface of IPv6 is said by its name or number",
            )),
        }
    }
}

/// A datagram that did not arrive, as the network tells it: RFC 1122 section 3.2.2.1.
fn is_of_the_network(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::MSGSIZE
                | Errno::ACCESS
                | Errno::CONNRESET
        )
    )
}

/// An address as the program sees it.
pub(super) fn address(name: &SockAddr) -> Address {
    if let Some(address) = name.as_socket() {
        return canonical(address);
    }
    let path = match (name.as_abstract_namespace(), name.as_pathname()) {
        (Some(name), _) => {
            let mut path = vec![0];
            path.extend_from_slice(name);
            Some(Arc::from(Path::new(OsStr::from_bytes(&path))))
        }
        (None, path) => path.map(Arc::from),
    };
    Address::Unix(path)
}

/// As [`address`], of what another crate has read.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn any_address(name: Option<SocketAddrAny>) -> Address {
    let Some(name) = name else {
        return Address::Unix(None);
    };
    match (
        SocketAddr::try_from(name.clone()),
        SocketAddrUnix::try_from(name),
    ) {
        (Ok(address), _) => canonical(address),
        (_, Ok(unix)) => {
            let path = unix
                .path_bytes()
                .map(|bytes| Arc::from(Path::new(OsStr::from_bytes(bytes))));
            Address::Unix(path)
        }
        _ => Address::Unix(None),
    }
}

/// An IPv4 peer of an IPv6 socket is an IPv4 peer.
fn canonical(address: SocketAddr) -> Address {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => Address::Udp(SocketAddr::new(v4, address.port())),
        // With its scope.
        IpAddr::V6(_) => Address::Udp(address),
    }
}

fn unix_name(path: &Path) -> io::Result<SocketAddrAny> {
    let bytes = path.as_os_str().as_bytes();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = bytes.strip_prefix(b"\0") {
        return Ok(SocketAddrUnix::new_abstract_name(name)?.into());
    }
    Ok(SocketAddrUnix::new(bytes)?.into())
}

fn bind_udp(listen: &UdpListen) -> io::Result<Socket> {
    let of_v4 = |group: &MulticastGroup| group.address.is_ipv4();
    match listen.interface {
        Some(interface) => open_udp(listen, interface),
        None if listen.group.as_ref().is_some_and(of_v4) => {
            open_udp(listen, Ipv4Addr::UNSPECIFIED.into())
        }
        None => match open_udp(listen, Ipv6Addr::UNSPECIFIED.into()) {
            Err(error) if no_ipv6(&error) && !listen.only_v6 => {
                open_udp(listen, Ipv4Addr::UNSPECIFIED.into())
            }
            other => other,
        },
    }
}

fn open_udp(listen: &UdpListen, interface: IpAddr) -> io::Result<Socket> {
    let address = SocketAddr::new(interface, listen.port);
    let socket = new_socket(Domain::for_address(address), &listen.options)?;
    if address.is_ipv6() {
        socket.set_only_v6(listen.only_v6)?;
    }
    own_groups_only(&socket)?;
    if listen.reuse_port {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
    }
    if listen.broadcast {
        socket.set_broadcast(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// On Linux a port of all addresses gets what is sent to any group that any process of the host has
/// joined, unless it says otherwise (ip(7), `IP_MULTICAST_ALL`).
#[cfg(target_os = "linux")]
fn own_groups_only(socket: &Socket) -> io::Result<()> {
    if socket.domain()? == Domain::IPV6 {
        // Since Linux 4.20.
        let _ = socket.set_multicast_all_v6(false);
    }
    socket.set_multicast_all_v4(false)
}

#[cfg(not(target_os = "linux"))]
fn own_groups_only(_: &Socket) -> io::Result<()> {
    Ok(())
}

fn connect_udp(connect: &UdpConnect, peer: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(Domain::for_address(peer), &connect.options)?;
    if connect.broadcast {
        socket.set_broadcast(true)?;
    }
    if let Some(bind) = connect.bind {
        socket.bind(&SocketAddr::new(bind, 0).into())?;
    }
    socket.connect(&peer.into())?;
    Ok(socket)
}

fn bind_unix(listen: &UnixDatagramListen) -> io::Result<(Socket, Option<Bound>)> {
    let socket = new_socket(Domain::UNIX, &listen.options)?;
    let bound = bind_unix_socket(&socket, &listen.path, listen.mode)?;
    Ok((socket, bound))
}

fn connect_unix(connect: &UnixDatagramConnect) -> io::Result<(Socket, Option<Bound>)> {
    let socket = new_socket(Domain::UNIX, &connect.options)?;
    let bound = match &connect.bind {
        Some(path) => bind_unix_socket(&socket, path, 0o600)?,
        None => None,
    };
    socket.connect(&SockAddr::unix(&connect.path)?)?;
    Ok((socket, bound))
}

fn new_socket(domain: Domain, options: &DatagramOptions) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), None)?;
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(socket)
}
