//! What the network says of datagrams that were sent: ICMP errors, with the address that each
//! is about (ip(7), `IP_RECVERR`). Without this, only connected ports would hear of them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{ask, take};

/// Other systems tell connected ports only, by an error of the next call.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn ask(_: BorrowedFd<'_>, _: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn take(_: BorrowedFd<'_>) -> Option<(Option<SocketAddr>, Option<io::Error>)> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    #![expect(unsafe_code, reason = "IP_RECVERR, which no safe crate offers")]

    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    use socket2::{SockAddr, SockAddrStorage};

    use super::{BorrowedFd, SocketAddr, io};

    /// Room for what the kernel adds to an error: the error, and the address of who reported it.
    /// Aligned as a control message is.
    #[repr(C, align(8))]
    struct Control([u8; 256]);

    /// Asks for errors to be queued. An IPv6 socket may have IPv4 peers.
    pub(in crate::poll) fn ask(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR)?;
        match is_v6 {
            true => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
            false => Ok(()),
        }
    }

    fn set(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the value is an integer of the length that is said, and outlives the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(&on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes an error off the queue: where the datagram went, and what the network says of it;
    /// `None` there for an error that the call which met it has reported itself.
    pub(in crate::poll) fn take(
        socket: BorrowedFd<'_>,
    ) -> Option<(Option<SocketAddr>, Option<io::Error>)> {
        let mut name = SockAddrStorage::zeroed();
        let mut control = Control([0; 256]);
        let mut byte = [0_u8; 1];
        let mut slice = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: byte.len(),
        };
        // SAFETY: a header is made of integers and pointers, for which zero is a value.
        let mut header = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
        header.msg_name = std::ptr::from_mut(&mut name).cast();
        header.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
        header.msg_iov = &mut slice;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: all that the header points to lives until the call returns, and has the length
        // that it says.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
        if received < 0 {
            return None;
        }
        let mut error = None;
        // SAFETY: the kernel has filled the header and the control buffer, which is aligned; these
        // functions stay within the length that it has set.
        let mut message = unsafe { libc::CMSG_FIRSTHDR(&header) };
        while !message.is_null() {
            // SAFETY: it points to a control message within the buffer.
            let kind = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
            if matches!(
                kind,
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            ) {
                // SAFETY: the data of a message of this kind begins with this structure (ip(7)).
                let told: libc::sock_extended_err =
                    unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(message).cast()) };
                error = (told.ee_origin != libc::SO_EE_ORIGIN_LOCAL)
                    .then(|| io::Error::from_raw_os_error(told.ee_errno as i32));
            }
            // SAFETY: as above.
            message = unsafe { libc::CMSG_NXTHDR(&header, message) };
        }
        // SAFETY: the kernel has written an address of this length there, or none, whose length
        // is 0. All of the storage was zero before.
        let to = unsafe { SockAddr::new(name, header.msg_namelen) };
        Some((to.as_socket(), error))
    }
}
