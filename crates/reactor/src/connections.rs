//! The connections of a loop, by their names.

use std::sync::Arc;

use ropewalk_core::timer::TimerId;
use ropewalk_core::{Channel, ConnectionId};

use crate::dealing::Load;

/// How a connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A peer connected to a port here.
    Accepted,
    /// This side connected.
    Connected,
}

/// What the loop keeps for a connection.
pub(crate) struct Entry {
    /// `None` while the connection is being made, and while its channel is at work.
    pub(crate) channel: Option<Channel>,
    /// The timer for its deadline, and the time that it was set to. A deadline that moves away
    /// leaves it where it is: it is moved when it fires.
    pub(crate) timer: Option<TimerId>,
    pub(crate) armed: u64,
    pub(crate) side: Side,
    /// What the driver was told.
    pub(crate) reading: bool,
}

#[derive(Default)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    accepted: usize,
    /// Where other threads see how many were accepted, if any want to.
    load: Option<Arc<Load>>,
}

struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

impl Connections {
    /// Shows `load` how many were accepted. To be called before any is.
    pub(crate) fn show(&mut self, load: Arc<Load>) {
        self.load = Some(load);
    }

    /// A new name. Its entry is empty.
    pub(crate) fn open(&mut self, side: Side) -> ConnectionId {
        let entry = Some(Entry {
            channel: None,
            timer: None,
            armed: 0,
            side,
            reading: true,
        });
        if side == Side::Accepted {
            self.accepted += 1;
            self.load.iter().for_each(|load| load.add());
        }
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.generation = slot.generation.wrapping_add(1);
            slot.entry = entry;
            return ConnectionId::new(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 connections");
        self.slots.push(Slot {
            generation: 0,
            entry,
        });
        ConnectionId::new(index, 0)
    }

    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        slot.entry
            .as_mut()
            .filter(|_| slot.generation == id.generation())
    }

    pub(crate) fn close(&mut self, id: ConnectionId) -> Option<Entry> {
        self.get(id)?;
        let entry = self.slots[id.index() as usize].entry.take()?;
        self.free.push(id.index());
        if entry.side == Side::Accepted {
            self.accepted -= 1;
            self.load.iter().for_each(|load| load.remove());
        }
        Some(entry)
    }

    /// The names of all that are open, or only of those that came to be as `side`.
    pub(crate) fn ids(&self, side: Option<Side>) -> Vec<ConnectionId> {
        let all = self.slots.iter().zip(0..);
        all.filter_map(|(slot, index)| {
            let entry = slot.entry.as_ref()?;
            side.is_none_or(|side| side == entry.side)
                .then(|| ConnectionId::new(index, slot.generation))
        })
        .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted
    }
}
