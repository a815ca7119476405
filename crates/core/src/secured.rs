//! What a protocol can know of privacy without knowing the layer that makes it.

/// The connection is private: a layer below encrypts it, and knows whom it talks to.
///
/// TLS [offers](crate::LayerIo::offer) it as a [fact](crate::Transport::fact), beside what else it knows
/// (`TlsInfo` of `ropewalk_tls`), so that a protocol that stands on this crate alone can ask.
///
/// ```
/// use ropewalk_core::{Protocol, Secured, Transport};
///
/// struct Greeter;
/// impl Protocol for Greeter {
///     fn connection_made(&mut self, transport: &mut Transport) {
///         let private = transport.fact::<Secured>().is_some();
///         transport.write(if private { b"welcome" } else { b"go away" });
///     }
///     fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
/// }
/// # let mut transport = ropewalk_core::testing::StringTransport::new();
/// # Greeter.connection_made(&mut transport);
/// # assert_eq!(transport.value(), b"go away");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secured {
    /// What the two ends agreed to speak (ALPN, RFC 7301), if they did.
    pub application_protocol: Option<Vec<u8>>,
}

impl Secured {
    /// For those who implement a layer.
    #[must_use]
    pub fn new(application_protocol: Option<Vec<u8>>) -> Self {
        Self {
            application_protocol,
        }
    }
}
