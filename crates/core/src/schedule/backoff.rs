//! How long to wait before the next attempt, and how many attempts may be repeated in all.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Delays that grow from attempt to attempt, up to a limit, with some chance in them so that
/// those who failed together don't come back together.
///
/// It has no randomness of its own: that is lent to it.
///
/// ```
/// use ropewalk_core::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::new();
/// let longest = |failures| backoff.delay(failures, 1.0).as_millis();
/// assert_eq!([1, 2, 3, 50].map(longest), [1000, 1500, 2250, 60_000]);
/// // Half of a delay is left to chance.
/// assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(500));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The longest delay after the first failure. 1 s.
    pub initial: Duration,
    /// What a delay is multiplied by for the next one. 1.5.
    pub factor: f64,
    /// No delay is longer. 60 s.
    pub maximum: Duration,
    /// Which part of each delay is left to chance: 0 for none of it, 1 for all. 0.5.
    pub jitter: f64,
}

impl Backoff {
    /// Delays of up to 1 s, 1.5 s, 2.25 s and so on up to 60 s, of which half is left to chance.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            initial: Duration::from_secs(1),
            factor: 1.5,
            maximum: Duration::from_secs(60),
            jitter: 0.5,
        }
    }

    /// How long to wait after so many failures in a row, the first of which is number 1.
    /// `random` is a number from 0 up to 1.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let grown = power(self.factor.max(0.0), failures.saturating_sub(1));
        let longest = self.initial.as_secs_f64() * grown;
        // Also where it is not a number.
        let longest = longest.min(self.maximum.as_secs_f64());
        let chance = self.jitter.clamp(0.0, 1.0) * (1.0 - random.clamp(0.0, 1.0));
        let delay = Duration::try_from_secs_f64(longest * (1.0 - chance));
        delay.map_or(self.maximum, |delay| delay.min(self.maximum))
    }
}

/// By multiplications alone, which give the same on every machine; `powi` need not.
fn power(mut base: f64, mut exponent: u32) -> f64 {
    let mut power = 1.0;
    while exponent > 0 {
        if exponent % 2 == 1 {
            power *= base;
        }
        base *= base;
        exponent /= 2;
    }
    power
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// How many attempts may be repeated by all who share it: when much fails at once, attempts that
/// are repeated would only add to the load. Each repetition takes one, each success gives a part
/// of one back. Clones share it.
///
/// ```
/// use ropewalk_core::RetryBudget;
///
/// let budget = RetryBudget::new(2, 0.5);
/// assert_eq!([(); 3].map(|()| budget.withdraw()), [true, true, false]);
/// budget.deposit();
/// assert!(!budget.withdraw());
/// budget.deposit();
/// assert!(budget.withdraw());
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    left: Rc<Cell<f64>>,
    capacity: f64,
    per_success: f64,
}

impl RetryBudget {
    /// A full budget of `capacity` repetitions. Each success gives back `per_success`.
    #[must_use]
    pub fn new(capacity: u32, per_success: f64) -> Self {
        let capacity = f64::from(capacity);
        Self {
            left: Rc::new(Cell::new(capacity)),
            capacity,
            per_success: per_success.max(0.0),
        }
    }

    /// Takes one out; false if there is none left.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let left = self.left.get() - 1.0;
        let enough = left >= 0.0;
        if enough {
            self.left.set(left);
        }
        enough
    }

    /// Notes a success.
    pub fn deposit(&self) {
        let left = self.left.get() + self.per_success;
        self.left.set(left.min(self.capacity));
    }
}
