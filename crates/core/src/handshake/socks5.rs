//! The client's side of SOCKS5 (RFC 1928), with user name and password (RFC 1929): one TCP connection
//! through a proxy, which looks the target's name up itself.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use super::credentials::Credentials;
use crate::endpoint::Host;
use crate::{Failure, Layer, LayerIo, OutputQueue};

const VERSION: u8 = 5;
/// The version of the exchange of user name and password.
const PASSWORD_VERSION: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Where a SOCKS5 proxy is to connect to, and who asks.
///
/// ```
/// use ropewalk_core::handshake::{Credentials, Socks5};
///
/// let socks = Socks5::new("example.com", 443).credentials(Credentials::new("ada", "secret"));
/// assert_eq!(socks.to_string(), "example.com:443");
/// ```
#[derive(Clone, Debug)]
pub struct Socks5 {
    host: Host,
    port: u16,
    credentials: Option<Credentials>,
}

impl Socks5 {
    /// A connection to `port` of `host`. A name is looked up by the proxy.
    #[must_use]
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            credentials: None,
        }
    }

    /// Tells the proxy who asks, if it wants to know. The name and the password have 1 to 255
    /// bytes each.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// What is said first: the ways in which this side can say who it is.
    fn greeting(&self) -> Vec<u8> {
        match self.credentials {
            None => vec![VERSION, 1, NO_AUTHENTICATION],
            Some(_) => vec![VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
        }
    }

    fn password(&self) -> Result<Vec<u8>, Socks5Error> {
        let credentials = self.credentials.as_ref().ok_or(Socks5Error::NoMethod)?;
        let mut message = vec![PASSWORD_VERSION];
        for text in [credentials.user(), credentials.password()] {
            let length = u8::try_from(text.len()).ok().filter(|length| *length > 0);
            message.push(length.ok_or(Socks5Error::BadCredentials)?);
            message.extend_from_slice(text.as_bytes());
        }
        Ok(message)
    }

    fn request(&self) -> Result<Vec<u8>, Socks5Error> {
        let mut message = vec![VERSION, CONNECT, 0];
        match &self.host {
            Host::Ip(IpAddr::V4(address)) => {
                message.push(IPV4);
                message.extend_from_slice(&address.octets());
            }
            Host::Ip(IpAddr::V6(address)) => {
                message.push(IPV6);
                message.extend_from_slice(&address.octets());
            }
            Host::Name(name) => {
                let length = u8::try_from(name.len()).ok().filter(|length| *length > 0);
                message.push(NAME);
                message.push(length.ok_or(Socks5Error::BadName)?);
                message.extend_from_slice(name.as_bytes());
            }
        }
        message.extend_from_slice(&self.port.to_be_bytes());
        Ok(message)
    }
}

/// The target.
impl fmt::Display for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Asks a SOCKS5 proxy for a connection, and is ready when there is one; from then on bytes pass
/// through as they are.
///
/// What the proxy may say is bounded by the format, to 262 bytes. How long it may take is the
/// affair of who connects, and of [`ConnectionLimits::handshake`](crate::ConnectionLimits::handshake).
#[derive(Debug)]
pub struct Socks5Layer {
    socks: Socks5,
    state: State,
    /// What has come of an answer that is not whole.
    read: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The method is to be chosen.
    Greeted,
    /// The password is to be looked at.
    Authenticating,
    /// The connection is to be made.
    Requested,
    /// It is there.
    Open,
}

impl Socks5Layer {
    /// For one connection to a proxy.
    #[must_use]
    pub fn new(socks: Socks5) -> Self {
        Self {
            socks,
            state: State::Greeted,
            read: Vec::new(),
        }
    }

    /// Takes one answer from what was read, and says what is next. `false` while it is not whole.
    fn step(&mut self, io: &mut LayerIo<'_>) -> Result<bool, Socks5Error> {
        match self.state {
            State::Greeted => {
                let Some(&[version, method]) = self.read.first_chunk() else {
                    return self.is_version(VERSION);
                };
                self.is_version(VERSION)?;
                self.read.drain(..2);
                let message = match (version, method) {
                    (_, NO_AUTHENTICATION) => self.ask()?,
                    (_, USER_AND_PASSWORD) => {
                        self.state = State::Authenticating;
                        self.socks.password()?
                    }
                    _ => return Err(Socks5Error::NoMethod),
                };
                io.down().write(&message);
            }
            State::Authenticating => {
                let Some(&[_, status]) = self.read.first_chunk() else {
                    return self.is_version(PASSWORD_VERSION);
                };
                self.is_version(PASSWORD_VERSION)?;
                self.read.drain(..2);
                if status != 0 {
                    return Err(Socks5Error::CredentialsRefused);
                }
                io.down().write(&self.ask()?);
            }
            State::Requested => {
                let Some(length) = self.reply_length()? else {
                    return Ok(false);
                };
                self.read.drain(..length);
                self.state = State::Open;
                io.ready();
            }
            State::Open => return Ok(false),
        }
        Ok(true)
    }

    fn ask(&mut self) -> Result<Vec<u8>, Socks5Error> {
        self.state = State::Requested;
        self.socks.request()
    }

    /// `false`, unless an answer of another version has begun.
    fn is_version(&self, version: u8) -> Result<bool, Socks5Error> {
        match self.read.first() {
            Some(other) if *other != version => Err(Socks5Error::NotSocks5),
            _ => Ok(false),
        }
    }

    /// How long the reply is (RFC 1928 section 6), if it is whole.
    fn reply_length(&self) -> Result<Option<usize>, Socks5Error> {
        self.is_version(VERSION)?;
        match self.read.get(1) {
            None => return Ok(None),
            Some(0) => {}
            Some(&code) => return Err(Socks5Error::Refused { code }),
        }
        let address = match self.read.get(3..) {
            None | Some([]) => return Ok(None),
            Some([IPV4, ..]) => 4,
            Some([IPV6, ..]) => 16,
            Some([NAME, length, ..]) => 1 + usize::from(*length),
            Some([NAME]) => return Ok(None),
            Some(_) => return Err(Socks5Error::NotSocks5),
        };
        let length = 4 + address + 2;
        Ok((self.read.len() >= length).then_some(length))
    }
}

impl Layer for Socks5Layer {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().write(&self.socks.greeting());
        Ok(())
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.state == State::Open {
            io.up().extend_from_slice(data);
            return Ok(());
        }
        self.read.extend_from_slice(data);
        while self.step(io)? {}
        if self.state == State::Open {
            io.up().append(&mut self.read);
            self.read = Vec::new();
        }
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.state == State::Open {
            io.down().append(output);
        }
        Ok(())
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.state != State::Open {
            return Err(Socks5Error::Closed.into());
        }
        io.close_read();
        Ok(())
    }
}

/// Why a SOCKS5 proxy made no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Socks5Error {
    /// What answers is no SOCKS5 proxy.
    NotSocks5,
    /// The proxy wants to know who asks in a way that this side has not.
    NoMethod,
    /// The name or the password has no bytes, or more than 255.
    BadCredentials,
    /// The target's name has no bytes, or more than 255.
    BadName,
    /// The proxy knows no such user, or another password.
    CredentialsRefused,
    /// The proxy did not connect.
    Refused {
        /// Why, as in RFC 1928 section 6.
        code: u8,
    },
    /// The proxy closed the connection before it had answered.
    Closed,
}

impl fmt::Display for Socks5Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSocks5 => "what answers is no SOCKS5 proxy",
            Self::NoMethod => {
                "the SOCKS5 proxy wants to know who asks in another way; give it `user` and \
                 `password`, if it knows those"
            }
            Self::BadCredentials => {
                "a user name and a password for a SOCKS5 proxy have 1 to 255 bytes each"
            }
            Self::BadName => "a host name for a SOCKS5 proxy has 1 to 255 bytes",
            Self::CredentialsRefused => "the SOCKS5 proxy refuses the user name and password",
            Self::Refused { code } => {
                let why = match code {
                    1 => "general failure",
                    2 => "its rules do not allow it",
                    3 => "the network is unreachable",
                    4 => "the host is unreachable",
                    5 => "the connection was refused",
                    6 => "the time to live has expired",
                    7 => "it does not know the command",
                    8 => "it does not know the type of address",
                    _ => "for a reason of its own",
                };
                return write!(f, "the SOCKS5 proxy did not connect: {why} ({code})");
            }
            Self::Closed => "the SOCKS5 proxy closed the connection before it had answered",
        })
    }
}

impl Error for Socks5Error {}
