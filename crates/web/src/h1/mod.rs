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

mod body_length;
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
pub use chunked::{ChunkedDecoder, Event};
pub(crate) use connection::Connection;
pub use error::RequestError;
pub(crate) use fields::list_elements;
pub use head_scan::HeadScan;
pub use head_storage::HeadStorage;
pub use limits::Limits;
pub use request_head::{RequestHead, parse_request_head};
pub use response_fields::ResponseFields;
pub use response_framing::{FramingError, ResponseFraming};
pub use response_head::{
    ResponseHead, encode_chunk_end, encode_chunk_header, encode_continue, encode_response_head,
    encode_trailers,
};
pub(crate) use shared::Shared;
