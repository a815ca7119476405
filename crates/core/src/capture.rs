//! Captures of packets: the classic pcap format, version 2.4 (draft-ietf-opsawg-pcap), with link
//! type `RAW`, in which a packet begins with its IP header. Wireshark and tcpdump read it.
//!
//! The packets are made up by whoever has the bytes and no packets: a log of traffic, a simulation.
//! Lengths and checksums are right, so that a reader finds nothing amiss.
//!
//! ```
//! use ropewalk_core::capture;
//! use std::time::Duration;
//!
//! let mut file = Vec::new();
//! capture::append_header(&mut file);
//! let (from, to) = ("192.0.2.1:53", "192.0.2.2:4711");
//! let at = Duration::from_millis(1500);
//! capture::append_udp(&mut file, at, from.parse().unwrap(), to.parse().unwrap(), b"answer");
//! assert_eq!(file.len(), 24 + 16 + 20 + 8 + 6);
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Of microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
const LINK_TYPE_RAW: u32 = 101;
/// The longest packet.
const SNAP_LENGTH: u32 = 65_535;

const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// The flags of a TCP segment (RFC 9293 section 3.1).
pub const FIN: u8 = 1;
/// See [`FIN`].
pub const SYN: u8 = 1 << 1;
/// See [`FIN`].
pub const RST: u8 = 1 << 2;
/// See [`FIN`].
pub const PSH: u8 = 1 << 3;
/// See [`FIN`].
pub const ACK: u8 = 1 << 4;

/// A TCP segment (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug)]
pub struct TcpPacket<'a> {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to, in the same family.
    pub target: SocketAddr,
    /// The number of its first byte.
    pub sequence: u32,
    /// The number of the byte that is expected next; with the flag [`ACK`].
    pub acknowledged: u32,
    /// What it is.
    pub flags: u8,
    /// How much is taken, in bytes.
    pub window: u16,
    /// Its bytes: up to 65,000, as many as a packet holds.
    pub data: &'a [u8],
}

/// Appends the header of the file.
pub fn append_header(out: &mut Vec<u8>) {
    out.extend(MAGIC.to_le_bytes());
    out.extend(2u16.to_le_bytes());
    out.extend(4u16.to_le_bytes());
    // The time zone, and how exact the times are: nobody uses them.
    out.extend([0; 8]);
    out.extend(SNAP_LENGTH.to_le_bytes());
    out.extend(LINK_TYPE_RAW.to_le_bytes());
}

/// Appends a TCP segment, seen `at` a time since 1970.
pub fn append_tcp(out: &mut Vec<u8>, at: Duration, packet: &TcpPacket<'_>) {
    let mut segment = Vec::with_capacity(TCP_HEADER + packet.data.len());
    segment.extend(packet.source.port().to_be_bytes());
    segment.extend(packet.target.port().to_be_bytes());
    segment.extend(packet.sequence.to_be_bytes());
    segment.extend(packet.acknowledged.to_be_bytes());
    segment.extend([(TCP_HEADER as u8 / 4) << 4, packet.flags]);
    segment.extend(packet.window.to_be_bytes());
    // The checksum, and no urgent bytes.
    segment.extend([0; 4]);
    segment.extend_from_slice(packet.data);
    let ends = (packet.source.ip(), packet.target.ip());
    append(out, at, &in_ip(ends, TCP, segment, 16));
}

/// Appends a UDP datagram (RFC 768), seen `at` a time since 1970.
pub fn append_udp(
    out: &mut Vec<u8>,
    at: Duration,
    source: SocketAddr,
    target: SocketAddr,
    data: &[u8],
) {
    let mut datagram = Vec::with_capacity(UDP_HEADER + data.len());
    datagram.extend(source.port().to_be_bytes());
    datagram.extend(target.port().to_be_bytes());
    datagram.extend(((UDP_HEADER + data.len()) as u16).to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend_from_slice(data);
    append(
        out,
        at,
        &in_ip((source.ip(), target.ip()), UDP, datagram, 6),
    );
}

fn append(out: &mut Vec<u8>, at: Duration, packet: &[u8]) {
    out.extend((at.as_secs() as u32).to_le_bytes());
    out.extend(at.subsec_micros().to_le_bytes());
    let length = packet.len() as u32;
    out.extend(length.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend_from_slice(packet);
}

/// The IP packet of what `protocol` has made, whose checksum stands at `checksum`.
fn in_ip(
    (source, target): (IpAddr, IpAddr),
    protocol: u8,
    mut payload: Vec<u8>,
    checksum: usize,
) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    let mut sum = Checksum::default();
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let length = (20 + payload.len()) as u16;
            packet.extend([0x45, 0]);
            packet.extend(length.to_be_bytes());
            // No identification; not to be fragmented; a time to live.
            packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
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
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(octets(source));
            packet.extend(octets(target));
            sum.add(&packet[8..40]);
        }
    }
    sum.add(&[0, protocol]);
    sum.add(&(payload.len() as u16).to_be_bytes());
    sum.add(&payload);
    let sum = match (protocol, sum.finish()) {
        // 0 would say that there is none (RFC 768).
        (UDP, [0, 0]) => [0xff, 0xff],
        (_, sum) => sum,
    };
    payload[checksum..checksum + 2].copy_from_slice(&sum);
    packet.extend(payload);
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
