//! Why a connection ended, could not be made, or could not be listened for.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The connection was closed cleanly: by this side, or by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDone;

impl fmt::Display for ConnectionDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was closed cleanly")
    }
}

impl Error for ConnectionDone {}

/// The connection broke: the peer reset it, or the network failed.
#[derive(Debug)]
pub struct ConnectionLost(pub io::Error);

impl fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was lost")
    }
}

impl Error for ConnectionLost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// This side ended the connection at once, without sending what was unsent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionAborted;

impl fmt::Display for ConnectionAborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was aborted by this side")
    }
}

impl Error for ConnectionAborted {}

/// Nothing happened for as long as [`Transport::set_timeout`](crate::Transport::set_timeout), or
/// no result came for as long as [`Deferred::add_timeout`](crate::Deferred::add_timeout) allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl Error for TimedOut {}

/// More was written than [`ConnectionLimits::write_limit`](crate::ConnectionLimits::write_limit)
/// allows to hold for a peer that does not read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteBufferFull {
    /// The limit that was passed, in bytes.
    pub limit: usize,
}

impl fmt::Display for WriteBufferFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "over {} bytes were unsent; wait for write_resumed, or raise ConnectionLimits::write_limit",
            self.limit
        )
    }
}

impl Error for WriteBufferFull {}

/// The peer took nothing for longer than
/// [`ConnectionLimits::write_stall`](crate::ConnectionLimits::write_stall).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteStalled {
    /// The limit that was passed.
    pub after: Duration,
}

impl fmt::Display for WriteStalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer took nothing for {:?}", self.after)
    }
}

impl Error for WriteStalled {}

/// What a connection had a time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deadline {
    /// Its layers become ready ([`ConnectionLimits::handshake`](crate::ConnectionLimits::handshake)).
    Handshake,
    /// The peer sends its first byte.
    FirstByte,
    /// A byte goes either way.
    Idle,
    /// It ends.
    Lifetime,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the handshake was not complete",
            Self::FirstByte => "the peer had sent nothing",
            Self::Idle => "no byte went either way",
            Self::Lifetime => "the connection was still open",
        })
    }
}

/// A deadline of the connection has passed, and this side has ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlinePassed {
    /// What the time was for.
    pub deadline: Deadline,
    /// How long that was.
    pub after: Duration,
}

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:?}", self.deadline, self.after)
    }
}

impl Error for DeadlinePassed {}

/// A callback panicked. The connection that it served was aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// The callback that panicked.
    pub callback: &'static str,
    /// What the panic said, if it was text.
    pub message: String,
}

impl Panicked {
    /// From what `catch_unwind` returned for `callback`.
    #[must_use]
    pub fn new(callback: &'static str, payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "(a panic without a message)".to_owned());
        Self { callback, message }
    }

    /// As an error, for `tracing`: so that who reads the log by program finds the panic itself in
    /// it, and not only its text.
    #[must_use]
    pub fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked: {}", self.callback, self.message)
    }
}

impl Error for Panicked {}

/// Why an endpoint cannot be listened at.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// Another socket has the port or path.
    AddressInUse {
        /// The endpoint, as text.
        endpoint: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// This machine has no such address.
    AddressNotAvailable {
        /// The endpoint, as text.
        endpoint: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The process may not use this port or path.
    PermissionDenied {
        /// The endpoint, as text.
        endpoint: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else that the operating system said.
    Io {
        /// The endpoint, as text.
        endpoint: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The reactor has ended.
    ReactorStopped,
}

impl ListenError {
    /// What `source` means for listening at `endpoint`.
    #[must_use]
    pub fn from_io(endpoint: impl fmt::Display, source: io::Error) -> Self {
        let endpoint = endpoint.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { endpoint, source },
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable { endpoint, source },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { endpoint, source },
            _ => Self::Io { endpoint, source },
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse { endpoint, .. } => write!(
                f,
                "cannot listen on {endpoint}: it is in use; choose another, or stop the program that has it"
            ),
            Self::AddressNotAvailable { endpoint, .. } => write!(
                f,
                "cannot listen on {endpoint}: this machine has no such address; choose one of its own"
            ),
            Self::PermissionDenied { endpoint, .. } => write!(
                f,
                "cannot listen on {endpoint}: permission denied; choose a port of 1024 or above or a path that may be written to"
            ),
            Self::Io { endpoint, source } => write!(f, "cannot listen on {endpoint}: {source}"),
            Self::ReactorStopped => f.write_str("cannot listen: the reactor has ended"),
        }
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::AddressInUse { source, .. }
            | Self::AddressNotAvailable { source, .. }
            | Self::PermissionDenied { source, .. } => Some(source),
            // `Io` says its source in its own message.
            Self::Io { .. } | Self::ReactorStopped => None,
        }
    }
}

/// So many addresses of a host are named in an error.
const TOLD_ATTEMPTS: usize = 8;

/// Why a connection could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing listens there.
    Refused {
        /// The endpoint, as text.
        endpoint: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The endpoint did not answer in time.
    TimedOut {
        /// The endpoint, as text.
        endpoint: String,
        /// How long was waited.
        after: Duration,
    },
    /// The host name has no address, or could not be looked up.
    NameNotFound {
        /// The endpoint, as text.
        endpoint: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Anything else that the operating system said.
    Io {
        /// The endpoint, as text.
        endpoint: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The host has several addresses, and none of them could be connected to.
    AllFailed {
        /// The endpoint, as text.
        endpoint: String,
        /// Each address that was tried, in the order in which they failed, and what the operating
        /// system said of it.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
    /// The factory returned no protocol.
    FactoryRefused,
    /// The reactor has ended.
    ReactorStopped,
}

impl ConnectError {
    /// What `source` means for connecting to `endpoint`.
    #[must_use]
    pub fn from_io(endpoint: impl fmt::Display, source: io::Error) -> Self {
        let endpoint = endpoint.to_string();
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { endpoint, source },
            _ => Self::Io { endpoint, source },
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { endpoint, .. } => write!(
                f,
                "cannot connect to {endpoint}: refused; is the server running?"
            ),
            Self::TimedOut { endpoint, after } => {
                write!(f, "cannot connect to {endpoint}: no answer in {after:?}")
            }
            Self::NameNotFound { endpoint, source } => write!(
                f,
                "cannot connect to {endpoint}: the name was not found ({source})"
            ),
            Self::Io { endpoint, source } => write!(f, "cannot connect to {endpoint}: {source}"),
            Self::AllFailed { endpoint, attempts } => {
                write!(
                    f,
                    "cannot connect to {endpoint}: none of its addresses can be reached"
                )?;
                for (at, (address, error)) in attempts.iter().enumerate() {
                    if at == TOLD_ATTEMPTS {
                        return write!(f, "; and {} others", attempts.len() - at);
                    }
                    let separator = if at == 0 { ": " } else { "; " };
                    write!(f, "{separator}{address}: {error}")?;
                }
                Ok(())
            }
            Self::FactoryRefused => f.write_str("cannot connect: the factory built no protocol"),
            Self::ReactorStopped => f.write_str("cannot connect: the reactor has ended"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused { source, .. } => Some(source),
            _ => None,
        }
    }
}
