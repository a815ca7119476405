//! What the kernel of one host knows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::Commons;
use ropewalk_reactor::driver::{DatagramId, QueryId};
use slab::Slab;

use crate::clock::HostClock;
use crate::datagrams::Port;
use crate::disk::Disk;
use crate::listeners::Listener;
use crate::net::Nanos;
use crate::socket::SocketId;
use crate::threads::Worker;
use crate::waker::SimWaker;

/// Names a host in its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostId(pub(crate) u32);

/// The ports that are given where any is wanted: Linux's.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// How many descriptors a program may have: the usual soft limit.
const DESCRIPTORS: usize = 1024 * 1024;

pub(crate) struct Machine {
    pub(crate) name: Rc<str>,
    pub(crate) addresses: [IpAddr; 2],
    /// Its kernel runs. If not, nothing comes to it.
    pub(crate) is_up: bool,
    /// Whose calls count: the driver of the program that runs now.
    pub(crate) incarnation: u32,
    /// Which program was asked to end, by a fault.
    pub(crate) asked_to_end: Option<u32>,
    /// Its reactor runs by itself, and moves the world while it waits.
    pub(crate) drives: bool,
    pub(crate) clock: HostClock,
    pub(crate) disk: Disk,
    /// What the loops of its program share.
    pub(crate) commons: Arc<Commons>,
    pub(crate) waker: Arc<SimWaker>,
    /// What its loop is to be told.
    pub(crate) ready: Vec<Ready>,
    /// When its next turn is, with what decides between those of one time.
    pub(crate) turn: Option<(Nanos, u64)>,
    /// It works until then.
    pub(crate) busy_until: Nanos,
    /// It stands still until then.
    pub(crate) paused_until: Nanos,
    /// How many faults make it stand still.
    pub(crate) stands_still: u32,
    /// How many faults make its kernel stand still, too: nothing comes to it or leaves it.
    pub(crate) is_frozen: u32,
    /// Its sockets, by the index of the connection's name.
    pub(crate) connections: Vec<Option<SocketId>>,
    pub(crate) listeners: BTreeMap<u32, Listener>,
    pub(crate) ports: BTreeMap<u32, Port>,
    /// Which ends of its own are taken by connections that it has made.
    pub(crate) taken: BTreeSet<(SocketAddr, SocketAddr)>,
    pub(crate) ephemeral: RangeInclusive<u16>,
    /// Paths, and who has them.
    pub(crate) paths: BTreeMap<Arc<Path>, PathOwner>,
    pub(crate) descriptors: usize,
    pub(crate) descriptor_limit: usize,
    /// What it is for as long as a fault makes it so.
    pub(crate) spare_descriptors: Option<usize>,
    /// It refuses all that ask for a connection.
    pub(crate) refuses: u32,
    /// It answers to nothing, and nothing comes to it.
    pub(crate) is_dark: u32,
    /// Its program reads so many bytes a second from each connection.
    pub(crate) reads_slowly: Option<u64>,
    /// Its look-ups get no answer.
    pub(crate) knows_no_names: u32,
    pub(crate) threads: Slab<Worker>,
}

/// Who has a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathOwner {
    Listener(u32),
    Port(u32),
    /// It was left behind.
    Nobody,
}

pub(crate) enum Ready {
    Socket(SocketId),
    Listener(u32),
    Port(DatagramId),
    Resolved(QueryId, io::Result<Vec<SocketAddr>>),
}

impl Machine {
    pub(crate) fn new(id: HostId, name: &str, waker: Arc<SimWaker>) -> Self {
        Self {
            name: name.into(),
            addresses: addresses(id),
            is_up: true,
            incarnation: 0,
            asked_to_end: None,
            drives: false,
            commons: new_commons(&HostClock::new(), 0),
            clock: HostClock::new(),
            disk: Disk::default(),
            waker,
            ready: Vec::new(),
            turn: None,
            busy_until: 0,
            paused_until: 0,
            stands_still: 0,
            is_frozen: 0,
            connections: Vec::new(),
            listeners: BTreeMap::new(),
            ports: BTreeMap::new(),
            taken: BTreeSet::new(),
            ephemeral: EPHEMERAL,
            paths: BTreeMap::new(),
            descriptors: 0,
            descriptor_limit: DESCRIPTORS,
            spare_descriptors: None,
            refuses: 0,
            is_dark: 0,
            reads_slowly: None,
            knows_no_names: 0,
            threads: Slab::new(),
        }
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains(&address)
    }

    /// The address that it has in the family of another one, and on the way to it.
    pub(crate) fn towards(&self, other: IpAddr) -> IpAddr {
        match other {
            _ if other.is_loopback() => other,
            IpAddr::V4(_) => self.addresses[0],
            IpAddr::V6(_) => self.addresses[1],
        }
    }

    /// Takes one more descriptor.
    pub(crate) fn take_descriptor(&mut self) -> io::Result<()> {
        if self.has_no_descriptor() {
            return Err(rustix::io::Errno::MFILE.into());
        }
        self.descriptors += 1;
        Ok(())
    }

    pub(crate) fn has_no_descriptor(&self) -> bool {
        let limit = self.spare_descriptors.unwrap_or(usize::MAX);
        self.descriptors >= self.descriptor_limit.min(limit)
    }

    pub(crate) fn free_descriptor(&mut self) {
        self.descriptors = self.descriptors.saturating_sub(1);
    }
}

/// What the loops of a new program share.
pub(crate) fn new_commons(clock: &HostClock, now: Nanos) -> Arc<Commons> {
    Arc::new(Commons::told(clock.wall(now)))
}

/// Those of the ranges that are kept for tests and documents (RFC 2544, RFC 3849).
fn addresses(id: HostId) -> [IpAddr; 2] {
    let number = id.0 + 1;
    let [_, high, middle, low] = number.to_be_bytes();
    [
        Ipv4Addr::new(198, 18 + (high & 1), middle, low).into(),
        Ipv6Addr::new(
            0x2001,
            0xdb8,
            0,
            0,
            0,
            0,
            (number >> 16) as u16,
            number as u16,
        )
        .into(),
    ]
}

/// Whom an address belongs to, if it is a host's.
pub(crate) fn host_at(address: IpAddr) -> Option<HostId> {
    let number = match address {
        IpAddr::V4(v4) => {
            let [first, second, middle, low] = v4.octets();
            if first != 198 || second & 0xfe != 18 {
                return None;
            }
            u32::from_be_bytes([0, second & 1, middle, low])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, high, low] = v6.segments();
            if (a, b, c | d | e | f) != (0x2001, 0xdb8, 0) {
                return None;
            }
            u32::from(high) << 16 | u32::from(low)
        }
    };
    number.checked_sub(1).map(HostId)
}
