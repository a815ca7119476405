//! Reads a request head: the request line and the header fields (RFC 9112, sections 2 to 5).
//!
//! `httparse` reads the syntax once the head is complete, and this module what follows from it: the
//! target, the host, the length of the body, and whether the connection lasts. The head is copied
//! once, and the target and all values are slices of that copy.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};

use super::body_length::FramingFields;
use super::fields::{
    BARE_CR, TOO_MANY, append_field, explain_field_error, has_bare_cr, list_elements,
};
use super::head_scan::BAD_REQUEST_LINE;
use super::host::{is_host, is_host_with_port};
use super::{BodyLength, HeadScan, HeadStorage, Limits, RequestError};

/// Heads with at most so many fields are parsed at the first look, without an allocation for
/// `httparse`'s slots.
const INLINE_FIELDS: usize = 100;

/// `http` keeps the offsets in a target as 16-bit numbers.
const TARGET_MAX: usize = u16::MAX as usize - 1;

/// One request, up to where its body begins.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields; `http::Request::from_parts` adds a body.
    ///
    /// CONNECT with a path, which names nobody to connect to, has no authority: whoever serves it must
    /// refuse it (RFC 9110, section 9.3.6).
    ///
    /// Where the target names an authority (absolute-form, CONNECT), the `host` field holds that
    /// authority, as RFC 9112 section 3.2.2 demands, and what the peer sent in `host` is gone.
    pub parts: Parts,
    /// How long the body is.
    pub body: BodyLength,
    /// Whether the peer lets the connection last after the answer (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// Whether the peer waits for `100 Continue` before it sends the body (RFC 9110, section
    /// 10.1.1). Never set where there is no body to wait for.
    pub expect_continue: bool,
    /// The request target as it was sent, for the log.
    pub target: Bytes,
}

/// Reads the request head at the beginning of `input`.
///
/// Returns `None` while the head is incomplete. Call again with the same bytes and more behind
/// them, and with the same `progress`: it keeps the search for the end linear. When the head is
/// complete, the result is the head and the number of bytes that it took; what stands behind them
/// is left alone. `progress` is then ready for the next request.
///
/// The head is kept in `storage`, which serves any number of connections.
///
/// ```
/// use ropewalk_web::h1::{BodyLength, HeadScan, HeadStorage, Limits, parse_request_head};
///
/// let limits = Limits::default();
/// let mut storage = HeadStorage::default();
/// let mut progress = HeadScan::default();
/// let input = b"PUT /notes HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi";
///
/// assert!(parse_request_head(&input[..30], &limits, &mut progress, &mut storage)?.is_none());
/// let (head, consumed) =
///     parse_request_head(input, &limits, &mut progress, &mut storage)?.unwrap();
/// assert_eq!(head.parts.uri.path(), "/notes");
/// assert_eq!(head.parts.headers["host"], "example.com");
/// assert_eq!(head.body, BodyLength::Length(2));
/// assert_eq!(&input[consumed..], b"hi");
/// # Ok::<(), ropewalk_web::h1::RequestError>(())
/// ```
///
/// # Errors
///
/// 400 for what is malformed or ambiguous, 414 and 431 above a limit (as soon as it is passed), 417
/// for an unknown expectation, 501 for an unknown transfer coding and for a method that fills the
/// request line, 505 for another major version than 1. The connection cannot be read any further.
///
/// # Panics
///
/// If `input` is shorter than it was on an earlier call with this `progress`.
pub fn parse_request_head(
    input: &[u8],
    limits: &Limits,
    progress: &mut HeadScan,
    storage: &mut HeadStorage,
) -> Result<Option<(RequestHead, usize)>, RequestError> {
    if progress.is_fresh()
        && let Some(head) = first_look(input, limits, storage)
    {
        return head.map(Some);
    }
    let Some(range) = progress.find_head(input, limits)? else {
        return Ok(None);
    };
    let fields = progress.fields();
    let consumed = range.end;
    *progress = HeadScan::default();
    let head = parse_found(&input[range], fields, storage)?;
    Ok(Some((head, consumed)))
}

/// Nearly all heads come whole and are well-formed, so the parser is asked before the end is
/// searched for. `None` leaves the verdict to that search: for a head that is incomplete, refused,
/// or has more fields or another beginning than usual.
#[inline]
fn first_look(
    input: &[u8],
    limits: &Limits,
    storage: &mut HeadStorage,
) -> Option<Result<(RequestHead, usize), RequestError>> {
    // `httparse` skips any number of empty lines.
    if let None | Some(b'\r' | b'\n') = input.first() {
        return None;
    }
    let mut slots = [const { MaybeUninit::uninit() }; INLINE_FIELDS];
    let slots = &mut slots[..limits.header_fields.min(INLINE_FIELDS)];
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(length)) = parsed.parse_with_uninit_headers(input, slots)
    else {
        return None;
    };
    let head = &input[..length];
    let start_of = |field: &httparse::Header<'_>| offset(head, field.name.as_bytes());
    let block_start = parsed.headers.first().map_or(length - 2, start_of);
    // It lets bare line feeds pass. (A CR before the CR of a line end it refuses.)
    let has_strict_ends = head.ends_with(b"\r\n\r\n")
        && parsed
            .headers
            .iter()
            .all(|field| head[..start_of(field)].ends_with(b"\r\n"));
    if !has_strict_ends
        || block_start > limits.request_line
        || length - block_start > limits.header_block
    {
        return None;
    }
    Some(RequestHead::new(&parsed, head, storage).map(|head| (head, length)))
}

/// Reads `head`, which begins with a request line and ends with the first empty line.
fn parse_found(
    head: &[u8],
    field_count: usize,
    storage: &mut HeadStorage,
) -> Result<RequestHead, RequestError> {
    let as_http_11 = as_http_11(head);
    let head = as_http_11.as_deref().unwrap_or(head);
    let mut slots = vec![MaybeUninit::uninit(); field_count];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut slots) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(BAD_HEAD),
        Err(error) => return Err(explain(head, error)),
    }
    RequestHead::new(&parsed, head, storage)
}

impl RequestHead {
    /// What follows from the syntax of `source`, of which `parsed` holds the parts.
    #[inline]
    fn new(
        parsed: &httparse::Request<'_, '_>,
        source: &[u8],
        storage: &mut HeadStorage,
    ) -> Result<Self, RequestError> {
        let mut headers = storage.map(parsed.headers.len())?;
        let head = storage.store(source);
        let kept = |part: &[u8]| {
            let start = offset(source, part);
            head.slice(start..start + part.len())
        };
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(BAD_HEAD);
        };

        let version = if minor == 0 {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| BAD_REQUEST_LINE)?;
        let target = kept(target.as_bytes());
        let (uri, authority) = parse_target(&method, &target)?;

        let mut meaning = Meaning::default();
        for field in parsed.headers.iter() {
            meaning.see(field, storage)?;
            append_field(&mut headers, field.name, kept(field.value))?;
        }
        if meaning.hosts == 0 && version == Version::HTTP_11 {
            return Err(NO_HOST);
        }
        if let Some(authority) = authority {
            headers.try_insert(HOST, authority).map_err(|_| TOO_MANY)?;
        }
        let body = meaning.framing.finish(version)?;
        if method == Method::CONNECT && !matches!(body, BodyLength::None | BodyLength::Length(0)) {
            return Err(CONNECT_HAS_NO_CONTENT);
        }

        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = method;
        parts.uri = uri;
        parts.version = version;
        parts.headers = headers;
        Ok(Self {
            parts,
            body,
            keep_alive: !meaning.close && (version == Version::HTTP_11 || meaning.keep_alive),
            expect_continue: meaning.expect_continue
                && version == Version::HTTP_11
                && !matches!(body, BodyLength::None | BodyLength::Length(0)),
            target,
        })
    }
}

/// Where `part` begins within `whole`, of which it is a slice.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// What the fields say that concerns the connection.
#[derive(Default)]
struct Meaning {
    hosts: usize,
    framing: FramingFields,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
}

impl Meaning {
    fn see(
        &mut self,
        field: &httparse::Header<'_>,
        storage: &mut HeadStorage,
    ) -> Result<(), RequestError> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // The lengths of the names tell nearly all other fields apart without a look at their
        // bytes.
        match field.name.len() {
            4 if is("host") => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(REPEATED_HOST);
                }
                if !storage.is_host(field.value) {
                    return Err(BAD_HOST);
                }
            }
            6 if is("expect") => {
                // Empty elements of a list are none (RFC 9110, section 5.6.1.2).
                for expectation in list_elements(field.value).filter(|item| !item.is_empty()) {
                    if !expectation.eq_ignore_ascii_case(b"100-continue") {
                        return Err(UNKNOWN_EXPECTATION);
                    }
                    self.expect_continue = true;
                }
            }
            10 if is("connection") => {
                for option in list_elements(field.value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is("content-length") => self.framing.content_length(field.value)?,
            17 if is("transfer-encoding") => self.framing.transfer_encoding(field.value)?,
            _ => {}
        }
        Ok(())
    }
}

/// Reads the target in the form that the method allows (RFC 9112, section 3.2), and the
/// authority that takes the place of the Host field, if the target names one.
fn parse_target(
    method: &Method,
    target: &Bytes,
) -> Result<(Uri, Option<HeaderValue>), RequestError> {
    if target.len() > TARGET_MAX {
        return Err(TARGET_TOO_LONG);
    }
    // `Uri` drops fragments silently, and lets UTF-8 pass.
    if target.iter().any(|byte| *byte == b'#' || !byte.is_ascii()) {
        return Err(BAD_TARGET_BYTE);
    }
    let uri = || Uri::from_maybe_shared(target.clone()).map_err(|_| BAD_TARGET);
    let host = |bytes| HeaderValue::from_maybe_shared(bytes).map_err(|_| BAD_TARGET);

    // A path is no way to make a tunnel; but to say whether there are others is for who serves it.
    if method == Method::CONNECT && !target.starts_with(b"/") {
        if !is_host_with_port(target) {
            return Err(CONNECT_NEEDS_AUTHORITY);
        }
        return Ok((uri()?, Some(host(target.clone())?)));
    }
    match target[..] {
        [b'/', ..] => Ok((uri()?, None)),
        [b'*'] if method == Method::OPTIONS => Ok((uri()?, None)),
        [b'*'] => Err(ASTERISK_NEEDS_OPTIONS),
        _ => {
            let uri = uri()?;
            let (Some(scheme @ ("http" | "https")), Some(authority)) =
                (uri.scheme_str(), uri.authority())
            else {
                return Err(BAD_TARGET);
            };
            if !is_host(authority.as_str().as_bytes()) {
                return Err(BAD_AUTHORITY);
            }
            let start = scheme.len() + "://".len();
            let host = host(target.slice(start..start + authority.as_str().len()))?;
            Ok((uri, Some(host)))
        }
    }
}

/// Says in words what `httparse` stumbled over in `head`.
#[cold]
fn explain(head: &[u8], error: httparse::Error) -> RequestError {
    if has_bare_cr(head) {
        return BARE_CR;
    }
    let line_end = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
    let (line, fields) = head.split_at(line_end);
    match error {
        httparse::Error::Token => BAD_REQUEST_LINE,
        httparse::Error::Version | httparse::Error::NewLine => {
            if line == b"PRI * HTTP/2.0\r\n" {
                HTTP_2_PREFACE
            } else if version(line).is_some_and(|(major, _)| major != b'1') {
                OTHER_VERSION
            } else {
                BAD_REQUEST_LINE
            }
        }
        error => explain_field_error(fields, error),
    }
}

/// The head as one of HTTP/1.1, if it is one of a later HTTP/1: whoever sends that is to be
/// understood as far as we go (RFC 9110, section 2.5).
fn as_http_11(head: &[u8]) -> Option<Vec<u8>> {
    let line_end = memchr::memchr(b'\n', head)? + 1;
    let (b'1', b'2'..) = version(&head[..line_end])? else {
        return None;
    };
    let mut head = head.to_vec();
    head[line_end - b"1\r\n".len()] = b'1';
    Some(head)
}

/// The major and the minor version that a request line ends with, of one digit each (RFC 9112,
/// section 2.3).
fn version(line: &[u8]) -> Option<(u8, u8)> {
    let end = line.strip_suffix(b"\r\n")?.last_chunk::<9>()?;
    match end.strip_prefix(b" HTTP/")? {
        &[major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => Some((major, minor)),
        _ => None,
    }
}

const BAD_HEAD: RequestError = RequestError::bad("the request head is malformed");
const HTTP_2_PREFACE: RequestError = RequestError::bad(
    "this is HTTP/2 with prior knowledge, but this port speaks HTTP/1.1: begin with that",
);
const OTHER_VERSION: RequestError = RequestError::new(
    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    "this server speaks HTTP/1.0 and HTTP/1.1",
);
const TARGET_TOO_LONG: RequestError = RequestError::new(
    StatusCode::URI_TOO_LONG,
    "the request target is longer than 65,534 bytes",
);
const BAD_TARGET_BYTE: RequestError =
    RequestError::bad("the request target holds a fragment or a byte that must be percent-encoded");
const BAD_TARGET: RequestError =
    RequestError::bad("the request target is neither a path nor an http or https URL");
const BAD_AUTHORITY: RequestError =
    RequestError::bad("the host in the request target is not a host with an optional port");
pub(super) const CONNECT_NEEDS_AUTHORITY: RequestError =
    RequestError::bad("the target of CONNECT must be a host and a port");
const CONNECT_HAS_NO_CONTENT: RequestError =
    RequestError::bad("CONNECT has no content: what follows its head belongs to the tunnel");
const ASTERISK_NEEDS_OPTIONS: RequestError = RequestError::bad("the target * is for OPTIONS alone");
const NO_HOST: RequestError = RequestError::bad("an HTTP/1.1 request must have a Host field");
const REPEATED_HOST: RequestError = RequestError::bad("the Host field stands more than once");
const BAD_HOST: RequestError =
    RequestError::bad("the Host field is not a host with an optional port");
const UNKNOWN_EXPECTATION: RequestError = RequestError::new(
    StatusCode::EXPECTATION_FAILED,
    "this server meets no expectation but 100-continue",
);
