//! RFC 863: what comes is thrown away.

use ropewalk_core::{Protocol, Transport};

/// Takes everything, and says nothing.
///
/// ```
/// use ropewalk_core::Protocol;
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_wire::Discard;
///
/// let mut transport = StringTransport::new();
/// Discard.data_received(&mut transport, b"hello");
/// assert_eq!(transport.value(), b"");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Protocol for Discard {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}
