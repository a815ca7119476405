//! The way from one host to another: how long it takes, how much it carries, what it loses.

use std::time::Duration;

use crate::machine::HostId;
use crate::net::{Nanos, nanos};
use crate::packet::Packet;
use crate::random::Random;

/// What the way from one host to another is like. Each direction has its own.
///
/// ```
/// use ropewalk_sim::{Link, World};
/// use std::time::Duration;
///
/// let world = World::new(1);
/// let (near, far) = (world.host("near"), world.host("far"));
/// let satellite = Link {
///     latency: Duration::from_millis(250)..=Duration::from_millis(300),
///     bandwidth: Some(1_000_000),
///     ..Link::default()
/// };
/// world.set_link(&near, &far, &satellite);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// How long a packet is under way: any time in this range.
    pub latency: std::ops::RangeInclusive<Duration>,
    /// How likely a packet is late by up to [`delay`](Self::delay) more. What is sent after it on the
    /// same connection waits for it; others overtake it, which keep their order otherwise.
    pub delayed: f64,
    /// How late those are that are delayed, at most.
    pub delay: Duration,
    /// Bytes per second; `None` for any number.
    pub bandwidth: Option<u64>,
    /// How likely a packet is lost. TCP sends it again.
    pub loss: f64,
    /// How likely a datagram comes twice.
    pub duplication: f64,
    /// The largest packet, in bytes, with its headers. TCP cuts its bytes into such pieces; a
    /// datagram that is larger is lost if one of its fragments is.
    pub mtu: usize,
}

/// A good local network: 100 µs to 1 ms, 125 MB/s, nothing is lost.
impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(100)..=Duration::from_millis(1),
            delayed: 0.0,
            delay: Duration::from_millis(100),
            bandwidth: Some(125_000_000),
            loss: 0.0,
            duplication: 0.0,
            mtu: 1500,
        }
    }
}

impl Link {
    /// Within a host: nothing is lost, and nothing waits.
    fn within() -> Self {
        Self {
            latency: Duration::from_micros(5)..=Duration::from_micros(20),
            bandwidth: None,
            mtu: 65_535,
            ..Self::default()
        }
    }
}

/// A packet that would wait longer than this for those before it is lost.
const QUEUE: Nanos = 1_000_000_000;

/// A link, and what has befallen it.
pub(crate) struct LinkState {
    pub(crate) link: Link,
    /// What it is for as long as a fault makes it so.
    pub(crate) worse: Option<Link>,
    /// How many faults cut it at present.
    pub(crate) cut: u32,
    /// How many faults hold what it carries, and what they hold.
    pub(crate) holds: u32,
    pub(crate) held: Vec<Packet>,
    /// Bytes per second and per packet for as long as a fault makes it slow.
    pub(crate) trickle: Option<u64>,
    /// When the last packet has left.
    busy_until: Nanos,
    /// When the last packet arrives that was not delayed: none overtakes it.
    arrives: Nanos,
}

/// What becomes of a packet that is sent.
pub(crate) enum Way {
    /// It arrives then.
    Arrives(Nanos),
    /// It is kept by the link.
    Held,
    Lost,
}

impl LinkState {
    fn new(link: Link) -> Self {
        Self {
            link,
            worse: None,
            cut: 0,
            holds: 0,
            held: Vec::new(),
            trickle: None,
            busy_until: 0,
            arrives: 0,
        }
    }

    /// A packet of `size` bytes is sent at `now`.
    pub(crate) fn send(&mut self, now: Nanos, size: usize, random: &mut Random) -> Way {
        if self.holds > 0 {
            return Way::Held;
        }
        let link = self.worse.as_ref().unwrap_or(&self.link);
        if self.cut > 0 || random.chance(link.loss) {
            return Way::Lost;
        }
        let bandwidth = self.trickle.or(link.bandwidth);
        let departs = match bandwidth {
            None => now,
            Some(_) if self.busy_until > now + QUEUE => return Way::Lost,
            Some(bandwidth) => {
                let takes = size as u64 * 1_000_000_000 / bandwidth.max(1);
                self.busy_until = self.busy_until.max(now).saturating_add(takes);
                self.busy_until
            }
        };
        let takes = random.between(*link.latency.start(), *link.latency.end());
        let arrives = departs.saturating_add(nanos(takes));
        if random.chance(link.delayed) {
            let late = random.between(Duration::ZERO, link.delay);
            return Way::Arrives(arrives.saturating_add(nanos(late)));
        }
        self.arrives = self.arrives.max(arrives);
        Way::Arrives(self.arrives)
    }

    /// What it is like now.
    pub(crate) fn present(&self) -> &Link {
        self.worse.as_ref().unwrap_or(&self.link)
    }

    /// How many bytes of a stream one packet carries.
    pub(crate) fn segment(&self) -> usize {
        match self.trickle {
            Some(_) => 1,
            None => self.present().mtu.saturating_sub(40).max(1),
        }
    }
}

/// All links, made when they are first used.
pub(crate) struct Links {
    /// By the host that they lead from, and the one that they lead to.
    between: Vec<Vec<Option<Box<LinkState>>>>,
    default: Link,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            between: Vec::new(),
            default: Link::default(),
        }
    }

    pub(crate) fn get(&mut self, from: HostId, to: HostId) -> &mut LinkState {
        let (row, column) = (from.0 as usize, to.0 as usize);
        if self.between.len() <= row {
            self.between.resize_with(row + 1, Vec::new);
        }
        let row = &mut self.between[row];
        if row.len() <= column {
            row.resize_with(column + 1, || None);
        }
        row[column].get_or_insert_with(|| {
            Box::new(LinkState::new(match from == to {
                true => Link::within(),
                false => self.default.clone(),
            }))
        })
    }

    /// What links are like that nobody has said more about.
    pub(crate) fn set_default(&mut self, link: &Link) {
        self.default = link.clone();
        for (from, row) in self.between.iter_mut().enumerate() {
            for (to, state) in row.iter_mut().enumerate() {
                if let Some(state) = state.as_mut().filter(|_| from != to) {
                    state.link = link.clone();
                }
            }
        }
    }
}
