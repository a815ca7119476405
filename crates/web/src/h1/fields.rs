//! Field sections: names, values, and the errors in them (RFC 9110, section 5).
//!
//! Request heads and trailers are read by the same rules, which are kept here.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr_iter;

use super::RequestError;

/// Adds a field that `httparse` found.
#[inline]
pub(super) fn append_field(
    headers: &mut HeaderMap,
    name: &str,
    value: Bytes,
) -> Result<(), RequestError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BAD_NAME)?;
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| BAD_VALUE)?;
    headers.try_append(name, value).map_err(|_| TOO_MANY)?;
    Ok(())
}

/// Says in words what `httparse` stumbled over in `lines`, a field section.
#[cold]
pub(super) fn explain_field_error(lines: &[u8], error: httparse::Error) -> RequestError {
    if has_bare_cr(lines) {
        return BARE_CR;
    }
    match error {
        httparse::Error::HeaderName => lines
            .split_inclusive(|byte| *byte == b'\n')
            .find_map(explain_name)
            .unwrap_or(BAD_NAME),
        httparse::Error::HeaderValue => BAD_VALUE,
        httparse::Error::TooManyHeaders => TOO_MANY,
        _ => BAD_SECTION,
    }
}

/// Whether a CR stands in `lines` with no LF behind it.
pub(super) fn has_bare_cr(lines: &[u8]) -> bool {
    memchr_iter(b'\r', lines).any(|at| lines.get(at + 1) != Some(&b'\n'))
}

/// The elements of a comma-separated list, without the white space around them. An empty value has
/// one, empty element.
pub(crate) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether `text` is a token: one or more token bytes (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a token may hold this byte.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn explain_name(line: &[u8]) -> Option<RequestError> {
    match line {
        [] | [b'\r', b'\n'] => return None,
        [b' ' | b'\t', ..] => return Some(FOLDED),
        [b':', ..] => return Some(NO_NAME),
        _ => {}
    }
    let name_end = line.iter().position(|byte| !is_token_byte(*byte))?;
    match line[name_end] {
        b':' => None,
        b' ' | b'\t' => Some(SPACE_BEFORE_COLON),
        b'\r' => Some(NO_COLON),
        _ => Some(BAD_NAME),
    }
}

/// Checks the end of a line that ends with LF. A CR elsewhere in it is found when the line is
/// parsed, but one right before the end would make an empty line look like a field.
pub(super) fn check_line_end(line: &[u8]) -> Result<(), RequestError> {
    match line {
        [.., b'\r', b'\r', b'\n'] => Err(BARE_CR),
        [.., b'\r', b'\n'] => Ok(()),
        _ => Err(BARE_LF),
    }
}

pub(super) const BARE_CR: RequestError =
    RequestError::bad("a CR stands without its LF: lines must end with CRLF");
pub(super) const BARE_LF: RequestError =
    RequestError::bad("a line ends with a bare LF: lines must end with CRLF");
const BAD_NAME: RequestError =
    RequestError::bad("a field name holds a byte that is not allowed there");
const BAD_VALUE: RequestError = RequestError::bad("a field value holds a control byte");
const FOLDED: RequestError =
    RequestError::bad("a field line begins with white space: folded lines are obsolete");
const NO_NAME: RequestError = RequestError::bad("a field line has no name");
const NO_COLON: RequestError = RequestError::bad("a field line has no colon");
const SPACE_BEFORE_COLON: RequestError =
    RequestError::bad("white space stands between a field name and its colon");
const BAD_SECTION: RequestError = RequestError::bad("the field section is malformed");
pub(super) const TOO_MANY: RequestError =
    RequestError::fields_too_large("there are more fields than this server accepts");
