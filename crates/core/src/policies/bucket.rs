//! Token buckets with parents, as in Twisted's `htb`: a rate that is exact in time, and fair among
//! those who wait for it.
//!
//! A bucket fills at its rate up to its burst. Who wants to send gets a ticket for a share: paid at
//! once out of what is there, or out of what will come, behind all tickets given before. It may be
//! used from the time on at which it is paid. So those who wait are served in turn, each a small
//! share, with one timer for each share; and the bucket keeps no list of them, only two sums.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The levels of buckets are counted in these, so that any time is exact.
const BILLIONTHS: i128 = 1_000_000_000;

/// Who waits, waits for this many bytes at least, where half the burst allows it.
const SMALLEST_SHARE: u64 = 512;

/// Who waits alone waits for a share of so many to the second, who waits with others for one of so
/// many.
const SHARES_ALONE: u64 = 32;
const SHARES_TOGETHER: u64 = 400;

/// Bytes a second, and how many may go at once after a rest.
///
/// ```
/// use ropewalk_core::policies::Rate;
///
/// let rate = Rate::per_second(1_000_000);
/// assert_eq!(rate.burst(), 250_000);
/// assert_eq!(rate.with_burst(4096).burst(), 4096);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// So many bytes a second, at least one; the burst is what comes in a quarter of a second, at
    /// least 512 bytes.
    #[must_use]
    pub const fn per_second(bytes: u64) -> Self {
        let per_second = if bytes == 0 { 1 } else { bytes };
        let quarter = per_second / 4;
        let burst = if quarter < SMALLEST_SHARE {
            SMALLEST_SHARE
        } else {
            quarter
        };
        Self { per_second, burst }
    }

    /// With a burst of so many bytes, at least one. A small one costs: who waits is woken for each
    /// burst's worth.
    #[must_use]
    pub const fn with_burst(self, bytes: u64) -> Self {
        let burst = if bytes == 0 { 1 } else { bytes };
        Self { burst, ..self }
    }

    /// The most bytes that go at once.
    #[must_use]
    pub const fn burst(self) -> u64 {
        self.burst
    }

    /// How long it takes for so many billionths of a byte to come, rounded up.
    fn time_for(self, billionths: i128) -> Duration {
        let nanos = billionths.max(0) as u128;
        let nanos = nanos.div_ceil(u128::from(self.per_second));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// What one who waits is to wait for.
    fn share(self, wanted: u64, together: bool) -> u64 {
        let shares = if together {
            SHARES_TOGETHER
        } else {
            SHARES_ALONE
        };
        let share = (self.per_second / shares).max(SMALLEST_SHARE);
        // Half the burst: while one half waits, for a parent say, the other one comes in.
        wanted.min(share).min((self.burst / 2).max(1))
    }
}

/// A token bucket. Clones are the same bucket: all that is counted against one goes at its rate.
///
/// Give one to several factories (see [`Throttle::total`](super::Throttle::total)), and they share
/// its rate. A bucket with a [parent](Self::with_parent) is held to the parent's rate too.
///
/// ```
/// use ropewalk_core::policies::{Bucket, Rate};
/// use std::time::Instant;
///
/// let line = Bucket::new(Rate::per_second(10_000_000));
/// let downloads = Bucket::new(Rate::per_second(2_000_000)).with_parent(&line);
/// let now = Instant::now();
/// assert_eq!(downloads.level(now), 500_000);
/// ```
#[derive(Clone)]
pub struct Bucket {
    shared: Rc<Shared>,
}

struct Shared {
    rate: Rate,
    parent: Option<Bucket>,
    state: Cell<State>,
}

/// In billionths of a byte.
#[derive(Clone, Copy)]
struct State {
    /// What is in the bucket and promised to nobody; negative when more is promised than has come.
    /// What was read cannot be taken back, so it may be owed too.
    level: i128,
    /// What tickets are out for. Together with the level it is what has come and has not gone,
    /// which is never more than the burst.
    held: i128,
    /// When it was so. `None` before it was first used: it is full.
    at: Option<Instant>,
}

/// The right to a share of a bucket, from a time on. To be given back by
/// [`settle`](Bucket::settle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    due: Instant,
    share: u64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::with(rate, None)
    }

    /// The same rate, as a new and full bucket within `parent`: what is counted against it is
    /// counted against both.
    #[must_use]
    pub fn with_parent(&self, parent: &Self) -> Self {
        Self::with(self.shared.rate, Some(parent.clone()))
    }

    fn with(rate: Rate, parent: Option<Self>) -> Self {
        let state = State {
            level: i128::from(rate.burst) * BILLIONTHS,
            held: 0,
            at: None,
        };
        let shared = Shared {
            rate,
            parent,
            state: Cell::new(state),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// The whole bytes that are in it at `now`; negative for a debt.
    #[must_use]
    pub fn level(&self, now: Instant) -> i64 {
        let level = self.filled(now).level.div_euclid(BILLIONTHS);
        i64::try_from(level).unwrap_or(if level < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether nobody could tell it from a new one.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.filled(now).level == i128::from(self.shared.rate.burst) * BILLIONTHS
    }

    pub(crate) fn last_used(&self) -> Option<Instant> {
        self.shared.state.get().at
    }

    /// Whether there are other handles to it.
    pub(crate) fn is_shared(&self) -> bool {
        Rc::strong_count(&self.shared) > 1
    }

    pub(crate) fn parent(&self) -> Option<&Self> {
        self.shared.parent.as_ref()
    }

    /// How many of the `wanted` bytes may go now, or when to ask again. Either way the ticket is
    /// out until it is [settled](Self::settle).
    pub(crate) fn ask(
        &self,
        wanted: u64,
        ticket: &mut Option<Ticket>,
        now: Instant,
    ) -> Result<u64, Instant> {
        let ticket = match ticket {
            Some(ticket) => *ticket,
            None => *ticket.insert(self.promise(wanted, now)),
        };
        if ticket.due > now {
            return Err(ticket.due);
        }
        // Tickets that were not used when they were due may be for more than the bucket holds.
        let state = self.filled(now);
        let share = ticket.share.min(wanted);
        let missing = i128::from(share) * BILLIONTHS - (state.level + state.held);
        match missing {
            ..=0 => Ok(share),
            missing => Err(later(now, self.shared.rate.time_for(missing))),
        }
    }

    fn promise(&self, wanted: u64, now: Instant) -> Ticket {
        let rate = self.shared.rate;
        let mut state = self.filled(now);
        let free = u64::try_from(state.level / BILLIONTHS).unwrap_or(0);
        let mut share = rate.share(wanted, state.level < 0);
        if share <= free {
            share = wanted.min(free);
        }
        let paid = i128::from(share) * BILLIONTHS;
        state.level -= paid;
        state.held += paid;
        self.shared.state.set(state);
        let due = later(now, rate.time_for(-state.level));
        Ticket { due, share }
    }

    /// Takes a ticket back, of which `used` bytes went.
    pub(crate) fn settle(&self, ticket: Ticket, used: u64, now: Instant) {
        let mut state = self.filled(now);
        let paid = i128::from(ticket.share) * BILLIONTHS;
        state.held -= paid;
        state.level += paid - i128::from(used) * BILLIONTHS;
        self.shared.state.set(state);
    }

    /// Counts `count` bytes that went without a ticket. Returns how long it takes until none are
    /// owed.
    pub(crate) fn take(&self, count: u64, now: Instant) -> Duration {
        let mut state = self.filled(now);
        state.level -= i128::from(count) * BILLIONTHS;
        self.shared.state.set(state);
        self.shared.rate.time_for(-state.level)
    }

    /// Its state with what has come in by now.
    fn filled(&self, now: Instant) -> State {
        let rate = self.shared.rate;
        let mut state = self.shared.state.get();
        if let Some(at) = state.at {
            let nanos = now.saturating_duration_since(at).as_nanos();
            let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
            let come = nanos.saturating_mul(i128::from(rate.per_second));
            let room = i128::from(rate.burst) * BILLIONTHS - state.held;
            state.level = state.level.saturating_add(come).min(room);
        }
        state.at = state.at.max(Some(now));
        state
    }
}

fn later(now: Instant, after: Duration) -> Instant {
    // A rate so slow that no clock gets there waits a year, and asks again.
    now.checked_add(after)
        .unwrap_or(now + Duration::from_secs(86_400 * 365))
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("rate", &self.shared.rate)
            .field("parent", &self.shared.parent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What went through a bucket: when, and how much.
    type Gone = Vec<(Duration, u64)>;

    #[derive(Clone, Debug)]
    enum Op {
        /// Time passes, in microseconds.
        Wait(u64),
        /// One of the users asks for so much, and uses so many hundredths of what it gets.
        Send(usize, u64, u64),
        /// One asks, and does nothing with the answer.
        Ask(usize, u64),
        /// One gives back what it was promised.
        Leave(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let wanted = || prop_oneof![1..100u64, 1..100_000u64];
        prop_oneof![
            (0..2_000_000u64).prop_map(Op::Wait),
            (0..4usize, wanted(), 0..=100u64)
                .prop_map(|(user, wanted, used)| { Op::Send(user, wanted, used) }),
            (0..4usize, wanted()).prop_map(|(user, wanted)| Op::Ask(user, wanted)),
            (0..4usize).prop_map(Op::Leave),
        ]
    }

    fn run(bucket: &Bucket, ops: Vec<Op>) -> Gone {
        let start = Instant::now();
        let mut now = start;
        let mut tickets = [None; 4];
        let mut gone = Gone::new();
        for op in ops {
            match op {
                Op::Wait(micros) => now += Duration::from_micros(micros),
                Op::Send(user, wanted, hundredths) => {
                    if let Ok(share) = bucket.ask(wanted, &mut tickets[user], now) {
                        assert!(0 < share && share <= wanted);
                        let used = share * hundredths / 100;
                        bucket.settle(tickets[user].take().unwrap(), used, now);
                        gone.push((now - start, used));
                    }
                }
                Op::Ask(user, wanted) => {
                    if let Err(due) = bucket.ask(wanted, &mut tickets[user], now) {
                        assert!(due > now, "no busy loop");
                    }
                }
                Op::Leave(user) => {
                    if let Some(ticket) = tickets[user].take() {
                        bucket.settle(ticket, 0, now);
                    }
                }
            }
        }
        gone
    }

    /// Asks, and waits as told, until so much time has passed; what went.
    fn all_that_goes(bucket: &Bucket, users: usize, time: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut wake = vec![start; users];
        let mut tickets = vec![None; users];
        let mut gone = vec![0; users];
        loop {
            let user = (0..users).min_by_key(|user| wake[*user]).unwrap();
            let now = wake[user];
            if now > start + time {
                return gone;
            }
            match bucket.ask(u64::MAX, &mut tickets[user], now) {
                Ok(share) => {
                    bucket.settle(tickets[user].take().unwrap(), share, now);
                    gone[user] += share;
                }
                Err(due) => wake[user] = due,
            }
        }
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_goes_than_the_burst_and_what_the_rate_gives(
            per_second in 1..1_000_000u64,
            burst in 1..100_000u64,
            ops in proptest::collection::vec(op(), 0..200),
        ) {
            let rate = Rate::per_second(per_second).with_burst(burst);
            let gone = run(&Bucket::new(rate), ops);
            for (first, (from, _)) in gone.iter().enumerate() {
                let mut sum = 0;
                for (until, count) in &gone[first..] {
                    sum += u128::from(*count);
                    let time = (*until - *from).as_nanos();
                    let most = u128::from(burst) * 1_000_000_000 + u128::from(per_second) * time;
                    prop_assert!(sum * 1_000_000_000 <= most, "{sum} in {time} ns");
                }
            }
        }

        #[test]
        fn nothing_is_left_while_someone_wants_it(
            per_second in 1..10_000_000u64,
            burst in 1..100_000u64,
            users in 1..20usize,
        ) {
            let rate = Rate::per_second(per_second).with_burst(burst);
            // A few shares' worth of time, however slow it is.
            let time = 10 * rate.time_for(i128::from(burst.max(per_second / 10)) * BILLIONTHS);
            let gone: u64 = all_that_goes(&Bucket::new(rate), users, time).iter().sum();
            let come = u128::from(per_second) * time.as_nanos() / 1_000_000_000;
            let least = u128::from(burst) + come - u128::from(rate.share(u64::MAX, false)) - 1;
            // Each share may wait a nanosecond too long.
            prop_assert!(u128::from(gone) * 1000 >= least * 999, "{gone} of {least}");
        }
    }

    #[test]
    fn those_who_wait_are_served_in_turn() {
        let bucket = Bucket::new(Rate::per_second(1_000_000));
        let gone = all_that_goes(&bucket, 10, 60 * SECOND);
        let (least, most) = (gone.iter().min().unwrap(), gone.iter().max().unwrap());
        // The first had the burst.
        assert!(most - least <= 250_000 + 40_000, "{gone:?}");
        let sum: u64 = gone.iter().sum();
        assert!((60_240_000..=60_250_000).contains(&sum), "{sum}");
    }

    #[test]
    fn a_debt_is_paid_before_anything_goes() {
        let bucket = Bucket::new(Rate::per_second(1000).with_burst(1000));
        let now = Instant::now();
        assert_eq!(bucket.take(1000, now), Duration::ZERO);
        assert_eq!(bucket.take(2000, now), 2 * SECOND);
        assert_eq!(bucket.level(now + SECOND), -1000);
        let mut ticket = None;
        assert_eq!(
            bucket.ask(100, &mut ticket, now),
            Err(now + 2 * SECOND + SECOND / 10)
        );
    }

    #[test]
    fn a_slow_rate_and_a_huge_one_are_counted_without_loss() {
        let now = Instant::now();
        let slow = Bucket::new(Rate::per_second(1).with_burst(u64::MAX));
        slow.take(u64::MAX, now);
        assert_eq!(slow.level(now + Duration::from_secs(86_400)), 86_400);
        let huge = Bucket::new(Rate::per_second(u64::MAX));
        huge.take(u64::MAX / 4, now);
        assert_eq!(huge.level(now), 0);
        assert!(huge.is_full(now + SECOND));
    }
}
