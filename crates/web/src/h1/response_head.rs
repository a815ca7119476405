//! Writes responses: the head, chunks and trailers, straight into the output (RFC 9112, sections 4
//! to 7).
//!
//! Nothing here can fail and nothing is allocated but the output itself. Field names go out in
//! lower case, as `http` keeps them: they mean the same in any case, and this is the fastest one.
//! No header can inject a line, because `http`'s types hold no CR and no LF.

use std::num::NonZeroUsize;

use http::{HeaderMap, StatusCode, Version};

use super::chunked::is_forbidden_trailer;
use super::response_framing::forbids_length;
use super::{ResponseFields, ResponseFraming};

/// Room for a head, made at once.
const USUAL_HEAD: usize = 256;

/// All that the head of a response says.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status; its reason phrase is the registered one, or empty.
    pub status: StatusCode,
    /// The version of the request. The answer always names HTTP/1.1, as RFC 9110 section 6.2 asks,
    /// but uses nothing that HTTP/1.0 has not, and tells it in words whether the connection lasts.
    pub version: Version,
    /// The handler's fields. `content-length` and `transfer-encoding` among them are not sent:
    /// `framing` says what is. Of `connection` all options are sent but `close` and `keep-alive`,
    /// which `keep_alive` decides. A `date` is sent in place of ours.
    pub fields: ResponseFields<'a>,
    /// How the end of the body is marked.
    pub framing: ResponseFraming,
    /// Whether the connection lasts after this response. It never does with
    /// [`ResponseFraming::UntilClose`].
    pub keep_alive: bool,
    /// The Date field, as a line: `date`, the time now as an IMF-fixdate (RFC 9110, section 5.6.7),
    /// and the line end.
    pub date: &'a str,
}

/// Appends the head of a response to `out`, with the empty line that ends it.
///
/// Interim responses (1xx) get neither `date` nor `connection: close`, and neither they nor 204
/// ever get a `content-length` or a `transfer-encoding`.
///
/// ```
/// use http::{HeaderMap, StatusCode, Version};
/// use ropewalk_web::h1::{ResponseFields, ResponseFraming, ResponseHead, encode_response_head};
///
/// let mut out = Vec::new();
/// let headers = HeaderMap::new();
/// let head = ResponseHead {
///     status: StatusCode::OK,
///     version: Version::HTTP_11,
///     fields: ResponseFields::new(&headers),
///     framing: ResponseFraming::Length(5),
///     keep_alive: true,
///     date: "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
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
    head.fields
        .for_each_sent(|name, value| encode_field(out, name, value));
    if !head.fields.have_date() && !head.status.is_informational() {
        out.extend_from_slice(head.date.as_bytes());
    }
    encode_framing(out, head);
    encode_connection(out, head);
    out.extend_from_slice(b"\r\n");
}

fn encode_status_line(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    if head.status == StatusCode::OK {
        // Nearly all of them.
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
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
    let mut digits = [0; DIGITS_MAX];
    let start = write_digits::<16>(&mut digits, length.get() as u64);
    out.extend_from_slice(&digits[start..]);
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
            encode_length(out, length);
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
    if !head.fields.have_options() && ours.is_none() {
        return;
    }
    let theirs = head.fields.options().filter(|option| {
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

fn encode_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The Content-Length field, put together first: nearly every answer has one.
fn encode_length(out: &mut Vec<u8>, length: u64) {
    const NAME: &[u8; 16] = b"content-length: ";
    let mut line = [0; NAME.len() + DIGITS_MAX + 2];
    let end = line.len() - 2;
    line[end..].copy_from_slice(b"\r\n");
    let digits = write_digits::<10>(&mut line[..end], length);
    let start = digits - NAME.len();
    line[start..digits].copy_from_slice(NAME);
    out.extend_from_slice(&line[start..]);
}

/// The longest `u64` in base 10.
const DIGITS_MAX: usize = 20;

/// Writes the digits of `number` to the end of `space`, and returns where they begin.
fn write_digits<const BASE: u64>(space: &mut [u8], mut number: u64) -> usize {
    let mut at = space.len();
    loop {
        at -= 1;
        space[at] = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
        if number == 0 {
            return at;
        }
    }
}
