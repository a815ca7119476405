//! The client's end of TLS, by rustls: what it offers, whom it trusts, and what must have been agreed on.
//!
//! It offers one version, one cipher suite and one group, so that all servers do the same work: with another one
//! there is no handshake. It trusts one certificate, byte for byte, which costs next to nothing, and verifies the first
//! signature that is made with it and no further one: verifying takes longer than signing, and the server is to be
//! the limit.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind,
    NamedGroup, ProtocolVersion, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    version::TLS13,
};

use crate::failure::{Failure, Trouble};

/// The name that is asked for.
const NAME: &str = "example.com";

/// What connections are made from.
#[derive(Clone)]
pub(crate) struct Settings(Arc<ClientConfig>);

impl Settings {
    /// For servers with the certificate in this PEM file.
    pub(crate) fn new(certificate: &Path) -> Result<Self, Failure> {
        let doing = "reading the server's certificate";
        let bad = |error: &dyn std::error::Error| {
            let what = format!("{}: {error}", certificate.display());
            Failure::doing(doing)(io::Error::other(what))
        };
        let pinned = CertificateDer::from_pem_file(certificate).map_err(|error| bad(&error))?;
        let ring = ring::default_provider();
        let provider = CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring
        };
        let verifier = Pinned {
            certificate: pinned,
            algorithms: provider.signature_verification_algorithms,
            verified: AtomicBool::new(false),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let settings = Self(Arc::new(config));
        Ok(settings.resuming(false))
    }

    /// The same; each call with `true` gives connections that resume one another's sessions, and nobody else's.
    pub(crate) fn resuming(&self, on: bool) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.resumption = match on {
            true => Resumption::in_memory_sessions(1),
            false => Resumption::disabled(),
        };
        Self(Arc::new(config))
    }

    pub(crate) fn connection(&self) -> Result<ClientConnection, Trouble> {
        let name = ServerName::try_from(NAME).expect("a name");
        ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| broken(&error))
    }
}

/// Makes a handshake on a stream that blocks.
pub(crate) fn shake(
    settings: &Settings,
    stream: &mut (impl Read + Write),
) -> Result<ClientConnection, Trouble> {
    let mut tls = settings.connection()?;
    while tls.is_handshaking() || tls.wants_write() {
        tls.complete_io(stream)
            .map_err(|error| Trouble::Lost(format!("the handshake: {error}")))?;
    }
    check(&tls, false)?;
    Ok(tls)
}

/// Gives what came to rustls, and what that decrypts to the function. Says whether the server will send no more.
pub(crate) fn decrypt(
    tls: &mut ClientConnection,
    mut came: &[u8],
    mut plain: impl FnMut(&[u8]) -> Result<(), Trouble>,
) -> Result<bool, Trouble> {
    // It takes a few KiB at a time.
    while !came.is_empty() {
        tls.read_tls(&mut came)?;
        let state = tls.process_new_packets().map_err(|error| broken(&error))?;
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let mut reader = tls.reader();
            let chunk = io::BufRead::fill_buf(&mut reader)?;
            let length = chunk.len();
            plain(chunk)?;
            io::BufRead::consume(&mut reader, length);
            left -= length;
        }
        if state.peer_has_closed() {
            // What follows a close_notify is ignored (RFC 8446 section 6.1).
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sends what rustls has to send, as far as the kernel takes it.
pub(crate) fn flush(tls: &mut ClientConnection, socket: &mut impl Write) -> Result<(), Trouble> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            // Also while the connect is under way.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Trouble::Lost(format!("sending: {error}"))),
        }
    }
    Ok(())
}

/// Whether the handshake that is done was of the kind that it must be.
pub(crate) fn check(tls: &ClientConnection, resumed: bool) -> Result<(), Trouble> {
    let group = tls.negotiated_key_exchange_group();
    let agreed = (
        tls.protocol_version(),
        group.map(|group| group.name()),
        tls.handshake_kind(),
    );
    let kind = match resumed {
        true => HandshakeKind::Resumed,
        false => HandshakeKind::Full,
    };
    let must = (
        Some(ProtocolVersion::TLSv1_3),
        Some(NamedGroup::X25519),
        Some(kind),
    );
    if agreed != must {
        let what = format!("a handshake of {agreed:?}, where {must:?} was due");
        return Err(Trouble::Wrong(what));
    }
    Ok(())
}

fn broken(error: &Error) -> Trouble {
    match error {
        // It is for the server to say why.
        Error::AlertReceived(alert) => {
            Trouble::Wrong(format!("the server broke TLS off: {alert:?}"))
        }
        error => Trouble::Wrong(format!("TLS: {error}")),
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
    verified: AtomicBool,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *end_entity == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2, which was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.verified.load(Ordering::Relaxed) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let valid = verify_tls13_signature(message, certificate, signed, &self.algorithms)?;
        self.verified.store(true, Ordering::Relaxed);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
