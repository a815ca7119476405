//! What was agreed on in a handshake.

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};

/// What a protocol can know of the TLS that its connection goes through.
///
/// It is there from `connection_made` on, or from when a `start_tls` is done, as
/// [`Transport::fact`](ropewalk_core::Transport::fact); where there is none, the connection is in
/// plain text.
///
/// ```
/// use ropewalk_core::{Protocol, Transport};
/// use ropewalk_tls::TlsInfo;
///
/// struct Greeter;
/// impl Protocol for Greeter {
///     fn connection_made(&mut self, transport: &mut Transport) {
///         let how = match transport.fact::<TlsInfo>() {
///             Some(tls) if tls.alpn.as_deref() == Some(b"greet/2") => "welcome",
///             Some(_) => "hello",
///             None => "go away",
///         };
///         transport.write(how.as_bytes());
///     }
///     fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
/// }
/// # let mut transport = ropewalk_core::testing::StringTransport::new();
/// # Greeter.connection_made(&mut transport);
/// # assert_eq!(transport.value(), b"go away");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version: 1.2 or 1.3.
    pub version: ProtocolVersion,
    /// The cipher suite.
    pub cipher_suite: CipherSuite,
    /// The application protocol that was agreed on (ALPN, RFC 7301), if one was.
    pub alpn: Option<Vec<u8>>,
    /// The name of the server that the client asked for (SNI, RFC 6066 section 3), if it did; at
    /// the client, the name that the server's certificate was verified for.
    pub server_name: Option<String>,
    /// The certificates that the peer sent, its own first. They are verified. Empty at a server
    /// that asked for none, or got none. With a resumed session they are those of the first
    /// handshake.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

impl TlsInfo {
    /// `None` while the handshake has not come so far.
    pub(crate) fn new(state: &CommonState, server_name: Option<String>) -> Option<Self> {
        Some(Self {
            version: state.protocol_version()?,
            cipher_suite: state.negotiated_cipher_suite()?.suite(),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            server_name,
            peer_certificates: state
                .peer_certificates()
                .map(<[CertificateDer<'_>]>::to_vec)
                .unwrap_or_default(),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}
