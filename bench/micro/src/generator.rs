//! Numbers that look random and are the same in each run: SplitMix64, which Python can do as well.

use std::time::Duration;

/// The next number is a matter of the last one.
pub(crate) struct Generator {
    state: u64,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `bound`. That some are more likely by a hair is no matter here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// From 1 ms to 10 minutes.
    pub(crate) fn delay(&mut self) -> Duration {
        Duration::from_millis(1) + self.micros(600_000_000 - 1000)
    }

    /// By how much a timeout is put off by the next message: up to 100 ms.
    pub(crate) fn step(&mut self) -> Duration {
        self.micros(100_000)
    }

    fn micros(&mut self, bound: usize) -> Duration {
        Duration::from_micros(self.below(bound) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        let mut generator = Generator::new(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn delays_are_spread_over_their_range() {
        let mut generator = Generator::new(1);
        let delays: Vec<_> = (0..10_000)
            .map(|_| generator.delay().as_secs_f64())
            .collect();
        assert!(delays.iter().all(|delay| (0.001..600.0).contains(delay)));
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        assert!((290.0..310.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_below_a_bound_reaches_all_of_it() {
        let mut generator = Generator::new(1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[generator.below(7)] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
