//! A port, lent to its protocol: [`DatagramTransport`], and the state that it shares with handles.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use super::error::DatagramError;
use super::limits::DatagramLimits;
use super::port::DatagramPort;
use super::protocol::DatagramProtocol;
use super::queue::DatagramQueue;
use super::socket::{DatagramOption, DatagramSendStatus, DatagramSocket};
use crate::context::LoopContext;
use crate::endpoint::Interface;
use crate::{Address, ReactorCore};

/// So many datagrams are gathered before they are handed to the driver, within a callback too.
const BATCH: usize = 64;

/// A batch has no more bytes than this.
const BATCH_BYTES: usize = 64 * 1024;

/// So many errors are kept for the protocol while a callback runs; others are only counted.
const REPORTS: usize = 64;

/// A datagram port, lent to its protocol for the length of a callback.
///
/// What is written is sent when the callback has returned (after the last datagram of those that
/// came together), in batches; a full batch of 64 is sent at once. So a callback may send
/// as much as it likes. What the operating system does not take waits in a queue, bounded by
/// [`DatagramLimits`]; what does not fit there is dropped, counted and told to
/// [`DatagramProtocol::datagram_failed`].
pub struct DatagramTransport {
    pub(super) shared: Rc<Shared>,
}

impl DatagramTransport {
    /// Sends a copy of `data` to an address. `false` if it was dropped at once: the queue is full,
    /// or the port is closed.
    pub fn write_to(&mut self, data: &[u8], to: &Address) -> bool {
        self.shared.write(data, Some(to.clone()))
    }

    /// As [`write_to`](Self::write_to), to the peer of a connected port.
    pub fn write(&mut self, data: &[u8]) -> bool {
        self.shared.write(data, None)
    }

    /// Connects the port to `peer`: [`write`](Self::write) goes there, datagrams of others are
    /// not received any more, and [`connection_refused`](DatagramProtocol::connection_refused)
    /// tells when nobody receives there. It may be connected anew. No packet is sent.
    ///
    /// # Errors
    /// There is no way to there, or the address is of another kind than the port's.
    pub fn connect(&mut self, peer: &Address) -> io::Result<()> {
        self.shared.flush();
        self.shared.socket()?.connect(peer)?;
        let before = self.shared.peer.replace(Some(peer.clone()));
        if let Some(before) = before {
            // What still waits was written for that one.
            self.shared
                .with_queue(|queue| queue.send_unnamed_to(&before));
        }
        Ok(())
    }

    /// Receives what is sent to the multicast group `group` by `interface` (RFC 1112, RFC 4291
    /// section 2.7), until [`leave_group`](Self::leave_group) or the end of the port.
    ///
    /// # Errors
    /// The address is no group, there is no such interface, or the port has joined as many groups
    /// as it may (on Linux `net.ipv4.igmp_max_memberships`).
    pub fn join_group(&mut self, group: IpAddr, interface: &Interface) -> io::Result<()> {
        self.set(&DatagramOption::JoinGroup(group, interface.clone()))
    }

    /// Undoes [`join_group`](Self::join_group).
    ///
    /// # Errors
    /// The port is no member of that group on that interface.
    pub fn leave_group(&mut self, group: IpAddr, interface: &Interface) -> io::Result<()> {
        self.set(&DatagramOption::LeaveGroup(group, interface.clone()))
    }

    /// Sends multicast to groups of the family of `group` by `interface`, instead of the one that
    /// the routes say.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn set_outgoing_interface(
        &mut self,
        group: IpAddr,
        interface: &Interface,
    ) -> io::Result<()> {
        self.set(&DatagramOption::OutgoingInterface(group, interface.clone()))
    }

    /// Whether multicast that this port sends comes back to members on this machine. It does,
    /// unless told otherwise.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn set_loopback_mode(&mut self, on: bool) -> io::Result<()> {
        self.set(&DatagramOption::LoopbackMode(on))
    }

    /// How many routers multicast may pass (the hop limit, with IPv6). 1, unless told otherwise:
    /// it stays in the local network.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn set_multicast_ttl(&mut self, hops: u8) -> io::Result<()> {
        self.set(&DatagramOption::MulticastTtl(hops))
    }

    /// How many routers all that is no multicast may pass, at least 1.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn set_ttl(&mut self, hops: u8) -> io::Result<()> {
        self.set(&DatagramOption::Ttl(hops))
    }

    /// Whether it may be sent to broadcast addresses. It may not, unless told otherwise.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn set_broadcast_allowed(&mut self, on: bool) -> io::Result<()> {
        self.set(&DatagramOption::Broadcast(on))
    }

    /// Asks for no more datagrams until [`resume_producing`](Self::resume_producing). The
    /// operating system keeps what comes, as far as its buffer goes, and drops the rest.
    pub fn pause_producing(&mut self) {
        self.shared.set_paused(true);
    }

    /// Asks for datagrams again.
    pub fn resume_producing(&mut self) {
        self.shared.set_paused(false);
    }

    /// Closes the port when the running callback has returned. What the operating system has not
    /// taken by then is dropped.
    pub fn stop_listening(&mut self) {
        self.shared.stopping.set(true);
        self.shared.touch();
    }

    /// The address of this port.
    #[must_use]
    pub fn host(&self) -> &Address {
        &self.shared.host
    }

    /// The address that it is connected to.
    #[must_use]
    pub fn peer(&self) -> Option<Address> {
        self.shared.peer.borrow().clone()
    }

    /// What has been sent and received so far, and what was lost.
    #[must_use]
    pub fn counts(&self) -> DatagramCounts {
        let overflowed = match &*self.shared.socket.borrow() {
            Some(socket) => socket.overflowed(),
            None => 0,
        };
        DatagramCounts {
            overflowed,
            ..self.shared.counts.get()
        }
    }

    /// How many datagrams wait for the operating system to take them.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.shared.unsent()
    }

    /// The time of this turn of the loop.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.context.now()
    }

    /// The reactor that runs this port.
    ///
    /// # Panics
    /// When the reactor is gone: not within a callback.
    #[must_use]
    pub fn reactor(&self) -> Rc<dyn ReactorCore> {
        self.shared
            .context
            .reactor()
            .expect("a transport is lent only while its reactor lives")
    }

    /// A handle that may be kept.
    #[must_use]
    pub fn port(&self) -> DatagramPort {
        DatagramPort::new(&self.shared)
    }

    fn set(&self, option: &DatagramOption) -> io::Result<()> {
        self.shared.socket()?.set_option(option)
    }
}

impl fmt::Debug for DatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramTransport")
            .field("host", self.host())
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}

/// What a port has done so far, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramCounts {
    /// Told to the protocol.
    pub received: u64,
    /// Taken by the operating system, to be sent.
    pub sent: u64,
    /// Dropped because as many waited to be sent as may.
    pub dropped: u64,
    /// Refused by the operating system.
    pub failed: u64,
    /// Came, and were larger than they may be.
    pub truncated: u64,
    /// Came, and were lost: the operating system had no room for them, since they were not
    /// received in time. Known on Linux, of UDP.
    pub overflowed: u64,
}

pub(super) type Call = Box<dyn FnOnce(&mut dyn DatagramProtocol, &mut DatagramTransport)>;

/// What a channel and all handles to its port share.
pub(super) struct Shared {
    pub(super) context: Rc<LoopContext>,
    /// `None` when the port is closed.
    pub(super) socket: RefCell<Option<Rc<dyn DatagramSocket>>>,
    limits: DatagramLimits,
    pub(super) host: Address,
    peer: RefCell<Option<Address>>,
    queue: Cell<DatagramQueue>,
    pub(super) calls: RefCell<VecDeque<Call>>,
    /// Errors that the protocol is to be told of.
    pub(super) reports: RefCell<VecDeque<DatagramError>>,
    pub(super) counts: Cell<DatagramCounts>,
    /// Makes the loop ask the channel what is next, before its turn ends.
    touch: Box<dyn Fn()>,
    pub(super) touched: Cell<bool>,
    pub(super) paused: Cell<bool>,
    pub(super) stopping: Cell<bool>,
    /// The driver takes nothing at present.
    pub(super) blocked: Cell<Option<DatagramSendStatus>>,
    /// It was told that the queue is full, and the queue was not empty since.
    overflowing: Cell<bool>,
}

impl Shared {
    pub(super) fn new(
        context: Rc<LoopContext>,
        socket: Rc<dyn DatagramSocket>,
        limits: DatagramLimits,
        host: Address,
        peer: Option<Address>,
        touch: Box<dyn Fn()>,
    ) -> Self {
        Self {
            context,
            socket: RefCell::new(Some(socket)),
            limits,
            host,
            peer: RefCell::new(peer),
            queue: Cell::default(),
            calls: RefCell::default(),
            reports: RefCell::default(),
            counts: Cell::default(),
            touch,
            touched: Cell::new(false),
            paused: Cell::new(false),
            stopping: Cell::new(false),
            blocked: Cell::new(None),
            overflowing: Cell::new(false),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.borrow().is_some()
    }

    fn socket(&self) -> io::Result<Rc<dyn DatagramSocket>> {
        let socket = self.socket.borrow().clone();
        socket.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the port is closed"))
    }

    pub(super) fn touch(&self) {
        if !self.touched.replace(true) {
            (self.touch)();
        }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut DatagramCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    pub(super) fn unsent(&self) -> usize {
        self.with_queue(|queue| queue.len())
    }

    pub(super) fn is_connected(&self) -> bool {
        self.peer.borrow().is_some()
    }

    fn set_paused(&self, paused: bool) {
        if self.paused.replace(paused) != paused {
            self.touch();
        }
    }

    fn write(&self, data: &[u8], to: Option<Address>) -> bool {
        if !self.is_open() {
            return false;
        }
        let (count, bytes) = self.with_queue(|queue| (queue.len(), queue.bytes()));
        let has_room = count < self.limits.queue_datagrams
            && bytes.saturating_add(data.len()) <= self.limits.queue_bytes;
        // A datagram that is larger than the queue is for the operating system to refuse.
        if !has_room && count > 0 {
            self.count(|counts| counts.dropped += 1);
            if !self.overflowing.replace(true) {
                self.report(DatagramError::QueueFull { to, queued: count });
            }
            return false;
        }
        self.with_queue(|queue| queue.push(data, to));
        if count + 1 >= BATCH || bytes + data.len() >= BATCH_BYTES {
            self.flush();
        }
        self.touch();
        true
    }

    /// Hands over what is to be sent, as far as the driver takes it.
    pub(super) fn flush(&self) {
        let Ok(socket) = self.socket() else { return };
        if self.blocked.get().is_some() {
            return;
        }
        let mut queue = self.queue.take();
        while !queue.is_empty() {
            let before = queue.len();
            let result = socket.send(&mut queue);
            let sent = before - queue.len();
            self.count(|counts| counts.sent += sent as u64);
            match result {
                Ok(DatagramSendStatus::Sent) if sent > 0 => {}
                Ok(DatagramSendStatus::Sent) => break,
                Ok(blocked) => {
                    self.blocked.set(Some(blocked));
                    break;
                }
                Err(source) => self.lose_front(&mut queue, source),
            }
        }
        if queue.is_empty() {
            self.overflowing.set(false);
        }
        self.queue.set(queue);
    }

    /// The datagram at the front cannot be sent.
    pub(super) fn give_up_front(&self, source: io::Error) {
        let mut queue = self.queue.take();
        self.lose_front(&mut queue, source);
        self.queue.set(queue);
    }

    fn lose_front(&self, queue: &mut DatagramQueue, source: io::Error) {
        if let Some((to, size)) = queue.drop_front() {
            self.count(|counts| counts.failed += 1);
            self.report(DatagramError::Unsent { to, size, source });
        }
    }

    pub(super) fn report(&self, error: DatagramError) {
        let mut reports = self.reports.borrow_mut();
        if reports.len() < REPORTS {
            reports.push_back(error);
            drop(reports);
            self.touch();
        }
    }

    fn with_queue<R>(&self, look: impl FnOnce(&mut DatagramQueue) -> R) -> R {
        let mut queue = self.queue.take();
        let result = look(&mut queue);
        self.queue.set(queue);
        result
    }
}
