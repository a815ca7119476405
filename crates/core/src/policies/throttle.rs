//! Read and write throttling.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::bucket::{Bucket, Rate, Ticket};
use super::peer::PeerPrefix;
use crate::{Address, Factory, Failure, Policy, Protocol};

/// The buckets of peers that are gone are kept while they fill: of so many, and all are forgotten.
const ABSENT_PEERS: usize = 16 * 1024;

/// How long a connection may leave unused what it was given: then others get it.
const UNUSED: Duration = Duration::from_millis(10);

/// How fast one direction goes: of a connection, of all connections of a peer, and of all
/// together. All that is given holds.
///
/// ```
/// use ropewalk_core::policies::{Bucket, Rate, Throttle};
///
/// let line = Bucket::new(Rate::per_second(100_000_000));
/// let throttle = Throttle::new()
///     .per_connection(Rate::per_second(1_000_000))
///     .per_peer(Rate::per_second(2_000_000))
///     .total(&line);
/// # let _ = throttle;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    per_connection: Option<Rate>,
    per_peer: Option<Rate>,
    prefix: PeerPrefix,
    total: Option<Bucket>,
}

impl Throttle {
    /// No limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Each connection goes at this rate at most.
    #[must_use]
    pub fn per_connection(mut self, rate: Rate) -> Self {
        self.per_connection = Some(rate);
        self
    }

    /// All connections of a peer together go at this rate at most. Unix peers have no address,
    /// and are not held to it.
    #[must_use]
    pub fn per_peer(mut self, rate: Rate) -> Self {
        self.per_peer = Some(rate);
        self
    }

    /// Which addresses are one peer. An IPv4 address, and an IPv6 /64, unless told otherwise.
    #[must_use]
    pub fn peer_prefix(mut self, prefix: PeerPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// All that is counted against `bucket` together goes at its rate at most, and at that of its
    /// parents.
    #[must_use]
    pub fn total(mut self, bucket: &Bucket) -> Self {
        self.total = Some(bucket.clone());
        self
    }
}

/// A wrapper that throttles the connections of any factory, as Twisted's `ThrottlingFactory` and
/// its `htb` do.
///
/// Over any time, no more is sent than the burst and what the rate gives. Those who wait for one
/// rate are served in turn, so that each gets the same. What is read is counted when it has come,
/// up to 64 KiB at once: the connection is then not read until that is paid for, and the peer is
/// held back by its network; a new one is first read when what others have read is paid for. So
/// reading exceeds its burst by one read of each connection, and keeps its rate over time; below
/// some 2 KB a second, a peer may take the pauses for a stall, and the end of a peer is noticed only
/// when all before it is paid for. While a throttle lets nothing go,
/// [`write_stall`](crate::ConnectionLimits::write_stall) of this end does not run.
///
/// Bytes are counted on the wire, below all layers. Files are still sent by the kernel.
///
/// ```
/// use ropewalk_core::policies::{Rate, Throttle, ThrottlingFactory};
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let factory = ThrottlingFactory::new(|_: &Address| Echo)
///     .reads(Throttle::new().per_connection(Rate::per_second(50_000)))
///     .writes(Throttle::new().per_peer(Rate::per_second(1_000_000)));
/// let peer = Address::Tcp("192.0.2.7:1024".parse().unwrap());
/// assert_eq!(factory.build_policies(&peer).len(), 1);
/// ```
pub struct ThrottlingFactory<F> {
    inner: F,
    reads: Direction,
    writes: Direction,
}

impl<F: Factory> ThrottlingFactory<F> {
    /// The connections of `inner`, without a limit yet.
    #[must_use]
    pub fn new(inner: F) -> Self {
        Self {
            inner,
            reads: Direction::default(),
            writes: Direction::default(),
        }
    }

    /// Throttles what is read.
    #[must_use]
    pub fn reads(mut self, throttle: Throttle) -> Self {
        self.reads = Direction::new(throttle);
        self
    }

    /// Throttles what is written.
    #[must_use]
    pub fn writes(mut self, throttle: Throttle) -> Self {
        self.writes = Direction::new(throttle);
        self
    }
}

impl<F: Factory> Factory for ThrottlingFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.inner.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.inner.build_policies(peer);
        let chain = self.writes.chain(peer);
        let writes = chain.into_iter().map(|bucket| Gate {
            bucket,
            ticket: None,
        });
        let shaped = Shaped {
            reads: self.reads.chain(peer),
            read_after: None,
            writes: writes.collect(),
            write_after: WriteAfter::Nothing,
            now: None,
        };
        if !shaped.reads.is_empty() || !shaped.writes.is_empty() {
            policies.push(Box::new(shaped));
        }
        policies
    }
}

/// A throttle, and the buckets of the peers that it knows.
#[derive(Default)]
struct Direction {
    throttle: Throttle,
    peers: RefCell<Peers>,
}

#[derive(Default)]
struct Peers {
    buckets: BTreeMap<IpNet, Bucket>,
    /// How many there may be before those that are of no more use are looked for.
    sweep_at: usize,
}

impl Direction {
    fn new(throttle: Throttle) -> Self {
        Self {
            throttle,
            peers: RefCell::default(),
        }
    }

    /// The buckets that a connection is held to, its own first.
    fn chain(&self, peer: &Address) -> Vec<Bucket> {
        let own = self.throttle.per_connection.map(Bucket::new);
        let peers = self.throttle.per_peer.and_then(|rate| {
            let peer = self.throttle.prefix.of(peer)?;
            Some(self.peers.borrow_mut().bucket(peer, rate))
        });
        let mut chain: Vec<Bucket> = own.into_iter().chain(peers).collect();
        let mut next = self.throttle.total.as_ref();
        while let Some(bucket) = next {
            chain.push(bucket.clone());
            next = bucket.parent();
        }
        chain
    }
}

impl Peers {
    fn bucket(&mut self, peer: IpNet, rate: Rate) -> Bucket {
        if let Some(bucket) = self.buckets.get(&peer) {
            return bucket.clone();
        }
        if self.buckets.len() >= self.sweep_at {
            self.sweep();
        }
        let bucket = Bucket::new(rate);
        self.buckets.insert(peer, bucket.clone());
        bucket
    }

    /// Forgets the peers that have no connection: those whose bucket has filled again, and all of
    /// them when they are too many.
    fn sweep(&mut self) {
        // As much as is known of the time.
        let now = self.buckets.values().filter_map(Bucket::last_used).max();
        let is_owing = |bucket: &Bucket| now.is_some_and(|now| !bucket.is_full(now));
        self.buckets
            .retain(|_, bucket| bucket.is_shared() || is_owing(bucket));
        let absent = self.buckets.values().filter(|bucket| !bucket.is_shared());
        if absent.count() >= ABSENT_PEERS {
            self.buckets.retain(|_, bucket| bucket.is_shared());
        }
        self.sweep_at = (2 * self.buckets.len()).max(64);
    }
}

/// A bucket, and the place of one connection among those who wait for it.
struct Gate {
    bucket: Bucket,
    ticket: Option<Ticket>,
}

/// Holds one connection to its buckets.
struct Shaped {
    reads: Vec<Bucket>,
    /// What was read is paid for by then.
    read_after: Option<Instant>,
    writes: Vec<Gate>,
    write_after: WriteAfter,
    /// The last time that was told.
    now: Option<Instant>,
}

/// What a connection's tickets are waiting for.
#[derive(Clone, Copy)]
enum WriteAfter {
    /// There are none.
    Nothing,
    /// To be due.
    Due(Instant),
    /// To be used; or given back then, because the peer takes nothing.
    Use(Instant),
}

impl Shaped {
    /// Counts what was read. Nothing more is until that is paid for, and what others owe.
    fn count_read(&mut self, count: u64, now: Instant) {
        let owed = self.reads.iter().map(|bucket| bucket.take(count, now));
        let longest = owed.max().filter(|owed| !owed.is_zero());
        self.read_after = longest.and_then(|owed| now.checked_add(owed));
    }

    /// Gives all tickets back; `used` bytes have gone.
    fn settle(&mut self, used: u64, now: Instant) {
        self.write_after = WriteAfter::Nothing;
        for gate in &mut self.writes {
            match gate.ticket.take() {
                Some(ticket) => gate.bucket.settle(ticket, used, now),
                None => {
                    gate.bucket.take(used, now);
                }
            }
        }
    }
}

impl Policy for Shaped {
    fn connected(&mut self, now: Instant) {
        // Or whoever connects anew for each read would be held to no rate.
        self.count_read(0, now);
    }

    fn received(&mut self, count: u64, now: Instant) {
        self.count_read(count, now);
    }

    fn sent(&mut self, count: u64, now: Instant) {
        self.settle(count, now);
    }

    fn deadline(&self) -> Option<Instant> {
        let write = match self.write_after {
            WriteAfter::Nothing => None,
            WriteAfter::Due(at) | WriteAfter::Use(at) => Some(at),
        };
        [self.read_after, write].into_iter().flatten().min()
    }

    fn deadline_passed(&mut self, now: Instant) -> Result<(), Failure> {
        self.read_after = self.read_after.filter(|after| *after > now);
        match self.write_after {
            WriteAfter::Due(at) if at <= now => {
                self.now = Some(now);
                self.write_after = WriteAfter::Use(now + UNUSED);
            }
            WriteAfter::Use(at) if at <= now => self.settle(0, now),
            _ => {}
        }
        Ok(())
    }

    fn may_receive(&self) -> bool {
        self.read_after.is_none()
    }

    fn may_send(&mut self, wanted: u64, now: Instant) -> u64 {
        self.now = Some(now);
        let mut allowed = wanted;
        // The nearest first: whoever cannot go yet need not wait in line further on.
        for gate in &mut self.writes {
            match gate.bucket.ask(allowed, &mut gate.ticket, now) {
                Ok(share) => allowed = allowed.min(share),
                Err(due) => {
                    self.write_after = WriteAfter::Due(due);
                    return 0;
                }
            }
        }
        if !self.writes.is_empty() {
            self.write_after = WriteAfter::Use(now + UNUSED);
        }
        allowed
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        if let Some(now) = self.now {
            self.settle(0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// The most entries that the table has while so many peers come and go, each with so many
    /// bytes, a millisecond after the other.
    fn most_entries(count: u32, bytes: u64) -> usize {
        let rate = Rate::per_second(1000).with_burst(1000);
        let start = Instant::now();
        let mut peers = Peers::default();
        let mut most = 0;
        for number in 0..count {
            let peer = IpNet::from(std::net::IpAddr::from(Ipv4Addr::from(number)));
            let now = start + Duration::from_millis(number.into());
            peers.bucket(peer, rate).take(bytes, now);
            most = most.max(peers.buckets.len());
        }
        most
    }

    #[test]
    fn the_table_forgets_peers_that_are_gone_and_owe_nothing() {
        assert!(most_entries(100_000, 1) <= 128);
        assert!(most_entries(100_000, 1000) <= 4096);
    }

    #[test]
    fn the_table_is_bounded_even_when_all_owe() {
        let most = most_entries(100_000, 1_000_000_000);
        assert!((ABSENT_PEERS..=2 * ABSENT_PEERS).contains(&most), "{most}");
    }

    #[test]
    fn a_peer_that_is_here_keeps_its_bucket() {
        let rate = Rate::per_second(1000);
        let mut peers = Peers::default();
        let network = |number: u32| IpNet::from(std::net::IpAddr::from(Ipv4Addr::from(number)));
        let here = peers.bucket(network(0), rate);
        for number in 1..1000 {
            peers.bucket(network(number), rate);
        }
        let now = Instant::now();
        here.take(100, now);
        assert_eq!(peers.bucket(network(0), rate).level(now), 412);
    }
}
