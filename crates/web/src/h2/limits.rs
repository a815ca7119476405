//! How much of a server, or of a client, one HTTP/2 peer may use.

use std::time::Duration;

/// The bounds of one HTTP/2 connection. All of them hold by default.
///
/// What a peer does more often than a [`Rate`] allows ends its connection with a GOAWAY of
/// `ENHANCE_YOUR_CALM` (RFC 9113, section 10.5). The length of a request body, the time without a
/// request, the time of a head and that of a stalled write are those of
/// [`h1::Limits`](crate::h1::Limits), which hold for a [`Site`](crate::Site) whatever is spoken.
///
/// ```
/// use ropewalk_web::h2::Limits;
///
/// let mut limits = Limits::default();
/// limits.concurrent_streams = 250;
/// assert_eq!(limits.header_list, 16 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Requests under way at a time (`SETTINGS_MAX_CONCURRENT_STREAMS`). Those above it are refused
    /// with `REFUSED_STREAM`. Default: 100.
    pub concurrent_streams: u32,
    /// Bytes of a field section, as it is once decoded and with 32 for each field
    /// (`SETTINGS_MAX_HEADER_LIST_SIZE`). Above it: 431. Default: 16 KiB.
    pub header_list: u32,
    /// CONTINUATION frames of one field section. Default: 8.
    pub continuations: u32,
    /// Bytes of one body that may come before its reader takes any
    /// (`SETTINGS_INITIAL_WINDOW_SIZE`). Default: 64 KiB.
    pub stream_window: u32,
    /// Bytes of all bodies of a connection that may come before their readers take any. Default: 1
    /// MiB.
    pub connection_window: u32,
    /// Bytes of one answer that are queued before its stream is asked for more. Default: 64 KiB.
    pub send_buffer: usize,
    /// Requests that one connection may carry; then it is drained. Default: 1,000,000.
    pub requests_per_connection: u64,
    /// Requests that the peer has taken back before they were looked at (CVE-2023-44487). Default:
    /// 20.
    pub pending_accept_resets: usize,
    /// Streams of one connection that were reset because the peer broke a rule (MadeYouReset,
    /// CVE-2025-8671). Default: 256.
    pub error_resets: usize,
    /// Streams of one connection that this side may reset for any reason; then it is drained.
    /// Default: 512.
    pub resets: usize,
    /// RST_STREAM frames. Default: 200, and 50 a second.
    pub reset_rate: Rate,
    /// PING frames. Default: 200, and 50 a second.
    pub ping_rate: Rate,
    /// SETTINGS and GOAWAY frames. Default: 30, and 2 a second.
    pub settings_rate: Rate,
    /// PRIORITY frames. Default: 500, and 50 a second.
    pub priority_rate: Rate,
    /// DATA frames without data that do not end their stream. Default: 100, and 10 a second.
    pub empty_data_rate: Rate,
    /// WINDOW_UPDATE frames beyond four for each stream and each DATA frame that this side sends.
    /// Default: 1,000, and 100 a second.
    pub window_update_rate: Rate,
    /// Frames of types that nobody here knows. Default: 500, and 50 a second.
    pub unknown_rate: Rate,
    /// Silence after which the peer is asked by a PING whether it lives; if nothing comes for as
    /// long again, the connection is aborted. Default: never.
    pub keep_alive: Option<Duration>,
}

/// So many at once, and so many a second after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A second.
    pub per_second: u32,
}

impl Rate {
    /// `burst` at once, and `per_second` a second after that.
    #[must_use]
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_streams: 100,
            header_list: 16 * 1024,
            continuations: 8,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            send_buffer: 64 * 1024,
            requests_per_connection: 1_000_000,
            pending_accept_resets: 20,
            error_resets: 256,
            resets: 512,
            reset_rate: Rate::new(200, 50),
            ping_rate: Rate::new(200, 50),
            settings_rate: Rate::new(30, 2),
            priority_rate: Rate::new(500, 50),
            empty_data_rate: Rate::new(100, 10),
            window_update_rate: Rate::new(1000, 100),
            unknown_rate: Rate::new(500, 50),
            keep_alive: None,
        }
    }
}
