//! RFC 862: what comes is sent back.

use ropewalk_core::{Protocol, Transport};

/// Sends back what it gets. It reads on only when its peer has read, so it holds no more than the
/// connection's high-water mark and one read.
///
/// ```
/// use ropewalk_core::Protocol;
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_wire::Echo;
///
/// let mut transport = StringTransport::new();
/// Echo.data_received(&mut transport, b"hello");
/// assert_eq!(transport.value(), b"hello");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }

    fn write_paused(&mut self, transport: &mut Transport) {
        transport.pause_producing();
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        transport.resume_producing();
    }
}
