//! How much of the server one peer may use.

use std::time::Duration;

/// The bounds of one HTTP/1.1 connection. All of them hold by default.
///
/// A limit is inclusive: a request that is exactly as large is served. The codec enforces the sizes
/// of the head; the body, the times and the counts are the connection's to enforce.
///
/// ```
/// use ropewalk_web::h1::Limits;
///
/// let mut limits = Limits::default();
/// limits.body = 16 * 1024 * 1024;
/// assert_eq!(limits.request_line, 8 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the request line with its CRLF. Above it: 414. Default: 8 KiB.
    pub request_line: usize,
    /// Bytes of all header fields with the empty line that ends them. Above it: 431. Default: 16
    /// KiB.
    pub header_block: usize,
    /// Number of header fields. Above it: 431. Default: 100.
    pub header_fields: usize,
    /// Bytes of a request body without its chunked coding. Above it: 413, before a `100 Continue`
    /// is sent. A handler may raise it for its own requests. Default: 1 MiB.
    pub body: u64,
    /// Time from the first byte of a request to the end of its head. After it: 408. Default: 10 s.
    pub header_timeout: Duration,
    /// Time in which a request body must come, from when it is waited for; each
    /// [`body_rate`](Self::body_rate) bytes that have come add a second. After it: 408, or the end where the
    /// answer has begun. Time in which the server does not read, since the handler is slow, does not count.
    /// Default: 20 s.
    pub body_timeout: Duration,
    /// Bytes a second that a body must bring in the long run, once
    /// [`body_timeout`](Self::body_timeout) is over. With 0 the time between two pieces is all that is bounded
    /// ([`idle_timeout`](Self::idle_timeout)), as for bodies that are meant to last. Default: 500.
    pub body_rate: u64,
    /// Time without a request, or without a piece of its body, after which a connection is closed.
    /// Default: 60 s.
    pub idle_timeout: Duration,
    /// Time in which a peer that is owed bytes must take some. After it the connection is aborted. With
    /// HTTP/2 a stream that has had no room for so long is reset, unless others had what room there was.
    /// Default: 30 s.
    pub write_stall: Duration,
    /// Requests that one connection may carry; the last answer says `connection: close`. Default:
    /// 10,000.
    pub requests_per_connection: u64,
    /// Requests of one connection that are answered in a row, before other connections get their
    /// turn. They are served one after the other, so no more than one is under way. Default: 64.
    pub pipelined: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            header_block: 16 * 1024,
            header_fields: 100,
            body: 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            body_rate: 500,
            idle_timeout: Duration::from_secs(60),
            write_stall: Duration::from_secs(30),
            requests_per_connection: 10_000,
            pipelined: 64,
        }
    }
}
