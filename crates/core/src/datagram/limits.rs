//! The bounds of a datagram port, which hold with no configuration.

/// How much a port holds back while the operating system takes nothing. A protocol may say
/// otherwise, by [`DatagramProtocol::limits`](crate::DatagramProtocol::limits).
///
/// ```
/// use ropewalk_core::DatagramLimits;
/// assert_eq!(DatagramLimits::default().queue_datagrams, 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramLimits {
    /// Unsent datagrams above which a new one is dropped. 1024.
    pub queue_datagrams: usize,
    /// Unsent bytes above which a new datagram is dropped. 1 MiB.
    pub queue_bytes: usize,
}

impl Default for DatagramLimits {
    fn default() -> Self {
        Self {
            queue_datagrams: 1024,
            queue_bytes: 1024 * 1024,
        }
    }
}
