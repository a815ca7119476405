//! What a connection over the limit is told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

use crate::{Address, Policy, Protocol, Transport};

/// So many connections are answered that they are too many; those beyond are closed in silence.
const ANSWERED_AT_ONCE: usize = 64;

/// How long a peer may take to read that it is one too many, and to close.
const LINGER: Duration = Duration::from_secs(5);

/// A place among a counted number of connections; given back when it is dropped.
pub(super) struct Slot {
    taken: Rc<Cell<usize>>,
}

impl Slot {
    pub(super) fn take(taken: &Rc<Cell<usize>>, max: usize) -> Option<Self> {
        if taken.get() >= max {
            return None;
        }
        taken.set(taken.get() + 1);
        Some(Self {
            taken: Rc::clone(taken),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
    }
}

impl Policy for Slot {}

/// How many connections each peer has. A peer with none has no entry, so that the table is never
/// larger than the number of connections.
pub(super) type PeerCounts = Rc<RefCell<BTreeMap<IpNet, usize>>>;

/// A place among the connections of one peer.
pub(super) struct PeerSlot {
    counts: PeerCounts,
    peer: IpNet,
}

impl PeerSlot {
    pub(super) fn take(counts: &PeerCounts, peer: IpNet, max: usize) -> Option<Self> {
        let mut table = counts.borrow_mut();
        let count = table.get(&peer).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        table.insert(peer, count + 1);
        Some(Self {
            counts: Rc::clone(counts),
            peer,
        })
    }
}

impl Drop for PeerSlot {
    fn drop(&mut self) {
        let mut table = self.counts.borrow_mut();
        if let Some(count) = table.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.peer);
            }
        }
    }
}

impl Policy for PeerSlot {}

/// A slot that was taken for a protocol, and waits for the policies of the same connection to be
/// built. What was left behind, by a panic say, is given back with the next one.
pub(super) type Pending = Cell<Option<Box<dyn Policy>>>;

type Build = Box<dyn Fn(&Address) -> Box<dyn Protocol>>;

/// What is done with a connection that is over a limit.
#[derive(Default)]
pub(super) struct Overflow {
    build: Option<Build>,
    answered: Rc<Cell<usize>>,
}

impl Overflow {
    pub(super) fn text(text: Bytes) -> Self {
        Self::protocol(move |_| Box::new(Answer(text.clone())))
    }

    pub(super) fn protocol(build: impl Fn(&Address) -> Box<dyn Protocol> + 'static) -> Self {
        Self {
            build: Some(Box::new(build)),
            answered: Rc::default(),
        }
    }

    pub(super) fn build(&self, peer: &Address, pending: &Pending) -> Option<Box<dyn Protocol>> {
        let build = self.build.as_ref()?;
        let slot = Slot::take(&self.answered, ANSWERED_AT_ONCE)?;
        let protocol = build(peer);
        pending.set(Some(Box::new(slot)));
        Some(protocol)
    }
}

/// Says one thing, and waits for the peer to close: a close with bytes unread would be a reset,
/// which may overtake what was said.
struct Answer(Bytes);

impl Protocol for Answer {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.set_timeout(Some(LINGER));
        transport.write_bytes(std::mem::take(&mut self.0));
        transport.lose_write_connection();
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}
