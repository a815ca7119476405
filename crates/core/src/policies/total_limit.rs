//! A limit on how many connections there are.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use super::overflow::Overflow;
use super::slot::{Pending, Slot};
use crate::{Address, Factory, Policy, Protocol};

/// A wrapper that lets any factory have so many connections at once.
///
/// One more is closed at once, or told so ([`overflow_text`](Self::overflow_text),
/// [`overflow_protocol`](Self::overflow_protocol)), in which case it goes through the layers and
/// is held to the policies of the wrapped factory; 64 are told at once, and those beyond closed. A
/// connection counts from when it is accepted until it is gone, however it ends. Each
/// factory counts its own: with a reactor on each core, the limit is for each of them.
///
/// ```
/// use ropewalk_core::policies::LimitTotalConnectionsFactory;
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let factory = LimitTotalConnectionsFactory::new(|_: &Address| Echo, 1);
/// let peer = Address::Unix(None);
/// let first = factory.build_protocol(&peer).unwrap();
/// let policies = factory.build_policies(&peer);
/// assert!(factory.build_protocol(&peer).is_none());
/// drop(policies); // with the connection
/// assert!(factory.build_protocol(&peer).is_some());
/// ```
pub struct LimitTotalConnectionsFactory<F> {
    inner: F,
    max: usize,
    open: Rc<Cell<usize>>,
    overflow: Overflow,
    pending: Pending,
}

impl<F: Factory> LimitTotalConnectionsFactory<F> {
    /// At most `max` connections of `inner` at once.
    #[must_use]
    pub fn new(inner: F, max: usize) -> Self {
        Self {
            inner,
            max,
            open: Rc::default(),
            overflow: Overflow::default(),
            pending: Cell::default(),
        }
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

    /// How many connections there are, without those that are told that they are too many.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.get()
    }
}

impl<F: Factory> Factory for LimitTotalConnectionsFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.pending.set(None);
        let Some(slot) = Slot::take(&self.open, self.max) else {
            tracing::debug!(%peer, max = self.max, "a connection too many");
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
