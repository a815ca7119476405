//! A hierarchical timing wheel: deadlines in any number, at a constant price each.
//!
//! The wheel promises that a timer is never early, that it is due at the first
//! [`advance`](Wheel::advance) to its deadline or later, and that timers come out in the order of
//! their deadlines; where these are equal, in the order of insertion or last reset. It leaves to
//! its owner what the time is, when to advance, and what a timer means.
//!
//! # How it works
//!
//! A level is a row of 64 slots, and a slot is a list of timers. A deadline, seen as a number to
//! the base 64, is kept at the level of the highest digit in which it differs from the present
//! time, in the slot which that digit names. So:
//!
//! - Eleven levels hold every `u64`, and a slot of the lowest level one nanosecond. There is no
//!   horizon to fall beyond, and no tick to round to.
//! - All of a level is earlier than all of the next one, and a slot earlier than the slots to its
//!   right. The first bit set in the first bitmap that isn't zero is the slot of the next timer.
//! - When time moves, what was passed lies left of the new time's digit at the highest level that
//!   changed, and at the levels below. Whether a second or a year was passed makes no difference.
//! - The slot that the time has entered is spread over the levels below. A timer that isn't reset
//!   only moves down, so it moves at most ten times in its life, and one that is cancelled before
//!   its slot is reached never moves.
//! - A timer that is put off stays in its slot, which is too early for it now, and is moved to where
//!   it belongs when the time reaches that slot. So putting off touches no other timer and no list,
//!   and one that is put off at each message, as timeouts are, moves a few times in its span at most.
//! - What an advance has found is sorted by deadline and by the turn in which each got it. That
//!   keeps the promised order, in whichever slots they were.

use std::fmt;

use super::TimerId;
use super::lists::{Lists, WORD};

const BITS: u32 = WORD.trailing_zeros();
const LEVELS: usize = u64::BITS.div_ceil(BITS) as usize;

/// The list of timers that are due and weren't taken out yet.
const DUE: usize = LEVELS * WORD;

/// After an advance with more due timers than this, the memory to sort them is given back.
const BATCH_KEPT: usize = 1024;

/// Timers, each with its deadline and a value.
///
/// Times are nanoseconds since whatever moment the owner chooses; a new wheel stands at 0.
/// Inserting, cancelling and resetting are O(1), and a timer costs 32 bytes beside its value.
///
/// ```
/// use ropewalk_core::timer::Wheel;
///
/// let mut wheel = Wheel::new();
/// let tea = wheel.insert(180_000_000_000, "tea");
/// wheel.insert(60_000_000_000, "egg");
/// assert_eq!(wheel.next_wake(), Some(60_000_000_000));
///
/// wheel.advance(60_000_000_000);
/// assert_eq!(wheel.pop_due().map(|(_, name)| name), Some("egg"));
/// assert_eq!(wheel.pop_due(), None);
///
/// assert!(wheel.reset(tea, 240_000_000_000));
/// assert_eq!(wheel.cancel(tea), Some("tea"));
/// assert!(wheel.is_empty());
/// ```
pub struct Wheel<T> {
    now: u64,
    /// A word for each level, and one for the list of those that are due.
    lists: Lists<T, { LEVELS + 1 }>,
    /// The deadlines, turns and places of those that an advance found due. Empty between advances.
    batch: Vec<(u64, u64, u32)>,
}

impl<T> Wheel<T> {
    /// An empty wheel, at time 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: 0,
            lists: Lists::new(),
            batch: Vec::new(),
        }
    }

    /// The latest time that the wheel was advanced to.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How many timers there are, with those that are due and weren't taken out yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is no timer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a timer. One whose deadline has passed is due at the next [`advance`](Self::advance),
    /// whatever time that goes to.
    ///
    /// # Panics
    /// When there are 2^32 - 1 timers already.
    pub fn insert(&mut self, deadline: u64, value: T) -> TimerId {
        self.lists.insert(self.slot_of(deadline), deadline, value)
    }

    /// Removes a timer and returns its value; `None` if it was taken out or cancelled before.
    /// One that is due can still be cancelled.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let index = self.lists.find(id)?;
        self.lists.remove(index).map(|(_, value)| value)
    }

    /// Gives a timer a new deadline, earlier or later, as if it were inserted now. Returns false
    /// if it was taken out or cancelled before. One that is due is not any more, until the next
    /// [`advance`](Self::advance).
    pub fn reset(&mut self, id: TimerId, deadline: u64) -> bool {
        let Some(index) = self.lists.find(id) else {
            return false;
        };
        if deadline >= self.lists.deadline(index) && self.lists.list_of(index) != DUE {
            self.lists.put_off(index, deadline);
        } else {
            self.lists.reset(self.slot_of(deadline), index, deadline);
        }
        true
    }

    /// The value of a timer that wasn't taken out or cancelled.
    #[must_use]
    pub fn get(&self, id: TimerId) -> Option<&T> {
        self.lists.value(self.lists.find(id)?)
    }

    /// The deadline of a timer that wasn't taken out or cancelled.
    #[must_use]
    pub fn deadline(&self, id: TimerId) -> Option<u64> {
        self.lists.find(id).map(|index| self.lists.deadline(index))
    }

    /// When to [`advance`](Self::advance) next; `None` if there is no timer. O(1).
    ///
    /// It is never later than the earliest deadline, and is that deadline exactly unless timers
    /// with deadlines before it, or near it, were cancelled or reset. Then an advance may find
    /// nothing due, at most once for each slot that they were in, and never twice for one cancel
    /// or reset: after it, the next wake is later. A time that has passed means at once.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        if let Some(first) = self.lists.head(DUE) {
            return Some(self.lists.deadline(first));
        }
        let level = (0..LEVELS).find(|level| self.lists.occupied(*level) != 0)?;
        let slot = self.lists.occupied(level).trailing_zeros() as usize;
        Some(self.lists.earliest(level * WORD + slot))
    }

    /// Moves the time to `now`, and queues the timers that this makes due for
    /// [`pop_due`](Self::pop_due). A `now` before the wheel's time counts as the wheel's time.
    pub fn advance(&mut self, now: u64) {
        let now = now.max(self.now);
        if self.is_empty() {
            self.now = now;
            return;
        }
        let top = level_of(self.now ^ now);
        self.now = now;
        // Upwards, so that what is spread over the levels below isn't met again. Below the top,
        // what isn't due was put off: that may be met once more at each level, which is rare.
        for level in 0..top {
            self.collect(level, u64::MAX);
        }
        self.collect(top, u64::MAX >> (63 - digit(now, top)));
        if !self.batch.is_empty() {
            self.queue_batch();
        }
    }

    /// Takes out the first of the timers that are due.
    pub fn pop_due(&mut self) -> Option<(TimerId, T)> {
        let first = self.lists.head(DUE)?;
        self.lists.remove(first)
    }

    /// Removes all timers, and returns their values in no particular order. The time stays.
    pub fn clear(&mut self) -> Vec<T> {
        self.lists.clear()
    }

    /// Empties those slots of `level` that are in `mask`: what is due goes to the batch, the rest
    /// to the slots where the present time puts it.
    fn collect(&mut self, level: usize, mask: u64) {
        let mut slots = self.lists.occupied(level) & mask;
        while slots != 0 {
            let slot = slots.trailing_zeros() as usize;
            slots &= slots - 1;
            let mut chain = self.lists.detach(level * WORD + slot);
            while let Some(index) = chain {
                chain = self.lists.next(index);
                let deadline = self.lists.deadline(index);
                if deadline <= self.now {
                    self.batch.push((deadline, self.lists.turn(index), index));
                } else {
                    self.lists.append(self.slot_of(deadline), index);
                }
            }
        }
    }

    /// Appends the batch, in order, to the queue of those that are due.
    fn queue_batch(&mut self) {
        self.batch.sort_unstable();
        // Some may wait from an advance before. All in the batch got its deadline after them, but
        // maybe one that was past by then.
        if let Some(last) = self.lists.tail(DUE)
            && self.lists.deadline(last) > self.batch[0].0
        {
            let mut chain = self.lists.detach(DUE);
            while let Some(index) = chain {
                chain = self.lists.next(index);
                let (deadline, turn) = (self.lists.deadline(index), self.lists.turn(index));
                self.batch.push((deadline, turn, index));
            }
            self.batch.sort_unstable();
        }
        for (.., index) in self.batch.drain(..) {
            self.lists.append(DUE, index);
        }
        self.batch.shrink_to(BATCH_KEPT);
    }

    /// Where a timer of this deadline belongs. One that has passed belongs to the slot of the
    /// present nanosecond, which the next advance empties.
    fn slot_of(&self, deadline: u64) -> usize {
        let deadline = deadline.max(self.now);
        let level = level_of(self.now ^ deadline);
        level * WORD + digit(deadline, level)
    }
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("now", &self.now)
            .field("len", &self.len())
            .field("next_wake", &self.next_wake())
            .finish_non_exhaustive()
    }
}

/// The level of the highest digit that isn't zero.
fn level_of(difference: u64) -> usize {
    ((difference | 1).ilog2() / BITS) as usize
}

/// The digit of `time`, to the base 64, that counts at `level`.
fn digit(time: u64, level: usize) -> usize {
    (time >> (level as u32 * BITS)) as usize % WORD
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const HOUR: u64 = 3600 * 1000 * MS;
    const DAY: u64 = 24 * HOUR;

    fn due<T>(wheel: &mut Wheel<T>) -> Vec<T> {
        std::iter::from_fn(|| wheel.pop_due())
            .map(|(_, value)| value)
            .collect()
    }

    #[test]
    fn a_timer_is_due_at_its_very_nanosecond_and_not_before() {
        for deadline in [
            1,
            63,
            64,
            4095,
            4096,
            MS,
            MS + 1,
            HOUR + 7,
            400 * DAY,
            u64::MAX,
        ] {
            let mut wheel = Wheel::new();
            wheel.insert(deadline, ());
            wheel.advance(deadline - 1);
            assert!(due(&mut wheel).is_empty(), "{deadline} was early");
            wheel.advance(deadline);
            assert_eq!(due(&mut wheel).len(), 1, "{deadline} was late");
        }
    }

    #[test]
    fn equal_deadlines_come_out_in_the_order_of_insertion_or_last_reset() {
        let mut wheel = Wheel::new();
        let first = wheel.insert(HOUR, "first");
        wheel.insert(HOUR, "second");
        wheel.advance(HOUR - 50);
        wheel.insert(HOUR, "third");
        wheel.reset(first, HOUR);
        wheel.insert(HOUR - 1, "before");
        wheel.advance(DAY);
        assert_eq!(due(&mut wheel), ["before", "second", "third", "first"]);
    }

    #[test]
    fn a_jump_of_hours_makes_all_that_was_passed_due_in_order() {
        let mut wheel = Wheel::new();
        // 7919 has no factor with 1000, so this is each number once, in disorder.
        for n in (0..1000).map(|n| n * 7919 % 1000) {
            wheel.insert(n * 17 * MS + n, n);
        }
        wheel.insert(9 * HOUR, 1000);
        wheel.advance(8 * HOUR);
        assert_eq!(due(&mut wheel), (0..1000).collect::<Vec<_>>());
        assert_eq!(wheel.next_wake(), Some(9 * HOUR));
        wheel.advance(u64::MAX);
        assert_eq!(due(&mut wheel), [1000]);
    }

    #[test]
    fn time_that_goes_backwards_is_ignored() {
        let mut wheel = Wheel::new();
        wheel.advance(HOUR);
        wheel.insert(HOUR + 5, "later");
        wheel.insert(HOUR, "now");
        wheel.advance(5);
        assert_eq!(wheel.now(), HOUR);
        assert_eq!(due(&mut wheel), ["now"]);
        wheel.advance(HOUR + 5);
        assert_eq!(due(&mut wheel), ["later"]);
    }

    #[test]
    fn a_deadline_that_has_passed_waits_for_the_next_advance() {
        let mut wheel = Wheel::new();
        wheel.advance(HOUR);
        wheel.insert(HOUR, 2);
        wheel.insert(5, 1);
        assert_eq!(wheel.pop_due(), None);
        assert_eq!(wheel.next_wake(), Some(5));
        wheel.advance(HOUR);
        assert_eq!(due(&mut wheel), [1, 2]);
    }

    #[test]
    fn what_is_due_can_still_be_cancelled_or_reset() {
        let mut wheel = Wheel::new();
        wheel.insert(1, "a");
        let cancelled = wheel.insert(2, "b");
        let reset = wheel.insert(3, "c");
        wheel.insert(4, "d");
        wheel.advance(10);
        assert_eq!(wheel.pop_due().unwrap().1, "a");
        assert_eq!(wheel.cancel(cancelled), Some("b"));
        assert!(wheel.reset(reset, 3));
        assert_eq!(due(&mut wheel), ["d"]);
        wheel.advance(10);
        assert_eq!(due(&mut wheel), ["c"]);
    }

    #[test]
    fn an_id_never_names_a_later_timer() {
        let mut wheel = Wheel::new();
        let popped = wheel.insert(1, 1);
        wheel.advance(1);
        assert_eq!(wheel.pop_due(), Some((popped, 1)));
        let cancelled = wheel.insert(2, 2);
        wheel.cancel(cancelled);
        let cleared = wheel.insert(3, 3);
        assert_eq!(wheel.clear(), [3]);
        let live = wheel.insert(4, 4);
        for id in [popped, cancelled, cleared] {
            assert_eq!(wheel.get(id), None);
            assert_eq!(wheel.deadline(id), None);
            assert_eq!(wheel.cancel(id), None);
            assert!(!wheel.reset(id, 9));
        }
        assert_eq!(wheel.get(live), Some(&4));
        assert_eq!(wheel.deadline(live), Some(4));
    }

    #[test]
    fn clear_forgets_what_is_due_as_well() {
        let mut wheel = Wheel::new();
        wheel.insert(1, "due");
        wheel.insert(HOUR, "pending");
        wheel.advance(1);
        let mut cleared = wheel.clear();
        cleared.sort_unstable();
        assert_eq!(cleared, ["due", "pending"]);
        assert_eq!((wheel.len(), wheel.next_wake()), (0, None));
        assert_eq!(wheel.pop_due(), None);
        wheel.advance(DAY);
        assert_eq!(wheel.pop_due(), None);
    }

    #[test]
    fn a_million_timers_of_one_millisecond_take_one_needless_wake_at_most() {
        const COUNT: u64 = 1_000_000;
        let mut wheel = Wheel::new();
        let ids: Vec<_> = (0..COUNT).map(|n| wheel.insert(HOUR + n, n)).collect();
        // Worse than any order of cancelling: only the last stays, and no slot knows it.
        for id in &ids[..ids.len() - 1] {
            wheel.cancel(*id);
        }
        let mut wakes = 0;
        let mut fired = Vec::new();
        while let Some(wake) = wheel.next_wake() {
            wheel.advance(wake);
            wakes += 1;
            fired.append(&mut due(&mut wheel));
        }
        assert_eq!((wheel.now(), fired), (HOUR + COUNT - 1, vec![COUNT - 1]));
        assert_eq!(wakes, 2);
    }

    #[test]
    fn a_timer_that_is_put_off_keeps_its_order_among_those_of_its_new_deadline() {
        let mut wheel = Wheel::new();
        let put_off = wheel.insert(MS, "put off first");
        let again = wheel.insert(MS, "put off again");
        wheel.insert(HOUR, "before");
        wheel.reset(put_off, HOUR);
        wheel.reset(again, HOUR - 1);
        wheel.insert(HOUR, "between");
        wheel.reset(again, HOUR);
        wheel.insert(HOUR, "after");
        wheel.advance(2 * MS);
        assert_eq!(wheel.pop_due(), None);
        wheel.advance(HOUR);
        assert_eq!(
            due(&mut wheel),
            [
                "before",
                "put off first",
                "between",
                "put off again",
                "after"
            ]
        );
    }

    #[test]
    fn a_timeout_that_is_put_off_at_each_message_takes_one_needless_wake_a_span_at_most() {
        let mut wheel = Wheel::new();
        let timeout = wheel.insert(HOUR, ());
        let mut needless = 0;
        for message in (0..10 * HOUR).step_by((HOUR / 1000) as usize) {
            while let Some(wake) = wheel.next_wake().filter(|wake| *wake <= message) {
                wheel.advance(wake);
                assert_eq!(wheel.pop_due(), None, "it was put off");
                needless += 1;
            }
            wheel.advance(message);
            wheel.reset(timeout, message + HOUR);
        }
        assert!(needless <= 10, "{needless}");
    }

    #[test]
    fn those_left_in_the_queue_stay_in_order_with_those_that_come_late() {
        let mut wheel = Wheel::new();
        wheel.insert(10, "ten");
        wheel.insert(20, "twenty");
        wheel.advance(30);
        wheel.insert(20, "late twenty");
        wheel.insert(15, "late fifteen");
        wheel.insert(40, "forty");
        wheel.advance(40);
        assert_eq!(
            due(&mut wheel),
            ["ten", "late fifteen", "twenty", "late twenty", "forty"]
        );
    }
}
