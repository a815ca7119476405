//! How streams are opened: the three steps of TCP (RFC 9293 section 3.5), and the one of Unix
//! sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{SocketOptions, TcpConnect};
use ropewalk_core::{Address, ConnectionId};
use rustix::io::Errno;

use crate::machine::{HostId, host_at};
use crate::net::{Net, nanos};
use crate::packet::Body;
use crate::socket::{BUFFER, Owner, RTO_SYN, Receiving, Sending, Socket, SocketId, Stage, Timer};
use crate::timing::SYN_RETRIES;
use crate::trace::What;

impl Net {
    /// Begins to connect.
    pub(crate) fn connect_tcp(
        &mut self,
        host: HostId,
        connection: ConnectionId,
        to: SocketAddr,
        options: &TcpConnect,
    ) -> io::Result<()> {
        let to = match to.ip().is_unspecified() {
            // To no address in particular is to this host.
            true => SocketAddr::new(loopback(to), to.port()),
            false => SocketAddr::new(to.ip().to_canonical(), to.port()),
        };
        let machine = self.machine(host);
        let own = match options.bind {
            Some(bind) if !machine.has(bind) => return Err(Errno::ADDRNOTAVAIL.into()),
            Some(bind) => bind,
            None if machine.has(to.ip()) => to.ip(),
            None => machine.towards(to.ip()),
        };
        let other = match machine.has(to.ip()) {
            true => Some(host),
            false => host_at(to.ip()).filter(|other| (other.0 as usize) < self.machines.len()),
        };
        // A packet to an address that nobody has goes to nobody, and nobody says so.
        let is_nowhere = other.is_none();
        let other = other.unwrap_or(host);
        let local = self.free_end(host, own, to)?;
        self.machine(host).take_descriptor()?;
        self.machine(host).taken.insert((local, to));
        let number = self.next_connection();
        let id = self.open_socket(
            (host, other),
            number,
            Owner::Loop(connection),
            (Rc::new(Address::Tcp(local)), Address::Tcp(to)),
            &options.socket,
        );
        self.place(host, connection, id);
        self.trace(host, What::Connecting, number, u64::from(to.port()));
        if is_nowhere {
            self.wait_until(id, self.now + nanos(Duration::from_secs(127)));
            if let Some(socket) = self.socket(id) {
                socket.out.retries = SYN_RETRIES;
            }
            return Ok(());
        }
        self.send_syn(id);
        Ok(())
    }

    /// Connects to a Unix socket of the same host: at once, or not at all.
    pub(crate) fn connect_unix(
        &mut self,
        host: HostId,
        connection: ConnectionId,
        path: &Path,
    ) -> io::Result<()> {
        let listener = self.unix_listener(host, path)?;
        self.machine(host).take_descriptor()?;
        let number = self.next_connection();
        let options = SocketOptions::default();
        let name = Address::Unix(Some(path.into()));
        let ends = (Rc::new(Address::Unix(None)), name.clone());
        let client = self.open_socket(
            (host, host),
            number,
            Owner::Loop(connection),
            ends,
            &options,
        );
        let ends = (Rc::new(name), Address::Unix(None));
        let server = self.open_socket(
            (host, host),
            number,
            Owner::Listener(listener),
            ends,
            &options,
        );
        for (one, other) in [(client, server), (server, client)] {
            if let Some(socket) = self.socket(one) {
                socket.is_unix = true;
                socket.stage = Stage::Open;
                socket.peer = Some(other);
                socket.out.window = BUFFER as u64;
                socket.inbound.offered = BUFFER as u64;
            }
        }
        self.place(host, connection, client);
        self.trace(host, What::Connecting, number, 0);
        self.queue(client);
        self.await_accept(server);
        Ok(())
    }

    fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    fn open_socket(
        &mut self,
        (host, other): (HostId, HostId),
        number: u64,
        owner: Owner,
        (local, remote): (Rc<Address>, Address),
        options: &SocketOptions,
    ) -> SocketId {
        let send = options.send_buffer.unwrap_or(BUFFER).clamp(2048, 1 << 26);
        let receive = options
            .receive_buffer
            .unwrap_or(BUFFER)
            .clamp(2048, 1 << 26);
        let keep_alive = options.keep_alive;
        let now = self.now;
        self.insert_socket(|id| Socket {
            id,
            host,
            other,
            number,
            is_unix: false,
            local,
            remote,
            stage: Stage::Connecting,
            owner,
            peer: None,
            out: Sending::new(send),
            inbound: Receiving::new(receive),
            ends_first: false,
            error: None,
            error_told: false,
            told_open: false,
            reading: true,
            blocked: false,
            writable: false,
            queued: false,
            timer: Timer::default(),
            keep_alive,
            heard: now,
            probes: 0,
        })
    }

    pub(crate) fn place(&mut self, host: HostId, connection: ConnectionId, id: SocketId) {
        let places = &mut self.machine(host).connections;
        let index = connection.index() as usize;
        if places.len() <= index {
            places.resize(index + 1, None);
        }
        places[index] = Some(id);
    }

    /// An end of its own that is free for a connection to `to`.
    fn free_end(&mut self, host: HostId, own: IpAddr, to: SocketAddr) -> io::Result<SocketAddr> {
        let range = self.machine(host).ephemeral.clone();
        let count = u64::from(range.end().saturating_sub(*range.start())) + 1;
        let first = self.random.below(count);
        let machine = self.machine(host);
        (0..count)
            .map(|step| range.start() + ((first + step) % count) as u16)
            .map(|port| SocketAddr::new(own, port))
            .find(|end| !machine.taken.contains(&(*end, to)) && !machine.listens_at(*end))
            .ok_or_else(|| Errno::ADDRNOTAVAIL.into())
    }

    pub(crate) fn send_syn(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let (host, other) = (socket.host, socket.other);
        let (Address::Tcp(source), Address::Tcp(target)) = (&*socket.local, &socket.remote) else {
            return;
        };
        let (source, target) = (*source, *target);
        let wait = RTO_SYN << socket.out.retries;
        let from = id;
        self.packet(
            host,
            other,
            Body::Syn {
                from,
                source,
                target,
            },
        );
        self.wait_until(id, self.now + wait);
    }

    pub(crate) fn send_syn_ack(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let (host, other, window) = (socket.host, socket.other, socket.inbound.offer());
        let Some(to) = socket.peer else { return };
        let wait = RTO_SYN << socket.out.retries;
        let from = id;
        self.packet(host, other, Body::SynAck { from, to, window });
        self.wait_until(id, self.now + wait);
    }

    /// Something has come that asks for a connection.
    pub(crate) fn asked(
        &mut self,
        from: HostId,
        host: HostId,
        client: SocketId,
        source: SocketAddr,
        target: SocketAddr,
    ) {
        if let Some(server) = self.answer_to(host, client) {
            // It has not heard the answer.
            return self.send_syn_ack(server);
        }
        let refuses = self.machine(host).refuses > 0;
        let listener = self.tcp_listener(host, target).filter(|_| !refuses);
        let Some(listener) = listener else {
            return self.packet(host, from, Body::Reset { to: client });
        };
        let Some(listener) = self.machine(host).listeners.get(&listener) else {
            return;
        };
        if listener.is_full() {
            // Linux drops it, and so it comes again.
            let number = self.socket(client).map_or(0, |client| client.number);
            return self.trace(host, What::Lost, number, 0);
        }
        let (number, options) = (listener.id, listener.options.clone());
        let ends = (Rc::new(Address::Tcp(target)), Address::Tcp(source));
        let connection = self.socket(client).map_or(0, |client| client.number);
        let owner = Owner::Listener(number);
        let server = self.open_socket((host, from), connection, owner, ends, &options);
        if let Some(socket) = self.socket(server) {
            socket.stage = Stage::Answering;
            socket.peer = Some(client);
        }
        if let Some(listener) = self.machine(host).listeners.get_mut(&number) {
            listener.answering.push(server);
        }
        self.send_syn_ack(server);
    }

    /// Who answered `client` before, and is not sure that it knows.
    fn answer_to(&mut self, host: HostId, client: SocketId) -> Option<SocketId> {
        let listeners = self.machines[host.0 as usize].listeners.values();
        let mut answering = listeners.flat_map(|listener| &listener.answering);
        let sockets = &self.sockets;
        answering
            .find(|id| {
                let socket = sockets.get(id.index as usize);
                socket.is_some_and(|socket| socket.id == **id && socket.peer == Some(client))
            })
            .copied()
    }

    /// What asked for a connection has an answer.
    pub(crate) fn answered(
        &mut self,
        from: HostId,
        host: HostId,
        client: SocketId,
        server: SocketId,
        window: u64,
    ) {
        let now = self.now;
        let is_its_own =
            |socket: &mut Socket| socket.stage == Stage::Connecting || socket.peer == Some(server);
        let is_known = !self.is_gone(client) && self.socket(client).is_some_and(is_its_own);
        let Some(socket) = self.socket(client).filter(|_| is_known) else {
            return self.packet(host, from, Body::Reset { to: server });
        };
        socket.heard = now;
        if socket.stage == Stage::Connecting {
            socket.stage = Stage::Open;
            socket.peer = Some(server);
            socket.out.window = window;
            socket.out.retries = 0;
            socket.inbound.offer();
            self.rest(client, true);
            self.queue(client);
            self.push(client, false);
        }
        self.send_ack(client);
    }

    /// The client of a connection knows that it is up.
    pub(crate) fn established(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        if socket.stage != Stage::Answering {
            return;
        }
        socket.stage = Stage::Open;
        socket.out.retries = 0;
        let (host, owner) = (socket.host, socket.owner);
        self.rest(id, true);
        if let Owner::Listener(listener) = owner {
            if let Some(listener) = self.machine(host).listeners.get_mut(&listener) {
                listener.answering.retain(|other| *other != id);
            }
            self.await_accept(id);
        }
    }
}

fn loopback(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}
