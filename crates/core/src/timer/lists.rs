//! The memory of the [`Wheel`](super::Wheel): timers in one slab, linked into numbered lists.
//!
//! Each timer is in exactly one list, and a list keeps the order in which timers were appended.
//! Each has its turn besides: the later it was inserted or last got a deadline, the higher. All
//! operations are O(1) but [`clear`](Lists::clear). What a list stands for is the wheel's matter.

use std::num::NonZeroU64;

/// Lists per word of the occupancy bitmap.
pub(super) const WORD: usize = 64;

const NIL: u32 = u32::MAX;

/// How much of a [`Place`] is the number of the list.
const LIST_BITS: u32 = 10;

/// A slab that had more timers than this gives its memory back when the last one is gone.
const KEPT_WHEN_EMPTY: usize = 1024;

/// Names one timer of one [`Wheel`](super::Wheel), and never another one: ids aren't reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    stamp: NonZeroU64,
    index: u32,
}

/// `WORDS` times 64 lists of timers.
pub(super) struct Lists<T, const WORDS: usize> {
    lists: Box<[[List; WORD]; WORDS]>,
    /// A bit for each list that isn't empty.
    occupied: [u64; WORDS],
    entries: Vec<Entry<T>>,
    /// The first of the chain of vacant entries, which are linked by `next`.
    vacant: u32,
    len: usize,
    /// Counts what was inserted or given a deadline. That takes centuries to reach 2^64, so that
    /// no two timers ever share a stamp.
    last_stamp: NonZeroU64,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    /// No deadline in the list is before this one. Of no meaning while the list is empty.
    earliest: u64,
}

struct Entry<T> {
    deadline: u64,
    stamp: NonZeroU64,
    prev: u32,
    next: u32,
    place: Place,
    /// `None` while the entry is vacant.
    value: Option<T>,
}

/// A timer's turn and the number of its list, in one word, so that they take no more memory than
/// the number with its padding would. The 54 bits of the turn last for 57 years of ten million
/// resets a second.
#[derive(Clone, Copy)]
struct Place(u64);

impl<T, const WORDS: usize> Lists<T, WORDS> {
    const NUMBERS_FIT: () = assert!(WORDS * WORD <= 1 << LIST_BITS);

    pub(super) fn new() -> Self {
        const { Self::NUMBERS_FIT };
        const EMPTY: List = List {
            head: NIL,
            tail: NIL,
            earliest: 0,
        };
        Self {
            lists: Box::new([[EMPTY; WORD]; WORDS]),
            occupied: [0; WORDS],
            entries: Vec::new(),
            vacant: NIL,
            len: 0,
            last_stamp: NonZeroU64::MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The lists `64 * word` and following that aren't empty, the first at the lowest bit.
    pub(super) fn occupied(&self, word: usize) -> u64 {
        self.occupied[word]
    }

    /// Where the timer is, if it is still here.
    pub(super) fn find(&self, id: TimerId) -> Option<u32> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.stamp == id.stamp && entry.value.is_some()).then_some(id.index)
    }

    pub(super) fn value(&self, index: u32) -> Option<&T> {
        self.entries[index as usize].value.as_ref()
    }

    pub(super) fn deadline(&self, index: u32) -> u64 {
        self.entries[index as usize].deadline
    }

    /// Grows with each insertion and each new deadline: who has the lower one came first.
    pub(super) fn turn(&self, index: u32) -> u64 {
        self.entries[index as usize].place.turn()
    }

    pub(super) fn list_of(&self, index: u32) -> usize {
        self.entries[index as usize].place.list()
    }

    /// The one that follows in the same list.
    pub(super) fn next(&self, index: u32) -> Option<u32> {
        some(self.entries[index as usize].next)
    }

    pub(super) fn head(&self, list: usize) -> Option<u32> {
        some(self.list(list).head)
    }

    pub(super) fn tail(&self, list: usize) -> Option<u32> {
        some(self.list(list).tail)
    }

    /// A bound on the deadlines of a list that isn't empty: none is earlier. It is the earliest
    /// deadline itself, unless that timer was put off, or taken out and others stayed.
    pub(super) fn earliest(&self, list: usize) -> u64 {
        self.list(list).earliest
    }

    /// Adds a timer at the end of `list`.
    pub(super) fn insert(&mut self, list: usize, deadline: u64, value: T) -> TimerId {
        let stamp = self.next_stamp();
        let entry = Entry {
            deadline,
            stamp,
            prev: NIL,
            next: NIL,
            place: Place::new(list, stamp),
            value: Some(value),
        };
        let index = if let Some(index) = some(self.vacant) {
            let vacant = &mut self.entries[index as usize];
            self.vacant = vacant.next;
            *vacant = entry;
            index
        } else {
            let index = self.entries.len();
            assert!(index < NIL as usize, "a wheel holds 2^32 - 1 timers");
            self.entries.push(entry);
            index as u32
        };
        self.len += 1;
        self.append(list, index);
        TimerId { stamp, index }
    }

    /// Takes a timer out of its list and out of memory.
    pub(super) fn remove(&mut self, index: u32) -> Option<(TimerId, T)> {
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take()?;
        let stamp = entry.stamp;
        entry.next = self.vacant;
        self.vacant = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEPT_WHEN_EMPTY {
            self.entries = Vec::new();
            self.vacant = NIL;
        }
        Some((TimerId { stamp, index }, value))
    }

    /// Gives a timer a new deadline, and a new place at the end of `list`.
    pub(super) fn reset(&mut self, list: usize, index: u32, deadline: u64) {
        self.unlink(index);
        let stamp = self.next_stamp();
        let entry = &mut self.entries[index as usize];
        entry.deadline = deadline;
        entry.place = Place::new(list, stamp);
        self.append(list, index);
    }

    /// Gives a timer a new deadline, no earlier than its present one, and leaves it where it is in
    /// its list. Nothing but the timer itself is touched.
    pub(super) fn put_off(&mut self, index: u32, deadline: u64) {
        let stamp = self.next_stamp();
        let entry = &mut self.entries[index as usize];
        debug_assert!(deadline >= entry.deadline, "the list's bound must hold");
        entry.deadline = deadline;
        entry.place = Place::new(entry.place.list(), stamp);
    }

    /// Empties `list`. Its timers, from the returned one by [`next`](Self::next), are in no list
    /// until each is appended to one.
    pub(super) fn detach(&mut self, list: usize) -> Option<u32> {
        let first = self.head(list);
        let emptied = self.list_mut(list);
        emptied.head = NIL;
        emptied.tail = NIL;
        self.occupied[list / WORD] &= !(1 << (list % WORD));
        first
    }

    /// Adds a timer that is in no list to the end of `list`.
    pub(super) fn append(&mut self, list: usize, index: u32) {
        let end = &mut self.lists[list / WORD][list % WORD];
        let entry = &mut self.entries[index as usize];
        let before = end.tail;
        entry.place = entry.place.moved_to(list);
        entry.prev = before;
        entry.next = NIL;
        end.tail = index;
        if before == NIL {
            end.head = index;
            end.earliest = entry.deadline;
            self.occupied[list / WORD] |= 1 << (list % WORD);
        } else {
            end.earliest = end.earliest.min(entry.deadline);
            self.entries[before as usize].next = index;
        }
    }

    /// Removes all timers, and returns their values in no particular order.
    pub(super) fn clear(&mut self) -> Vec<T> {
        // `last_stamp` stays: an id from before must not name a timer from after.
        let last_stamp = self.last_stamp;
        let old = std::mem::replace(self, Self::new());
        self.last_stamp = last_stamp;
        old.entries.into_iter().filter_map(|e| e.value).collect()
    }

    fn next_stamp(&mut self) -> NonZeroU64 {
        self.last_stamp = self.last_stamp.saturating_add(1);
        self.last_stamp
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (prev, next, list) = (entry.prev, entry.next, entry.place.list());
        match some(prev) {
            Some(prev) => self.entries[prev as usize].next = next,
            None => self.list_mut(list).head = next,
        }
        match some(next) {
            Some(next) => self.entries[next as usize].prev = prev,
            None => self.list_mut(list).tail = prev,
        }
        if prev == NIL && next == NIL {
            self.occupied[list / WORD] &= !(1 << (list % WORD));
        }
    }

    fn list(&self, list: usize) -> &List {
        &self.lists[list / WORD][list % WORD]
    }

    fn list_mut(&mut self, list: usize) -> &mut List {
        &mut self.lists[list / WORD][list % WORD]
    }
}

impl Place {
    fn new(list: usize, stamp: NonZeroU64) -> Self {
        Self(stamp.get() << LIST_BITS | list as u64)
    }

    fn list(self) -> usize {
        (self.0 & ((1 << LIST_BITS) - 1)) as usize
    }

    fn turn(self) -> u64 {
        self.0 >> LIST_BITS
    }

    fn moved_to(self, list: usize) -> Self {
        Self(self.turn() << LIST_BITS | list as u64)
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NIL).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_costs_32_bytes_and_its_value() {
        assert_eq!(size_of::<Entry<Box<dyn FnOnce()>>>(), 32 + 16);
        assert_eq!(size_of::<Option<TimerId>>(), 16);
    }

    #[test]
    fn memory_is_reused_and_given_back_when_the_last_timer_goes() {
        let mut lists = Lists::<usize, 1>::new();
        for round in 0..10 {
            let id = lists.insert(0, 0, round);
            let index = lists.find(id).unwrap();
            lists.remove(index);
        }
        assert_eq!(lists.entries.len(), 1);

        let ids: Vec<_> = (0..5000).map(|n| lists.insert(n % WORD, 0, n)).collect();
        for id in &ids {
            let index = lists.find(*id).unwrap();
            assert!(lists.entries.capacity() > KEPT_WHEN_EMPTY);
            lists.remove(index);
        }
        assert_eq!(lists.entries.capacity(), 0);
        assert!(ids.iter().all(|id| lists.find(*id).is_none()));
    }
}
