//! HTTP/1.1: the codec, bytes to requests and responses to bytes, and the connection over it.
//!
//! Nothing in the codec does I/O, reads a clock or holds a connection. It looks at bytes that it is
//! lent and says what they mean; the connection decides what to do about it. It is strict where RFC
//! 9110 and RFC 9112 protect: whatever two parsers could read in two ways is refused, so that
//! nobody in front of or behind this server can be made to see other requests than it does.
//!
//! - [`parse_request_head`] finds and reads a request line with its fields, as a [`RequestHead`].
//! - [`ChunkedDecoder`] takes the chunked coding off a request body.
//! - [`ResponseFraming`] decides how the end of a response is marked, and
//!   [`encode_response_head`] and its siblings write it.
//! - [`Limits`] says how much a peer may ask for, [`RequestError`] which status it gets if it asks
//!   for more.
//!
//! Any error of the two parsers leaves the place of the next request unknown: answer and close.
//!
//! Where the RFCs leave a choice, or two readings are possible, this is the one that was made:
//!
//! - LF alone ends no line, anywhere (RFC 9112, section 2.2). Up to four empty lines before a request
//!   line are skipped.
//! - Folded lines are refused, not joined (section 5.2).
//! - Content-Length that stands twice or as a list is refused, also where all values are one (RFC
//!   9110, section 8.6), and so is Content-Length beside Transfer-Encoding (RFC 9112, section 6.1).
//! - Transfer-Encoding with an empty element, as `, chunked`, is refused, though RFC 9110 section
//!   5.6.1.2 would have it ignored: it is the mark of an attempt to hide the field from another
//!   parser. Empty elements of Connection and Expect are ignored.
//! - A chunk size has at most 16 digits, leading zeros included. Chunk extensions and trailers are
//!   bounded, and malformed ones refused, as are trailers that mean something only before the body.
//!   Other trailers are kept, apart from the head.
//! - A body belongs to any method whose fields tell of one, but for CONNECT, which is refused then.
//! - A Host must name a host; an empty one is refused, and so is one with a comma, which is what two
//!   Host fields become when they are joined. With a target in absolute-form, the target's host counts,
//!   but the field must be valid all the same.
//! - A target is not decoded, and its dot segments stay: that is for whoever knows what it names.
//!   A `%` without two hexadecimal digits is let through for the same reason. Fragments, user
//!   information and bytes that are not US-ASCII are refused.
//! - An `https` target on a connection that is not secured is 421 (RFC 9110, section 7.4).
//! - HTTP/1.2 to HTTP/1.9 are read as HTTP/1.1, and any answer names HTTP/1.1 (RFC 9110, sections 2.5
//!   and 6.2), also one to HTTP/1.0, which is told in words whether its connection lasts.
//! - Trailers of an answer need chunks: where its length is said they are left out (section 7.1.2). With
//!   HTTP/2 they are sent.
//! - A server that ends a connection for its own reasons hears the client out for up to 2 s, since a
//!   request may be under way (section 9.6); one that the client asked to end is closed with the answer.
//! - An expectation other than `100-continue` is 417. `100 Continue` is sent when the handler asks
//!   for the body, so that it may refuse before.

mod body_length;
mod body_pace;
mod chunked;
mod connection;
mod error;
mod exchange;
mod fields;
mod head_scan;
mod head_storage;
mod host;
mod limits;
mod request_head;
mod response_fields;
mod response_framing;
mod response_head;
mod shared;
mod stream;

pub use body_length::BodyLength;
pub(crate) use body_pace::BodyPace;
pub use chunked::{ChunkedDecoder, Event};
pub(crate) use chunked::{FORBIDDEN_TRAILER, is_forbidden_trailer};
pub(crate) use connection::Connection;
pub use error::RequestError;
pub(crate) use fields::{is_token_byte, list_elements};
pub use head_scan::HeadScan;
pub use head_storage::HeadStorage;
pub(crate) use host::{is_host, is_host_with_port};
pub use limits::Limits;
pub use request_head::{RequestHead, parse_request_head};
pub use response_fields::ResponseFields;
pub use response_framing::{FramingError, ResponseFraming};
pub use response_head::{
    ResponseHead, encode_chunk_end, encode_chunk_header, encode_continue, encode_response_head,
    encode_trailers,
};
pub(crate) use shared::Shared;
