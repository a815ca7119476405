//! What all connections of one loop share.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::activity::Activity;
use crate::output::OutputQueue;
use crate::reactor::ReactorCore;

/// Empty queues that are kept for the next connection that writes.
const SPARE_QUEUES: usize = 16;

/// A spare queue holds no more memory than this.
const SPARE_CAPACITY: usize = 64 * 1024;

/// Names a connection within its loop. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// A name from a small number, used again after its connection has ended, and the count of
    /// how often it was used.
    #[must_use]
    pub fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    /// The small number: unique among the connections that are open.
    #[must_use]
    pub fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// How often the small number was used before.
    #[must_use]
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

/// The turn's time, the connections that were touched from outside their own callbacks, spare
/// buffers, and the reactor itself. For those who implement a loop: make one, give it to every
/// [`Channel`](crate::Channel), and take what was touched at the end of each turn.
pub struct LoopContext {
    epoch: Instant,
    /// Nanoseconds since `epoch`.
    now: Cell<u64>,
    touched: RefCell<Vec<ConnectionId>>,
    #[expect(
        clippy::vec_box,
        reason = "they are handed to connections as they are, in one pointer"
    )]
    spare: RefCell<Vec<Box<OutputQueue>>>,
    reactor: Weak<dyn ReactorCore>,
    activity: Arc<Activity>,
    /// For connections that are carried by another one: what looks after them is no loop, and has to
    /// be told.
    carrier: Option<Box<dyn Fn()>>,
}

impl LoopContext {
    /// A context whose time begins at `epoch`.
    #[must_use]
    pub fn new(epoch: Instant, reactor: Weak<dyn ReactorCore>) -> Self {
        Self {
            epoch,
            now: Cell::new(0),
            touched: RefCell::default(),
            spare: RefCell::default(),
            reactor,
            activity: Arc::default(),
            carrier: None,
        }
    }

    /// A context for connections that something else than a loop looks after. Its time is that of
    /// `reactor`, and `touched` is called when one of them is to have its turn.
    #[cfg(feature = "tokio-io")]
    pub(crate) fn carried(reactor: &Rc<dyn ReactorCore>, touched: impl Fn() + 'static) -> Self {
        let mut context = Self::new(reactor.now(), Rc::downgrade(reactor));
        context.carrier = Some(Box::new(touched));
        context
    }

    /// The time of this turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.instant(self.now_nanos())
    }

    /// Sets the time of the turn that begins. Time never goes back.
    pub fn set_now(&self, now: Instant) {
        self.now.set(self.nanos(now).max(self.now.get()));
    }

    /// Moves the connections that were touched since the last call to the end of `into`: each
    /// must be given to [`Channel::next_step`](crate::Channel::next_step), in this order.
    pub fn take_touched(&self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.touched.borrow_mut());
    }

    /// Whether any connection was touched since the last [`take_touched`](Self::take_touched).
    #[must_use]
    pub fn has_touched(&self) -> bool {
        !self.touched.borrow().is_empty()
    }

    /// Nanoseconds from the epoch to `instant`.
    #[must_use]
    pub fn nanos(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant `nanos` after the epoch.
    #[must_use]
    pub fn instant(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }

    /// The time of this turn, in nanoseconds since the epoch.
    #[must_use]
    #[inline]
    pub fn now_nanos(&self) -> u64 {
        if self.carrier.is_some() {
            self.follow_reactor();
        }
        self.now.get()
    }

    /// Nobody sets the time of carried connections.
    #[cold]
    fn follow_reactor(&self) {
        if let Some(reactor) = self.reactor() {
            self.set_now(reactor.now());
        }
    }

    /// Makes sure that the connection is given its turn before this turn of the loop ends, or in
    /// the next one.
    pub fn touch(&self, id: ConnectionId) {
        match &self.carrier {
            Some(touched) => touched(),
            None => self.touched.borrow_mut().push(id),
        }
    }

    /// What the loop is doing. Channels tell of their callbacks; the loop tells of what else it
    /// runs.
    #[must_use]
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    pub(crate) fn reactor(&self) -> Option<Rc<dyn ReactorCore>> {
        self.reactor.upgrade()
    }

    pub(crate) fn take_queue(&self) -> Box<OutputQueue> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps an empty queue for the next writer, so that an idle connection holds none.
    pub(crate) fn give_back(&self, mut queue: Box<OutputQueue>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_QUEUES && queue.spare_capacity() <= SPARE_CAPACITY {
            queue.clear();
            spare.push(queue);
        }
    }
}
