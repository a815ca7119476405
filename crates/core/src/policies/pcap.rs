//! A traffic log as a [capture](crate::capture) of packets.
//!
//! The packets are made up: there is a handshake, each piece of data is a segment (RFC 9293), or
//! several where it is long, and each end has its FIN, or the whole its RST. Sequence numbers and
//! checksums are right, so that a reader finds nothing amiss.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::traffic::{Conversation, End, Event};
use crate::capture::{self, ACK, FIN, PSH, RST, SYN, TcpPacket};

/// What fits into a packet with both headers.
const SEGMENT: usize = 32 * 1024;

/// Appends the packets of what happened to `out`.
pub(super) fn append(
    out: &mut Vec<u8>,
    conversation: &Conversation,
    event: &Event<'_>,
    at: Duration,
) {
    let mut packets = Packets {
        out,
        conversation,
        at,
    };
    match event {
        Event::Opened => {
            packets.append(End::Peer, SYN, 0, &[]);
            packets.append(End::Host, SYN | ACK, 0, &[]);
            packets.append(End::Peer, ACK, 1, &[]);
        }
        Event::Data(end, from, data) => {
            for (segment, from) in data.chunks(SEGMENT).zip((*from..).step_by(SEGMENT)) {
                packets.append(*end, PSH | ACK, from + 1, segment);
            }
        }
        Event::Finished(end) => {
            let sent = packets.sent(*end);
            packets.append(*end, FIN | ACK, sent + 1, &[]);
        }
        Event::Gone if conversation.peer_finished && conversation.host_finished => {
            // The host's last acknowledgement, or the peer's: both are of all that was sent.
            let sent = packets.sent(End::Host);
            packets.append(End::Host, ACK, sent + 2, &[]);
        }
        Event::Gone => {
            let sent = packets.sent(End::Host) + u64::from(conversation.host_finished);
            packets.append(End::Host, RST | ACK, sent + 1, &[]);
        }
    }
}

struct Packets<'a> {
    out: &'a mut Vec<u8>,
    conversation: &'a Conversation,
    at: Duration,
}

impl Packets<'_> {
    fn sent(&self, end: End) -> u64 {
        match end {
            End::Peer => self.conversation.from_peer,
            End::Host => self.conversation.from_host,
        }
    }

    /// A segment at `sequence`, which counts the SYN as the first.
    fn append(&mut self, from: End, flags: u8, sequence: u64, data: &[u8]) {
        let (peer, host) = addresses(self.conversation);
        let (source, target, other_sent, other_finished) = match from {
            End::Peer => (
                peer,
                host,
                self.conversation.from_host,
                self.conversation.host_finished,
            ),
            End::Host => (
                host,
                peer,
                self.conversation.from_peer,
                self.conversation.peer_finished,
            ),
        };
        let acknowledged = match flags & ACK {
            0 => 0,
            _ => (other_sent + 1 + u64::from(other_finished)) as u32,
        };
        let packet = TcpPacket {
            source,
            target,
            // Sequence numbers wrap.
            sequence: sequence as u32,
            acknowledged,
            flags,
            window: u16::MAX,
            data,
        };
        capture::append_tcp(self.out, self.at, &packet);
    }
}

/// The addresses of peer and host, both of one family. A Unix peer has a port for a name.
fn addresses(conversation: &Conversation) -> (SocketAddr, SocketAddr) {
    let host = conversation.host;
    let unnamed = || {
        let port = 1024 + (conversation.number % 60_000) as u16;
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
    };
    let peer = conversation.peer.socket_addr().unwrap_or_else(unnamed);
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    if peer.is_ipv4() && host.is_ipv4() {
        (peer, host)
    } else {
        (mapped(peer), mapped(host))
    }
}
