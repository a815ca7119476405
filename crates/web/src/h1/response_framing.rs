//! Decides how the end of a response body is marked (RFC 9112, section 6.3).
//!
//! The framing of a response is ours, not the handler's: what a handler says in Content-Length is
//! believed where it fits, refused where it does not, and its Transfer-Encoding is never sent.

use std::error::Error;
use std::fmt;

use http::{Method, StatusCode, Version};

use super::ResponseFields;

/// How the end of a response is marked, and whether a body is sent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// Exactly so many bytes follow the head. The sender must count: fewer or more break the
    /// connection.
    Length(u64),
    /// Chunks follow, ended by [`encode_trailers`](super::encode_trailers).
    Chunked,
    /// Bytes follow until the connection is closed. Only for HTTP/1.0, which has no chunks.
    UntilClose,
    /// Nothing follows the head, whatever body the handler gave. The number is the Content-Length:
    /// that of the answer to a GET, told in answers to HEAD and in 304 where it is known; 0 in 205.
    NoBody(Option<u64>),
}

impl ResponseFraming {
    /// Chooses the framing of the answer with `status` and `fields` to a request with `method` and
    /// `version`.
    ///
    /// `body` is the exact length of the handler's body in bytes, where it is known beforehand.
    /// Where it is not, a Content-Length in `fields` is the handler's promise, and becomes
    /// [`ResponseFraming::Length`].
    ///
    /// ```
    /// use http::{HeaderMap, Method, StatusCode, Version};
    /// use ropewalk_web::h1::{ResponseFields, ResponseFraming};
    ///
    /// let choose = |method, body| {
    ///     let (headers, version) = (HeaderMap::new(), Version::HTTP_11);
    ///     let fields = ResponseFields::new(&headers);
    ///     ResponseFraming::choose(&method, version, StatusCode::OK, &fields, body)
    /// };
    /// assert_eq!(choose(Method::GET, Some(5)), Ok(ResponseFraming::Length(5)));
    /// assert_eq!(choose(Method::GET, None), Ok(ResponseFraming::Chunked));
    /// assert_eq!(choose(Method::HEAD, Some(5)), Ok(ResponseFraming::NoBody(Some(5))));
    /// ```
    ///
    /// # Errors
    ///
    /// If the handler's Content-Length is malformed, repeated, or not the length of its body. The
    /// handler is wrong: log the error and answer 500, for nothing has been sent yet.
    pub fn choose(
        method: &Method,
        version: Version,
        status: StatusCode,
        fields: &ResponseFields<'_>,
        body: Option<u64>,
    ) -> Result<Self, FramingError> {
        if forbids_length(status) || (method == Method::CONNECT && status.is_success()) {
            return Ok(Self::NoBody(None));
        }
        // It has no content either, but says so (RFC 9110, section 15.3.6).
        if status == StatusCode::RESET_CONTENT {
            return Ok(Self::NoBody(Some(0)));
        }
        let declared = fields.declared_length()?;
        // A handler may leave out the body where it isn't sent: an empty one says nothing here.
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Self::NoBody(declared));
        }
        if method == Method::HEAD {
            let body = body.filter(|length| *length > 0);
            return Ok(Self::NoBody(agree(declared, body)?));
        }
        Ok(match agree(declared, body)? {
            Some(length) => Self::Length(length),
            None if version < Version::HTTP_11 => Self::UntilClose,
            None => Self::Chunked,
        })
    }

    /// Whether the handler's body is sent.
    #[must_use]
    pub fn sends_body(&self) -> bool {
        !matches!(self, Self::NoBody(_))
    }
}

/// Why the framing of a response cannot be chosen: the handler's Content-Length is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// The field is not one decimal number, or stands more than once.
    InvalidContentLength,
    /// The field and the body differ.
    LengthMismatch {
        /// Bytes that the handler's Content-Length declares.
        declared: u64,
        /// Bytes that the handler's body has.
        body: u64,
    },
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidContentLength => f.write_str(
                "framing a response: its Content-Length is not one decimal number; \
                 leave the field out",
            ),
            Self::LengthMismatch { declared, body } => write!(
                f,
                "framing a response: its Content-Length is {declared}, but its body has {body} \
                 bytes; leave the field out"
            ),
        }
    }
}

impl Error for FramingError {}

/// Whether an answer with this status never has a Content-Length (RFC 9110, section 8.6).
pub(super) fn forbids_length(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// The length that both give, or the one that is given.
fn agree(declared: Option<u64>, body: Option<u64>) -> Result<Option<u64>, FramingError> {
    match (declared, body) {
        (Some(declared), Some(body)) if declared != body => {
            Err(FramingError::LengthMismatch { declared, body })
        }
        _ => Ok(declared.or(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::ResponseFraming::{Chunked, Length, NoBody, UntilClose};
    use http::header::{CONTENT_LENGTH, HeaderMap};

    use super::*;

    const MISMATCH: FramingError = FramingError::LengthMismatch {
        declared: 5,
        body: 7,
    };
    const INVALID: FramingError = FramingError::InvalidContentLength;

    fn choose(
        method: &Method,
        version: Version,
        status: u16,
        lengths: &[&'static str],
        body: Option<u64>,
    ) -> Result<ResponseFraming, FramingError> {
        let mut headers = HeaderMap::new();
        for length in lengths {
            headers.append(CONTENT_LENGTH, length.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        ResponseFraming::choose(
            method,
            version,
            status,
            &ResponseFields::new(&headers),
            body,
        )
    }

    #[test]
    fn framing_follows_from_method_version_status_and_lengths() {
        let old = Version::HTTP_10;
        let new = Version::HTTP_11;
        let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
        for (method, version, status, lengths, body, expected) in [
            (&get, new, 200, &[][..], Some(0), Ok(Length(0))),
            (&get, new, 200, &[], Some(7), Ok(Length(7))),
            (&get, old, 200, &[], Some(7), Ok(Length(7))),
            (&get, new, 200, &["7"], Some(7), Ok(Length(7))),
            (&get, new, 200, &["5"], Some(7), Err(MISMATCH)),
            (&get, new, 200, &["7", "7"], Some(7), Err(INVALID)),
            (&get, new, 200, &["seven"], Some(7), Err(INVALID)),
            (&get, new, 200, &["5"], None, Ok(Length(5))),
            (&get, new, 200, &[], None, Ok(Chunked)),
            (&get, old, 200, &[], None, Ok(UntilClose)),
            (&get, new, 404, &[], None, Ok(Chunked)),
            (&get, new, 101, &["5"], Some(7), Ok(NoBody(None))),
            (&get, new, 204, &["5"], Some(7), Ok(NoBody(None))),
            (&get, new, 205, &["5"], Some(7), Ok(NoBody(Some(0)))),
            (&get, old, 205, &[], None, Ok(NoBody(Some(0)))),
            (&get, new, 304, &[], Some(0), Ok(NoBody(None))),
            (&get, new, 304, &["5"], Some(0), Ok(NoBody(Some(5)))),
            (&get, new, 304, &["5"], Some(7), Ok(NoBody(Some(5)))),
            (&get, new, 304, &["five"], Some(0), Err(INVALID)),
            (&head, new, 200, &[], Some(7), Ok(NoBody(Some(7)))),
            (&head, new, 200, &[], Some(0), Ok(NoBody(None))),
            (&head, new, 200, &[], None, Ok(NoBody(None))),
            (&head, new, 200, &["5"], Some(0), Ok(NoBody(Some(5)))),
            (&head, new, 200, &["5"], None, Ok(NoBody(Some(5)))),
            (&head, new, 200, &["5"], Some(7), Err(MISMATCH)),
            (&connect, new, 200, &["5"], Some(7), Ok(NoBody(None))),
            (&connect, new, 403, &[], Some(7), Ok(Length(7))),
        ] {
            assert_eq!(
                choose(method, version, status, lengths, body),
                expected,
                "{method} {version:?} {status} {lengths:?} {body:?}"
            );
        }
    }
}
