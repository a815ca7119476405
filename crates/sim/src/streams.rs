//! Streams: how they are opened, what is sent and received on them, how they end.
//!
//! It is TCP (RFC 9293) without its headers: bytes have offsets, are sent within the window of the
//! peer, are acknowledged, and are sent again when nothing was heard for a while. A Unix socket is
//! the same over a link that loses nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{SocketOptions, TcpConnect};
use ropewalk_core::{Address, ConnectionId, OutputQueue, SendStatus, SocketOption};
use rustix::io::Errno;

use crate::machine::{HostId, Ready, host_at};
use crate::net::{Event, Nanos, Net, nanos};
use crate::packet::{Body, Packet};
use crate::socket::{BUFFER, Owner, RTO_SYN, Receiving, Sending, Socket, SocketId, Stage, Timer};
use crate::trace::What;

/// How often a SYN, and an answer to one, is sent again (Linux: `tcp_syn_retries`,
/// `tcp_synack_retries`).
const SYN_RETRIES: u32 = 6;
const SYNACK_RETRIES: u32 = 5;

/// How long it is tried to send bytes again before the connection is given up, as long as somebody
/// holds it, and when nobody does (Linux: `tcp_retries2`, `tcp_orphan_retries`).
const GIVES_UP: Duration = Duration::from_secs(924);
const ORPHAN_GIVES_UP: Duration = Duration::from_secs(100);

/// How long an end is there that is closed, to answer what is late (Linux: `TCP_TIMEWAIT_LEN` and
/// `tcp_fin_timeout`).
const LINGERS: Nanos = 60_000_000_000;

/// How often, and how long apart, a silent peer is asked whether it is there (Linux:
/// `tcp_keepalive_probes`, `tcp_keepalive_intvl`).
const PROBES: u32 = 9;
const PROBE_INTERVAL: Nanos = 75_000_000_000;

/// How likely a program is told that there is no room for now, when there is some.
const SHORT_WRITE: f64 = 1.0 / 16.0;

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
        path: &std::path::Path,
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
    fn free_end(
        &mut self,
        host: HostId,
        own: std::net::IpAddr,
        to: SocketAddr,
    ) -> io::Result<SocketAddr> {
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

    /// A socket of the loop's, by its name.
    pub(crate) fn of_loop(&mut self, host: HostId, connection: ConnectionId) -> Option<SocketId> {
        let places = &self.machine(host).connections;
        let id = (*places.get(connection.index() as usize)?)?;
        let owner = Owner::Loop(connection);
        self.socket(id)
            .is_some_and(|socket| socket.owner == owner)
            .then_some(id)
    }

    /// The loop is to be given a turn with it, if there is something to tell.
    pub(crate) fn queue(&mut self, id: SocketId) {
        let now = self.now;
        let Some(socket) = self.socket(id) else {
            return;
        };
        if socket.connection().is_none() || socket.queued {
            return;
        }
        let is_up = socket.stage == Stage::Open && !socket.told_open;
        if is_up || socket.writable || socket.may_read(now) || socket.may_fail() {
            socket.queued = true;
            let host = socket.host;
            self.tell(host, Ready::Socket(id));
        }
    }

    fn packet(&mut self, from: HostId, to: HostId, body: Body) {
        self.transmit(Packet { from, to, body });
    }

    fn send_syn(&mut self, id: SocketId) {
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

    fn send_syn_ack(&mut self, id: SocketId) {
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
        let is_known = self
            .socket(client)
            .is_some_and(|socket| socket.stage == Stage::Connecting || socket.peer == Some(server));
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
    fn established(&mut self, id: SocketId) {
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

    pub(crate) fn send_ack(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let (host, other) = (socket.host, socket.other);
        let (next, window) = (socket.inbound.acknowledged(), socket.inbound.offer());
        let Some(to) = socket.peer else { return };
        let from = id;
        self.packet(
            host,
            other,
            Body::Ack {
                from,
                to,
                next,
                window,
            },
        );
    }

    /// Bytes have come.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the fields of one packet"
    )]
    pub(crate) fn segment(
        &mut self,
        from: HostId,
        host: HostId,
        sender: SocketId,
        id: SocketId,
        at: u64,
        data: &[u8],
        fin: bool,
    ) {
        if self.socket(id).is_none() {
            return self.packet(host, from, Body::Reset { to: sender });
        }
        self.established(id);
        let now = self.now;
        let Some(socket) = self.socket(id) else {
            return;
        };
        socket.heard = now;
        socket.probes = 0;
        let is_new = at + data.len() as u64 > socket.inbound.next;
        if socket.owner == Owner::Kernel && is_new && !data.is_empty() {
            // Nobody is there to read it (RFC 9293 section 3.10.7.1).
            self.packet(host, from, Body::Reset { to: sender });
            return self.remove_socket(id);
        }
        socket.inbound.take(at, data, fin);
        self.send_ack(id);
        self.queue(id);
        self.finish(id);
    }

    /// The peer tells what it has.
    pub(crate) fn acknowledged(
        &mut self,
        from: HostId,
        host: HostId,
        sender: SocketId,
        id: SocketId,
        next: u64,
        window: u64,
    ) {
        if self.socket(id).is_none() {
            return self.packet(host, from, Body::Reset { to: sender });
        }
        self.established(id);
        let now = self.now;
        let Some(socket) = self.socket(id) else {
            return;
        };
        if socket.stage == Stage::Connecting {
            return;
        }
        socket.heard = now;
        socket.probes = 0;
        let is_news = socket.out.acknowledge(now, next);
        socket.out.window = socket.out.window.max(window);
        if socket.blocked && socket.out.room() >= socket.out.capacity / 3 {
            socket.blocked = false;
            socket.writable = true;
        }
        if is_news {
            self.rest(id, true);
        }
        self.push(id, false);
        self.queue(id);
        self.finish(id);
    }

    /// Sends what the peer has room for.
    pub(crate) fn push(&mut self, id: SocketId, mut probe: bool) {
        let now = self.now;
        loop {
            let Some(socket) = self.sockets.get_mut(id.index as usize) else {
                return;
            };
            if socket.id != id || !matches!(socket.stage, Stage::Open) {
                return;
            }
            let (host, other, Some(to)) = (socket.host, socket.other, socket.peer) else {
                return;
            };
            let most = self.links.get(host, other).segment();
            let Some(piece) = socket.out.next_piece(now, most, probe) else {
                break;
            };
            probe = false;
            let (from, at, data, fin) = (id, piece.at, piece.data, piece.ends);
            self.packet(
                host,
                other,
                Body::Segment {
                    from,
                    to,
                    at,
                    data,
                    fin,
                },
            );
        }
        self.rest(id, false);
    }

    /// Sets the timer of an open socket to what it is to wait for: `anew`, or if that comes earlier
    /// than what it waits for.
    fn rest(&mut self, id: SocketId, anew: bool) {
        let now = self.now;
        let Some(socket) = self.socket(id) else {
            return;
        };
        if socket.stage != Stage::Open {
            return;
        }
        let due = if socket.out.waits() || socket.out.has_more() {
            // Of what waits for room, the peer will be asked whether there is some.
            let due = now + socket.out.timeout();
            let earlier = socket.timer.due.filter(|_| !anew);
            Some(earlier.map_or(due, |earlier| earlier.min(due)))
        } else if socket.owner == Owner::Kernel && socket.out.end_acknowledged {
            Some(now + LINGERS)
        } else {
            let silent = |after| match socket.probes {
                0 => socket.heard + after,
                _ => now + PROBE_INTERVAL,
            };
            socket.keep_alive().map(silent)
        };
        match due {
            Some(due) => self.wait_until(id, due),
            None => socket.timer.due = None,
        }
    }

    fn wait_until(&mut self, id: SocketId, due: Nanos) {
        let due = due.max(self.now);
        let Some(socket) = self.socket(id) else {
            return;
        };
        socket.timer.due = Some(due);
        if socket.timer.armed.is_none_or(|armed| armed > due) {
            socket.timer.armed = Some(due);
            self.schedule(due, Event::Timer(id));
        }
    }

    /// The event that stands for the timer of a socket has come.
    pub(crate) fn timer(&mut self, id: SocketId) {
        let now = self.now;
        let Some(socket) = self.socket(id) else {
            return;
        };
        if socket.timer.armed != Some(now) {
            // One that was set for earlier stands for it.
            return;
        }
        socket.timer.armed = None;
        match socket.timer.due {
            None => {}
            Some(due) if due > now => self.wait_until(id, due),
            Some(_) => {
                socket.timer.due = None;
                self.timed_out(id);
            }
        }
    }

    fn timed_out(&mut self, id: SocketId) {
        let now = self.now;
        let Some(socket) = self.socket(id) else {
            return;
        };
        match socket.stage {
            Stage::Connecting if socket.out.retries >= SYN_RETRIES => {
                self.break_with(id, Errno::TIMEDOUT);
            }
            Stage::Connecting => {
                socket.out.retries += 1;
                self.send_syn(id);
            }
            Stage::Answering if socket.out.retries >= SYNACK_RETRIES => self.remove_socket(id),
            Stage::Answering => {
                socket.out.retries += 1;
                self.send_syn_ack(id);
            }
            Stage::TimeWait => self.remove_socket(id),
            Stage::Open if socket.out.waits() || socket.out.has_more() => {
                let limit = match socket.owner {
                    Owner::Kernel => ORPHAN_GIVES_UP,
                    _ => GIVES_UP,
                };
                let since = socket.out.waiting_since.unwrap_or(now);
                // A peer that answers has no room, and is not gone.
                if now - since.max(socket.heard) >= nanos(limit) {
                    return self.break_with(id, Errno::TIMEDOUT);
                }
                let (host, other, number) = (socket.host, socket.other, socket.number);
                let segment = self.links.get(host, other).segment() as u64;
                if let Some(socket) = self.socket(id) {
                    socket.out.go_back(segment);
                }
                self.trace(host, What::Retried, number, 0);
                self.push(id, true);
            }
            Stage::Open if socket.owner == Owner::Kernel => self.remove_socket(id),
            Stage::Open => self.probe(id),
        }
    }

    /// Asks a silent peer whether it is there (RFC 9293 section 3.8.4).
    fn probe(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        if socket.probes >= PROBES {
            return self.break_with(id, Errno::TIMEDOUT);
        }
        socket.probes += 1;
        let (host, other, Some(to)) = (socket.host, socket.other, socket.peer) else {
            return;
        };
        let (from, at, data, fin) = (id, socket.out.acknowledged, bytes::Bytes::new(), false);
        self.packet(
            host,
            other,
            Body::Segment {
                from,
                to,
                at,
                data,
                fin,
            },
        );
        self.wait_until(id, self.now + PROBE_INTERVAL);
    }

    /// The peer says that there is no such connection, or no longer.
    pub(crate) fn was_reset(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let error = match socket.stage {
            Stage::Connecting => Errno::CONNREFUSED,
            Stage::Answering | Stage::TimeWait => return self.remove_socket(id),
            Stage::Open => Errno::CONNRESET,
        };
        self.break_with(id, error);
    }

    /// The connection is broken: tells the loop, if it has it.
    pub(crate) fn break_with(&mut self, id: SocketId, error: Errno) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        if socket.owner == Owner::Kernel {
            return self.remove_socket(id);
        }
        socket.error.get_or_insert(error);
        socket.out.buffer.clear();
        socket.timer.due = None;
        self.queue(id);
    }

    /// Takes bytes from a program.
    pub(crate) fn send(
        &mut self,
        host: HostId,
        connection: ConnectionId,
        output: &mut OutputQueue,
    ) -> io::Result<SendStatus> {
        let id = self
            .of_loop(host, connection)
            .ok_or(io::ErrorKind::NotConnected)?;
        let short = self.random.chance(SHORT_WRITE);
        let later = self.random.below(200_000);
        let mut taken = 0;
        let status = loop {
            if !output.has_bytes() {
                break SendStatus::Ready;
            }
            let socket = self.socket(id).ok_or(io::ErrorKind::NotConnected)?;
            if let Some(error) = socket.error {
                let was_told = std::mem::replace(&mut socket.error_told, true);
                return Err(if was_told { Errno::PIPE } else { error }.into());
            }
            if socket.out.ended {
                return Err(Errno::PIPE.into());
            }
            let room = socket.out.room();
            let until = output.until_descriptor().unwrap_or(u64::MAX);
            let at = socket.out.end();
            let peer = socket.peer.filter(|_| socket.is_unix);
            let descriptors = output.take_front_descriptors();
            self.pass_descriptors(peer, at, descriptors);
            if room == 0 || short && taken > 0 {
                let socket = self.socket(id).ok_or(io::ErrorKind::NotConnected)?;
                socket.blocked = true;
                if room > 0 {
                    self.schedule(self.now + later, Event::Writable(id));
                }
                break SendStatus::Blocked;
            }
            let bytes = output.front()?;
            let mut count = bytes
                .len()
                .min(room)
                .min(usize::try_from(until).unwrap_or(room));
            if short && count > 1 {
                count = 1 + self.random.index(count - 1);
            }
            let socket = self.socket(id).ok_or(io::ErrorKind::NotConnected)?;
            socket.out.buffer.extend(&bytes[..count]);
            output.consume(count as u64);
            taken += count;
        };
        if let Some(socket) = self.socket(id)
            && taken > 0
        {
            let number = socket.number;
            self.trace(host, What::Sent, number, taken as u64);
            self.push(id, false);
        }
        Ok(status)
    }

    /// Descriptors go to the other end of a Unix socket beside the bytes.
    fn pass_descriptors(&mut self, peer: Option<SocketId>, at: u64, descriptors: Vec<OwnedFd>) {
        if let Some(peer) = peer.and_then(|peer| self.socket(peer)) {
            let passed = descriptors.into_iter().map(|one| (at, one));
            peer.inbound.descriptors.extend(passed);
        }
    }

    /// Room that there was all along is told of.
    pub(crate) fn writable(&mut self, id: SocketId) {
        if let Some(socket) = self.socket(id)
            && socket.blocked
            && socket.out.room() > 0
        {
            socket.blocked = false;
            socket.writable = true;
            self.queue(id);
        }
    }

    pub(crate) fn shutdown_write(&mut self, id: SocketId) -> io::Result<()> {
        let socket = self.socket(id).ok_or(io::ErrorKind::NotConnected)?;
        if socket.error.is_some() {
            return Err(Errno::NOTCONN.into());
        }
        socket.ends_first |= !socket.inbound.ended;
        socket.out.ended = true;
        let (host, number) = (socket.host, socket.number);
        self.trace(host, What::EndedWriting, number, 0);
        self.push(id, false);
        Ok(())
    }

    pub(crate) fn set_option(&mut self, id: SocketId, option: SocketOption) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        match option {
            SocketOption::ReceiveDescriptors(on) => {
                socket.inbound.takes_descriptors = on && socket.is_unix;
            }
            SocketOption::KeepAlive(after) if !socket.is_unix => {
                socket.keep_alive = after;
                self.rest(id, true);
            }
            _ => {}
        }
    }

    /// The loop lets go of it. What it has written goes out; what it has not read makes it a reset.
    pub(crate) fn close(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let unread = !socket.inbound.buffer.is_empty();
        let (host, number) = (socket.host, socket.number);
        if socket.stage == Stage::Connecting || socket.error.is_some() {
            self.trace(host, What::Closed, number, 0);
            return self.remove_socket(id);
        }
        if unread {
            return self.abort(id);
        }
        self.trace(host, What::Closed, number, 0);
        self.orphan(id);
        if let Some(socket) = self.socket(id) {
            socket.ends_first |= !socket.out.ended && !socket.inbound.ended;
            socket.out.ended = true;
            socket.timer.due = None;
        }
        self.push(id, false);
        self.finish(id);
    }

    /// The loop lets go of it, and what is under way is lost.
    pub(crate) fn abort(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let (host, other, number) = (socket.host, socket.other, socket.number);
        // What was written to a Unix socket is with the peer already.
        if socket.is_unix && socket.inbound.buffer.is_empty() && socket.error.is_none() {
            return self.close(id);
        }
        let peer = socket.peer.filter(|_| socket.error.is_none());
        self.trace(host, What::Aborted, number, 0);
        self.remove_socket(id);
        if let Some(to) = peer {
            self.packet(host, other, Body::Reset { to });
        }
    }

    /// Its program has closed it; the kernel keeps it.
    fn orphan(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let host = socket.host;
        let was = std::mem::replace(&mut socket.owner, Owner::Kernel);
        let machine = self.machine(host);
        match was {
            Owner::Loop(connection) => {
                if let Some(place) = machine.connections.get_mut(connection.index() as usize) {
                    *place = None;
                }
                machine.free_descriptor();
            }
            Owner::Listener(listener) => {
                if let Some(listener) = machine.listeners.get_mut(&listener) {
                    listener.forget(id);
                }
            }
            Owner::Kernel => {}
        }
    }

    /// Ends it when both ends have, and nobody holds it.
    fn finish(&mut self, id: SocketId) {
        let now = self.now;
        let Some(socket) = self.socket(id) else {
            return;
        };
        let is_over = socket.out.end_acknowledged && socket.inbound.ended;
        if !is_over || socket.owner != Owner::Kernel || socket.stage != Stage::Open {
            return;
        }
        if socket.is_unix || !socket.ends_first {
            return self.remove_socket(id);
        }
        // The last acknowledgement may have been lost; and an end that comes again is answered.
        socket.stage = Stage::TimeWait;
        socket.out.buffer = std::collections::VecDeque::new();
        socket.inbound.buffer = std::collections::VecDeque::new();
        self.wait_until(id, now + LINGERS);
    }
}

fn loopback(like: SocketAddr) -> std::net::IpAddr {
    match like {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}
