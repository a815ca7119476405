//! What goes over the links, as a capture of packets.

use std::net::SocketAddr;
use std::time::Duration;

use ropewalk_core::Address;
use ropewalk_core::capture::{self, ACK, FIN, PSH, RST, SYN, TcpPacket};

use crate::net::Net;
use crate::packet::{Body, Packet};
use crate::socket::{Socket, SocketId};

impl Net {
    /// Notes a packet that is sent, if packets are captured.
    pub(crate) fn capture(&mut self, packet: &Packet) {
        let Some(mut captured) = self.captured.take() else {
            return;
        };
        let since = self.machines[packet.from.0 as usize].clock.wall(self.now);
        let at = since
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        self.append(&mut captured, at, packet);
        self.captured = Some(captured);
    }

    fn append(&mut self, out: &mut Vec<u8>, at: Duration, packet: &Packet) {
        let mut tcp =
            |ends: Option<(SocketAddr, SocketAddr)>, flags, sequence: u64, next: u64, data| {
                let Some((source, target)) = ends else { return };
                let packet = TcpPacket {
                    source,
                    target,
                    // They wrap.
                    sequence: sequence as u32,
                    acknowledged: next as u32,
                    flags,
                    window: u16::MAX,
                    data,
                };
                capture::append_tcp(out, at, &packet);
            };
        // Offsets count the bytes; sequence numbers count the SYN too.
        match &packet.body {
            Body::Syn { source, target, .. } => tcp(Some((*source, *target)), SYN, 0, 0, &[]),
            Body::SynAck { from, .. } => tcp(self.ends(*from), SYN | ACK, 0, 1, &[]),
            Body::Segment {
                from,
                at,
                data,
                fin,
                ..
            } => {
                let next = self
                    .socket(*from)
                    .map_or(0, |own| own.inbound.acknowledged());
                let flags =
                    ACK | if data.is_empty() { 0 } else { PSH } | if *fin { FIN } else { 0 };
                tcp(self.ends(*from), flags, at + 1, next + 1, data);
            }
            Body::Ack { from, next, .. } => {
                let sequence = self.socket(*from).map_or(0, |own| own.out.next);
                tcp(self.ends(*from), ACK, sequence + 1, next + 1, &[]);
            }
            Body::Reset { to } => {
                // From the other end, which need not exist.
                let ends = self.ends(*to).map(|(own, other)| (other, own));
                let sequence = self.socket(*to).map_or(0, |own| own.inbound.next);
                tcp(ends, RST, sequence + 1, 0, &[]);
            }
            Body::Datagram {
                source,
                target,
                data,
            } => capture::append_udp(out, at, *source, *target, data),
            Body::Unreachable { .. } => {}
        }
    }

    fn ends(&mut self, id: SocketId) -> Option<(SocketAddr, SocketAddr)> {
        let Socket { local, remote, .. } = self.socket(id)?;
        match (&**local, remote) {
            (Address::Tcp(local), Address::Tcp(remote)) => Some((*local, *remote)),
            _ => None,
        }
    }
}
