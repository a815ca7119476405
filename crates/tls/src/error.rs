//! Why TLS ended a connection, in words that say what to do.

use std::error::Error;
use std::fmt;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connected, and verifies the server.
    Client,
    /// The one that was connected to, and shows a certificate.
    Server,
}

/// The handshake failed, and with it the connection.
///
/// ```
/// use ropewalk_tls::{HandshakeFailed, Side, rustls};
///
/// let error = rustls::Error::NoCertificatesPresented;
/// let failed = HandshakeFailed { side: Side::Server, error };
/// assert_eq!(
///     failed.to_string(),
///     "the TLS handshake failed: the client sent no certificate, and one is required",
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HandshakeFailed {
    /// Which end this is.
    pub side: Side,
    /// What rustls says.
    pub error: rustls::Error,
}

impl fmt::Display for HandshakeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the TLS handshake failed: ")?;
        explain(&self.error, self.side, f)
    }
}

// What rustls says stands in the message, and is no cause of its own.
impl Error for HandshakeFailed {}

/// The peer closed the connection before the handshake was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeCutShort;

impl fmt::Display for HandshakeCutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer closed the connection during the TLS handshake")
    }
}

impl Error for HandshakeCutShort {}

/// What the peer sent after the handshake is not what it may send, or it says the same of this
/// side.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsBroken {
    /// Which end this is.
    pub side: Side,
    /// What rustls says.
    pub error: rustls::Error,
}

impl fmt::Display for TlsBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the TLS connection broke: ")?;
        explain(&self.error, self.side, f)
    }
}

impl Error for TlsBroken {}

/// The peer closed the connection without saying, by a `close_notify`, that it was done (RFC 8446
/// section 6.1): somebody between may have cut it, and what came may not be all.
///
/// A protocol that knows by itself where its messages end may tolerate that:
/// [`ServerTlsBuilder::tolerate_truncation`](crate::ServerTlsBuilder::tolerate_truncation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the peer closed the connection without a TLS close_notify: what it sent may have been cut off",
        )
    }
}

impl Error for Truncated {}

/// There was plain text behind the command that begins TLS: somebody between may have put it there,
/// to have it taken for what the peer sends under TLS (CVE-2011-0411).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaintextBeforeTls {
    /// How many bytes had come.
    pub bytes: usize,
}

impl fmt::Display for PlaintextBeforeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of plain text came before TLS could begin; a peer waits for the answer to \
             its STARTTLS before it sends anything",
            self.bytes
        )
    }
}

impl Error for PlaintextBeforeTls {}

/// Says what an error of rustls means for whom it happens to.
fn explain(error: &rustls::Error, side: Side, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        rustls::Error::InvalidCertificate(error) => explain_certificate(error, side, f),
        rustls::Error::NoCertificatesPresented if side == Side::Server => {
            f.write_str("the client sent no certificate, and one is required")
        }
        rustls::Error::AlertReceived(alert) => explain_alert(*alert, side, f),
        rustls::Error::NoApplicationProtocol => {
            f.write_str("the peer offers no application protocol (ALPN) that this side has")
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            f.write_str("what came is not TLS; does the peer speak plain text here?")
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => f.write_str("the peer speaks no version of TLS that this side allows"),
        other => write!(f, "{other}"),
    }
}

fn explain_certificate(
    error: &CertificateError,
    side: Side,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let whose = match side {
        Side::Client => "the server's certificate",
        Side::Server => "the client's certificate",
    };
    match error {
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            // They come as `DnsName("example.com")`.
            let names = presented.iter();
            let names: Vec<_> = names
                .map(|name| name.split('"').nth(1).unwrap_or(name))
                .collect();
            let names = match names.as_slice() {
                [] => "no name at all".to_owned(),
                names => names.join(", "),
            };
            write!(
                f,
                "{whose} is for {names}, not for {}; connect by a name that it has, or say by \
                 `name` which one to expect",
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => write!(f, "{whose} is for another name"),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => write!(
            f,
            "{whose} has expired; have it renewed, or set the clock of this machine"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => write!(
            f,
            "{whose} is not valid yet; is the clock of this machine right?"
        ),
        CertificateError::UnknownIssuer => write!(
            f,
            "{whose} was issued by none of the authorities that this side trusts; add the \
             authority to the roots, or have the peer send its intermediate certificates too"
        ),
        CertificateError::Revoked => write!(f, "{whose} was revoked"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            write!(
                f,
                "{whose} was not issued for this purpose (extended key usage)"
            )
        }
        CertificateError::BadSignature => write!(f, "the signature of {whose} is wrong"),
        CertificateError::Other(other) if is_authoritys_own(other) => write!(
            f,
            "{whose} is an authority's own (`CA:TRUE`, as OpenSSL makes those that sign themselves); \
             issue one with it, or make one with `basicConstraints=CA:FALSE`"
        ),
        other => write!(f, "{whose} cannot be accepted: {other}"),
    }
}

fn is_authoritys_own(error: &rustls::OtherError) -> bool {
    let known = error.0.downcast_ref::<webpki::Error>();
    known == Some(&webpki::Error::CaUsedAsEndEntity)
}

fn explain_alert(alert: AlertDescription, side: Side, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let peer = match side {
        Side::Client => "the server",
        Side::Server => "the client",
    };
    match alert {
        AlertDescription::CertificateRequired => {
            write!(f, "{peer} wants a certificate, and got none")
        }
        AlertDescription::UnknownCA => write!(
            f,
            "{peer} does not trust the authority that issued this side's certificate"
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            write!(f, "{peer} does not accept this side's certificate")
        }
        AlertDescription::CertificateExpired => {
            write!(f, "{peer} finds this side's certificate expired")
        }
        AlertDescription::CertificateRevoked => {
            write!(f, "{peer} finds this side's certificate revoked")
        }
        AlertDescription::ProtocolVersion => write!(
            f,
            "{peer} allows none of the versions of TLS that this side speaks"
        ),
        AlertDescription::HandshakeFailure => write!(
            f,
            "{peer} found nothing that both sides support (handshake_failure)"
        ),
        AlertDescription::NoApplicationProtocol => write!(
            f,
            "{peer} has none of the application protocols (ALPN) that this side offers"
        ),
        AlertDescription::UnrecognisedName => write!(f, "{peer} has no certificate for this name"),
        other => write!(f, "{peer} refused it (alert {other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn failed(side: Side, error: impl Into<rustls::Error>) -> String {
        let error = error.into();
        HandshakeFailed { side, error }.to_string()
    }

    #[test]
    fn what_is_wrong_with_a_certificate_says_whose_it_is_and_what_to_do() {
        let name = CertificateError::NotValidForNameContext {
            expected: "example.com".try_into().unwrap(),
            presented: vec!["DnsName(\"a.example\")".to_owned(), "b.example".to_owned()],
        };
        assert_eq!(
            failed(Side::Client, name),
            "the TLS handshake failed: the server's certificate is for a.example, b.example, not \
             for example.com; connect by a name that it has, or say by `name` which one to expect"
        );
        let expired = failed(Side::Server, CertificateError::Expired);
        assert!(expired.contains("the client's certificate has expired"));
        let own = rustls::OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        let own = failed(Side::Client, CertificateError::Other(own));
        assert!(own.contains("the server's certificate is an authority's own"));
        let unknown = failed(Side::Client, CertificateError::UnknownIssuer);
        assert!(unknown.contains("add the authority to the roots"));
    }

    #[test]
    fn an_alert_is_told_in_words() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(
            failed(Side::Client, alert),
            "the TLS handshake failed: the server wants a certificate, and got none"
        );
    }
}
