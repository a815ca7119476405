//! How a WebSocket is to be: its bounds, its times, what it agrees to.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::deflate::Spare;
use crate::Randomness;

/// Which side one is: a client masks what it sends, a server does not (RFC 6455, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It was connected to.
    Server,
    /// It has connected.
    Client,
}

impl Role {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// How the WebSockets of a server or a client are.
///
/// ```
/// use ropewalk_web::websocket::{Deflate, Options};
///
/// let mut options = Options {
///     deflate: Some(Deflate::default()),
///     subprotocols: vec!["chat.v2".into(), "chat.v1".into()],
///     ..Options::default()
/// };
/// options.limits.message = 16 * 1024 * 1024;
/// assert_eq!(options.limits.unsent, 16 * 1024 * 1024);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What is bounded.
    pub limits: Limits,
    /// Whether the peer is asked if it is still there.
    pub keep_alive: KeepAlive,
    /// Compression, if the other side wants it too (RFC 7692). None: it costs memory and time, and
    /// gains nothing for what is short or compressed already.
    pub deflate: Option<Deflate>,
    /// Subprotocols, the best one first (RFC 6455, section 1.9). A server takes the first of its
    /// own that the client offers, and none if there is none.
    pub subprotocols: Vec<String>,
    /// Whose pages may connect to a server: [`OriginPolicy::SameHost`].
    pub origins: OriginPolicy,
    /// What a client sends beside what it must: `Origin`, `Cookie`, `Authorization`.
    pub headers: HeaderMap,
    /// Where a client's masks and its `Sec-WebSocket-Key` come from: the system's. Masks change the
    /// bytes on the wire and never their number, so a simulated run is the same run whatever is lent.
    pub randomness: Randomness,
}

/// What is bounded.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The bytes of a message that is received, inflated: 1 MiB. A longer one is refused with 1009.
    pub message: usize,
    /// The bytes of a frame on the wire: 16 MiB. (A frame of an uncompressed message is no
    /// longer than the message may be, whatever stands here.)
    pub frame: u64,
    /// The bytes that may be unsent when one more message is sent: 16 MiB. With more, the
    /// connection is ended, with a
    /// [`WriteBufferFull`](ropewalk_core::WriteBufferFull).
    pub unsent: usize,
    /// How long the opening handshake of a client may take, and how long the peer has to answer a
    /// Close and to end the connection: 10 s each.
    pub handshake: Duration,
}

/// Pings to a silent peer (RFC 6455, section 5.5.2).
#[derive(Clone, Debug)]
pub struct KeepAlive {
    /// After so long without a byte from the peer, it is pinged: 30 s. `None` for never.
    pub interval: Option<Duration>,
    /// After so much longer, the connection is ended with a
    /// [`TimedOut`](ropewalk_core::TimedOut): 30 s.
    pub timeout: Duration,
}

/// How messages are compressed: `permessage-deflate` of RFC 7692.
///
/// From the first compressed message on, a connection keeps a compressor, of about 370 KiB with the
/// largest window, until it is [pinged](KeepAlive) because its peer is silent, and a decompressor, of about
/// 50 KiB, for good. Without context takeover there is none between two messages, and one compressor for
/// all that share an `Options`.
///
/// ```
/// use ropewalk_web::websocket::Deflate;
///
/// // For very many connections: nothing is kept between messages.
/// let mut lean = Deflate::default();
/// lean.no_context_takeover = true;
/// lean.peer_no_context_takeover = true;
/// assert_eq!(lean.window_bits, 15);
/// ```
#[derive(Clone)]
pub struct Deflate {
    /// From 0 (none) and 1 (fast) to 9 (small): 6.
    pub level: u32,
    /// Messages of fewer bytes are sent as they are: 64.
    pub threshold: usize,
    /// This side's window, as a power of 2 from 8 to 15: 15. With 8, which zlib cannot write, it
    /// sends its messages uncompressed.
    pub window_bits: u8,
    /// The peer's window: 15. A server with less than that agrees to no compression with a client
    /// that does not let it choose.
    pub peer_window_bits: u8,
    /// Whether this side compresses each message on its own.
    pub no_context_takeover: bool,
    /// Whether the peer has to.
    pub peer_no_context_takeover: bool,
    /// What compresses for those without context takeover.
    pub(crate) spare: Spare,
}

/// Whose pages may connect (RFC 6455, section 10.2). A browser says which page it is for in
/// `Origin`, and sends the user's cookies along; who sends no `Origin` is no browser, and is let in.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Those of the host that is asked for. (The port counts, the scheme does not: who stands behind
    /// a proxy does not know it.)
    #[default]
    SameHost,
    /// All.
    Any,
    /// Those of these origins, `https://example.com` for one.
    List(Vec<String>),
    /// Those for which this is true of the `Origin` and the request's headers.
    Check(OriginCheck),
}

/// See [`OriginPolicy::Check`].
pub type OriginCheck = Rc<dyn Fn(&HeaderValue, &HeaderMap) -> bool>;

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 1024 * 1024,
            frame: 16 * 1024 * 1024,
            unsent: 16 * 1024 * 1024,
            handshake: Duration::from_secs(10),
        }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(30)),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Self {
            level: 6,
            threshold: 64,
            window_bits: 15,
            peer_window_bits: 15,
            no_context_takeover: false,
            peer_no_context_takeover: false,
            spare: Spare::default(),
        }
    }
}

impl Deflate {
    pub(crate) fn window_bits(&self) -> u8 {
        self.window_bits.clamp(8, 15)
    }

    pub(crate) fn peer_window_bits(&self) -> u8 {
        self.peer_window_bits.clamp(8, 15)
    }
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflate")
            .field("level", &self.level)
            .field("threshold", &self.threshold)
            .field("window_bits", &self.window_bits)
            .field("peer_window_bits", &self.peer_window_bits)
            .field("no_context_takeover", &self.no_context_takeover)
            .field("peer_no_context_takeover", &self.peer_no_context_takeover)
            .finish()
    }
}

impl fmt::Debug for OriginPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameHost => f.write_str("SameHost"),
            Self::Any => f.write_str("Any"),
            Self::List(origins) => f.debug_tuple("List").field(origins).finish(),
            Self::Check(_) => f.write_str("Check"),
        }
    }
}
