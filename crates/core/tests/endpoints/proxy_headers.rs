//! PROXY headers, with no connection: what is read of them, at every split, and what is not.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use ropewalk_core::Address;
use ropewalk_core::handshake::{MAX_PROXY_V1, MAX_PROXY_V2, ProxyHeader, ProxyHeaderError};

pub(crate) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 with its length.
pub(crate) fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse::<SocketAddr>().unwrap())
}

fn proxied(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::Proxied {
        source: tcp(source),
        destination: tcp(destination),
    }
}

/// What the whole gives, after each shorter piece has given nothing yet.
fn parse(bytes: &[u8]) -> Result<(ProxyHeader, usize), ProxyHeaderError> {
    let (header, length) = ProxyHeader::parse(bytes)?.expect("whole");
    for end in 0..length {
        assert_eq!(ProxyHeader::parse(&bytes[..end]), Ok(None), "{end}");
    }
    let exact = ProxyHeader::parse(&bytes[..length])?.expect("whole");
    assert_eq!(exact, (header.clone(), length));
    Ok((header, length))
}

/// The error, which comes by the last byte at whatever split.
fn error(bytes: &[u8]) -> ProxyHeaderError {
    let error = ProxyHeader::parse(bytes).unwrap_err();
    let early = (0..bytes.len()).find_map(|end| ProxyHeader::parse(&bytes[..end]).err());
    assert_eq!(early.unwrap_or(error), error);
    error
}

#[test]
fn version_1_names_the_addresses_of_both_ends() {
    let text = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nrest";
    let (header, length) = parse(text).unwrap();
    assert_eq!(header, proxied("192.0.2.7:56324", "198.51.100.1:443"));
    assert_eq!(&text[length..], b"rest");
    let (header, _) = parse(b"PROXY TCP6 2001:db8::7 2001:DB8::1 0 65535\r\n").unwrap();
    assert_eq!(header, proxied("[2001:db8::7]:0", "[2001:db8::1]:65535"));
    let (header, _) = parse(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n").unwrap();
    assert_eq!(header, proxied("192.0.2.7:1", "[::1]:2"));
}

#[test]
fn version_1_may_say_that_it_does_not_know() {
    assert_eq!(parse(b"PROXY UNKNOWN\r\n").unwrap().0, ProxyHeader::Local);
    let long = b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n";
    assert_eq!(parse(long).unwrap(), (ProxyHeader::Local, long.len()));
}

#[test]
fn a_line_that_is_not_exactly_as_it_should_be_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 01 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 1 443\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 443\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 443\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 443\n\r\n",
        "PROXY UNKNOWN \u{e9}\r\n",
    ] {
        assert_eq!(error(line.as_bytes()), ProxyHeaderError::BadLine, "{line}");
    }
}

#[test]
fn a_line_has_107_bytes_with_its_end_and_no_more() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_eq!(
        parse(line(MAX_PROXY_V1).as_bytes()).unwrap().1,
        MAX_PROXY_V1
    );
    let long = ProxyHeaderError::TooLong { max: MAX_PROXY_V1 };
    assert_eq!(error(line(MAX_PROXY_V1 + 1).as_bytes()), long);
    assert_eq!(error(&b"PROXY ".repeat(20)), long);
}

#[test]
fn what_begins_with_no_header_is_refused_at_the_first_wrong_byte() {
    for bytes in [
        &b"G"[..],
        b"PROXy",
        b"\r\n\r\n\0\r\nQUIX",
        b"\0",
        b"\n",
        b"proxy",
    ] {
        assert_eq!(error(bytes), ProxyHeaderError::Missing, "{bytes:?}");
    }
    assert_eq!(ProxyHeader::parse(b""), Ok(None));
}

#[test]
fn version_2_names_ends_of_each_family() {
    let v4 = v2(
        1,
        0x11,
        &[192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 1, 0xbb],
    );
    assert_eq!(
        parse(&v4).unwrap().0,
        proxied("192.0.2.7:56324", "198.51.100.1:443")
    );
    let mut ends = [0; 36];
    ends[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    ends[15] = 7;
    ends[31] = 1;
    ends[32..].copy_from_slice(&[0, 1, 0, 2]);
    assert_eq!(
        parse(&v2(1, 0x21, &ends)).unwrap().0,
        proxied("[2001:db8::7]:1", "[::1]:2")
    );
    let mut ends = [0; 216];
    ends[..8].copy_from_slice(b"/run/one");
    ends[108..].fill(b'x');
    let unix = |path: &str| Address::Unix(Some(Arc::from(Path::new(path))));
    let header = ProxyHeader::Proxied {
        source: unix("/run/one"),
        destination: unix(&"x".repeat(108)),
    };
    assert_eq!(parse(&v2(1, 0x31, &ends)).unwrap().0, header);
    let header = ProxyHeader::Proxied {
        source: Address::Unix(None),
        destination: Address::Unix(None),
    };
    assert_eq!(parse(&v2(1, 0x31, &[0; 216])).unwrap().0, header);
}

#[test]
fn version_2_of_the_proxy_itself_or_of_no_family_is_the_connection_s_own() {
    for (command, family) in [(0, 0x00), (0, 0x11), (0, 0xff), (1, 0x00)] {
        let header = v2(command, family, b"");
        assert_eq!(parse(&header).unwrap(), (ProxyHeader::Local, 16));
    }
    // What follows is skipped.
    assert_eq!(
        parse(&v2(0, 0, &[9; 30])).unwrap(),
        (ProxyHeader::Local, 46)
    );
}

#[test]
fn version_2_that_is_not_known_or_not_of_a_stream_is_refused() {
    for (command, family) in [(2, 0x11), (0x10, 0x11), (0x11, 0x11), (1, 0x12), (1, 0x22)] {
        let header = v2(command, family, &[0; 36]);
        assert_eq!(
            error(&header),
            ProxyHeaderError::Unsupported,
            "{command} {family}"
        );
    }
    for family in [0x01, 0x10, 0x13, 0x32, 0x41, 0xff] {
        assert_eq!(
            error(&v2(1, family, &[0; 216])),
            ProxyHeaderError::Unsupported
        );
    }
}

#[test]
fn version_2_is_bounded_before_it_has_come() {
    let header = v2(1, 0x11, &[0; MAX_PROXY_V2 - 15]);
    let long = ProxyHeaderError::TooLong { max: MAX_PROXY_V2 };
    assert_eq!(error(&header[..16]), long);
    let mut body = vec![0; MAX_PROXY_V2 - 16];
    // A field that fills it.
    let length = u16::try_from(body.len() - 15).unwrap();
    body[12] = 4;
    body[13..15].copy_from_slice(&length.to_be_bytes());
    assert_eq!(parse(&v2(1, 0x11, &body)).unwrap().1, MAX_PROXY_V2);
}

#[test]
fn fields_of_version_2_are_skipped_when_they_fit_and_refused_when_not() {
    let ends = [0; 12];
    let with = |fields: &[u8]| v2(1, 0x11, &[&ends[..], fields].concat());
    assert!(parse(&with(&[1, 0, 2, b'h', b'2', 4, 0, 0])).is_ok());
    for fields in [
        &[4][..],
        &[4, 0],
        &[4, 0, 1],
        &[4, 0, 0, 4],
        &[4, 0xff, 0xff],
    ] {
        assert_eq!(
            error(&with(fields)),
            ProxyHeaderError::BadLength,
            "{fields:?}"
        );
    }
    for family in [0x11, 0x21, 0x31] {
        assert_eq!(error(&v2(1, family, &[0; 11])), ProxyHeaderError::BadLength);
    }
}

/// CRC-32C of a header whose checksum is zeros, by the definition of the polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |at| byte >> at & 1))
    {
        let flip = (crc & 1) as u8 != bit;
        crc >>= 1;
        if flip {
            crc ^= 0x82f6_3b78;
        }
    }
    !crc
}

#[test]
fn a_checksum_is_looked_at_and_every_flipped_bit_is_seen() {
    let ends = [192, 0, 2, 7, 198, 51, 100, 1, 0, 1, 0, 2];
    let mut header = v2(
        1,
        0x11,
        &[&ends[..], &[4, 0, 1, 9], &[3, 0, 4, 0, 0, 0, 0]].concat(),
    );
    let at = header.len() - 4;
    let checksum = crc32c(&header);
    header[at..].copy_from_slice(&checksum.to_be_bytes());
    assert!(parse(&header).is_ok());
    for bit in 16 * 8..28 * 8 {
        let mut broken = header.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(error(&broken), ProxyHeaderError::BadChecksum);
    }
    let wrong_size = v2(1, 0x11, &[&ends[..], &[3, 0, 3, 0, 0, 0]].concat());
    assert_eq!(error(&wrong_size), ProxyHeaderError::BadLength);
}

proptest! {
    #[test]
    fn any_bytes_are_a_header_or_an_error_or_want_more_and_later_ones_change_nothing(
        start in prop_oneof![
            Just(Vec::new()), Just(SIGNATURE.to_vec()), Just(b"PROXY ".to_vec()),
            Just([SIGNATURE, &[0x21, 0x11, 0, 20]].concat()),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, rest].concat();
        let whole = ProxyHeader::parse(&bytes);
        // The first that is not "more" is what the whole gives.
        let first = (0..=bytes.len())
            .map(|end| ProxyHeader::parse(&bytes[..end]))
            .find(|parsed| *parsed != Ok(None));
        prop_assert_eq!(&first.unwrap_or(Ok(None)), &whole);
        if let Ok(Some((_, length))) = whole {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn any_addresses_come_back_from_a_line(source in any::<[u8; 4]>(), ports in any::<[u16; 2]>()) {
        let source = std::net::Ipv4Addr::from(source);
        let [from, to] = ports;
        let line = format!("PROXY TCP4 {source} 198.51.100.1 {from} {to}\r\n");
        let (header, length) = ProxyHeader::parse(line.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(length, line.len());
        let expected = proxied(&format!("{source}:{from}"), &format!("198.51.100.1:{to}"));
        prop_assert_eq!(header, expected);
    }
}
