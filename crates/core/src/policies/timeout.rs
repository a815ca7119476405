//! Deadlines: idle, first byte, lifetime.

use std::time::{Duration, Instant};

use crate::{Address, Deadline, DeadlinePassed, Factory, Failure, Policy, Protocol};

/// A wrapper that gives the connections of any factory deadlines. The connection that passes one
/// ends with [`DeadlinePassed`], which says which it was: with a reset if something is unsent, and
/// else closed.
///
/// Unless told otherwise, a connection on which no byte goes either way ends after 30 minutes (as
/// with Twisted's `TimeoutFactory`), one whose peer sends nothing after 60 s, and none for its
/// age. All count from when the connection is up, in bytes on the wire; the handshake of layers
/// has a [deadline](crate::ConnectionLimits::handshake) without this wrapper.
///
/// ```
/// use ropewalk_core::policies::TimeoutFactory;
/// use std::time::Duration;
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let factory = TimeoutFactory::new(|_: &Address| Echo)
///     .idle(Some(Duration::from_secs(300)))
///     .first_byte(None) // the server speaks first, and the peer may think
///     .lifetime(Some(Duration::from_secs(86_400)));
/// assert_eq!(factory.build_policies(&Address::Unix(None)).len(), 1);
/// ```
pub struct TimeoutFactory<F> {
    inner: F,
    times: Times,
}

#[derive(Clone, Copy)]
struct Times {
    idle: Option<Duration>,
    first_byte: Option<Duration>,
    lifetime: Option<Duration>,
}

impl<F: Factory> TimeoutFactory<F> {
    /// The connections of `inner`, with the times above.
    #[must_use]
    pub fn new(inner: F) -> Self {
        let times = Times {
            idle: Some(Duration::from_secs(30 * 60)),
            first_byte: Some(Duration::from_secs(60)),
            lifetime: None,
        };
        Self { inner, times }
    }

    /// How long no byte may go either way; `None` for ever.
    #[must_use]
    pub fn idle(mut self, after: Option<Duration>) -> Self {
        self.times.idle = after;
        self
    }

    /// How long the peer may take to send its first byte; `None` for ever.
    #[must_use]
    pub fn first_byte(mut self, after: Option<Duration>) -> Self {
        self.times.first_byte = after;
        self
    }

    /// How long the connection may last; `None` for ever.
    #[must_use]
    pub fn lifetime(mut self, after: Option<Duration>) -> Self {
        self.times.lifetime = after;
        self
    }
}

impl<F: Factory> Factory for TimeoutFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.inner.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.inner.build_policies(peer);
        policies.push(Box::new(Timed {
            times: self.times,
            began: None,
            moved: None,
            heard: false,
        }));
        policies
    }
}

/// Holds one connection to its times.
struct Timed {
    times: Times,
    began: Option<Instant>,
    /// When a byte went last.
    moved: Option<Instant>,
    /// The peer has sent something.
    heard: bool,
}

impl Timed {
    /// What is due first, and when.
    fn next(&self) -> Option<(Instant, Deadline, Duration)> {
        let first_byte = self.times.first_byte.filter(|_| !self.heard);
        let all = [
            (self.began, first_byte, Deadline::FirstByte),
            (self.moved, self.times.idle, Deadline::Idle),
            (self.began, self.times.lifetime, Deadline::Lifetime),
        ];
        let due = all.into_iter().filter_map(|(from, after, deadline)| {
            let after = after?;
            Some((from?.checked_add(after)?, deadline, after))
        });
        due.min_by_key(|(due, ..)| *due)
    }
}

impl Policy for Timed {
    fn connected(&mut self, now: Instant) {
        self.began = Some(now);
        self.moved = Some(now);
    }

    fn received(&mut self, _: u64, now: Instant) {
        self.heard = true;
        self.moved = Some(now);
    }

    fn sent(&mut self, _: u64, now: Instant) {
        self.moved = Some(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.next().map(|(due, ..)| due)
    }

    fn deadline_passed(&mut self, now: Instant) -> Result<(), Failure> {
        match self.next() {
            Some((due, deadline, after)) if due <= now => {
                Err(DeadlinePassed { deadline, after }.into())
            }
            _ => Ok(()),
        }
    }
}
