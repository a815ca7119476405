//! Version 2 of the PROXY header, which is binary (section 2.2 of haproxy's
//! `doc/proxy-protocol.txt`).

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::proxy_header::{MAX_PROXY_V2, ProxyHeader, ProxyHeaderError, tcp};
use crate::Address;

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and transport, and the length of the rest.
const FIXED: usize = 16;

/// The field that has a checksum of the whole header, CRC-32C (RFC 3309).
const CRC32C: u8 = 3;

/// `bytes` begin as the signature does, as far as they go.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    // What is wrong is told as soon as it shows.
    if bytes
        .get(12)
        .is_some_and(|byte| !matches!(byte, 0x20 | 0x21))
    {
        return Err(ProxyHeaderError::Unsupported);
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_PROXY_V2 {
        return Err(ProxyHeaderError::TooLong { max: MAX_PROXY_V2 });
    }
    let is_local = fixed[12] == 0x20;
    let addresses = match fixed[13] {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // A local connection is taken with whatever family.
        _ if is_local => 0,
        _ => return Err(ProxyHeaderError::Unsupported),
    };
    let Some(header) = bytes.get(..length) else {
        return Ok(None);
    };
    if is_local {
        return Ok(Some((ProxyHeader::Local, length)));
    }
    let body = &header[FIXED..];
    let (addresses, fields) = body
        .split_at_checked(addresses)
        .ok_or(ProxyHeaderError::BadLength)?;
    check_fields(header, fields)?;
    let header = match addresses.len() {
        0 => ProxyHeader::Local,
        12 => {
            let [source, destination] = [0, 4].map(|at| v4(addresses, at));
            proxied(source.into(), destination.into(), &addresses[8..])
        }
        36 => {
            let [source, destination] = [0, 16].map(|at| v6(addresses, at));
            proxied(source.into(), destination.into(), &addresses[32..])
        }
        _ => ProxyHeader::Proxied {
            source: unix(&addresses[..108]),
            destination: unix(&addresses[108..]),
        },
    };
    Ok(Some((header, length)))
}

fn proxied(source: std::net::IpAddr, destination: std::net::IpAddr, ports: &[u8]) -> ProxyHeader {
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    ProxyHeader::Proxied {
        source: tcp(source, port(0)),
        destination: tcp(destination, port(2)),
    }
}

fn v4(bytes: &[u8], at: usize) -> Ipv4Addr {
    let mut octets = [0; 4];
    octets.copy_from_slice(&bytes[at..at + 4]);
    octets.into()
}

fn v6(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    octets.into()
}

/// A path up to its NUL. What is not in the file system has none.
fn unix(bytes: &[u8]) -> Address {
    let end = bytes.iter().position(|byte| *byte == 0);
    let path = &bytes[..end.unwrap_or(bytes.len())];
    let path = (!path.is_empty()).then(|| Arc::from(Path::new(OsStr::from_bytes(path))));
    Address::Unix(path)
}

/// Walks over the fields after the addresses: each has a type, a length and so many bytes. They
/// are taken for what they are worth to others, except for a checksum.
fn check_fields(header: &[u8], mut fields: &[u8]) -> Result<(), ProxyHeaderError> {
    while let Some((head, rest)) = fields.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let (value, rest) = rest
            .split_at_checked(length)
            .ok_or(ProxyHeaderError::BadLength)?;
        if head[0] == CRC32C {
            let given: [u8; 4] = value.try_into().map_err(|_| ProxyHeaderError::BadLength)?;
            let at = header.len() - rest.len() - given.len();
            if checksum(header, at) != u32::from_be_bytes(given) {
                return Err(ProxyHeaderError::BadChecksum);
            }
        }
        fields = rest;
    }
    match fields {
        [] => Ok(()),
        _ => Err(ProxyHeaderError::BadLength),
    }
}

/// CRC-32C of the header, with the checksum itself, which begins `at`, taken for zeros. The header is
/// short, and one for each connection: bit by bit is quick enough.
fn checksum(header: &[u8], at: usize) -> u32 {
    let mut crc = u32::MAX;
    for (index, byte) in header.iter().enumerate() {
        let byte = if (at..at + 4).contains(&index) {
            0
        } else {
            *byte
        };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            crc ^= 0x82f6_3b78 * carry;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of the polynomial, and zeros of RFC 3720, appendix B.4.
        assert_eq!(checksum(b"123456789", 100), 0xe306_9283);
        assert_eq!(checksum(&[0; 32], 100), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32], 100), 0x62a8_ab43);
    }
}
