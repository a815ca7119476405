//! A listening socket.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use ropewalk_core::Address;
use ropewalk_core::endpoint::{ServerEndpoint, TcpListen, UnixListen};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::canonical;
use super::socket::{Stream, apply};

/// A listening socket, and the descriptor that it keeps in reserve.
pub(super) struct Listener {
    socket: ListenSocket,
    address: Rc<Address>,
    /// Given up to accept, and close, what came when no other descriptor is left.
    reserve: Option<File>,
    /// Connections may be waiting.
    pub(super) ready: bool,
    /// It stands in the queue of what is ready.
    pub(super) queued: bool,
    /// It could not accept, and is left alone until the loop says otherwise.
    pub(super) resting: bool,
}

enum ListenSocket {
    Tcp {
        socket: TcpListener,
        /// It listens on all addresses: a connection tells which one it came to.
        any: bool,
    },
    Unix {
        socket: UnixListener,
        /// `None` for a socket that someone else has bound.
        _bound: Option<Bound>,
    },
}

/// A path that is removed when its listener closes, if it is still the listener's.
pub(super) struct Bound {
    path: PathBuf,
    device_and_inode: Option<(u64, u64)>,
}

/// What came of accepting.
pub(super) enum Accepted {
    Connection(Stream, Address, Rc<Address>),
    Nothing,
    Failed(io::Error),
}

impl Listener {
    pub(super) fn bind(
        endpoint: &ServerEndpoint,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let (socket, address) = match endpoint {
            ServerEndpoint::Tcp(listen) => bind_tcp(listen)?,
            ServerEndpoint::Unix(listen) => bind_unix(listen)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Self::new(socket, address, registry, token)
    }

    /// A listener on a socket that listens already.
    pub(super) fn adopt(socket: OwnedFd, registry: &Registry, token: Token) -> io::Result<Self> {
        let socket = Socket::from(socket);
        if !socket.is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket does not listen; call listen() on it before it is handed over",
            ));
        }
        socket.set_nonblocking(true)?;
        let (socket, address) = match socket.domain()? {
            Domain::UNIX => {
                let address = socket.local_addr()?;
                let address = Address::Unix(address.as_pathname().map(Arc::from));
                let socket = UnixListener::from_std(socket.into());
                let _bound = None;
                (ListenSocket::Unix { socket, _bound }, address)
            }
            Domain::IPV4 | Domain::IPV6 => tcp(socket)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Self::new(socket, address, registry, token)
    }

    fn new(
        mut socket: ListenSocket,
        address: Address,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let reserve = Some(reserve()?);
        socket
            .source()
            .register(registry, token, Interest::READABLE)?;
        Ok(Self {
            socket,
            address: Rc::new(address),
            reserve,
            ready: false,
            queued: false,
            resting: false,
        })
    }

    /// A duplicate of the socket.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            ListenSocket::Tcp { socket, .. } => socket.as_fd().try_clone_to_owned(),
            ListenSocket::Unix { socket, .. } => socket.as_fd().try_clone_to_owned(),
        }
    }

    /// Ends the registration, which does not end with the descriptor while the socket has
    /// duplicates.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        if let Err(error) = self.socket.source().deregister(registry) {
            tracing::debug!(%error, "a listener was not registered");
        }
    }

    pub(super) fn address(&self) -> Address {
        (*self.address).clone()
    }

    pub(super) fn accept(&mut self) -> Accepted {
        loop {
            let error = match self.try_accept() {
                Ok((stream, peer)) => {
                    let host = self.host(&stream);
                    return Accepted::Connection(stream, peer, host);
                }
                Err(error) => error,
            };
            use rustix::io::Errno;
            match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => {
                    self.ready = false;
                    return Accepted::Nothing;
                }
                // The peer went away while it waited, or the network to it did, or the call was
                // interrupted: the next one may be well (accept(2), "Error handling").
                Some(
                    Errno::CONNABORTED
                    | Errno::INTR
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NOPROTOOPT
                    | Errno::OPNOTSUPP,
                ) => {}
                Some(Errno::MFILE | Errno::NFILE) => {
                    self.turn_away();
                    return Accepted::Failed(error);
                }
                _ => return Accepted::Failed(error),
            }
        }
    }

    fn try_accept(&self) -> io::Result<(Stream, Address)> {
        match &self.socket {
            ListenSocket::Tcp { socket, .. } => {
                let (stream, peer) = socket.accept()?;
                Ok((Stream::Tcp(stream), canonical(peer)))
            }
            ListenSocket::Unix { socket, .. } => {
                let (stream, peer) = socket.accept()?;
                let path = peer.as_pathname().map(Arc::from);
                Ok((Stream::Unix(stream), Address::Unix(path)))
            }
        }
    }

    /// There is no descriptor left: closes those that wait, so that their peers learn of it at
    /// once and not by a time-out. The loop lets the listener rest after this, so it is bounded.
    fn turn_away(&mut self) {
        for _ in 0..super::ACCEPTS_IN_A_ROW {
            drop(self.reserve.take());
            let turned_away = self.try_accept().is_ok();
            self.reserve = reserve().ok();
            if !turned_away {
                return;
            }
        }
    }

    fn host(&self, stream: &Stream) -> Rc<Address> {
        match self.socket {
            ListenSocket::Tcp { any: true, .. } => match stream.host() {
                Ok(host) => Rc::new(host),
                Err(_) => Rc::clone(&self.address),
            },
            _ => Rc::clone(&self.address),
        }
    }
}

impl ListenSocket {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp { socket, .. } => socket,
            Self::Unix { socket, .. } => socket,
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.device_and_inode.is_some() && identity(&self.path) == self.device_and_inode {
            // Whoever removed it first has done what is wanted.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_tcp(listen: &TcpListen) -> io::Result<(ListenSocket, Address)> {
    let socket = bound_tcp(listen)?;
    socket.listen(listen.backlog.into())?;
    tcp(socket)
}

fn tcp(socket: Socket) -> io::Result<(ListenSocket, Address)> {
    let socket = TcpListener::from_std(socket.into());
    let address = socket.local_addr()?;
    let any = address.ip().is_unspecified();
    Ok((ListenSocket::Tcp { socket, any }, Address::Tcp(address)))
}

/// Whether a port is free of others, those too that would share it.
pub(crate) fn probe(listen: &TcpListen) -> io::Result<()> {
    let alone = listen.clone().reuse_port(false);
    bound_tcp(&alone).map(drop)
}

/// A socket on the port, which does not listen yet.
fn bound_tcp(listen: &TcpListen) -> io::Result<Socket> {
    match listen.interface {
        Some(interface) => open_tcp(listen, interface),
        None => match open_tcp(listen, Ipv6Addr::UNSPECIFIED.into()) {
            Err(error) if no_ipv6(&error) && !listen.only_v6 => {
                open_tcp(listen, Ipv4Addr::UNSPECIFIED.into())
            }
            other => other,
        },
    }
}

fn open_tcp(listen: &TcpListen, interface: IpAddr) -> io::Result<Socket> {
    let address = SocketAddr::new(interface, listen.port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(listen.only_v6)?;
    }
    // Connections of an earlier process that linger in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    if listen.reuse_port {
        socket.set_reuse_port(true)?;
    }
    apply(&SockRef::from(&socket), &listen.socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

pub(super) fn no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

fn bind_unix(listen: &UnixListen) -> io::Result<(ListenSocket, Address)> {
    let path = &listen.path;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    // Nobody can connect before `listen`, so nobody can before the mode is right.
    let bound = bind_unix_socket(&socket, path, listen.mode)?;
    socket.listen(listen.backlog.into())?;
    let socket = UnixListener::from_std(socket.into());
    let address = Address::Unix(Some(Arc::from(path.as_path())));
    Ok((
        ListenSocket::Unix {
            socket,
            _bound: bound,
        },
        address,
    ))
}

/// Binds a socket to a path with this mode, in the place of one that was left behind; or to an
/// abstract name, which has no file.
pub(super) fn bind_unix_socket(
    socket: &Socket,
    path: &Path,
    mode: u32,
) -> io::Result<Option<Bound>> {
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, socket.r#type()?) =>
        {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        other => other?,
    }
    if address.as_abstract_namespace().is_some() {
        return Ok(None);
    }
    let bound = Bound {
        path: path.to_owned(),
        device_and_inode: identity(path),
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(Some(bound))
}

/// Whether `path` is a socket that nobody listens on: left behind by a process that was killed.
/// It does not wait for one that listens and is too busy to accept.
fn is_stale(path: &Path, kind: Type) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let knock = || {
        let socket = Socket::new(Domain::UNIX, kind.nonblocking().cloexec(), None)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    is_socket && knock().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}
