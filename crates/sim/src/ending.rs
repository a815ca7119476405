//! How streams end: closed, one side or both, reset, or broken.

use std::collections::VecDeque;
use std::io;

use rustix::io::Errno;

use crate::net::Net;
use crate::packet::Body;
use crate::socket::{Owner, SocketId, Stage};
use crate::timing::LINGERS;
use crate::trace::What;

impl Net {
    /// The peer says that there is no such connection, or no longer.
    pub(crate) fn was_reset(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let error = match socket.stage {
            Stage::Connecting => Errno::CONNREFUSED,
            Stage::Answering | Stage::TimeWait => return self.remove_socket(id),
            // Linux: `tcp_reset`.
            Stage::Open if socket.inbound.ended && !socket.is_unix => Errno::PIPE,
            Stage::Open => Errno::CONNRESET,
            Stage::Broken => return,
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
        socket.stage = Stage::Broken;
        socket.error.get_or_insert(error);
        socket.out.buffer = VecDeque::new();
        socket.blocked = false;
        socket.writable = false;
        socket.timer.due = None;
        self.queue(id);
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
        // What was written to a Unix socket is with the peer already.
        if socket.is_unix && socket.inbound.buffer.is_empty() && socket.error.is_none() {
            return self.close(id);
        }
        self.reset(id);
    }

    /// Ends it with a word to its peer.
    pub(crate) fn reset(&mut self, id: SocketId) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let (host, other, number) = (socket.host, socket.other, socket.number);
        let peer = socket.peer.filter(|_| socket.error.is_none());
        self.trace(host, What::Aborted, number, 0);
        if let Some(to) = peer {
            self.packet(host, other, Body::Reset { to });
        }
        self.remove_socket(id);
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
    pub(crate) fn finish(&mut self, id: SocketId) {
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
        socket.out.buffer = VecDeque::new();
        socket.inbound.buffer = VecDeque::new();
        self.wait_until(id, now + LINGERS);
    }
}
