//! Factories whose connections go through TLS.

use std::cell::Cell;

use ropewalk_core::{Address, ConnectionLimits, Factory, Layer, Protocol};
use std::time::Duration;

use crate::pending::{PendingHandshake, PendingHandshakes};
use crate::{ClientTls, InvalidServerName, ServerTls};

/// How many handshakes may be under way at once, unless told otherwise.
pub const DEFAULT_PENDING_HANDSHAKES: usize = 1024;

/// A wrapper that puts TLS under the connections of any factory: the server's end.
///
/// The protocol hears of a connection when the handshake is done. One that is not done within
/// [`handshake`](Self::handshake) ends with
/// [`DeadlinePassed`](ropewalk_core::DeadlinePassed) (10 s, unless told otherwise), and beyond
/// [`max_pending`](Self::max_pending) handshakes at once (1024) a connection is closed before any of
/// it is read. Each factory counts its own: with a reactor on each core, the limit is for each of
/// them. A handshake that is waited for holds about 5 KiB.
pub struct TlsFactory<F> {
    inner: F,
    tls: ServerTls,
    handshake: Option<Duration>,
    pending: PendingHandshakes,
    /// Taken for a protocol that was built, whose layers are built next.
    taken: Cell<Option<PendingHandshake>>,
}

impl<F: Factory> TlsFactory<F> {
    /// The connections of `inner`, through `tls`.
    #[must_use]
    pub fn new(inner: F, tls: ServerTls) -> Self {
        Self {
            inner,
            tls,
            handshake: None,
            pending: PendingHandshakes::new(DEFAULT_PENDING_HANDSHAKES),
            taken: Cell::new(None),
        }
    }

    /// How long a handshake may take: as [`ConnectionLimits::handshake`] of the inner factory says,
    /// unless this is called.
    #[must_use]
    pub fn handshake(mut self, within: Duration) -> Self {
        self.handshake = Some(within);
        self
    }

    /// How many handshakes may be under way at once.
    #[must_use]
    pub fn max_pending(mut self, max: usize) -> Self {
        self.pending = PendingHandshakes::new(max);
        self
    }
}

impl<F: Factory> Factory for TlsFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        // What a panic left behind is given back first.
        self.taken.set(None);
        let Some(taken) = self.pending.take() else {
            let max = self.pending.max();
            tracing::debug!(%peer, max, "a connection was refused: too many handshakes at once");
            return None;
        };
        let protocol = self.inner.build_protocol(peer)?;
        self.taken.set(Some(taken));
        Some(protocol)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }

    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        let layer = match self.taken.take() {
            Some(taken) => self.tls.layer().count(taken),
            None => self.tls.layer(),
        };
        let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(layer)];
        layers.extend(self.inner.build_layers(peer));
        layers
    }

    fn limits(&self) -> ConnectionLimits {
        let mut limits = self.inner.limits();
        limits.handshake = self.handshake.unwrap_or(limits.handshake);
        limits
    }
}

/// A wrapper that puts TLS under the connections of any factory: the client's end. Since connecting
/// waits for the layers, it succeeds only when the server is verified.
pub struct TlsClientFactory<F> {
    inner: F,
    tls: ClientTls,
    name: String,
}

impl<F: Factory> TlsClientFactory<F> {
    /// The connections of `inner`, through `tls`, to the server `name`.
    ///
    /// # Errors
    /// `name` is neither a host name nor an IP address.
    pub fn new(
        inner: F,
        tls: ClientTls,
        name: impl Into<String>,
    ) -> Result<Self, InvalidServerName> {
        let name = name.into();
        tls.layer(&name)?;
        Ok(Self { inner, tls, name })
    }
}

impl<F: Factory> Factory for TlsClientFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.inner.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }

    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        let layer = self.tls.layer(&self.name);
        let layer = layer.expect("the name was good when the factory was made");
        let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(layer)];
        layers.extend(self.inner.build_layers(peer));
        layers
    }
}
