//! A capture, read as Wireshark reads one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ropewalk_core::policies::{TrafficFormat, TrafficLoggingFactory};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Factory, Layer};

use crate::rig::{client, echo, serve};
use crate::traffic_log::Shared;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// A TCP segment, with its packet's time and addresses.
#[derive(Debug)]
struct Segment {
    seconds: u32,
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    data: Vec<u8>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The sum over which a right checksum is all ones (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let words = pairs.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.map(u64::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Reads a capture, and checks what a reader checks.
fn read(file: &[u8]) -> Vec<Segment> {
    let little = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!(little(0), 0xa1b2_c3d4);
    assert_eq!((file[4], file[6]), (2, 4), "the version");
    assert_eq!(little(16), 65_535);
    assert_eq!(little(20), 101, "the link type");
    let mut segments = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let (seconds, micros, kept, whole) =
            (little(at), little(at + 4), little(at + 8), little(at + 12));
        assert!(micros < 1_000_000);
        assert_eq!(kept, whole);
        at += 16;
        let packet = &file[at..at + kept as usize];
        at += kept as usize;
        segments.push(segment(seconds, packet));
    }
    segments
}

fn segment(seconds: u32, packet: &[u8]) -> Segment {
    let (source, target, pseudo, tcp): (IpAddr, IpAddr, &[u8], &[u8]) = match packet[0] >> 4 {
        4 => {
            assert_eq!(usize::from(u16_at(packet, 2)), packet.len());
            assert_eq!(packet[9], 6, "TCP");
            assert_eq!(sum(&[&packet[..20]]), 0xffff, "the header's checksum");
            let address = |at: usize| Ipv4Addr::from(u32_at(packet, at)).into();
            (address(12), address(16), &packet[12..20], &packet[20..])
        }
        6 => {
            assert_eq!(usize::from(u16_at(packet, 4)), packet.len() - 40);
            assert_eq!(packet[6], 6, "TCP");
            let address = |at: usize| {
                let octets: [u8; 16] = packet[at..at + 16].try_into().unwrap();
                Ipv6Addr::from(octets).into()
            };
            (address(8), address(24), &packet[8..40], &packet[40..])
        }
        version => panic!("IP version {version}"),
    };
    let length = (tcp.len() as u32).to_be_bytes();
    let checked = sum(&[pseudo, &length, &[0, 6], tcp]);
    assert_eq!(checked, 0xffff, "the segment's checksum");
    let header = usize::from(tcp[12] >> 4) * 4;
    Segment {
        seconds,
        from: SocketAddr::new(source, u16_at(tcp, 0)),
        to: SocketAddr::new(target, u16_at(tcp, 2)),
        sequence: u32_at(tcp, 4),
        acknowledged: u32_at(tcp, 8),
        flags: tcp[13],
        data: tcp[header..].to_vec(),
    }
}

/// The bytes that went from `from`, put together by their sequence numbers.
fn stream(segments: &[Segment], from: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in segments.iter().filter(|segment| segment.from == from) {
        if !segment.data.is_empty() {
            assert_eq!(
                segment.sequence as usize,
                bytes.len() + 1,
                "none is missing"
            );
            bytes.extend_from_slice(&segment.data);
        }
    }
    bytes
}

#[test]
fn a_capture_is_a_conversation_that_a_reader_can_follow() {
    let (reactor, sink) = (MemoryReactor::new(), Shared::new());
    let host: SocketAddr = "192.0.2.1:7".parse().unwrap();
    let factory =
        TrafficLoggingFactory::new(echo, TrafficFormat::Pcap, sink.clone(), &*reactor).host(host);
    serve(&reactor, factory);
    let (connection, seen) = client(&reactor);
    let sent: Vec<u8> = (0..100_001u32).map(|at| (at % 251) as u8).collect();
    connection.write(&sent);
    reactor.run();
    connection.lose_connection();
    reactor.run();
    assert_eq!(seen.count.get(), sent.len() as u64);

    let segments = read(&sink.bytes());
    let peer: SocketAddr = "192.0.2.2:1024".parse().unwrap();
    assert!(segments.iter().all(|it| it.seconds == 1_767_225_600));
    let flags: Vec<u8> = segments.iter().map(|it| it.flags).collect();
    assert_eq!(flags[..3], [SYN, SYN | ACK, ACK]);
    assert_eq!((segments[0].from, segments[0].to), (peer, host));
    assert_eq!((segments[1].sequence, segments[1].acknowledged), (0, 1));
    assert_eq!((segments[2].sequence, segments[2].acknowledged), (1, 1));
    assert!(flags[3..flags.len() - 3].iter().all(|it| *it == PSH | ACK));
    assert_eq!(stream(&segments, peer), sent);
    assert_eq!(stream(&segments, host), sent);
    let last = &segments[segments.len() - 3..];
    let length = sent.len() as u32;
    assert_eq!((last[0].flags, last[0].from), (FIN | ACK, peer));
    assert_eq!(last[0].sequence, length + 1);
    assert_eq!((last[1].flags, last[1].from), (FIN | ACK, host));
    assert_eq!(
        (last[1].sequence, last[1].acknowledged),
        (length + 1, length + 2)
    );
    assert_eq!((last[2].flags, last[2].from), (ACK, host));
    assert_eq!(
        (last[2].sequence, last[2].acknowledged),
        (length + 2, length + 2)
    );
}

#[test]
fn a_connection_that_breaks_ends_with_a_reset() {
    let (reactor, sink) = (MemoryReactor::new(), Shared::new());
    let factory = TrafficLoggingFactory::new(echo, TrafficFormat::Pcap, sink.clone(), &*reactor);
    serve(&reactor, factory);
    let (connection, _) = client(&reactor);
    connection.abort_connection();
    reactor.run();
    let segments = read(&sink.bytes());
    assert_eq!(segments.len(), 4);
    assert_eq!(segments[3].flags, RST | ACK);
    let second = client(&reactor);
    drop(second);
    assert_eq!(read(&sink.bytes()).len(), 7, "one header for all");
}

/// What a capture says of a connection from `peer` to `host`.
fn addresses(peer: &Address, host: &str) -> (SocketAddr, SocketAddr) {
    let (reactor, sink) = (MemoryReactor::new(), Shared::new());
    let host = host.parse().unwrap();
    let factory =
        TrafficLoggingFactory::new(echo, TrafficFormat::Pcap, sink.clone(), &*reactor).host(host);
    let layers: Vec<Box<dyn Layer>> = factory.build_layers(peer);
    assert_eq!(layers.len(), 1);
    struct Given<F>(F, Address);
    impl<F: Factory> Factory for Given<F> {
        fn build_protocol(&self, _: &Address) -> Option<Box<dyn ropewalk_core::Protocol>> {
            self.0.build_protocol(&self.1)
        }
        fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
            self.0.build_layers(&self.1)
        }
    }
    serve(&reactor, Given(factory, peer.clone()));
    let _client = client(&reactor);
    let segments = read(&sink.bytes());
    (segments[0].from, segments[0].to)
}

#[test]
fn peers_of_any_kind_have_addresses_of_one_family() {
    let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
    let both = |peer: &str, host: &str| (peer.parse().unwrap(), host.parse().unwrap());
    assert_eq!(
        addresses(&tcp("[2001:db8::1]:5"), "[2001:db8::2]:80"),
        both("[2001:db8::1]:5", "[2001:db8::2]:80")
    );
    assert_eq!(
        addresses(&tcp("[2001:db8::1]:5"), "192.0.2.1:80"),
        both("[2001:db8::1]:5", "[::ffff:192.0.2.1]:80")
    );
    assert_eq!(
        addresses(&Address::Unix(None), "192.0.2.1:80").1,
        "192.0.2.1:80".parse().unwrap()
    );
}
