//! A limit on how many connections one peer has.

use std::cell::Cell;

use bytes::Bytes;

use super::overflow::Overflow;
use super::peer::PeerPrefix;
use super::slot::{PeerCounts, PeerSlot, Pending};
use crate::{Address, Factory, Policy, Protocol};

/// A wrapper that lets each peer have so many connections at once to any factory.
///
/// What is done with one more, and how long a connection counts, is as in
/// [`LimitTotalConnectionsFactory`](super::LimitTotalConnectionsFactory). Memory is kept only for
/// peers that have a connection. Unix peers have no address, and are not held to it.
///
/// ```
/// use ropewalk_core::policies::LimitConnectionsByPeer;
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let factory = LimitConnectionsByPeer::new(|_: &Address| Echo, 1);
/// let one = Address::Tcp("192.0.2.1:1024".parse().unwrap());
/// let other = Address::Tcp("192.0.2.2:1024".parse().unwrap());
/// let first = factory.build_protocol(&one).unwrap();
/// let policies = factory.build_policies(&one);
/// assert!(factory.build_protocol(&one).is_none());
/// assert!(factory.build_protocol(&other).is_some());
/// ```
pub struct LimitConnectionsByPeer<F> {
    inner: F,
    max: usize,
    prefix: PeerPrefix,
    counts: PeerCounts,
    overflow: Overflow,
    pending: Pending,
}

impl<F: Factory> LimitConnectionsByPeer<F> {
    /// At most `max` connections of each peer to `inner` at once.
    #[must_use]
    pub fn new(inner: F, max: usize) -> Self {
        Self {
            inner,
            max,
            prefix: PeerPrefix::default(),
            counts: PeerCounts::default(),
            overflow: Overflow::default(),
            pending: Cell::default(),
        }
    }

    /// Which addresses are one peer. An IPv4 address, and an IPv6 /64, unless told otherwise.
    #[must_use]
    pub fn peer_prefix(mut self, prefix: PeerPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sends `text` to a connection that is one too many, and closes it: when the peer has closed
    /// too, or after 5 s.
    #[must_use]
    pub fn overflow_text(mut self, text: impl Into<Bytes>) -> Self {
        self.overflow = Overflow::text(text.into());
        self
    }

    /// Gives a connection that is one too many to a protocol of its own.
    #[must_use]
    pub fn overflow_protocol(
        mut self,
        build: impl Fn(&Address) -> Box<dyn Protocol> + 'static,
    ) -> Self {
        self.overflow = Overflow::protocol(build);
        self
    }

    /// How many peers have a connection.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.counts.borrow().len()
    }
}

impl<F: Factory> Factory for LimitConnectionsByPeer<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.pending.set(None);
        let Some(network) = self.prefix.of(peer) else {
            return self.inner.build_protocol(peer);
        };
        let Some(slot) = PeerSlot::take(&self.counts, network, self.max) else {
            tracing::debug!(%peer, max = self.max, "a connection too many of this peer");
            return self.overflow.build(peer, &self.pending);
        };
        let protocol = self.inner.build_protocol(peer)?;
        self.pending.set(Some(Box::new(slot)));
        Some(protocol)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.inner.build_policies(peer);
        policies.extend(self.pending.take());
        policies
    }
}
