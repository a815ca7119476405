//! The wheel against a model of it: whatever is done to both, they do the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Wheel;

const MS: u64 = 1_000_000;
const DAY: u64 = 24 * 3600 * 1000 * MS;

#[derive(Clone, Debug)]
enum Step {
    Insert(Moment),
    Cancel(usize),
    Reset(usize, Moment),
    Advance(u64),
    AdvanceToWake,
    Pop(usize),
}

/// A time relative to the wheel's, forward or back.
#[derive(Clone, Copy, Debug)]
enum Moment {
    In(u64),
    /// As `In`, rounded up, so that deadlines which are set at different times collide.
    About(u64),
    Ago(u64),
}

impl Moment {
    fn from(self, now: u64) -> u64 {
        match self {
            Self::In(span) => now.saturating_add(span),
            Self::About(span) => now.saturating_add(span) | 0xff_ffff,
            Self::Ago(span) => now.saturating_sub(span),
        }
    }
}

/// From nothing to eighteen years, small and large alike, and round ones that collide.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0_u32..59).prop_flat_map(|bits| 0..1_u64 << bits),
        prop::sample::select(vec![0, 1, 63, 64, 65, 4096, MS, 1 << 24, 60_000 * MS, DAY]),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        5 => span().prop_map(Moment::In),
        3 => span().prop_map(Moment::About),
        1 => span().prop_map(Moment::Ago),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => moment().prop_map(Step::Insert),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => (any::<usize>(), moment()).prop_map(|(which, to)| Step::Reset(which, to)),
        2 => span().prop_map(Step::Advance),
        2 => Just(Step::AdvanceToWake),
        3 => (0_usize..8).prop_map(Step::Pop),
    ]
}

/// What the wheel does, written for clarity: maps from (deadline, sequence) to the name.
#[derive(Default)]
struct Model {
    pending: BTreeMap<(u64, u64), usize>,
    due: BTreeMap<(u64, u64), usize>,
    sequence: u64,
}

impl Model {
    fn insert(&mut self, deadline: u64, name: usize) {
        self.sequence += 1;
        self.pending.insert((deadline, self.sequence), name);
    }

    fn remove(&mut self, name: usize) -> bool {
        let before = self.len();
        self.pending.retain(|_, other| *other != name);
        self.due.retain(|_, other| *other != name);
        self.len() < before
    }

    fn advance(&mut self, now: u64) {
        let later = self.pending.split_off(&(now, u64::MAX));
        self.due.append(&mut self.pending);
        self.pending = later;
    }

    fn len(&self) -> usize {
        self.pending.len() + self.due.len()
    }

    fn earliest(&self) -> Option<u64> {
        let first = |map: &BTreeMap<(u64, u64), usize>| map.keys().next().map(|key| key.0);
        first(&self.due).or_else(|| first(&self.pending))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_wheel_does_as_an_ordered_map(steps in prop::collection::vec(step(), 1..200)) {
        let mut wheel = Wheel::new();
        let mut model = Model::default();
        let mut ids = Vec::new();
        for step in steps {
            match step {
                Step::Insert(moment) => {
                    let deadline = moment.from(wheel.now());
                    model.insert(deadline, ids.len());
                    ids.push(wheel.insert(deadline, ids.len()));
                }
                Step::Cancel(which) if !ids.is_empty() => {
                    let name = which % ids.len();
                    let expected = model.remove(name).then_some(name);
                    prop_assert_eq!(wheel.cancel(ids[name]), expected);
                }
                Step::Reset(which, moment) if !ids.is_empty() => {
                    let name = which % ids.len();
                    let deadline = moment.from(wheel.now());
                    let live = model.remove(name);
                    if live {
                        model.insert(deadline, name);
                    }
                    prop_assert_eq!(wheel.reset(ids[name], deadline), live);
                    prop_assert_eq!(wheel.deadline(ids[name]), live.then_some(deadline));
                }
                Step::Advance(span) => {
                    let now = wheel.now().saturating_add(span);
                    wheel.advance(now);
                    model.advance(now);
                    prop_assert_eq!(wheel.now(), now);
                }
                Step::AdvanceToWake => {
                    let now = wheel.next_wake().unwrap_or(0).max(wheel.now());
                    wheel.advance(now);
                    model.advance(now);
                    prop_assert_eq!(wheel.now(), now);
                }
                Step::Pop(count) => {
                    for _ in 0..count {
                        let expected = model.due.pop_first().map(|(_, name)| (ids[name], name));
                        prop_assert_eq!(wheel.pop_due(), expected);
                    }
                }
                Step::Cancel(_) | Step::Reset(..) => {}
            }
            prop_assert_eq!(wheel.len(), model.len());
            prop_assert_eq!(wheel.next_wake().is_some(), model.len() > 0);
            prop_assert!(wheel.next_wake() <= model.earliest());
        }
        wheel.advance(u64::MAX);
        model.advance(u64::MAX);
        for name in model.due.into_values() {
            prop_assert_eq!(wheel.pop_due(), Some((ids[name], name)));
        }
        prop_assert_eq!(wheel.pop_due(), None);
    }

    #[test]
    fn with_nothing_cancelled_each_wake_is_exact(spans in prop::collection::vec(span(), 1..200)) {
        let mut wheel = Wheel::new();
        for span in &spans {
            wheel.insert(*span, *span);
        }
        let mut deadlines = spans;
        deadlines.sort_unstable();
        deadlines.dedup();
        for deadline in deadlines {
            prop_assert_eq!(wheel.next_wake(), Some(deadline));
            wheel.advance(deadline);
            let mut fired = 0;
            while let Some((_, expected)) = wheel.pop_due() {
                prop_assert_eq!(expected, deadline);
                fired += 1;
            }
            prop_assert!(fired > 0);
        }
        prop_assert!(wheel.is_empty());
    }

    #[test]
    fn each_reset_takes_one_needless_wake_at_most(
        steps in prop::collection::vec((span(), prop::collection::vec((any::<usize>(), moment()), 0..4)), 1..100)
    ) {
        let mut wheel = Wheel::new();
        let ids: Vec<_> = steps.iter().map(|(span, _)| wheel.insert(*span, ())).collect();
        let mut resets = steps.into_iter().map(|(_, resets)| resets);
        let mut budget = 0;
        while let Some(wake) = wheel.next_wake() {
            wheel.advance(wake);
            let mut fired = false;
            while let Some((id, ())) = wheel.pop_due() {
                prop_assert!(ids.contains(&id));
                fired = true;
            }
            if !fired {
                prop_assert!(budget > 0, "a wake with nothing due that no reset accounts for");
                budget -= 1;
                prop_assert!(wheel.next_wake() > Some(wake));
            }
            for (which, moment) in resets.next().into_iter().flatten() {
                let id = ids[which % ids.len()];
                budget += usize::from(wheel.reset(id, moment.from(wheel.now())));
            }
        }
        prop_assert!(wheel.is_empty());
    }
}
