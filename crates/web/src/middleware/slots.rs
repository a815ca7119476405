//! So many at once, and a bounded line of those who wait, first come, first served.
//!
//! It is `Send`, because a slot may be held by the body of an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A number of slots. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// How many may wait.
    line: usize,
    /// Those who wait, by the order in which they came.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// Those who have a slot and do not know it yet.
    granted: BTreeSet<u64>,
    next: u64,
}

/// What came of asking for a slot.
pub(super) enum Asked {
    Slot(Slot),
    Wait(Place),
    /// The line is full.
    Refused,
}

/// One of the slots, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
}

/// A place in the line, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    slots: Slots,
    number: u64,
}

impl Slots {
    pub(super) fn new(slots: usize, line: usize) -> Self {
        let state = State {
            free: slots,
            line,
            waiting: BTreeMap::new(),
            granted: BTreeSet::new(),
            next: 0,
        };
        Self {
            shared: Arc::new(Mutex::new(state)),
        }
    }

    pub(super) fn ask(&self) -> Asked {
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            let slots = self.clone();
            return Asked::Slot(Slot { slots });
        }
        if state.waiting.len() >= state.line {
            return Asked::Refused;
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, None);
        let slots = self.clone();
        Asked::Wait(Place { slots, number })
    }

    /// A slot is free again: it goes to who has waited longest.
    fn give_back(&self) {
        let mut state = self.lock();
        let Some((number, waker)) = state.waiting.pop_first() else {
            state.free += 1;
            return;
        };
        state.granted.insert(number);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Slot> {
        let mut state = self.slots.lock();
        if state.granted.remove(&self.number) {
            let slots = self.slots.clone();
            return Poll::Ready(Slot { slots });
        }
        let waker = Some(cx.waker().clone());
        let old = state
            .waiting
            .get_mut(&self.number)
            .map(|place| std::mem::replace(place, waker));
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        let waker = state.waiting.remove(&self.number);
        let granted = state.granted.remove(&self.number);
        drop(state);
        drop(waker);
        if granted {
            self.slots.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn poll(place: &Place) -> Option<Slot> {
        match place.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[test]
    fn slots_go_to_those_who_wait_in_the_order_in_which_they_came() {
        let slots = Slots::new(1, 2);
        let Asked::Slot(first) = slots.ask() else {
            panic!("there is one")
        };
        let (Asked::Wait(second), Asked::Wait(third)) = (slots.ask(), slots.ask()) else {
            panic!("the line has room")
        };
        assert!(matches!(slots.ask(), Asked::Refused));
        drop(first);
        assert!(matches!(slots.ask(), Asked::Wait(_)), "nobody overtakes");
        assert!(poll(&third).is_none());
        drop(poll(&second).unwrap());
        assert!(poll(&third).is_some());
    }

    proptest! {
        #[test]
        fn no_slot_is_lost_and_none_is_given_twice(
            ops in proptest::collection::vec((0..4_u8, 0..8_usize), 0..200),
        ) {
            let slots = Slots::new(3, 4);
            let (mut held, mut places) = (Vec::new(), Vec::new());
            for (op, which) in ops {
                match op {
                    0 => match slots.ask() {
                        Asked::Slot(slot) => held.push(slot),
                        Asked::Wait(place) => places.push(place),
                        Asked::Refused => {}
                    },
                    1 if which < held.len() => drop(held.remove(which)),
                    2 if which < places.len() => drop(places.remove(which)),
                    3 if which < places.len() => {
                        if let Some(slot) = poll(&places[which]) {
                            places.remove(which);
                            held.push(slot);
                        }
                    }
                    _ => {}
                }
                prop_assert!(held.len() <= 3);
            }
            held.clear();
            places.clear();
            prop_assert_eq!(slots.lock().free, 3);
        }
    }
}
