//! A traffic log as a capture of packets: the classic pcap format, version 2.4
//! (draft-ietf-opsawg-pcap), with link type `RAW`, in which a packet begins with its IP header.
//!
//! The packets are made up: there is a handshake, each piece of data is a segment (RFC 9293), or
//! several where it is long, and each end has its FIN, or the whole its RST. Sequence numbers and
//! checksums are right, so that a reader finds nothing amiss.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::traffic::{Conversation, End, Event};

/// Of microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
const LINK_TYPE_RAW: u32 = 101;
/// The longest packet.
const SNAP_LENGTH: u32 = 65_535;
/// What fits into a packet with both headers.
const SEGMENT: usize = 32 * 1024;

const TCP: u8 = 6;
const TCP_HEADER: usize = 20;

const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const PSH: u8 = 1 << 3;
const ACK: u8 = 1 << 4;

/// Appends the header of the file.
pub(super) fn append_header(out: &mut Vec<u8>) {
    out.extend(MAGIC.to_le_bytes());
    out.extend(2u16.to_le_bytes());
    out.extend(4u16.to_le_bytes());
    // The time zone, and how exact the times are: nobody uses them.
    out.extend([0; 8]);
    out.extend(SNAP_LENGTH.to_le_bytes());
    out.extend(LINK_TYPE_RAW.to_le_bytes());
}

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
        let mut segment = Vec::with_capacity(TCP_HEADER + data.len());
        segment.extend(source.port().to_be_bytes());
        segment.extend(target.port().to_be_bytes());
        // Sequence numbers wrap.
        segment.extend((sequence as u32).to_be_bytes());
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([(TCP_HEADER as u8 / 4) << 4, flags]);
        // The window, the checksum, and no urgent bytes.
        segment.extend(u16::MAX.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend_from_slice(data);
        let packet = packet(source.ip(), target.ip(), segment);
        self.out.extend((self.at.as_secs() as u32).to_le_bytes());
        self.out.extend(self.at.subsec_micros().to_le_bytes());
        let length = packet.len() as u32;
        self.out.extend(length.to_le_bytes());
        self.out.extend(length.to_le_bytes());
        self.out.extend(packet);
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

/// The IP packet of a TCP segment, with the checksums of both.
fn packet(source: IpAddr, target: IpAddr, mut segment: Vec<u8>) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + segment.len());
    let mut sum = Checksum::default();
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let length = (20 + segment.len()) as u16;
            packet.extend([0x45, 0]);
            packet.extend(length.to_be_bytes());
            // No identification; not to be fragmented; a time to live.
            packet.extend([0, 0, 0x40, 0, 64, TCP, 0, 0]);
            packet.extend(source.octets());
            packet.extend(target.octets());
            let mut header = Checksum::default();
            header.add(&packet);
            packet[10..12].copy_from_slice(&header.finish());
            sum.add(&packet[12..20]);
        }
        (source, target) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((segment.len() as u16).to_be_bytes());
            packet.extend([TCP, 64]);
            packet.extend(octets(source));
            packet.extend(octets(target));
            sum.add(&packet[8..40]);
        }
    }
    sum.add(&[0, TCP]);
    sum.add(&(segment.len() as u16).to_be_bytes());
    sum.add(&segment);
    segment[16..18].copy_from_slice(&sum.finish());
    packet.extend(segment);
    packet
}

/// The Internet checksum (RFC 1071).
#[derive(Default)]
struct Checksum(u64);

impl Checksum {
    /// Adds bytes that begin at an even place.
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            self.0 += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }

    fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (!(sum as u16)).to_be_bytes()
    }
}
