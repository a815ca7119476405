//! Chance, from a seed.

use std::time::Duration;

use rand_pcg::Pcg64Dxsm;
use rand_pcg::rand_core::Rng;

/// A source of chance: the same seed gives the same numbers, on every machine. Only whole numbers,
/// comparisons and products of [`f64`] are used, which are exact everywhere.
///
/// ```
/// use ropewalk_sim::Random;
///
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert_eq!(one.below(1000), other.below(1000));
/// assert!(one.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Random(Pcg64Dxsm);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::stream(seed, 0)
    }

    /// One of many that have nothing to do with one another, from the same seed: what one of them is
    /// asked for changes nothing of the others.
    #[must_use]
    pub fn stream(seed: u64, stream: u64) -> Self {
        Self(Pcg64Dxsm::new(seed.into(), stream.into()))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 up to, and without, `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(limit)) >> 64) as u64
    }

    /// As [`below`](Self::below), for indices.
    pub fn index(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }

    /// A number from 0 up to, and without, 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something happens whose probability is `probability`.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// A time between two, both possible.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let spread = most.saturating_sub(least).as_nanos();
        let spread = u64::try_from(spread).unwrap_or(u64::MAX);
        least.saturating_add(Duration::from_nanos(self.below(spread.saturating_add(1))))
    }

    /// One of them. `None` if there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }

    /// Puts them into any order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_these_on_every_machine() {
        let mut random = Random::new(1);
        assert_eq!(
            [random.number(), random.number()],
            [12_558_511_261_149_050_059, 10_029_372_335_281_138_110],
        );
        assert_ne!(Random::stream(1, 1).number(), Random::stream(1, 2).number());
    }

    #[test]
    fn what_is_drawn_lies_within_its_bounds_and_reaches_them() {
        let mut random = Random::new(3);
        let drawn: Vec<_> = (0..1000).map(|_| random.below(5)).collect();
        assert!((0..5).all(|n| drawn.contains(&n)) && drawn.iter().all(|n| *n < 5));
        assert_eq!(random.below(0), 0);
        let second = Duration::from_secs(1);
        assert_eq!(random.between(second, second), second);
        assert!(!random.chance(0.0) && random.chance(1.0));
        let mut all = [1, 2, 3, 4];
        random.shuffle(&mut all);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4]);
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
