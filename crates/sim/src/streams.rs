//! What is sent and received on streams.
//!
//! It is TCP (RFC 9293) without its headers: bytes have offsets, are sent within the window of the
//! peer, are acknowledged, and are sent again when nothing was heard for a while. A Unix socket is
//! the same over a link that loses nothing.

use std::io;
use std::os::fd::OwnedFd;

use ropewalk_core::{ConnectionId, OutputQueue, SendStatus, SocketOption};
use rustix::io::Errno;

use crate::machine::{HostId, Ready};
use crate::net::{Event, Net};
use crate::packet::{Body, Packet};
use crate::socket::{Owner, SocketId, Stage};
use crate::trace::What;

/// How likely a program is told that there is no room for now, when there is some.
const SHORT_WRITE: f64 = 1.0 / 16.0;

impl Net {
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

    pub(crate) fn packet(&mut self, from: HostId, to: HostId, body: Body) {
        self.transmit(Packet { from, to, body });
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

    /// Whether what comes to it is answered as if it had never been.
    pub(crate) fn is_gone(&mut self, id: SocketId) -> bool {
        let socket = self.socket(id);
        socket.is_none_or(|socket| socket.stage == Stage::Broken)
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
        if self.is_gone(id) {
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
        if self.is_gone(id) {
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
            let peer = socket.peer.filter(|_| socket.is_unix);
            if socket.out.ended || peer.is_some_and(|peer| self.is_closed(peer)) {
                return Err(Errno::PIPE.into());
            }
            let socket = self.socket(id).ok_or(io::ErrorKind::NotConnected)?;
            let room = socket.out.room();
            let until = output.until_descriptor().unwrap_or(u64::MAX);
            let at = socket.out.end();
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

    /// Whether nobody holds the other end of a Unix socket: that is known at once.
    fn is_closed(&mut self, peer: SocketId) -> bool {
        self.socket(peer)
            .is_none_or(|peer| peer.owner == Owner::Kernel)
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
}
