//! TLS that begins in the middle of a connection.

use ropewalk_core::{Deferred, Layer, Transport};

use crate::{ClientLayer, ServerLayer};

/// Adds `start_tls` to [`Transport`].
///
/// ```
/// use ropewalk_core::testing::Pair;
/// use ropewalk_core::{Deferred, Protocol, Transport};
/// use ropewalk_tls::{ClientTls, ServerTls, StartTls, TlsInfo};
///
/// struct Server(ServerTls);
/// impl Protocol for Server {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         match transport.fact::<TlsInfo>() {
///             None => {
///                 assert_eq!(data, b"STARTTLS\r\n");
///                 transport.write(b"go ahead\r\n");
///                 drop(transport.start_tls(self.0.layer()));
///             }
///             Some(_) => transport.write(data),
///         }
///     }
/// }
///
/// struct Client(ClientTls, Vec<u8>);
/// impl Protocol for Client {
///     fn connection_made(&mut self, transport: &mut Transport) {
///         transport.write(b"STARTTLS\r\n");
///     }
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         if data == b"go ahead\r\n" {
///             let layer = self.0.layer("example.com").unwrap();
///             let connection = transport.connection();
///             let secured: Deferred<()> = transport.start_tls(layer);
///             drop(secured.add_callback(move |()| {
///                 connection.write(b"a secret");
///             }));
///         } else {
///             self.1.extend_from_slice(data);
///         }
///     }
/// }
///
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()])?;
/// # let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
/// let server = ServerTls::builder().pem(format!("{certificate}{key}")).build()?;
/// let client = ClientTls::builder().roots_pem(certificate).build()?;
/// let pair = Pair::new(Client(client, Vec::new()), Server(server));
/// pair.run();
/// let answer = pair.with_client(|client: &mut Client| client.1.clone());
/// assert_eq!(answer.unwrap(), b"a secret");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait StartTls {
    /// Begins TLS here: what was written before goes out in plain text, what is written from now on
    /// waits for the handshake and goes through it. The Deferred fires when that is done, and the
    /// peer, at a client, verified; if it fails, the connection ends, and the Deferred fails with
    /// the reason. The handshake has the time of
    /// [`ConnectionLimits::handshake`](ropewalk_core::ConnectionLimits::handshake).
    ///
    /// What came in plain text and was not told to the protocol ends the connection with
    /// [`PlaintextBeforeTls`](crate::PlaintextBeforeTls): to take it for what the peer said under
    /// TLS is the hole of CVE-2011-0411. The receivers of `ropewalk_core::framing` give back what
    /// they have not told; a protocol that keeps unread bytes of its own must look for them, and
    /// close.
    fn start_tls(&mut self, layer: impl TlsLayer) -> Deferred<()>;
}

impl StartTls for Transport {
    #[track_caller]
    fn start_tls(&mut self, layer: impl TlsLayer) -> Deferred<()> {
        self.push_layer(Box::new(layer));
        self.connection().layers_ready()
    }
}

/// Either end of TLS.
pub trait TlsLayer: Layer + sealed::Sealed {}

impl TlsLayer for ServerLayer {}
impl TlsLayer for ClientLayer {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ServerLayer {}
    impl Sealed for super::ClientLayer {}
}
