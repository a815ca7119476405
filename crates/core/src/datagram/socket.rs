//! What a driver does for a datagram port.

use std::io;
use std::net::IpAddr;

use super::queue::DatagramQueue;
use crate::Address;
use crate::endpoint::Interface;

/// What a driver says of having been asked to send datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramSendStatus {
    /// All were taken.
    Sent,
    /// The rest must wait until the driver says that it takes more, by
    /// [`DatagramChannel::writable`](super::DatagramChannel::writable).
    Blocked,
    /// The rest must wait, and nobody will say for how long: it is to be tried again soon.
    TryAgain,
}

/// One port of a driver: for those who implement a reactor.
///
/// All of it is called on the loop's thread, from within callbacks of the protocol too, and calls
/// nobody back.
pub trait DatagramSocket {
    /// Sends from the front of `queue`, popping what is taken.
    ///
    /// # Errors
    /// What is wrong with the datagram at the front, which is then lost; those behind it may be
    /// well.
    fn send(&self, queue: &mut DatagramQueue) -> io::Result<DatagramSendStatus>;

    /// Sends to `peer` what names no address, and receives only from there.
    ///
    /// # Errors
    /// What the operating system said.
    fn connect(&self, peer: &Address) -> io::Result<()>;

    /// Sets an option.
    ///
    /// # Errors
    /// What the operating system said.
    fn set_option(&self, option: &DatagramOption) -> io::Result<()>;

    /// Whether datagrams are wanted. They are at first.
    fn set_reading(&self, on: bool);

    /// How many datagrams came and were lost for want of room, since they were not received in
    /// time. 0 where that is not known.
    fn overflowed(&self) -> u64 {
        0
    }
}

/// An option of a datagram port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramOption {
    /// Receive what is sent to this multicast group, as it comes in by the interface.
    JoinGroup(IpAddr, Interface),
    /// Undo [`JoinGroup`](Self::JoinGroup).
    LeaveGroup(IpAddr, Interface),
    /// By which interface multicast goes out.
    OutgoingInterface(IpAddr, Interface),
    /// Whether multicast that is sent comes back to this machine.
    LoopbackMode(bool),
    /// How many routers multicast may pass.
    MulticastTtl(u8),
    /// How many routers all else may pass.
    Ttl(u8),
    /// Whether it may be sent to broadcast addresses.
    Broadcast(bool),
}
