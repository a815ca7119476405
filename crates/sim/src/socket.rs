//! One end of a simulated stream: what it has yet to send, what it has received, and how far it is.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_core::{Address, ConnectionId};
use rustix::io::Errno;

use crate::machine::HostId;
use crate::net::{Nanos, nanos};

/// Names a socket in the world. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// How many bytes the kernel takes from a program that its peer has not acknowledged, and for a
/// program that does not read.
pub(crate) const BUFFER: usize = 256 * 1024;

/// The least and the most time before something is sent again (RFC 6298; Linux's least).
const RTO_LEAST: Nanos = 200_000_000;
const RTO_MOST: Nanos = 120_000_000_000;

/// The time before the first SYN is sent again.
pub(crate) const RTO_SYN: Nanos = 1_000_000_000;

/// How many segments are sent before the first is acknowledged (RFC 6928).
const INITIAL: u64 = 10;

/// More than any window.
const MOST_UNDER_WAY: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has asked, and waits for an answer.
    Connecting,
    /// It was asked, has answered, and waits for the client to know.
    Answering,
    Open,
    /// It is broken, and whoever holds it has not let go of it yet. The network knows it no more.
    Broken,
    /// Both ends are closed; it is there to answer what comes late.
    TimeWait,
}

/// Who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Loop(ConnectionId),
    /// It waits to be accepted, by the listener of this number.
    Listener(u32),
    /// The program has closed it; the kernel sees to the rest.
    Kernel,
}

pub(crate) struct Socket {
    pub(crate) id: SocketId,
    pub(crate) host: HostId,
    pub(crate) other: HostId,
    /// Both ends of a connection have the same one: for the trace.
    pub(crate) number: u64,
    pub(crate) is_unix: bool,
    pub(crate) local: Rc<Address>,
    pub(crate) remote: Address,
    pub(crate) stage: Stage,
    pub(crate) owner: Owner,
    pub(crate) peer: Option<SocketId>,
    pub(crate) out: Sending,
    pub(crate) inbound: Receiving,
    /// It has ended before its peer did.
    pub(crate) ends_first: bool,
    pub(crate) error: Option<Errno>,
    /// The error was told, by `failed` or by `send`.
    pub(crate) error_told: bool,
    pub(crate) told_open: bool,
    /// The loop wants what comes.
    pub(crate) reading: bool,
    /// The loop waits for `writable`, and is to be told.
    pub(crate) blocked: bool,
    pub(crate) writable: bool,
    /// It stands in the queue of what the loop is to be told of.
    pub(crate) queued: bool,
    pub(crate) timer: Timer,
    /// How long it is silent before it is asked whether the peer is there.
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) heard: Nanos,
    pub(crate) probes: u32,
}

/// Something is to be done at `due`. One event of the world stands for it, at `armed` or before.
#[derive(Default)]
pub(crate) struct Timer {
    pub(crate) due: Option<Nanos>,
    pub(crate) armed: Option<Nanos>,
}

/// The bytes on their way out. Offsets count from the beginning of the stream; its end (FIN) comes
/// behind its last byte, and counts as one.
pub(crate) struct Sending {
    /// From `acknowledged` on.
    pub(crate) buffer: VecDeque<u8>,
    pub(crate) capacity: usize,
    pub(crate) acknowledged: u64,
    /// The offset of what is sent next.
    pub(crate) next: u64,
    /// The peer takes what is before.
    pub(crate) window: u64,
    /// Nothing more will be written; that was sent; that was acknowledged.
    pub(crate) ended: bool,
    pub(crate) end_sent: bool,
    pub(crate) end_acknowledged: bool,
    /// How many bytes may be under way as far as the network is concerned, and from where on that
    /// grows slowly (RFC 5681). 0 before anything was sent.
    congestion: u64,
    threshold: u64,
    /// Since when something has been waiting for an acknowledgement.
    pub(crate) waiting_since: Option<Nanos>,
    /// How often it was sent again.
    pub(crate) retries: u32,
    /// The smoothed time to an answer, and its variance; the offset whose answer is measured, and
    /// when it was sent (RFC 6298).
    smoothed: Option<(Nanos, Nanos)>,
    measured: Option<(u64, Nanos)>,
    /// Nothing arrives before what was sent earlier.
    pub(crate) arrives: Nanos,
}

/// The bytes that have come.
pub(crate) struct Receiving {
    pub(crate) buffer: VecDeque<u8>,
    pub(crate) capacity: usize,
    /// The offset of the byte that comes next.
    pub(crate) next: u64,
    /// The peer has ended, and all before has come; the loop was told.
    pub(crate) ended: bool,
    pub(crate) end_told: bool,
    /// What the peer was told last that it may send.
    pub(crate) offered: u64,
    /// Descriptors, each with the offset of the byte that it comes before.
    pub(crate) descriptors: VecDeque<(u64, OwnedFd)>,
    pub(crate) takes_descriptors: bool,
    /// A slow reader gets nothing before.
    pub(crate) rests_until: Nanos,
}

/// A piece of a stream that is to be sent.
pub(crate) struct Piece {
    pub(crate) at: u64,
    pub(crate) data: Bytes,
    pub(crate) ends: bool,
}

impl Sending {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            buffer: VecDeque::new(),
            capacity,
            acknowledged: 0,
            next: 0,
            window: 0,
            ended: false,
            end_sent: false,
            end_acknowledged: false,
            congestion: 0,
            threshold: u64::MAX,
            waiting_since: None,
            retries: 0,
            smoothed: None,
            measured: None,
            arrives: 0,
        }
    }

    /// The offset behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.acknowledged + self.buffer.len() as u64
    }

    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.buffer.len())
    }

    /// Whether something is under way.
    pub(crate) fn waits(&self) -> bool {
        self.next > self.acknowledged || self.end_sent && !self.end_acknowledged
    }

    /// Whether something is left to send, if the peer would take it.
    pub(crate) fn has_more(&self) -> bool {
        self.next < self.end() || self.ended && !self.end_sent
    }

    /// What is to be sent next, of up to `most` bytes. `probe` sends one that the peer has no room
    /// for, to learn whether it has.
    pub(crate) fn next_piece(&mut self, now: Nanos, most: usize, probe: bool) -> Option<Piece> {
        if self.congestion == 0 {
            self.congestion = INITIAL * most as u64;
        }
        let window = self.window.min(self.acknowledged + self.congestion);
        let window = window.max(self.acknowledged + u64::from(probe));
        let room = window.saturating_sub(self.next).min(self.end() - self.next);
        let len = usize::try_from(room).unwrap_or(most).min(most);
        let ends = self.ended && !self.end_sent && self.next + len as u64 == self.end();
        if len == 0 && !ends {
            return None;
        }
        let from = (self.next - self.acknowledged) as usize;
        let at = self.next;
        let data = copy(&self.buffer, from, len);
        self.next += len as u64;
        self.end_sent |= ends;
        self.waiting_since.get_or_insert(now);
        if self.measured.is_none() && self.retries == 0 {
            self.measured = Some((at, now));
        }
        Some(Piece { at, data, ends })
    }

    /// All before `next` has come to the peer, which counts the end as one. Whether that is news.
    pub(crate) fn acknowledge(&mut self, now: Nanos, next: u64) -> bool {
        let ends = self.ended && !self.end_acknowledged && next > self.end();
        let bytes = next.min(self.end()).saturating_sub(self.acknowledged);
        if bytes == 0 && !ends {
            return false;
        }
        self.buffer.drain(..bytes as usize);
        self.acknowledged += bytes;
        let growth = match self.congestion < self.threshold {
            true => bytes,
            false => (bytes * bytes).div_ceil(self.congestion.max(1)),
        };
        self.congestion = (self.congestion + growth).min(MOST_UNDER_WAY);
        // It may have been given up for lost, and have come nevertheless.
        self.next = self.next.max(self.acknowledged);
        self.end_sent |= ends;
        self.end_acknowledged |= ends;
        self.retries = 0;
        self.waiting_since = self.waits().then_some(now);
        if let Some((at, sent)) = self.measured
            && next > at
        {
            self.measured = None;
            self.measure(now - sent);
        }
        true
    }

    fn measure(&mut self, took: Nanos) {
        self.smoothed = Some(match self.smoothed {
            None => (took, took / 2),
            Some((smoothed, variance)) => (
                (smoothed * 7 + took) / 8,
                (variance * 3 + smoothed.abs_diff(took)) / 4,
            ),
        });
    }

    /// How long an answer may take before it is sent again.
    pub(crate) fn timeout(&self) -> Nanos {
        let least = match self.smoothed {
            None => RTO_SYN,
            Some((smoothed, variance)) => smoothed + variance * 4,
        };
        let least = least.clamp(RTO_LEAST, RTO_MOST);
        least
            .saturating_mul(1 << self.retries.min(10))
            .min(RTO_MOST)
    }

    /// Nothing was heard of what is under way: it is all sent again.
    pub(crate) fn go_back(&mut self, segment: u64) {
        self.threshold = ((self.next - self.acknowledged) / 2).max(2 * segment);
        self.congestion = segment;
        self.next = self.acknowledged;
        self.end_sent = self.end_acknowledged;
        self.measured = None;
        self.retries += 1;
    }
}

impl Receiving {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            buffer: VecDeque::new(),
            capacity,
            next: 0,
            ended: false,
            end_told: false,
            offered: 0,
            descriptors: VecDeque::new(),
            takes_descriptors: false,
            rests_until: 0,
        }
    }

    /// Takes what is new of a piece, and as much of that as there is room for.
    pub(crate) fn take(&mut self, at: u64, data: &[u8], ends: bool) {
        let Some(known) = self.next.checked_sub(at) else {
            // Something before it was lost.
            return;
        };
        if self.ended || known > data.len() as u64 {
            return;
        }
        let fresh = &data[known as usize..];
        let room = self.capacity.saturating_sub(self.buffer.len());
        let taken = fresh.len().min(room);
        self.buffer.extend(&fresh[..taken]);
        self.next += taken as u64;
        self.ended = ends && taken == fresh.len();
    }

    /// What is acknowledged: the end counts as one.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.next + u64::from(self.ended)
    }

    /// The offset that the peer may send up to. It is noted as told.
    pub(crate) fn offer(&mut self) -> u64 {
        let room = self.capacity.saturating_sub(self.buffer.len());
        self.offered = self.offered.max(self.next + room as u64);
        self.offered
    }

    /// Whether the peer should be told of the room that there is now.
    pub(crate) fn has_news(&self) -> bool {
        let room = self.capacity.saturating_sub(self.buffer.len());
        let offer = self.next + room as u64;
        !self.ended && offer >= self.offered + (self.capacity as u64 / 2)
    }

    /// The offset of the first byte that was not read.
    fn read(&self) -> u64 {
        self.next - self.buffer.len() as u64
    }

    /// The descriptors that come before the next byte.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        let (at, mut taken) = (self.read(), Vec::new());
        while let Some((before, _)) = self.descriptors.front()
            && *before <= at
        {
            taken.extend(self.descriptors.pop_front().map(|(_, one)| one));
        }
        if !self.takes_descriptors {
            taken.clear();
        }
        taken
    }

    /// How many bytes can be read before the next descriptor.
    pub(crate) fn readable(&self) -> usize {
        let at = self.read();
        let next = self.descriptors.iter().map(|(before, _)| *before);
        let until = next.filter(|before| *before > at).min();
        let until = until.map_or(usize::MAX, |before| (before - at) as usize);
        self.buffer.len().min(until)
    }

    /// Moves `len` bytes to `into`.
    pub(crate) fn read_into(&mut self, len: usize, into: &mut Vec<u8>) {
        into.clear();
        let (front, back) = self.buffer.as_slices();
        let of_front = len.min(front.len());
        into.extend_from_slice(&front[..of_front]);
        into.extend_from_slice(&back[..len - of_front]);
        self.buffer.drain(..len);
    }
}

impl Socket {
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.owner {
            Owner::Loop(connection) => Some(connection),
            Owner::Listener(_) | Owner::Kernel => None,
        }
    }

    /// Whether there is something that the loop would be told by reading.
    pub(crate) fn may_read(&self, now: Nanos) -> bool {
        let inbound = &self.inbound;
        let waits = !inbound.buffer.is_empty() || inbound.ended && !inbound.end_told;
        self.reading && waits && inbound.rests_until <= now
    }

    /// Whether the loop is to be told that the connection is broken: when it has had the bytes that
    /// came before, if it wants them.
    pub(crate) fn may_fail(&self) -> bool {
        let has_read = !self.reading || self.inbound.buffer.is_empty();
        self.error.is_some() && !self.error_told && has_read
    }

    pub(crate) fn keep_alive(&self) -> Option<Nanos> {
        self.keep_alive.map(nanos)
    }
}

fn copy(buffer: &VecDeque<u8>, from: usize, len: usize) -> Bytes {
    let (front, back) = buffer.as_slices();
    if from >= front.len() {
        let from = from - front.len();
        return Bytes::copy_from_slice(&back[from..from + len]);
    }
    let front = &front[from..];
    if len <= front.len() {
        return Bytes::copy_from_slice(&front[..len]);
    }
    let mut joined = Vec::with_capacity(len);
    joined.extend_from_slice(front);
    joined.extend_from_slice(&back[..len - front.len()]);
    joined.into()
}
