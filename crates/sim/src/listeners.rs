//! Ports and paths that are listened on, and the connections that wait there to be accepted.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::endpoint::{ServerEndpoint, SocketOptions, TcpListen, UnixListen};
use ropewalk_core::{Address, ConnectionId};
use rustix::io::Errno;

use crate::machine::{HostId, Machine, PathOwner, Ready};
use crate::net::Net;
use crate::socket::{Owner, SocketId};
use crate::trace::What;

pub(crate) struct Listener {
    pub(crate) id: u32,
    pub(crate) address: Rc<Address>,
    only_v6: bool,
    reuse_port: bool,
    backlog: usize,
    pub(crate) options: SocketOptions,
    /// Those that have an answer, and may not know it.
    pub(crate) answering: Vec<SocketId>,
    /// Those that can be accepted.
    pub(crate) waiting: VecDeque<SocketId>,
    pub(crate) queued: bool,
    /// It could not accept, and is left alone until the loop says otherwise.
    pub(crate) resting: bool,
}

impl Listener {
    /// Whether no more may wait.
    pub(crate) fn is_full(&self) -> bool {
        // Linux lets one more wait than was asked for.
        self.waiting.len() + self.answering.len() > self.backlog
    }

    pub(crate) fn forget(&mut self, id: SocketId) {
        self.answering.retain(|other| *other != id);
        self.waiting.retain(|other| *other != id);
    }

    /// Whether a connection to `target` is this one's.
    fn covers(&self, target: SocketAddr) -> bool {
        match *self.address {
            Address::Tcp(own) if own.port() == target.port() => {
                own.ip() == target.ip() || is_any(own.ip(), target.ip(), self.only_v6)
            }
            _ => false,
        }
    }

    /// Whether both cannot listen.
    fn excludes(&self, address: SocketAddr, only_v6: bool, reuse_port: bool) -> bool {
        let Address::Tcp(own) = *self.address else {
            return false;
        };
        let both_share = self.reuse_port && reuse_port;
        let overlap = own.ip() == address.ip()
            || is_any(own.ip(), address.ip(), self.only_v6)
            || is_any(address.ip(), own.ip(), only_v6);
        own.port() == address.port() && overlap && !both_share
    }
}

/// Whether `any` stands for all addresses, `one` among them.
pub(crate) fn is_any(any: IpAddr, one: IpAddr, only_v6: bool) -> bool {
    match any {
        IpAddr::V4(v4) => v4.is_unspecified() && one.is_ipv4(),
        IpAddr::V6(v6) => v6.is_unspecified() && (one.is_ipv6() || !only_v6),
    }
}

impl Machine {
    /// Whether something listens at this address, or at all.
    pub(crate) fn listens_at(&self, end: SocketAddr) -> bool {
        self.listeners
            .values()
            .any(|listener| listener.excludes(end, false, false))
    }
}

impl Net {
    pub(crate) fn listen(
        &mut self,
        host: HostId,
        id: u32,
        endpoint: &ServerEndpoint,
    ) -> io::Result<Address> {
        let listener = match endpoint {
            ServerEndpoint::Tcp(listen) => self.tcp_bound(host, id, listen)?,
            ServerEndpoint::Unix(listen) => self.unix_bound(host, id, listen)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let address = (*listener.address).clone();
        let port = address.port().unwrap_or(0);
        self.machine(host).listeners.insert(id, listener);
        self.trace(host, What::Listens, 0, port.into());
        Ok(address)
    }

    fn tcp_bound(&mut self, host: HostId, id: u32, listen: &TcpListen) -> io::Result<Listener> {
        let interface = listen.interface.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let machine = self.machine(host);
        if !interface.is_unspecified() && !machine.has(interface) {
            return Err(Errno::ADDRNOTAVAIL.into());
        }
        let is_free = |machine: &Machine, port| {
            let address = SocketAddr::new(interface, port);
            !machine
                .listeners
                .values()
                .any(|other| other.excludes(address, listen.only_v6, listen.reuse_port))
        };
        let port = match listen.port {
            0 => {
                let range = machine.ephemeral.clone();
                let count = u64::from(range.end().saturating_sub(*range.start())) + 1;
                let first = self.random.below(count);
                let machine = self.machine(host);
                let is_unused = |port: &u16| {
                    is_free(machine, *port)
                        && !machine.taken.iter().any(|(own, _)| own.port() == *port)
                };
                (0..count)
                    .map(|step| range.start() + ((first + step) % count) as u16)
                    .find(is_unused)
                    .ok_or(Errno::ADDRINUSE)?
            }
            port if is_free(machine, port) => port,
            _ => return Err(Errno::ADDRINUSE.into()),
        };
        self.machine(host).take_descriptor()?;
        Ok(Listener {
            id,
            address: Rc::new(Address::Tcp(SocketAddr::new(interface, port))),
            only_v6: listen.only_v6,
            reuse_port: listen.reuse_port,
            backlog: listen.backlog.into(),
            options: listen.socket.clone(),
            answering: Vec::new(),
            waiting: VecDeque::new(),
            queued: false,
            resting: false,
        })
    }

    fn unix_bound(&mut self, host: HostId, id: u32, listen: &UnixListen) -> io::Result<Listener> {
        let path: Arc<Path> = listen.path.as_path().into();
        self.take_path(host, &path, PathOwner::Listener(id))?;
        let taken = self.machine(host).take_descriptor();
        if let Err(error) = taken {
            self.free_path(host, &path, PathOwner::Listener(id));
            return Err(error);
        }
        Ok(Listener {
            id,
            address: Rc::new(Address::Unix(Some(path))),
            only_v6: false,
            reuse_port: false,
            backlog: listen.backlog.into(),
            options: SocketOptions::default(),
            answering: Vec::new(),
            waiting: VecDeque::new(),
            queued: false,
            resting: false,
        })
    }

    /// A path is somebody's from now on: in the place of what was left behind there.
    pub(crate) fn take_path(
        &mut self,
        host: HostId,
        path: &Arc<Path>,
        owner: PathOwner,
    ) -> io::Result<()> {
        let paths = &mut self.machine(host).paths;
        match paths.get(path) {
            None | Some(PathOwner::Nobody) => {
                paths.insert(Arc::clone(path), owner);
                Ok(())
            }
            Some(_) => Err(Errno::ADDRINUSE.into()),
        }
    }

    /// Its owner removes a path.
    pub(crate) fn free_path(&mut self, host: HostId, path: &Path, owner: PathOwner) {
        let paths = &mut self.machine(host).paths;
        if paths.get(path) == Some(&owner) {
            paths.remove(path);
        }
    }

    /// Who listens where `target` leads to.
    pub(crate) fn tcp_listener(&mut self, host: HostId, target: SocketAddr) -> Option<u32> {
        let machine = &self.machines[host.0 as usize];
        if !machine.has(target.ip()) {
            return None;
        }
        let exact = |listener: &&Listener| *listener.address == Address::Tcp(target);
        let covers = |listener: &&Listener| listener.covers(target);
        let listeners = || machine.listeners.values();
        let mut found: Vec<_> = listeners().filter(exact).map(|one| one.id).collect();
        if found.is_empty() {
            found = listeners().filter(covers).map(|one| one.id).collect();
        }
        match &found[..] {
            [] => None,
            [one] => Some(*one),
            // They share the port.
            several => self.random.pick(several).copied(),
        }
    }

    /// Who listens at a path, and lets one more wait.
    pub(crate) fn unix_listener(&mut self, host: HostId, path: &Path) -> io::Result<u32> {
        let machine = self.machine(host);
        let id = match machine.paths.get(path) {
            None => return Err(Errno::NOENT.into()),
            Some(PathOwner::Listener(id)) => *id,
            Some(PathOwner::Port(_)) => return Err(Errno::PROTOTYPE.into()),
            Some(PathOwner::Nobody) => return Err(Errno::CONNREFUSED.into()),
        };
        match machine.listeners.get(&id) {
            Some(listener) if listener.is_full() => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "as many connections wait there as its backlog allows",
            )),
            Some(_) => Ok(id),
            None => Err(Errno::CONNREFUSED.into()),
        }
    }

    /// A connection waits to be accepted.
    pub(crate) fn await_accept(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let (host, Owner::Listener(listener)) = (socket.host, socket.owner) else {
            return;
        };
        if let Some(listener) = self.machine(host).listeners.get_mut(&listener) {
            listener.waiting.push_back(id);
        }
        self.queue_listener(host, listener);
    }

    /// The loop is to be given a turn with it, if it can accept.
    pub(crate) fn queue_listener(&mut self, host: HostId, id: u32) {
        let Some(listener) = self.machine(host).listeners.get_mut(&id) else {
            return;
        };
        if !listener.waiting.is_empty() && !listener.resting && !listener.queued {
            listener.queued = true;
            self.tell(host, Ready::Listener(id));
        }
    }

    /// The loop has accepted a connection under this name. `false` if it is gone.
    pub(crate) fn accepted(&mut self, id: SocketId, connection: ConnectionId) -> bool {
        let Some(socket) = self.socket(id) else {
            return false;
        };
        socket.owner = Owner::Loop(connection);
        socket.told_open = true;
        let (host, number) = (socket.host, socket.number);
        let machine = self.machine(host);
        machine.descriptors += 1;
        self.place(host, connection, id);
        self.trace(host, What::Accepted, number, 0);
        self.queue(id);
        true
    }

    pub(crate) fn close_listener(&mut self, host: HostId, id: u32) {
        let machine = self.machine(host);
        let Some(listener) = machine.listeners.remove(&id) else {
            return;
        };
        machine.free_descriptor();
        if let Address::Unix(Some(path)) = &*listener.address {
            self.free_path(host, path, PathOwner::Listener(id));
        }
        for waiting in listener.waiting.into_iter().chain(listener.answering) {
            self.reset(waiting);
        }
    }
}
