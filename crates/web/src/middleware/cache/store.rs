//! What is kept, within a bound on its bytes; and who is being fetched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::HeaderMap;

use super::stored::Stored;

/// Answers to requests of one target that differ by their `Vary`: no more than this.
const VARIANTS: usize = 16;

/// Those that wait for one answer: no more than this.
const WAITERS: usize = 1000;

/// Targets whose answers could not be kept, which nobody is to wait for: no more than this.
const PASSED: usize = 1000;

/// Answers by target. What was not used for longest goes first.
#[derive(Debug)]
pub(super) struct Store {
    limit: usize,
    held: usize,
    /// Bytes of what is on its way to be kept.
    set_aside: usize,
    targets: BTreeMap<Arc<str>, Vec<Entry>>,
    /// Each entry once, by when it was last used.
    by_use: BTreeMap<u64, Arc<str>>,
    uses: u64,
    flights: BTreeMap<Arc<str>, Arc<Flight>>,
    passed: BTreeSet<Arc<str>>,
    /// In the order in which they came.
    passed_order: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct Entry {
    stored: Arc<Stored>,
    cost: usize,
    used: u64,
}

/// An answer that is being fetched, and those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Flight {
    state: Mutex<FlightState>,
}

#[derive(Debug, Default)]
struct FlightState {
    outcome: Option<Outcome>,
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

/// What came of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is over: what can be kept of it is kept.
    Done,
    /// Who led it is gone.
    Abandoned,
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: 0,
            set_aside: 0,
            targets: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            flights: BTreeMap::new(),
            passed: BTreeSet::new(),
            passed_order: VecDeque::new(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// What is kept for a request of this target with these headers.
    pub(super) fn find(&mut self, key: &str, asked: &HeaderMap) -> Option<Arc<Stored>> {
        let (key, _) = self.targets.get_key_value(key)?;
        let key = Arc::clone(key);
        let entries = self.targets.get_mut(&key)?;
        let entry = entries
            .iter_mut()
            .find(|entry| entry.stored.head.suits(asked))?;
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(Arc::clone(&entry.stored))
    }

    /// Keeps `stored`, the answer to a request with these headers, in the place of what was kept
    /// for such. What is larger than the whole is not kept.
    pub(super) fn keep(&mut self, key: &Arc<str>, asked: &HeaderMap, stored: Stored) {
        let cost = stored.cost(key);
        self.remove_if(key, |entry| entry.stored.head.suits(asked));
        if cost > self.limit {
            return;
        }
        while self.held + cost > self.limit || self.variants(key) >= VARIANTS {
            let oldest = match self.variants(key) >= VARIANTS {
                true => self.targets[key].iter().map(|entry| entry.used).min(),
                false => self.by_use.keys().next().copied(),
            };
            let Some(oldest) = oldest else { break };
            let Some(target) = self.by_use.get(&oldest).cloned() else {
                break;
            };
            self.remove_if(&target, |entry| entry.used == oldest);
        }
        if self.passed.remove(key) {
            self.passed_order.retain(|passed| passed != key);
        }
        self.uses += 1;
        self.held += cost;
        self.by_use.insert(self.uses, Arc::clone(key));
        let entries = self.targets.entry(Arc::clone(key)).or_default();
        entries.push(Entry {
            stored: Arc::new(stored),
            cost,
            used: self.uses,
        });
    }

    /// Keeps nothing of this target any more.
    pub(super) fn remove(&mut self, key: &str) {
        self.remove_if(key, |_| true);
    }

    /// Keeps nothing of this target, of which an answer could not be kept.
    pub(super) fn pass(&mut self, key: &Arc<str>) {
        self.remove(key);
        if self.passed.insert(Arc::clone(key)) {
            self.passed_order.push_back(Arc::clone(key));
        }
        if self.passed_order.len() > PASSED
            && let Some(oldest) = self.passed_order.pop_front()
        {
            self.passed.remove(&oldest);
        }
    }

    /// Whether the last answer of this target could not be kept.
    pub(super) fn is_passed(&self, key: &str) -> bool {
        self.passed.contains(key)
    }

    fn variants(&self, key: &str) -> usize {
        self.targets.get(key).map_or(0, Vec::len)
    }

    fn remove_if(&mut self, key: &str, goes: impl Fn(&Entry) -> bool) {
        let Some(entries) = self.targets.get_mut(key) else {
            return;
        };
        let (by_use, held) = (&mut self.by_use, &mut self.held);
        entries.retain(|entry| {
            let goes = goes(entry);
            if goes {
                by_use.remove(&entry.used);
                *held -= entry.cost;
            }
            !goes
        });
        if entries.is_empty() {
            self.targets.remove(key);
        }
    }

    /// Takes room for so many bytes that are not kept yet, if there is so much.
    pub(super) fn set_aside(&mut self, bytes: usize) -> bool {
        let sum = self.set_aside.saturating_add(bytes);
        let is_room = sum <= self.limit;
        if is_room {
            self.set_aside = sum;
        }
        is_room
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.set_aside = self.set_aside.saturating_sub(bytes);
    }

    /// Begins a flight, or returns as an error the one that is under way.
    pub(super) fn fly(&mut self, key: &Arc<str>) -> Result<Arc<Flight>, Arc<Flight>> {
        if let Some(flight) = self.flights.get(key) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::<Flight>::default();
        self.flights.insert(Arc::clone(key), Arc::clone(&flight));
        Ok(flight)
    }

    /// Ends this flight: nobody joins it any more. To be told to those who wait when nothing is locked.
    pub(super) fn land(&mut self, key: &str, flight: &Arc<Flight>) {
        let own = self.flights.get(key);
        if own.is_some_and(|own| Arc::ptr_eq(own, flight)) {
            self.flights.remove(key);
        }
    }

    /// Ends the flight to this target, if one is under way.
    pub(super) fn land_any(&mut self, key: &str) -> Option<Arc<Flight>> {
        self.flights.remove(key)
    }
}

impl Flight {
    /// A number to wait under. `None` when too many wait.
    pub(super) fn join(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.waiting.len() >= WAITERS {
            return None;
        }
        state.next += 1;
        let number = state.next;
        state.waiting.insert(number, Waker::noop().clone());
        Some(number)
    }

    pub(super) fn poll(&self, number: u64, cx: &Context<'_>) -> Poll<Outcome> {
        let mut state = self.lock();
        if let Some(outcome) = state.outcome {
            return Poll::Ready(outcome);
        }
        let old = state.waiting.insert(number, cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }

    pub(super) fn leave(&self, number: u64) {
        let old = self.lock().waiting.remove(&number);
        drop(old);
    }

    pub(super) fn end(&self, outcome: Outcome) {
        let mut state = self.lock();
        state.outcome.get_or_insert(outcome);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, FlightState> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use bytes::Bytes;
    use http::Response;
    use proptest::prelude::*;

    use super::super::stored::{Head, Now};
    use super::*;

    fn stored(asked: &HeaderMap, length: usize) -> Stored {
        let answer = Response::builder()
            .header("cache-control", "max-age=60")
            .header("vary", "accept");
        let answer = answer.body(()).unwrap();
        let now = Now {
            instant: Instant::now(),
            date: SystemTime::UNIX_EPOCH,
        };
        Stored {
            head: Head::of(asked, &answer, now).unwrap(),
            body: Bytes::from(vec![0; length]),
        }
    }

    fn asked(accept: u8) -> HeaderMap {
        HeaderMap::from_iter([(http::header::ACCEPT, accept.to_string().parse().unwrap())])
    }

    proptest! {
        #[test]
        fn what_is_held_is_within_the_limit_and_counted_right(
            ops in proptest::collection::vec((0..3_u8, 0..6_u8, 0..20_u8, 0..3000_usize), 0..200),
        ) {
            let mut store = Store::new(20_000);
            for (op, key, accept, length) in ops {
                let (key, asked) = (Arc::from(key.to_string()), asked(accept));
                match op {
                    0 => {
                        store.keep(&key, &asked, stored(&asked, length));
                        let found = store.find(&key, &asked).unwrap();
                        prop_assert_eq!(found.body.len(), length);
                    }
                    1 => drop(store.find(&key, &asked)),
                    _ => store.remove(&key),
                }
                let entries = || store.targets.values().flatten();
                prop_assert!(store.held <= 20_000);
                prop_assert_eq!(store.held, entries().map(|entry| entry.cost).sum::<usize>());
                prop_assert_eq!(store.by_use.len(), entries().count());
                prop_assert!(store.targets.values().all(|entries| entries.len() <= VARIANTS));
            }
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let asked = asked(1);
        let cost = stored(&asked, 1000).cost("a");
        let mut store = Store::new(2 * cost);
        let keys: [Arc<str>; 3] = ["a", "b", "c"].map(Arc::from);
        store.keep(&keys[0], &asked, stored(&asked, 1000));
        store.keep(&keys[1], &asked, stored(&asked, 1000));
        assert!(store.find("a", &asked).is_some());
        store.keep(&keys[2], &asked, stored(&asked, 1000));
        assert!(store.find("a", &asked).is_some());
        assert!(store.find("b", &asked).is_none());
        store.keep(&keys[1], &asked, stored(&asked, 10 * cost));
        assert!(
            store.find("b", &asked).is_none(),
            "it is larger than the whole"
        );
    }
}
