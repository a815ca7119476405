//! Takes the chunked transfer coding off a request body (RFC 9112, section 7.1).
//!
//! The decoder is fed whatever came and lends the payload back as slices of it: nothing is copied
//! but trailers. It is strict: a chunk's size is at most 16 hexadecimal digits, an extension must
//! be well formed, each line ends with CRLF, and all that does not become payload is bounded. How
//! large the payload may be is the connection's to say.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use memchr::memchr;

use super::RequestError;
use super::fields::{BARE_LF, append_field, check_line_end, explain_field_error, is_token_byte};

/// Bytes of one chunk-size line, with its extensions and CRLF.
const SIZE_LINE_MAX: usize = 256;
/// Hexadecimal digits of a chunk size, leading zeros included. So many fit in a `u64`.
const SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of all extensions of one body. They carry nothing that anybody reads.
const EXTENSIONS_MAX: usize = 8 * 1024;
/// Bytes of the trailer section, with the empty line that ends it.
const TRAILER_BLOCK_MAX: usize = 8 * 1024;
/// Fields in the trailer section.
const TRAILER_FIELDS_MAX: usize = 100;

/// Decodes one chunked body.
///
/// ```
/// use ropewalk_web::h1::{ChunkedDecoder, Event};
///
/// let mut decoder = ChunkedDecoder::new();
/// let mut body = Vec::new();
/// for mut input in [&b"5\r\nhel"[..], b"lo\r\n0\r\n\r\nGET"] {
///     loop {
///         let (consumed, event) = decoder.decode(input)?;
///         input = &input[consumed..];
///         match event {
///             Event::Data(bytes) => body.extend_from_slice(bytes),
///             Event::NeedMore => break,
///             Event::End(trailers) => {
///                 assert!(trailers.is_empty());
///                 assert_eq!(input, b"GET"); // The next request: not the decoder's.
///                 break;
///             }
///         }
///     }
/// }
/// assert_eq!(body, b"hello");
/// # Ok::<(), ropewalk_web::h1::RequestError>(())
/// ```
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// In a size line the size so far, in data the bytes to come.
    remaining: u64,
    line_bytes: usize,
    extension_bytes: usize,
    trailers: Vec<u8>,
    trailer_line_start: usize,
    trailer_fields: usize,
}

/// What [`ChunkedDecoder::decode`] found next.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    /// A piece of the payload, never empty.
    Data(&'a [u8]),
    /// The body is complete. Here are its trailers, mostly none.
    End(HeaderMap),
    /// All of the input is consumed and the body goes on.
    NeedMore,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size { digits: u8 },
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    End,
    Failed(RequestError),
}

/// A place in `*( BWS ";" BWS name [ BWS "=" BWS value ] )`.
#[derive(Clone, Copy, Debug)]
enum Extension {
    /// In white space where only `;` may follow.
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    QuotedEscape,
    AfterQuoted,
}

impl ChunkedDecoder {
    /// A decoder at the beginning of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Size { digits: 0 },
            remaining: 0,
            line_bytes: 0,
            extension_bytes: 0,
            trailers: Vec::new(),
            trailer_line_start: 0,
            trailer_fields: 0,
        }
    }

    /// Decodes the beginning of `input`, which follows what was consumed before: returns how much
    /// of it is consumed now, and what that was. Call until it says `NeedMore` or `End`.
    ///
    /// After `End` nothing more is consumed.
    ///
    /// # Errors
    ///
    /// 400 where the coding is malformed or a trailer is one that must not be (RFC 9110, section
    /// 6.5.1), 431 where the trailers are too large. The connection cannot be read any further, and
    /// the decoder repeats its error.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Event<'a>), RequestError> {
        self.advance(input)
            .inspect_err(|error| self.state = State::Failed(*error))
    }

    fn advance<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Event<'a>), RequestError> {
        let mut at = 0;
        while at < input.len() {
            self.state = match self.state {
                State::Data => {
                    let rest = &input[at..];
                    let taken =
                        usize::try_from(self.remaining).map_or(rest.len(), |n| n.min(rest.len()));
                    self.remaining -= taken as u64;
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok((at + taken, Event::Data(&rest[..taken])));
                }
                State::Trailers => {
                    let (consumed, event) = self.trailer_section(&input[at..])?;
                    return Ok((at + consumed, event));
                }
                State::DataCr if input[at] == b'\r' => State::DataLf,
                State::DataLf if input[at] == b'\n' => State::Size { digits: 0 },
                State::DataCr | State::DataLf => return Err(NO_CRLF_AFTER_DATA),
                State::End => return Ok((at, Event::End(HeaderMap::new()))),
                State::Failed(error) => return Err(error),
                State::Size { .. } | State::Extension(_) | State::SizeLf => {
                    self.size_line_byte(input[at])?
                }
            };
            at += 1;
        }
        match self.state {
            State::End => Ok((at, Event::End(HeaderMap::new()))),
            State::Failed(error) => Err(error),
            _ => Ok((at, Event::NeedMore)),
        }
    }

    /// Takes one byte of a chunk-size line, and says where it leads.
    fn size_line_byte(&mut self, byte: u8) -> Result<State, RequestError> {
        self.line_bytes += 1;
        if self.line_bytes > SIZE_LINE_MAX {
            return Err(SIZE_LINE_TOO_LONG);
        }
        if byte == b'\n' && !matches!(self.state, State::SizeLf) {
            return Err(BARE_LF);
        }
        match self.state {
            State::Size { digits } => match (digits, byte) {
                (_, byte) if byte.is_ascii_hexdigit() => {
                    if digits == SIZE_DIGITS_MAX {
                        return Err(SIZE_TOO_LARGE);
                    }
                    self.remaining = self.remaining << 4 | u64::from(hex_value(byte));
                    Ok(State::Size { digits: digits + 1 })
                }
                (1.., b'\r') => Ok(State::SizeLf),
                (1.., b';') => self.extension_byte(Extension::BeforeSemicolon, byte),
                (1.., b' ' | b'\t') => self.extension_byte(Extension::BeforeSemicolon, byte),
                _ => Err(BAD_SIZE),
            },
            State::Extension(place) => self.extension_byte(place, byte),
            _ if byte != b'\n' => Err(BAD_SIZE_LINE_END),
            _ => {
                self.line_bytes = 0;
                Ok(if self.remaining == 0 {
                    State::Trailers
                } else {
                    State::Data
                })
            }
        }
    }

    fn extension_byte(&mut self, place: Extension, byte: u8) -> Result<State, RequestError> {
        use Extension::*;

        let next = match (place, byte) {
            (Name | Token | AfterQuoted, b'\r') => return Ok(State::SizeLf),
            (BeforeSemicolon | Name | AfterName | Token | AfterQuoted, b';') => BeforeName,
            (BeforeSemicolon | BeforeName | AfterName | BeforeValue, b' ' | b'\t') => place,
            (Name, b' ' | b'\t') => AfterName,
            (Token | AfterQuoted, b' ' | b'\t') => BeforeSemicolon,
            (Name | AfterName, b'=') => BeforeValue,
            (BeforeName | Name, byte) if is_token_byte(byte) => Name,
            (BeforeValue | Token, byte) if is_token_byte(byte) => Token,
            (BeforeValue, b'"') => Quoted,
            (Quoted, b'"') => AfterQuoted,
            (Quoted, b'\\') => QuotedEscape,
            (Quoted | QuotedEscape, b'\t' | b' '..=b'~' | 0x80..) => Quoted,
            _ => return Err(BAD_EXTENSION),
        };
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSIONS_MAX {
            return Err(EXTENSIONS_TOO_LONG);
        }
        Ok(State::Extension(next))
    }

    /// Gathers the trailer section up to its empty line. A body mostly has none, which costs
    /// nothing.
    fn trailer_section(&mut self, input: &[u8]) -> Result<(usize, Event<'static>), RequestError> {
        if self.trailers.is_empty() && input.starts_with(b"\r\n") {
            self.state = State::End;
            return Ok((2, Event::End(HeaderMap::new())));
        }
        let mut at = 0;
        loop {
            let room = TRAILER_BLOCK_MAX - self.trailers.len();
            let window = &input[at..input.len().min(at + room)];
            let line_end = memchr(b'\n', window);
            let taken = line_end.map_or(window.len(), |offset| offset + 1);
            self.trailers.extend_from_slice(&window[..taken]);
            at += taken;
            if line_end.is_some() && self.trailer_line_ends()? {
                self.state = State::End;
                return Ok((at, Event::End(self.parse_trailers()?)));
            }
            if self.trailers.len() == TRAILER_BLOCK_MAX {
                return Err(TRAILERS_TOO_LARGE);
            }
            if line_end.is_none() {
                return Ok((at, Event::NeedMore));
            }
        }
    }

    /// Checks the line that was just completed. Returns true if it is the empty line that ends the
    /// section.
    fn trailer_line_ends(&mut self) -> Result<bool, RequestError> {
        let line = &self.trailers[self.trailer_line_start..];
        check_line_end(line)?;
        if line.len() == 2 {
            return Ok(true);
        }
        self.trailer_line_start = self.trailers.len();
        self.trailer_fields += 1;
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(TOO_MANY_TRAILERS);
        }
        Ok(false)
    }

    fn parse_trailers(&mut self) -> Result<HeaderMap, RequestError> {
        let block = Bytes::from(std::mem::take(&mut self.trailers));
        let mut slots = vec![httparse::EMPTY_HEADER; self.trailer_fields];
        let fields = match httparse::parse_headers(&block, &mut slots) {
            Ok(httparse::Status::Complete((length, fields))) if length == block.len() => fields,
            Ok(_) => return Err(BAD_TRAILERS),
            Err(error) => return Err(explain_field_error(&block, error)),
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            append_field(&mut trailers, field.name, block.slice_ref(field.value))?;
        }
        if trailers.keys().any(is_forbidden_trailer) {
            return Err(FORBIDDEN_TRAILER);
        }
        Ok(trailers)
    }
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Fields that mean something only before the body: they frame, route, authenticate, condition or
/// describe (RFC 9110, section 6.5.1). Merged late into the head they would undo checks that were
/// made on it.
pub(crate) fn is_forbidden_trailer(name: &HeaderName) -> bool {
    static FORBIDDEN: [HeaderName; 34] = [
        header::AGE,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::EXPIRES,
        header::FORWARDED,
        header::HOST,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::ORIGIN,
        header::PRAGMA,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::RANGE,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VARY,
        header::WWW_AUTHENTICATE,
    ];
    const FORBIDDEN_PREFIX: &str = "x-forwarded-";

    FORBIDDEN.contains(name)
        || name.as_str().starts_with(FORBIDDEN_PREFIX)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "x-real-ip"
        )
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

const BAD_SIZE: RequestError =
    RequestError::bad("a chunk size is not a hexadecimal number at the start of its line");
const SIZE_TOO_LARGE: RequestError =
    RequestError::bad("a chunk size has more than 16 hexadecimal digits");
const SIZE_LINE_TOO_LONG: RequestError =
    RequestError::bad("a chunk-size line is longer than 256 bytes");
const BAD_SIZE_LINE_END: RequestError =
    RequestError::bad("a chunk-size line does not end with CRLF");
const BAD_EXTENSION: RequestError = RequestError::bad("a chunk extension is malformed");
const EXTENSIONS_TOO_LONG: RequestError =
    RequestError::bad("the chunk extensions of this body are longer than 8 KiB");
const NO_CRLF_AFTER_DATA: RequestError =
    RequestError::bad("a chunk is not followed by CRLF: its size does not match its data");
const BAD_TRAILERS: RequestError = RequestError::bad("the trailer section is malformed");
pub(crate) const FORBIDDEN_TRAILER: RequestError =
    RequestError::bad("a trailer field is one that must stand in the head");
const TRAILERS_TOO_LARGE: RequestError =
    RequestError::fields_too_large("the trailer section is larger than 8 KiB");
const TOO_MANY_TRAILERS: RequestError =
    RequestError::fields_too_large("there are more than 100 trailer fields");
