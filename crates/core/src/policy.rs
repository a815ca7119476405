//! What decides about a connection without seeing its bytes: limits, deadlines, throttles.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::{Failure, Panicked};

/// A rule that a connection is held to, for its whole life.
///
/// A policy sees events and amounts, as they are on the wire, below all layers; it sees no bytes,
/// so that files are still sent by the kernel. It outlives the protocol when that is exchanged for
/// another, and is dropped when the connection is gone, however that came about: a policy that
/// counts connections counts down in its `Drop`. A factory gives them to its connections by
/// [`Factory::build_policies`](crate::Factory::build_policies). A panic in one ends the connection.
///
/// ```
/// use ropewalk_core::{Failure, Policy};
/// use std::time::Instant;
///
/// /// Ends a connection that has sent more than it may.
/// struct Quota { left: u64, over: Option<Instant> }
///
/// impl Policy for Quota {
///     fn received(&mut self, count: u64, now: Instant) {
///         if count > self.left {
///             self.over = Some(now);
///         }
///         self.left = self.left.saturating_sub(count);
///     }
///     fn deadline(&self) -> Option<Instant> {
///         self.over
///     }
///     fn deadline_passed(&mut self, _: Instant) -> Result<(), Failure> {
///         Err(Failure::msg("the peer has sent more than its quota"))
///     }
/// }
///
/// let mut quota = Quota { left: 10, over: None };
/// let now = Instant::now();
/// quota.received(10, now);
/// assert_eq!(quota.deadline(), None);
/// quota.received(1, now);
/// assert!(quota.deadline_passed(now).is_err());
/// ```
pub trait Policy: 'static {
    /// The connection is up.
    fn connected(&mut self, now: Instant) {
        let _ = now;
    }

    /// The layers are ready, and the protocol is about to have its `connection_made`. Told once.
    fn ready(&mut self, now: Instant) {
        let _ = now;
    }

    /// `count` bytes have come from the peer.
    fn received(&mut self, count: u64, now: Instant) {
        let _ = (count, now);
    }

    /// The driver has taken `count` bytes for the peer.
    fn sent(&mut self, count: u64, now: Instant) {
        let _ = (count, now);
    }

    /// When [`deadline_passed`](Self::deadline_passed) wants to be called.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed. It must be later now, or gone.
    ///
    /// # Errors
    /// What ends the connection: with a reset if something is unsent, so that the peer does not
    /// take what it got for all.
    fn deadline_passed(&mut self, now: Instant) -> Result<(), Failure> {
        let _ = now;
        Ok(())
    }

    /// Whether the connection may be read from. Asked after each event of the connection; one
    /// that says no sets a [`deadline`](Self::deadline), so that it is asked again.
    fn may_receive(&self) -> bool {
        true
    }

    /// How many of the `wanted` bytes that wait for the wire may be sent now. Asked whenever the
    /// driver would take some, and more than once before it has taken any; one that says 0 sets a
    /// [`deadline`](Self::deadline), so that it is asked again. While it is 0, the peer is not
    /// blamed for taking nothing.
    fn may_send(&mut self, wanted: u64, now: Instant) -> u64 {
        let _ = now;
        wanted
    }
}

/// The policies of one connection.
#[derive(Default)]
pub(crate) struct Policies {
    list: Vec<Box<dyn Policy>>,
    /// How many of them were told [`Policy::ready`].
    ready: usize,
}

impl Policies {
    pub(crate) fn new(list: Vec<Box<dyn Policy>>) -> Self {
        Self { list, ready: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Tells each of them.
    pub(crate) fn tell(
        &mut self,
        name: &'static str,
        mut tell: impl FnMut(&mut dyn Policy),
    ) -> Result<(), Panicked> {
        guard(name, || {
            self.list.iter_mut().for_each(|policy| tell(&mut **policy));
        })
    }

    /// More, on a connection that is up, and of which `received` bytes are yet to be told.
    pub(crate) fn add(
        &mut self,
        more: Vec<Box<dyn Policy>>,
        received: u64,
        now: Instant,
    ) -> Result<(), Panicked> {
        let first = self.list.len();
        self.list.extend(more);
        let added = &mut self.list[first..];
        guard("Policy::connected", || {
            added.iter_mut().for_each(|policy| policy.connected(now));
        })?;
        if received == 0 {
            return Ok(());
        }
        guard("Policy::received", || {
            added
                .iter_mut()
                .for_each(|policy| policy.received(received, now));
        })
    }

    /// Tells those that were not told yet.
    pub(crate) fn tell_ready(&mut self, now: Instant) -> Result<(), Panicked> {
        let first = std::mem::replace(&mut self.ready, self.list.len());
        guard("Policy::ready", || {
            let new = &mut self.list[first..];
            new.iter_mut().for_each(|policy| policy.ready(now));
        })
    }

    pub(crate) fn deadline(&self) -> Result<Option<Instant>, Panicked> {
        guard("Policy::deadline", || {
            let deadlines = self.list.iter().filter_map(|policy| policy.deadline());
            deadlines.min()
        })
    }

    /// Calls those whose deadline has passed, until one ends the connection.
    pub(crate) fn deadline_passed(&mut self, now: Instant) -> Result<(), Failure> {
        let is_due =
            |policy: &dyn Policy| policy.deadline().is_some_and(|deadline| deadline <= now);
        guard("Policy::deadline_passed", || {
            for policy in &mut self.list {
                if !is_due(&**policy) {
                    continue;
                }
                policy.deadline_passed(now)?;
                if is_due(&**policy) {
                    // It would be called for ever.
                    return Err(Failure::msg(
                        "a policy left its deadline where it had passed",
                    ));
                }
            }
            Ok(())
        })?
    }

    pub(crate) fn may_receive(&self) -> Result<bool, Panicked> {
        guard("Policy::may_receive", || {
            self.list.iter().all(|policy| policy.may_receive())
        })
    }

    pub(crate) fn may_send(&mut self, wanted: u64, now: Instant) -> Result<u64, Panicked> {
        guard("Policy::may_send", || {
            let mut allowed = wanted;
            for policy in &mut self.list {
                if allowed > 0 {
                    allowed = policy.may_send(allowed, now).min(allowed);
                }
            }
            allowed
        })
    }
}

fn guard<R>(name: &'static str, call: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked::new(name, &*payload))
}
