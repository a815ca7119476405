//! The bounds that hold for every connection with no configuration.

use std::time::Duration;

/// How much a connection may hold back, and for how long.
///
/// ```
/// use ropewalk_core::ConnectionLimits;
/// use std::time::Duration;
///
/// let limits = ConnectionLimits { write_stall: Duration::from_secs(5), ..Default::default() };
/// assert_eq!(limits.high_water, 64 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Unsent bytes above which the protocol is told `write_paused`. 64 KiB.
    pub high_water: usize,
    /// Unsent bytes at or below which a paused protocol is told `write_resumed`. 16 KiB.
    pub low_water: usize,
    /// Unsent bytes in memory above which the connection is aborted with
    /// [`WriteBufferFull`](crate::WriteBufferFull). Regions of files do not count. 16 MiB.
    pub write_limit: usize,
    /// How long the peer may take nothing while there is something to send, before the
    /// connection is aborted with [`WriteStalled`](crate::WriteStalled). 30 s. Nothing else tells of
    /// a peer that has closed before it read all: its window stays shut, and no reset comes.
    pub write_stall: Duration,
    /// How long layers may take to become ready, from the connection or from the layer's being
    /// pushed, before the connection is ended with
    /// [`DeadlinePassed`](crate::DeadlinePassed). 10 s. Without layers it is of no account.
    pub handshake: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            high_water: 64 * 1024,
            low_water: 16 * 1024,
            write_limit: 16 * 1024 * 1024,
            write_stall: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
        }
    }
}
