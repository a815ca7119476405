//! The PROXY protocol's header, versions 1 and 2: by whom a connection was made that a load
//! balancer passes on.
//!
//! The source is haproxy's `doc/proxy-protocol.txt`. Bytes in, a header out; no I/O. A sender that
//! does not keep to the text is refused: to guess would be to believe a peer what it says of itself.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::proxy_v2;
use crate::Address;

/// The longest header of version 1, with its line end (section 2.1 of the text).
pub const MAX_PROXY_V1: usize = 107;

/// The longest header of version 2 that is taken. The format would allow 64 KiB; what proxies
/// send is a few hundred bytes, and some thousand where they pass a certificate on.
pub const MAX_PROXY_V2: usize = 4096;

/// How a header of version 1 begins.
const V1: &[u8] = b"PROXY ";

/// What a header says.
///
/// ```
/// use ropewalk_core::handshake::ProxyHeader;
///
/// let bytes = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n";
/// let (header, length) = ProxyHeader::parse(bytes)?.expect("it is whole");
/// let ProxyHeader::Proxied { source, destination } = header else { panic!() };
/// assert_eq!(source.to_string(), "192.0.2.7:56324");
/// assert_eq!(destination.to_string(), "198.51.100.1:443");
/// assert_eq!(&bytes[length..], b"GET / HTTP/1.1\r\n");
/// # Ok::<(), ropewalk_core::handshake::ProxyHeaderError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The sender made the connection for itself, to see whether the server is well for instance
    /// (`LOCAL` of version 2), or does not say for whom (`UNKNOWN`, or an unspecified family): the
    /// addresses are those of the connection.
    Local,
    /// The sender passes on a connection.
    Proxied {
        /// Who made it.
        source: Address,
        /// Where it was accepted.
        destination: Address,
    },
}

impl ProxyHeader {
    /// The header at the beginning of `bytes`, and its length; `None` while more is needed. What can
    /// not become a header is an error with its first wrong byte.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProxyHeaderError> {
        if begins(bytes, proxy_v2::SIGNATURE) {
            return proxy_v2::parse(bytes);
        }
        if begins(bytes, V1) {
            return parse_v1(bytes);
        }
        Err(ProxyHeaderError::Missing)
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let head = &bytes[..bytes.len().min(MAX_PROXY_V1)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return match head.len() {
            MAX_PROXY_V1 => Err(ProxyHeaderError::TooLong { max: MAX_PROXY_V1 }),
            _ => Ok(None),
        };
    };
    let line = str::from_utf8(&head[..end])
        .ok()
        .filter(|line| line.is_ascii());
    let header = line.and_then(read_v1).ok_or(ProxyHeaderError::BadLine)?;
    Ok(Some((header, end + 2)))
}

/// The line without its end.
fn read_v1(line: &str) -> Option<ProxyHeader> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let read: fn(&str) -> Option<IpAddr> = match words.next()? {
        // What follows is to be ignored.
        "UNKNOWN" => return Some(ProxyHeader::Local),
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (read(words.next()?)?, read(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some(ProxyHeader::Proxied {
        source: tcp(source, from),
        destination: tcp(destination, to),
    })
}

/// Digits alone, with no zero in front of others.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    (digits && !padded).then(|| text.parse().ok()).flatten()
}

/// An address as the rest of the program has it: an IPv4 one is never written as an IPv6 one.
pub(super) fn tcp(address: IpAddr, port: u16) -> Address {
    Address::Tcp(SocketAddr::new(address.to_canonical(), port))
}

/// Why what came is no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// It does not begin as a header does.
    Missing,
    /// It is longer than any may be.
    TooLong {
        /// How many bytes it may have.
        max: usize,
    },
    /// The line of version 1 is not as it should be.
    BadLine,
    /// Version 2 with a version, command, family or transport that is not known, or not one of a
    /// stream.
    Unsupported,
    /// The fields of version 2 do not fit its length.
    BadLength,
    /// The checksum of version 2 is another one.
    BadChecksum,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "the connection does not begin with a PROXY header; let the proxy send one \
                 (`send-proxy` in haproxy), or listen without `proxy:`",
            ),
            Self::TooLong { max } => write!(f, "the PROXY header is longer than {max} bytes"),
            Self::BadLine => f.write_str("the line of the PROXY header is malformed"),
            Self::Unsupported => f.write_str(
                "the PROXY header is of an unknown version, command or family, or not of a stream",
            ),
            Self::BadLength => f.write_str("the fields of the PROXY header do not fit its length"),
            Self::BadChecksum => f.write_str("the checksum of the PROXY header is wrong"),
        }
    }
}

impl Error for ProxyHeaderError {}
