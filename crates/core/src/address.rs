//! Where a connection comes from, or a port stands.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The address of one end of a connection, of a listening port, or of who sends datagrams.
///
/// ```
/// use ropewalk_core::Address;
///
/// let address = Address::Tcp("192.0.2.7:80".parse().unwrap());
/// assert_eq!(address.to_string(), "192.0.2.7:80");
/// assert_eq!(address.port(), Some(80));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host and a port.
    Tcp(SocketAddr),
    /// A host and a port that datagrams go to and come from.
    Udp(SocketAddr),
    /// A path in the file system; `None` for an end that is not bound to one, as most Unix
    /// clients are. On Linux a path that begins with a NUL character is an abstract name
    /// (unix(7)), which is no file; it is written with an `@` in the place of the NUL.
    Unix(Option<Arc<Path>>),
    /// What has no address: a pipe, a terminal, a file. The text says what it is, for people.
    Pipe(Arc<str>),
}

impl Address {
    /// The port number, if this is a TCP or UDP address.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|address| address.port())
    }

    /// The IP address and port, if this is a TCP or UDP address.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(*address),
            Self::Unix(_) | Self::Pipe(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// As `host:port`, `unix:path`, or what it is.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(f),
            Self::Unix(Some(path)) => match abstract_name(path) {
                Some(name) => write!(f, "unix:@{}", name.display()),
                None => write!(f, "unix:{}", path.display()),
            },
            Self::Unix(None) => f.write_str("unix:"),
            Self::Pipe(what) => f.write_str(what),
        }
    }
}

/// The name after the NUL, if `path` is an abstract one.
fn abstract_name(path: &Path) -> Option<&Path> {
    let name = path.as_os_str().as_bytes().strip_prefix(b"\0")?;
    Some(Path::new(OsStr::from_bytes(name)))
}
