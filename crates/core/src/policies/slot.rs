//! Places among a limited number of connections. A place is a policy, which is how it goes when its
//! connection is gone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ipnet::IpNet;

use crate::Policy;

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
