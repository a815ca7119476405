//! What goes wrong with datagrams.

use std::error::Error;
use std::fmt;
use std::io;

use crate::Address;

/// What went wrong with one datagram, or with some. It never ends the port.
#[derive(Debug)]
#[non_exhaustive]
pub enum DatagramError {
    /// The network says that an earlier datagram did not arrive (ICMP, RFC 1122 section 4.1.3.3):
    /// nobody receives there, or there is no way to there.
    Undelivered {
        /// Where it was sent, as far as that is known.
        to: Option<Address>,
        /// What the network said.
        source: io::Error,
    },
    /// The operating system did not take a datagram, which is lost.
    Unsent {
        /// Where it was to be sent; `None` for the peer of a connected port.
        to: Option<Address>,
        /// Its size in bytes.
        size: usize,
        /// What the operating system said.
        source: io::Error,
    },
    /// As many datagrams wait to be sent as may; the newest is lost. Told for the first, and
    /// again only after the queue was empty; [`DatagramCounts::dropped`](crate::DatagramCounts::dropped)
    /// counts them all.
    QueueFull {
        /// Where it was to be sent; `None` for the peer of a connected port.
        to: Option<Address>,
        /// How many wait.
        queued: usize,
    },
    /// A datagram came that is larger than the endpoint's `max_size`; it is lost.
    Truncated {
        /// Who sent it.
        from: Address,
        /// How much of it would have been received, in bytes.
        max_size: usize,
    },
    /// The operating system could not receive.
    Receive(io::Error),
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undelivered { to, source } => {
                write!(f, "a datagram to {} did not arrive: {source}", Whom(to))
            }
            Self::Unsent { to, size, source } => write!(
                f,
                "cannot send a datagram of {size} bytes to {}: {source}{}",
                Whom(to),
                advice(to.as_ref(), source)
            ),
            Self::QueueFull { to, queued } => write!(
                f,
                "a datagram to {} was dropped: {queued} wait to be sent; send slower, or raise \
                 DatagramProtocol::limits",
                Whom(to)
            ),
            Self::Truncated { from, max_size } => write!(
                f,
                "a datagram from {from} was dropped: it has more than {max_size} bytes; raise \
                 max_size of the endpoint"
            ),
            Self::Receive(source) => write!(f, "cannot receive datagrams: {source}"),
        }
    }
}

/// The source is said in the message.
impl Error for DatagramError {}

struct Whom<'a>(&'a Option<Address>);

impl fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("the peer"),
        }
    }
}

/// What a packet filter refuses: on every Unix. A broadcast that is not allowed is `EACCES`.
const EPERM: i32 = 1;

/// What to do about an error that many see once.
fn advice(to: Option<&Address>, source: &io::Error) -> &'static str {
    let is_unix = matches!(to, Some(Address::Unix(_)));
    match source.kind() {
        io::ErrorKind::PermissionDenied if is_unix || source.raw_os_error() == Some(EPERM) => "",
        io::ErrorKind::PermissionDenied => "; to broadcast, say `broadcast=yes` in the endpoint",
        io::ErrorKind::NotConnected => "; name where it is to go, by write_to",
        _ => "",
    }
}
