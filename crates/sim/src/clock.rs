//! The clocks of one host, which need not agree with those of others.

use std::time::{Duration, SystemTime};

use crate::net::Nanos;

/// When the world begins, on the wall: 2026-01-01 00:00:00 UTC.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);

/// How the time of a host follows from that of the world.
pub(crate) struct HostClock {
    /// When its rate last changed, in the time of the world and in its own.
    since: Nanos,
    own: Nanos,
    /// How much faster than the world's it is, in parts per million.
    drift: i64,
    /// How far the time of day is off, in nanoseconds.
    jumped: i128,
}

impl HostClock {
    pub(crate) fn new() -> Self {
        Self {
            since: 0,
            own: 0,
            drift: 0,
            jumped: 0,
        }
    }

    /// Its monotonic time, when that of the world is `now`.
    pub(crate) fn at(&self, now: Nanos) -> Nanos {
        let passed = now.saturating_sub(self.since);
        let passed = scaled(passed, 1_000_000 + self.drift, 1_000_000);
        self.own.saturating_add(passed)
    }

    /// When its monotonic time will be `own`, in the time of the world: not before it is.
    pub(crate) fn when(&self, own: Nanos) -> Nanos {
        let ahead = own.saturating_sub(self.own);
        let rate = 1_000_000 + self.drift;
        let ahead = scaled(ahead, 1_000_000, rate);
        let mut when = self.since.saturating_add(ahead);
        while self.at(when) < own && when < Nanos::MAX {
            when += 1;
        }
        when
    }

    /// From `now` on it is faster by so many parts per million, or slower.
    pub(crate) fn set_drift(&mut self, now: Nanos, drift: i64) {
        self.own = self.at(now);
        self.since = now;
        self.drift = drift.clamp(-900_000, 9_000_000);
    }

    /// The time of day jumps.
    pub(crate) fn jump(&mut self, nanos: i128) {
        self.jumped = self.jumped.saturating_add(nanos);
    }

    pub(crate) fn wall(&self, now: Nanos) -> SystemTime {
        let since = i128::from(self.at(now)) + self.jumped + BEGINNING.as_nanos() as i128;
        let since = u64::try_from(since.max(0)).unwrap_or(u64::MAX);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(since)
    }
}

fn scaled(nanos: Nanos, by: i64, of: i64) -> Nanos {
    let scaled = i128::from(nanos) * i128::from(by) / i128::from(of);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_is_found_again_and_never_goes_back() {
        let mut clock = HostClock::new();
        clock.set_drift(1_000, 500);
        assert_eq!(clock.at(2_001_000), 2_002_000);
        for drift in [-900_000, -3, 0, 7, 1_000_000] {
            let before = clock.at(3_000_000);
            clock.set_drift(3_000_000, drift);
            assert_eq!(clock.at(3_000_000), before);
            for own in [before, before + 1, before + 12_345] {
                let when = clock.when(own);
                assert!(clock.at(when) >= own);
                assert!(when == 3_000_000 || clock.at(when - 1) < own);
            }
        }
    }

    #[test]
    fn the_time_of_day_jumps_alone() {
        let mut clock = HostClock::new();
        let before = clock.wall(5);
        clock.jump(-3_600_000_000_000);
        assert_eq!(
            before.duration_since(clock.wall(5)).unwrap().as_secs(),
            3600
        );
        assert_eq!(clock.at(5), 5);
    }
}
