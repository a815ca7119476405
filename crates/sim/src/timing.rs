//! What a stream does when it has heard nothing: it sends again, asks, waits, and gives up.

use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

use crate::net::{Event, Nanos, Net, nanos};
use crate::packet::Body;
use crate::socket::{Owner, SocketId, Stage};
use crate::trace::What;

/// How often a SYN, and an answer to one, is sent again (Linux: `tcp_syn_retries`,
/// `tcp_synack_retries`).
pub(crate) const SYN_RETRIES: u32 = 6;
const SYNACK_RETRIES: u32 = 5;

/// How long it is tried to send bytes again before the connection is given up, as long as somebody
/// holds it, and when nobody does (Linux: `tcp_retries2`, `tcp_orphan_retries`).
const GIVES_UP: Duration = Duration::from_secs(924);
const ORPHAN_GIVES_UP: Duration = Duration::from_secs(100);

/// How long an end is there that is closed, to answer what is late (Linux: `TCP_TIMEWAIT_LEN` and
/// `tcp_fin_timeout`).
pub(crate) const LINGERS: Nanos = 60_000_000_000;

/// How often, and how long apart, a silent peer is asked whether it is there (Linux:
/// `tcp_keepalive_probes`, `tcp_keepalive_intvl`).
const PROBES: u32 = 9;
const PROBE_INTERVAL: Nanos = 75_000_000_000;

impl Net {
    /// Sets the timer of an open socket to what it is to wait for: `anew`, or if that comes earlier
    /// than what it waits for.
    pub(crate) fn rest(&mut self, id: SocketId, anew: bool) {
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

    pub(crate) fn wait_until(&mut self, id: SocketId, due: Nanos) {
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
            Stage::Broken => {}
            Stage::Open if socket.out.waits() || socket.out.has_more() => {
                let limit = match socket.owner {
                    Owner::Kernel => ORPHAN_GIVES_UP,
                    _ => GIVES_UP,
                };
                let since = socket.out.waiting_since.unwrap_or(now);
                // A peer that answers has no room, and is not gone.
                let silent = now - since.max(socket.heard);
                if silent >= nanos(limit) && !socket.is_unix {
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
        let (from, at, data, fin) = (id, socket.out.acknowledged, Bytes::new(), false);
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
}
