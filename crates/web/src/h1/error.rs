//! Why a request was refused, and which status tells the peer so.

use std::error::Error;
use std::fmt;

use http::StatusCode;

/// A request that is refused before a handler sees it.
///
/// It carries the status to answer with and one sentence for the log and the body of the answer.
/// The sentence never quotes the peer's bytes, so it is safe to send and to log.
///
/// ```
/// use http::StatusCode;
/// use ropewalk_web::h1::RequestError;
///
/// let error = RequestError::new(StatusCode::REQUEST_TIMEOUT, "the request head took too long");
/// assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
/// assert_eq!(error.to_string(), "408 Request Timeout: the request head took too long");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestError {
    status: StatusCode,
    reason: &'static str,
}

impl RequestError {
    /// Refuses with `status`, because of `reason`: one sentence with neither capital nor full stop.
    #[must_use]
    pub const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// 400, the answer to all that is malformed or ambiguous.
    pub(super) const fn bad(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// 431, the answer to field sections above a limit (RFC 6585, section 5).
    pub(super) const fn fields_too_large(reason: &'static str) -> Self {
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
    }

    /// The status to answer with: a client error (4xx), or 501 or 505.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in one sentence.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.reason)
    }
}

impl Error for RequestError {}
