//! Why a request was not answered.

use std::error::Error;
use std::fmt;

use h2::Reason;
use http::StatusCode;

/// Why a request of a [`ClientConnection`](super::ClientConnection) has no answer.
#[derive(Debug)]
pub struct SendError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// No request may be sent on this connection any more.
    Closed,
    NotSpoken,
    Unsupported,
    Refused(StatusCode),
    Invalid(&'static str),
    Ended(h2::Error),
}

impl SendError {
    pub(super) fn closed() -> Self {
        Kind::Closed.into()
    }

    pub(super) fn not_spoken() -> Self {
        Kind::NotSpoken.into()
    }

    pub(super) fn unsupported() -> Self {
        Kind::Unsupported.into()
    }

    pub(super) fn refused(status: StatusCode) -> Self {
        Kind::Refused(status).into()
    }

    pub(super) fn invalid(what: &'static str) -> Self {
        Kind::Invalid(what).into()
    }

    /// Whether the server has certainly not acted on the request, so that it may be sent again on
    /// another connection, whatever its method (RFC 9113, section 8.7): the stream was refused, or is
    /// not among those that its GOAWAY says it has looked at, or it was never sent.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.kind {
            Kind::Closed => true,
            Kind::Ended(error) if error.is_remote() => {
                error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM)
            }
            _ => false,
        }
    }

    /// The code that the server or this side has ended the stream or the connection with.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match &self.kind {
            Kind::Ended(error) => error.reason(),
            _ => None,
        }
    }

    /// The status with which the server has refused to open a tunnel.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self.kind {
            Kind::Refused(status) => Some(status),
            _ => None,
        }
    }
}

impl From<Kind> for SendError {
    fn from(kind: Kind) -> Self {
        Self { kind }
    }
}

impl From<h2::Error> for SendError {
    fn from(error: h2::Error) -> Self {
        Kind::Ended(error).into()
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Closed => f.write_str(
                "sending a request: the HTTP/2 connection takes no more of them; open another one",
            ),
            Kind::NotSpoken => f.write_str(
                "connecting: the server does not speak HTTP/2 (it did not choose h2 by ALPN)",
            ),
            Kind::Unsupported => {
                f.write_str("opening a tunnel: the server does not offer extended CONNECT")
            }
            Kind::Refused(status) => write!(f, "opening a tunnel: the server answered {status}"),
            Kind::Invalid(what) => write!(f, "sending a request: {what}"),
            Kind::Ended(error) => write!(f, "waiting for an answer: {error}"),
        }
    }
}

impl Error for SendError {}
