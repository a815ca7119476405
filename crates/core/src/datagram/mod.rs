//! Datagrams: what a program says about them ([`DatagramProtocol`]), how it sends them
//! ([`DatagramTransport`], [`DatagramPort`]), and what happens to one port as a state machine with
//! no I/O in it ([`DatagramChannel`]).
//!
//! A port is not a connection: it has many peers, no order, no end of its own, and what is lost is
//! lost. So nothing that comes from the network ends a port: what goes wrong with one datagram is
//! told to the protocol, and counted.

mod channel;
mod error;
mod limits;
mod port;
mod protocol;
mod queue;
mod socket;
mod transport;

pub use channel::{DatagramChannel, DatagramStep, Incoming};
pub use error::DatagramError;
pub use limits::DatagramLimits;
pub use port::DatagramPort;
pub use protocol::DatagramProtocol;
pub use queue::DatagramQueue;
pub use socket::{DatagramOption, DatagramSendStatus, DatagramSocket};
pub use transport::{DatagramCounts, DatagramTransport};
