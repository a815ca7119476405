//! The client's side of HTTP's CONNECT (RFC 9110 section 9.3.6): a tunnel through a proxy, which
//! looks the target's name up itself.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use super::credentials::Credentials;
use crate::endpoint::Host;
use crate::{Failure, Layer, LayerIo, OutputQueue};

/// The most bytes that a proxy may answer before the tunnel begins.
const MAX_HEAD: usize = 16 * 1024;

/// As much of a proxy's reason as is told.
const MAX_REASON: usize = 128;

/// Where an HTTP proxy is to connect to, and who asks.
///
/// ```
/// use ropewalk_core::handshake::{Credentials, HttpConnect};
///
/// let connect = HttpConnect::new("example.com", 443).credentials(Credentials::new("ada", "x"));
/// assert_eq!(connect.to_string(), "example.com:443");
/// ```
#[derive(Clone, Debug)]
pub struct HttpConnect {
    host: Host,
    port: u16,
    credentials: Option<Credentials>,
}

impl HttpConnect {
    /// A tunnel to `port` of `host`. A name is looked up by the proxy.
    #[must_use]
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            credentials: None,
        }
    }

    /// Tells the proxy who asks, by Basic authentication (RFC 7617). The name has no colon.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    fn request(&self) -> Result<String, HttpConnectError> {
        let target = self.to_string();
        // A name is part of a line: one with a line end in it would be another request.
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HttpConnectError::BadName);
        }
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(credentials) = &self.credentials {
            let (user, password) = (credentials.user(), credentials.password());
            if user.contains(':') {
                return Err(HttpConnectError::BadUser);
            }
            let encoded = base64(format!("{user}:{password}").as_bytes());
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&encoded);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        Ok(request)
    }
}

/// The target, as it stands in the request.
impl fmt::Display for HttpConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Asks an HTTP proxy for a tunnel, and is ready when there is one; from then on bytes pass through
/// as they are.
///
/// The proxy may answer 16 KiB before that. How long it may take is the affair of who connects, and
/// of [`ConnectionLimits::handshake`](crate::ConnectionLimits::handshake).
#[derive(Debug)]
pub struct HttpConnectLayer {
    connect: HttpConnect,
    /// What has come of the answer; `None` when the tunnel is there.
    read: Option<Vec<u8>>,
    /// How many bytes of it were looked at.
    seen: usize,
    /// How many bytes have come in all.
    count: usize,
}

impl HttpConnectLayer {
    /// For one connection to a proxy.
    #[must_use]
    pub fn new(connect: HttpConnect) -> Self {
        Self {
            connect,
            read: Some(Vec::new()),
            seen: 0,
            count: 0,
        }
    }

    /// The length of the first head in `read`, if it is whole.
    fn find_end(&mut self, read: &[u8]) -> Option<usize> {
        // The end may have come in pieces.
        let from = self.seen.saturating_sub(3);
        self.seen = read.len();
        let ends = |end: &[u8]| {
            let mut windows = read[from..].windows(end.len());
            windows
                .position(|window| window == end)
                .map(|at| from + at + end.len())
        };
        // A line may end with a lone line feed (RFC 9112 section 2.2).
        [ends(b"\n\r\n"), ends(b"\n\n")].into_iter().flatten().min()
    }

    /// What follows the proxy's answer, once that is whole and says yes.
    fn answer(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, HttpConnectError> {
        let Some(mut read) = self.read.take() else {
            return Ok(Some(data.to_vec()));
        };
        read.extend_from_slice(data);
        while let Some(end) = self.find_end(&read) {
            if self.count + end > MAX_HEAD {
                return Err(HttpConnectError::TooLong);
            }
            match Status::read(&read[..end])? {
                Status {
                    code: 200..=299, ..
                } => return Ok(Some(read.split_off(end))),
                // Another answer follows.
                Status {
                    code: 100..=199, ..
                } => {
                    read.drain(..end);
                    self.count += end;
                    self.seen = 0;
                }
                Status { code, reason } => {
                    return Err(HttpConnectError::Refused {
                        status: code,
                        reason,
                    });
                }
            }
        }
        if self.count + read.len() >= MAX_HEAD {
            return Err(HttpConnectError::TooLong);
        }
        if !b"HTTP/1.".starts_with(&read[..read.len().min(7)]) {
            return Err(HttpConnectError::NotHttp);
        }
        self.read = Some(read);
        Ok(None)
    }
}

impl Layer for HttpConnectLayer {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().write(self.connect.request()?.as_bytes());
        Ok(())
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.read.is_none() {
            io.up().extend_from_slice(data);
        } else if let Some(rest) = self.answer(data)? {
            io.ready();
            io.up().extend_from_slice(&rest);
        }
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.read.is_none() {
            io.down().append(output);
        }
        Ok(())
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.read.is_some() {
            return Err(HttpConnectError::Closed.into());
        }
        io.close_read();
        Ok(())
    }
}

/// The first line of an answer (RFC 9112 section 4).
struct Status {
    code: u16,
    reason: String,
}

impl Status {
    fn read(head: &[u8]) -> Result<Self, HttpConnectError> {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let rest = line
            .strip_prefix(b"HTTP/1.")
            .ok_or(HttpConnectError::NotHttp)?;
        let (code, reason) = match rest {
            [
                b'0'..=b'9',
                b' ',
                a @ b'1'..=b'9',
                b @ b'0'..=b'9',
                c @ b'0'..=b'9',
                rest @ ..,
            ] => {
                let digit = |byte: &u8| u16::from(byte - b'0');
                (100 * digit(a) + 10 * digit(b) + digit(c), rest)
            }
            _ => return Err(HttpConnectError::NotHttp),
        };
        let reason = match reason {
            [] => reason,
            [b' ', reason @ ..] => reason,
            _ => return Err(HttpConnectError::NotHttp),
        };
        let reason = &reason[..reason.len().min(MAX_REASON)];
        let printable = |c: char| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        let reason = String::from_utf8_lossy(reason)
            .chars()
            .map(printable)
            .collect();
        Ok(Self { code, reason })
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place > group.len() {
                text.push('=');
                continue;
            }
            let index = bits >> (18 - 6 * place) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// Why an HTTP proxy made no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpConnectError {
    /// The proxy answered, and not with a 2xx.
    Refused {
        /// The status.
        status: u16,
        /// What the proxy says of it; may be empty.
        reason: String,
    },
    /// What answers does not speak HTTP/1.
    NotHttp,
    /// The answer is longer than 16 KiB.
    TooLong,
    /// The target's name cannot stand in a request.
    BadName,
    /// A user's name has no colon.
    BadUser,
    /// The proxy closed the connection before it had answered.
    Closed,
}

impl fmt::Display for HttpConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, reason } => {
                write!(f, "the HTTP proxy did not connect: {status} {reason}")?;
                match status {
                    407 => f.write_str("; give it `user` and `password`, or others"),
                    _ => Ok(()),
                }
            }
            Self::NotHttp => f.write_str("what answers is no HTTP/1 proxy"),
            Self::TooLong => write!(
                f,
                "the answer of the HTTP proxy is longer than {MAX_HEAD} bytes"
            ),
            Self::BadName => f.write_str(
                "the target's name has characters that a request cannot have; write it in its \
                 ASCII form (`xn--…`)",
            ),
            Self::BadUser => f.write_str("the user name for an HTTP proxy has a colon"),
            Self::Closed => {
                f.write_str("the HTTP proxy closed the connection before it had answered")
            }
        }
    }
}

impl Error for HttpConnectError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
