//! When the messages of an open loop are due: evenly in time, and in turn over the connections.
//!
//! Message k of the whole run is due at k / rate and belongs to connection k mod connections. A thread has
//! every so-many-th connection. So a due time is computed from counters alone, and none is stored while a
//! message is in flight.

use std::time::Duration;

use crate::threads::Share;

/// Below this the wait is spent polling: the system's timers are a millisecond coarse.
const COARSE: u64 = 2_000_000;

pub(crate) struct Schedule {
    rate: f64,
    connections: u64,
    share: Share,
    mine: u64,
}

impl Schedule {
    pub(crate) fn new(rate: f64, connections: usize, share: Share) -> Self {
        Self {
            rate,
            connections: connections as u64,
            share,
            mine: share.of(connections).count() as u64,
        }
    }

    /// The thread's n-th message: which of its connections sends it, and when it is due.
    pub(crate) fn message(&self, number: u64) -> (usize, u64) {
        let connection = (number % self.mine) as usize;
        (connection, self.due(connection, number / self.mine))
    }

    /// When the n-th message of one of the thread's connections is due, in nanoseconds from the start.
    pub(crate) fn due(&self, connection: usize, number: u64) -> u64 {
        let first = self.share.thread + self.share.threads * connection;
        let overall = number * self.connections + first as u64;
        (overall as f64 * 1e9 / self.rate) as u64
    }
}

/// How long the system may be asked to wait when the next message is due after `gap` nanoseconds.
pub(crate) fn wait(gap: u64) -> Duration {
    if gap < COARSE {
        Duration::ZERO
    } else {
        Duration::from_millis(gap / 1_000_000 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(thread: usize, threads: usize, connections: usize) -> Schedule {
        Schedule::new(1000.0, connections, Share { thread, threads })
    }

    #[test]
    fn one_thread_goes_round_its_connections_evenly() {
        let schedule = schedule(0, 1, 3);
        let messages: Vec<_> = (0..5).map(|n| schedule.message(n)).collect();
        let ms = 1_000_000;
        assert_eq!(
            messages,
            [(0, 0), (1, ms), (2, 2 * ms), (0, 3 * ms), (1, 4 * ms)]
        );
    }

    #[test]
    fn threads_together_have_each_message_once() {
        let all = [schedule(0, 3, 7), schedule(1, 3, 7), schedule(2, 3, 7)];
        let mut due: Vec<u64> = Vec::new();
        for (schedule, mine) in all.iter().zip([3, 2, 2]) {
            due.extend((0..10 * mine).map(|n| schedule.message(n).1));
        }
        due.sort_unstable();
        let even: Vec<u64> = (0..70).map(|k| k * 1_000_000).collect();
        assert_eq!(due, even);
    }

    #[test]
    fn a_threads_messages_are_in_the_order_of_their_time() {
        let schedule = schedule(1, 4, 10);
        let due: Vec<u64> = (0..100).map(|n| schedule.message(n).1).collect();
        assert!(due.is_sorted());
    }

    #[test]
    fn a_connection_knows_when_its_own_messages_were_due() {
        let schedule = schedule(1, 2, 5);
        let mut sent = [0, 0];
        for number in 0..50 {
            let (connection, due) = schedule.message(number);
            assert_eq!(schedule.due(connection, sent[connection]), due);
            sent[connection] += 1;
        }
    }

    #[test]
    fn the_wait_never_reaches_the_due_time() {
        assert_eq!(wait(0), Duration::ZERO);
        assert_eq!(wait(COARSE - 1), Duration::ZERO);
        for gap in [COARSE, 2_999_999, 50_000_001] {
            let wait = wait(gap).as_nanos() as u64;
            assert!(wait > 0 && wait + 1_000_000 <= gap, "{gap}");
        }
    }
}
