//! How long the body of a request is (RFC 9112, section 6.3).
//!
//! Here is where requests are smuggled: two parties that read one head and disagree about the body
//! take different bytes for the next request. So each doubt is an error. Where the RFC lets a
//! server choose between repair and refusal (Content-Length repeated with one value, or next to
//! Transfer-Encoding), this one refuses.

use http::StatusCode;

use super::RequestError;
use super::fields::{is_token, list_elements};

/// The framing of a request body, as its head declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither Content-Length nor Transfer-Encoding: there is no body.
    None,
    /// Exactly so many bytes follow the head. May be 0.
    Length(u64),
    /// Chunks follow, and then trailers: see [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
}

/// The framing fields of one head, gathered field by field.
#[derive(Default)]
pub(super) struct FramingFields {
    content_length: Option<u64>,
    transfer_encoding: bool,
    chunked: bool,
    unknown_coding: bool,
}

impl FramingFields {
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), RequestError> {
        let length = parse_content_length(value).ok_or(BAD_LENGTH)?;
        match self.content_length.replace(length) {
            None => Ok(()),
            Some(_) => Err(REPEATED_LENGTH),
        }
    }

    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), RequestError> {
        self.transfer_encoding = true;
        for element in list_elements(value) {
            if self.chunked {
                return Err(CHUNKED_NOT_LAST);
            }
            let (coding, parameters) = match memchr::memchr(b';', element) {
                Some(at) => (element[..at].trim_ascii_end(), true),
                None => (element, false),
            };
            if !is_token(coding) {
                return Err(BAD_CODING);
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                self.unknown_coding = true;
            } else if parameters {
                return Err(BAD_CODING);
            } else {
                self.chunked = true;
            }
        }
        Ok(())
    }

    /// What all fields together say.
    pub(super) fn finish(&self, version: http::Version) -> Result<BodyLength, RequestError> {
        match (self.content_length, self.transfer_encoding) {
            (None, false) => Ok(BodyLength::None),
            (Some(length), false) => Ok(BodyLength::Length(length)),
            (Some(_), true) => Err(BOTH),
            (None, true) if version < http::Version::HTTP_11 => Err(CODING_IN_HTTP_10),
            (None, true) if self.unknown_coding => Err(UNKNOWN_CODING),
            (None, true) => Ok(BodyLength::Chunked),
        }
    }
}

/// Decimal digits and nothing else (RFC 9110, section 8.6), below 2^64.
pub(super) fn parse_content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

const BAD_LENGTH: RequestError =
    RequestError::bad("Content-Length must be one decimal number below 2^64");
const REPEATED_LENGTH: RequestError = RequestError::bad("Content-Length stands more than once");
const BOTH: RequestError =
    RequestError::bad("Content-Length and Transfer-Encoding must not stand together");
const CODING_IN_HTTP_10: RequestError =
    RequestError::bad("HTTP/1.0 has no Transfer-Encoding: send Content-Length");
const BAD_CODING: RequestError = RequestError::bad("the Transfer-Encoding is malformed");
const CHUNKED_NOT_LAST: RequestError =
    RequestError::bad("chunked must be the last transfer coding, and applied once");
const UNKNOWN_CODING: RequestError = RequestError::new(
    StatusCode::NOT_IMPLEMENTED,
    "this server knows no transfer coding but chunked",
);
