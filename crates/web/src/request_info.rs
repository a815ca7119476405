//! What is known of a request beside its bytes.

use std::time::Instant;

use ropewalk_core::Address;

/// Where a request came from, and when: [`RequestInfo::of`] finds it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The address of the peer.
    pub peer: Address,
    /// The address that it connected to.
    pub host: Address,
    /// The time of the loop when its head was complete.
    pub received_at: Instant,
    /// Whether nobody else could read it on its way: the scheme is `https`.
    pub secure: bool,
}

impl RequestInfo {
    /// For tests, and for those who call a service themselves: a request in plain text.
    #[must_use]
    pub fn new(peer: Address, host: Address, received_at: Instant) -> Self {
        Self {
            peer,
            host,
            received_at,
            secure: false,
        }
    }
}
