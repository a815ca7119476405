//! What a loop is doing at this moment, for those who watch it from another thread.
//!
//! The loop's thread writes, with plain stores and no clock; any thread may read. Nothing waits
//! for anything. A reader that finds the same [`mark`](Activity::mark) twice knows that the loop
//! was at the same callback all the time between.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Address, ConnectionId};

/// What a loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// It waits for something to happen, or does not run.
    Waiting,
    /// [`Protocol::connection_made`](crate::Protocol::connection_made), and so on.
    ConnectionMade,
    /// See [`Protocol`](crate::Protocol).
    DataReceived,
    /// See [`Protocol`](crate::Protocol).
    DescriptorReceived,
    /// See [`Protocol`](crate::Protocol).
    ReadClosed,
    /// See [`Protocol`](crate::Protocol).
    WritePaused,
    /// See [`Protocol`](crate::Protocol).
    WriteResumed,
    /// See [`Protocol`](crate::Protocol).
    TimeoutConnection,
    /// See [`Protocol`](crate::Protocol).
    Drain,
    /// See [`Protocol`](crate::Protocol).
    ConnectionLost,
    /// A call through [`Connection::with`](crate::Connection::with).
    With,
    /// The layers of a connection.
    Layers,
    /// A [`Factory`](crate::Factory) builds a protocol.
    BuildProtocol,
    /// A call made with `call_later`.
    DelayedCall,
    /// A call from another thread.
    CallFromThread,
    /// A call made with `call_when_running`.
    CallWhenRunning,
    /// A poll of a task.
    Task,
    /// A name was resolved, or an attempt to connect has an end: those who wait for it are told.
    Connect,
    /// A callback of a [`DatagramProtocol`](crate::DatagramProtocol).
    Datagram,
    /// A callback of a [`ProcessProtocol`](crate::ProcessProtocol), when its process has ended.
    Process,
}

/// In the order of their numbers.
const ALL: [Doing; 20] = [
    Doing::Waiting,
    Doing::ConnectionMade,
    Doing::DataReceived,
    Doing::DescriptorReceived,
    Doing::ReadClosed,
    Doing::WritePaused,
    Doing::WriteResumed,
    Doing::TimeoutConnection,
    Doing::Drain,
    Doing::ConnectionLost,
    Doing::With,
    Doing::Layers,
    Doing::BuildProtocol,
    Doing::DelayedCall,
    Doing::CallFromThread,
    Doing::CallWhenRunning,
    Doing::Task,
    Doing::Connect,
    Doing::Datagram,
    Doing::Process,
];

impl Doing {
    /// The name of the callback.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::ConnectionMade => "connection_made",
            Self::DataReceived => "data_received",
            Self::DescriptorReceived => "descriptor_received",
            Self::ReadClosed => "read_closed",
            Self::WritePaused => "write_paused",
            Self::WriteResumed => "write_resumed",
            Self::TimeoutConnection => "timeout_connection",
            Self::Drain => "drain",
            Self::ConnectionLost => "connection_lost",
            Self::With => "a call through Connection::with",
            Self::Layers => "the layers of a connection",
            Self::BuildProtocol => "building a protocol",
            Self::DelayedCall => "a call_later",
            Self::CallFromThread => "a call_from_thread",
            Self::CallWhenRunning => "a call_when_running",
            Self::Task => "a task",
            Self::Connect => "the end of a connect",
            Self::Datagram => "a callback of a datagram protocol",
            Self::Process => "a callback of a process",
        }
    }

    /// Whether it is done for one connection.
    fn is_for_a_connection(self) -> bool {
        (Self::ConnectionMade as u8..=Self::Layers as u8).contains(&(self as u8))
    }
}

/// What a loop is doing. One for each loop, in its [`LoopContext`](crate::LoopContext).
///
/// ```
/// use ropewalk_core::{Activity, Doing};
///
/// let activity = Activity::default();
/// assert_eq!(activity.mark().doing(), Doing::Waiting);
/// activity.begin(Doing::Task);
/// let mark = activity.mark();
/// assert_eq!(mark.doing(), Doing::Task);
/// activity.begin(Doing::Task);
/// assert_ne!(activity.mark(), mark, "it is another one");
/// ```
#[derive(Default)]
pub struct Activity {
    /// Counts what was begun; what it is stands in the lowest 8 bits.
    mark: AtomicU64,
    /// Whom the last callback of a connection served.
    connection: AtomicU64,
    peer: AtomicU64,
    /// An address that does not fit into `peer`.
    long_peer: Mutex<Option<Address>>,
    /// The number of its protocol's name.
    protocol: AtomicU16,
    protocols: Mutex<Vec<&'static str>>,
}

/// One thing that a loop does: another one has another mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// What it is.
    #[must_use]
    pub fn doing(self) -> Doing {
        let number = usize::from(self.0 as u8);
        ALL.get(number).copied().unwrap_or(Doing::Waiting)
    }
}

/// Whom a callback serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The connection.
    pub connection: ConnectionId,
    /// The address of its other end.
    pub peer: Address,
    /// The name of the type of its protocol.
    pub protocol: &'static str,
}

/// An address in a word. The type that has the address tells the kinds apart.
pub(crate) const PEER_UNIX: u64 = 0;
pub(crate) const PEER_LONG: u64 = u64::MAX;

/// `PEER_UNIX` and `PEER_LONG` are no such words.
pub(crate) fn peer_word(address: std::net::SocketAddrV4) -> u64 {
    1 << 48 | u64::from(address.ip().to_bits()) << 16 | u64::from(address.port())
}

pub(crate) fn v4_peer(word: u64) -> std::net::SocketAddrV4 {
    std::net::SocketAddrV4::new(Ipv4Addr::from_bits((word >> 16) as u32), word as u16)
}

impl Activity {
    /// Something begins. For the loop's thread.
    #[inline]
    pub fn begin(&self, doing: Doing) {
        let mark = self.mark.load(Relaxed);
        let next = (mark & !0xff).wrapping_add(0x100 | doing as u64);
        self.mark.store(next, Relaxed);
    }

    /// A callback of a connection begins.
    #[inline]
    pub(crate) fn serve(&self, doing: Doing, id: ConnectionId, peer: u64, protocol: u16) {
        self.connection.store(id.to_bits(), Relaxed);
        self.peer.store(peer, Relaxed);
        self.protocol.store(protocol, Relaxed);
        self.begin(doing);
    }

    /// Tells of an address that does not fit into a word, before [`serve`](Self::serve).
    pub(crate) fn set_long_peer(&self, id: ConnectionId, peer: &Address) {
        let known = self.connection.load(Relaxed) == id.to_bits();
        if !known || self.peer.load(Relaxed) != PEER_LONG {
            *lock(&self.long_peer) = Some(peer.clone());
        }
    }

    /// The number of a protocol's name. There are as many names as types of protocols; what is
    /// beyond 65,535 shares one.
    pub(crate) fn protocol_number(&self, name: &'static str) -> u16 {
        let mut names = lock(&self.protocols);
        let known = names.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            if names.len() < usize::from(u16::MAX) {
                names.push(name);
            }
            names.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    /// What the loop is at. For any thread.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.mark.load(Relaxed))
    }

    /// Whom the callback of `mark` serves; `None` if it serves no connection, or is over.
    ///
    /// What the loop notes as the callback of `mark` returns and the next one begins may be taken
    /// for it, if this is called at that very moment.
    #[must_use]
    pub fn served(&self, mark: Mark) -> Option<Served> {
        if !mark.doing().is_for_a_connection() {
            return None;
        }
        let number = usize::from(self.protocol.load(Relaxed));
        let peer = match self.peer.load(Relaxed) {
            PEER_UNIX => Address::Unix(None),
            PEER_LONG => lock(&self.long_peer).clone()?,
            word => Address::Tcp(SocketAddr::V4(v4_peer(word))),
        };
        let served = Served {
            connection: ConnectionId::from_bits(self.connection.load(Relaxed)),
            peer,
            protocol: lock(&self.protocols).get(number).copied().unwrap_or("?"),
        };
        (self.mark() == mark).then_some(served)
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Activity({})", self.mark().doing().name())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_loop_does_is_read_as_it_was_written() {
        for (number, doing) in ALL.into_iter().enumerate() {
            assert_eq!(doing as usize, number);
            let activity = Activity::default();
            activity.begin(Doing::Task);
            activity.begin(doing);
            assert_eq!(activity.mark().doing(), doing);
        }
    }

    #[test]
    fn whom_a_callback_serves_is_known_until_the_next_one_begins() {
        let activity = Activity::default();
        activity.protocol_number("Other");
        let number = activity.protocol_number("Echo");
        assert_eq!(activity.protocol_number("Echo"), number);
        let address = "192.0.2.7:4242".parse().unwrap();
        let id = ConnectionId::new(3, 1);
        activity.serve(Doing::DataReceived, id, peer_word(address), number);
        let mark = activity.mark();
        let served = Served {
            connection: id,
            peer: Address::Tcp(address.into()),
            protocol: "Echo",
        };
        assert_eq!(activity.served(mark), Some(served));
        activity.begin(Doing::Task);
        assert_eq!(activity.served(mark), None);
        assert_eq!(activity.served(activity.mark()), None);
    }

    #[test]
    fn a_long_address_is_known_from_the_first_callback_on() {
        let activity = Activity::default();
        let id = ConnectionId::new(0, 0);
        let peer = Address::Tcp("[2001:db8::1]:80".parse().unwrap());
        for _ in 0..2 {
            activity.set_long_peer(id, &peer);
            activity.serve(Doing::DataReceived, id, PEER_LONG, 0);
            let served = activity.served(activity.mark()).unwrap();
            assert_eq!(served.peer, peer);
        }
    }

    #[test]
    fn words_for_addresses_are_told_apart() {
        for text in ["0.0.0.0:0", "255.255.255.255:65535", "192.0.2.1:80"] {
            let address = text.parse().unwrap();
            let word = peer_word(address);
            assert_eq!(v4_peer(word), address);
            assert!(word != PEER_UNIX && word != PEER_LONG);
        }
    }
}
