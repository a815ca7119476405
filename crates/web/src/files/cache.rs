//! Small files in memory, for as long as they are asked for.
//!
//! The bound is on memory: content, name, and an estimate for what an entry costs beside them, so
//! that it bounds the number of entries too. What goes is chosen by second chance (the CLOCK
//! algorithm): the oldest entry that was not used since it was last looked at.

#[expect(
    clippy::disallowed_types,
    reason = "it is looked up for each request, and its order is never seen"
)]
use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::representation::{Representation, Stamp};

/// How long an entry is trusted before the file is looked at again.
pub(super) const TRUST: Duration = Duration::from_secs(1);

/// Headers, map and queue, per entry, in bytes.
const ENTRY: usize = 2048;

pub(super) struct Cache {
    limit: usize,
    held: usize,
    #[expect(clippy::disallowed_types, reason = "see its import")]
    entries: HashMap<Rc<[u8]>, Entry>,
    /// Each key once, in the order in which eviction looks at them.
    queue: VecDeque<Rc<[u8]>>,
}

struct Entry {
    representation: Rc<Representation>,
    cost: usize,
    /// When the file was last looked at, if that is known.
    checked: Option<Instant>,
    used: bool,
}

impl Cache {
    /// A cache that holds up to `limit` bytes. With 0 it holds nothing.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: 0,
            entries: Default::default(),
            queue: VecDeque::new(),
        }
    }

    /// How many bytes it takes now, by its own estimate.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// What is held for `path`, if the file was looked at within the last second.
    pub(super) fn fresh(&mut self, path: &[u8], now: Instant) -> Option<Rc<Representation>> {
        let entry = self.entries.get_mut(path)?;
        if now.saturating_duration_since(entry.checked?) >= TRUST {
            return None;
        }
        entry.used = true;
        Some(entry.representation.clone())
    }

    /// What is held for `path`, if the file that is there now has not changed.
    pub(super) fn confirm(
        &mut self,
        path: &[u8],
        stamp: &Stamp,
        now: Option<Instant>,
    ) -> Option<Rc<Representation>> {
        let entry = self.entries.get_mut(path)?;
        if !entry.representation.is_current(stamp) {
            return None;
        }
        entry.checked = now;
        entry.used = true;
        Some(entry.representation.clone())
    }

    /// Holds `representation` in the place of what was held for `path`, if it is in memory and
    /// there is or can be made room.
    pub(super) fn insert(
        &mut self,
        path: &[u8],
        representation: &Rc<Representation>,
        now: Option<Instant>,
    ) {
        let cost = representation
            .bytes_held()
            .map(|bytes| bytes + 2 * path.len() + ENTRY);
        let Some(cost) = cost.filter(|&cost| cost <= self.limit) else {
            self.remove(path);
            return;
        };
        let entry = Entry {
            representation: representation.clone(),
            cost,
            checked: now,
            used: false,
        };
        self.held += cost;
        if let Some(place) = self.entries.get_mut(path) {
            self.held -= place.cost;
            *place = entry;
        } else {
            let key: Rc<[u8]> = Rc::from(path);
            self.queue.push_back(key.clone());
            self.entries.insert(key, entry);
        }
        while self.held > self.limit {
            self.evict_one();
        }
    }

    pub(super) fn remove(&mut self, path: &[u8]) {
        if let Some(entry) = self.entries.remove(path) {
            self.held -= entry.cost;
            self.queue.retain(|key| **key != *path);
        }
    }

    fn evict_one(&mut self) {
        while let Some(key) = self.queue.pop_front() {
            match self.entries.get_mut(&key) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.queue.push_back(key);
                }
                Some(entry) => {
                    self.held -= entry.cost;
                    self.entries.remove(&key);
                    return;
                }
                None => {}
            }
        }
    }
}
