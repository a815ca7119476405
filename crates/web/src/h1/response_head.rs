//! Writes responses: the head, chunks and trailers, straight into the output (RFC 9112, sections 4
//! to 7).
//!
//! Nothing here can fail and nothing is allocated but the output itself. Field names go out in
//! lower case, as `http` keeps them: they mean the same in any case, and this is the fastest one.
//! No header can inject a line, because `http`'s types hold no CR and no LF.

use std::num::NonZeroUsize;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use super::ResponseFraming;
use super::chunked::is_forbidden_trailer;
use super::fields::{list_elements, values};
use super::response_framing::forbids_length;

/// Room for a head, made at once.
const USUAL_HEAD: usize = 256;

/// All that the head of a response says.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status; its reason phrase is the registered one, or empty.
    pub status: StatusCode,
    /// The version of the request. HTTP/1.0 is answered with HTTP/1.0.
    pub version: Version,
    /// The handler's fields. `content-length` and `transfer-encoding` among them are not sent:
    /// `framing` says what is. Of `connection` all options are sent but `close` and `keep-alive`,
    /// which `keep_alive` decides. A `date` is sent in place of ours.
    pub headers: &'a HeaderMap,
    /// How the end of the body is marked.
    pub framing: ResponseFraming,
    /// Whether the connection lasts after this response. It never does with
    /// [`ResponseFraming::UntilClose`].
    pub keep_alive: bool,
    /// The time now as an IMF-fixdate (RFC 9110, section 5.6.7), for the Date field.
    pub date: &'a str,
}

/// Appends the head of a response to `out`, with the empty line that ends it.
///
/// Interim responses (1xx) get neither `date` nor `connection: close`, and neither they nor 204
/// ever get a `content-length` or a `transfer-encoding`.
///
/// ```
/// use http::{HeaderMap, StatusCode, Version};
/// use ropewalk_web::h1::{ResponseFraming, ResponseHead, encode_response_head};
///
/// let mut out = Vec::new();
/// let head = ResponseHead {
///     status: StatusCode::OK,
///     version: Version::HTTP_11,
///     headers: &HeaderMap::new(),
///     framing: ResponseFraming::Length(5),
///     keep_alive: true,
///     date: "Sun, 06 Nov 1994 08:49:37 GMT",
/// };
/// encode_response_head(&mut out, &head);
/// assert_eq!(
///     out,
///     b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 5\r\n\r\n"
/// );
/// ```
pub fn encode_response_head(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    out.reserve(USUAL_HEAD);
    encode_status_line(out, head);
    let mut has_date = head.status.is_informational();
    for (name, value) in head.headers {
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING || name == CONNECTION {
            continue;
        }
        has_date |= name == DATE;
        encode_field(out, name.as_str(), value.as_bytes());
    }
    if !has_date {
        encode_field(out, "date", head.date.as_bytes());
    }
    encode_framing(out, head);
    encode_connection(out, head);
    out.extend_from_slice(b"\r\n");
}

fn encode_status_line(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    if head.status == StatusCode::OK && head.version == Version::HTTP_11 {
        // Nearly all of them.
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(match head.version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    });
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether a handler's response asks for the connection to be closed: `connection: close`.
///
/// ```
/// use http::HeaderMap;
/// use ropewalk_web::h1::response_asks_to_close;
///
/// let mut headers = HeaderMap::new();
/// assert!(!response_asks_to_close(&headers));
/// headers.insert("connection", "Close".parse().unwrap());
/// assert!(response_asks_to_close(&headers));
/// ```
#[must_use]
pub fn response_asks_to_close(headers: &HeaderMap) -> bool {
    connection_options(headers).any(|option| option.eq_ignore_ascii_case(b"close"))
}

/// Appends the interim response that lets a waiting peer send its body (RFC 9110, section 15.2.1).
///
/// ```
/// let mut out = Vec::new();
/// ropewalk_web::h1::encode_continue(&mut out);
/// assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
/// ```
pub fn encode_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Appends the size line of a chunk with `length` bytes. The bytes and then [`encode_chunk_end`]
/// must follow. A chunk without bytes would end the body, so there is none.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ropewalk_web::h1::{encode_chunk_end, encode_chunk_header, encode_trailers};
///
/// let mut out = Vec::new();
/// if let Some(length) = NonZeroUsize::new("hello, ropewalk".len()) {
///     encode_chunk_header(&mut out, length);
///     out.extend_from_slice(b"hello, ropewalk");
///     encode_chunk_end(&mut out);
/// }
/// encode_trailers(&mut out, None);
/// assert_eq!(out, b"f\r\nhello, ropewalk\r\n0\r\n\r\n");
/// ```
pub fn encode_chunk_header(out: &mut Vec<u8>, length: NonZeroUsize) {
    encode_number::<16>(out, length.get() as u64);
    out.extend_from_slice(b"\r\n");
}

/// Appends what follows the bytes of each chunk.
pub fn encode_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body: the last chunk, the trailers if there are any, and the empty
/// line.
///
/// Fields that must not be trailers (RFC 9110, section 6.5.1) are left out.
pub fn encode_trailers(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if !is_forbidden_trailer(name) {
            encode_field(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn encode_framing(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    if forbids_length(head.status) {
        return;
    }
    match head.framing {
        ResponseFraming::Length(length) | ResponseFraming::NoBody(Some(length)) => {
            out.extend_from_slice(b"content-length: ");
            encode_number::<10>(out, length);
            out.extend_from_slice(b"\r\n");
        }
        ResponseFraming::Chunked => encode_field(out, "transfer-encoding", b"chunked"),
        ResponseFraming::UntilClose | ResponseFraming::NoBody(None) => {}
    }
}

fn encode_connection(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    let keep_alive = head.keep_alive && head.framing != ResponseFraming::UntilClose;
    let ours: Option<&[u8]> = match (head.version, keep_alive) {
        _ if head.status.is_informational() => None,
        (_, false) => Some(b"close"),
        (Version::HTTP_10, true) => Some(b"keep-alive"),
        (_, true) => None,
    };
    let theirs = connection_options(head.headers).filter(|option| {
        !option.is_empty()
            && !option.eq_ignore_ascii_case(b"close")
            && !option.eq_ignore_ascii_case(b"keep-alive")
    });
    let mut separator: &[u8] = b"connection: ";
    for option in theirs.chain(ours) {
        out.extend_from_slice(separator);
        out.extend_from_slice(option);
        separator = b", ";
    }
    if separator == b", " {
        out.extend_from_slice(b"\r\n");
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    values(headers, &CONNECTION).flat_map(|value| list_elements(value.as_bytes()))
}

fn encode_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `number` with digits of the given base. The longest `u64` in base 10 has 20.
fn encode_number<const BASE: u64>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
