//! What goes over a link.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::machine::HostId;
use crate::socket::SocketId;

/// What the headers of a packet take, in bytes.
const HEADERS: usize = 40;

#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    /// Asks for a connection to whoever listens at `target`.
    Syn {
        from: SocketId,
        source: SocketAddr,
        target: SocketAddr,
    },
    /// `from` answers to `to`, and takes bytes up to the offset `window`.
    SynAck {
        from: SocketId,
        to: SocketId,
        window: u64,
    },
    /// Bytes of a stream from an offset on, and whether it ends with them.
    Segment {
        from: SocketId,
        to: SocketId,
        at: u64,
        data: Bytes,
        fin: bool,
    },
    /// All before the offset `next` has come; bytes up to `window` are taken.
    Ack {
        from: SocketId,
        to: SocketId,
        next: u64,
        window: u64,
    },
    Reset {
        to: SocketId,
    },
    Datagram {
        source: SocketAddr,
        target: SocketAddr,
        data: Bytes,
    },
    /// Nobody receives at `target` what came from `source` (ICMP).
    Unreachable {
        source: SocketAddr,
        target: SocketAddr,
    },
}

impl Packet {
    pub(crate) fn size(&self) -> usize {
        HEADERS
            + match &self.body {
                Body::Segment { data, .. } | Body::Datagram { data, .. } => data.len(),
                _ => 0,
            }
    }

    /// The socket that sent it, if it belongs to a stream.
    pub(crate) fn sender(&self) -> Option<SocketId> {
        match &self.body {
            Body::Syn { from, .. }
            | Body::SynAck { from, .. }
            | Body::Segment { from, .. }
            | Body::Ack { from, .. } => Some(*from),
            Body::Reset { .. } | Body::Datagram { .. } | Body::Unreachable { .. } => None,
        }
    }
}
