//! What a program says about datagrams: [`DatagramProtocol`].

use std::any::Any;

use super::error::DatagramError;
use super::limits::DatagramLimits;
use super::transport::DatagramTransport;
use crate::Address;

/// What happens at one datagram port, told to one object.
///
/// `start_protocol` comes first and once, `stop_protocol` last and once, and nothing after it.
/// While one of these runs, nothing else runs on this port. Nothing that the network does ends the
/// port. A panic in a callback is logged, and the port goes on: one datagram of one peer must not
/// end the service for all others.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Address, DatagramProtocol, DatagramTransport, ReactorDatagrams};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(
///         &mut self,
///         transport: &mut DatagramTransport,
///         data: &[u8],
///         from: &Address,
///     ) {
///         transport.write_to(data, from);
///     }
/// }
///
/// let reactor = MemoryReactor::new();
/// let port = reactor.listen_datagram(&"udp:1234".parse().unwrap(), Box::new(Echo)).unwrap();
/// assert_eq!(port.address().unwrap().port(), Some(1234));
/// ```
pub trait DatagramProtocol: Any {
    /// The port is open.
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        let _ = transport;
    }

    /// A datagram has come, whole. It is the loop's, for the length of this call.
    fn datagram_received(&mut self, transport: &mut DatagramTransport, data: &[u8], from: &Address);

    /// Nobody receives where the port is connected to. Only connected ports are told; what else
    /// the network says comes by [`datagram_failed`](Self::datagram_failed).
    fn connection_refused(&mut self, transport: &mut DatagramTransport) {
        let _ = transport;
    }

    /// Something went wrong with a datagram. It is lost, and the port goes on. Unless told
    /// otherwise, this is logged at the level `debug`.
    fn datagram_failed(&mut self, transport: &mut DatagramTransport, error: &DatagramError) {
        tracing::debug!(port = %transport.host(), %error, "a datagram failed");
    }

    /// How much the port holds back. Asked once, before all else.
    fn limits(&self) -> DatagramLimits {
        DatagramLimits::default()
    }

    /// What this is called in logs: the name of its type.
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// The port is closed.
    fn stop_protocol(&mut self) {}
}
