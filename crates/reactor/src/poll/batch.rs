//! Datagrams received together: one system call for up to 64 of them.

use std::io;
use std::os::fd::BorrowedFd;

use ropewalk_core::Incoming;

/// All ports of a loop receive into one buffer of this size. It is not touched, and so takes no
/// memory, beyond what has come.
const BUFFER: usize = 1024 * 1024;

/// So many datagrams are received by one call, if they are small enough.
const DATAGRAMS: usize = 64;

/// How many datagrams of up to `max_size` bytes there is room for.
fn room(max_size: usize) -> usize {
    (BUFFER / max_size.max(1)).clamp(1, DATAGRAMS)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use many::Batch;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use single::Batch;

/// By `recvmmsg`. The safe wrapper of the `nix` crate leaves the length of an address as the last
/// call had it when its headers are used again, and to make them anew is 12 KiB for each call.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod many {
    #![expect(
        unsafe_code,
        reason = "recvmmsg, which no safe crate offers as it is needed"
    )]

    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    use socket2::{SockAddr, SockAddrStorage};

    use super::{BUFFER, BorrowedFd, DATAGRAMS, Incoming, io, room};
    use crate::poll::datagrams::address;

    /// The buffer, and where the kernel says what it has put there.
    pub(in crate::poll) struct Batch {
        buffer: Box<[u8]>,
        headers: Box<[libc::mmsghdr]>,
        names: Box<[SockAddrStorage]>,
        max_size: usize,
        received: usize,
    }

    impl Batch {
        pub(in crate::poll) fn new() -> Self {
            // SAFETY: a header is made of integers and pointers, for which zero is a value.
            let header = || unsafe { MaybeUninit::<libc::mmsghdr>::zeroed().assume_init() };
            Self {
                buffer: vec![0; BUFFER].into_boxed_slice(),
                headers: (0..DATAGRAMS).map(|_| header()).collect(),
                names: (0..DATAGRAMS).map(|_| SockAddrStorage::zeroed()).collect(),
                max_size: 0,
                received: 0,
            }
        }

        /// Receives what waits, and returns whether there may be more.
        pub(in crate::poll) fn receive(
            &mut self,
            socket: BorrowedFd<'_>,
            max_size: usize,
        ) -> io::Result<bool> {
            // What is behind the last place must not be told to the kernel.
            assert!((1..=BUFFER).contains(&max_size));
            let count = room(max_size);
            self.max_size = max_size;
            self.received = 0;
            let mut slices = [libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            }; DATAGRAMS];
            let places = self.buffer.chunks_exact_mut(max_size);
            for (((header, name), slice), place) in self.headers[..count]
                .iter_mut()
                .zip(&mut self.names)
                .zip(&mut slices)
                .zip(places)
            {
                slice.iov_base = place.as_mut_ptr().cast();
                slice.iov_len = place.len();
                let header = &mut header.msg_hdr;
                header.msg_name = std::ptr::from_mut(name).cast();
                header.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
                header.msg_iov = slice;
                header.msg_iovlen = 1;
                header.msg_flags = 0;
            }
            // SAFETY: the first `count` headers point to a place of their own in the buffer, a
            // slice that describes it and a name, which all live until the call returns, and each
            // has the length that it says. `room` of what was asserted is no more than fit into any
            // of these.
            let received = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            self.received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
            Ok(self.received == count)
        }

        /// What was received.
        pub(in crate::poll) fn iter(&self) -> impl Iterator<Item = Incoming<'_>> {
            let places = self.buffer.chunks_exact(self.max_size.max(1));
            let all = self.headers.iter().zip(&self.names).zip(places);
            all.take(self.received).map(|((header, name), place)| {
                let len = (header.msg_len as usize).min(place.len());
                let from = sender(name, header.msg_hdr.msg_namelen);
                Incoming {
                    data: &place[..len],
                    from: address(&from),
                    truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                }
            })
        }
    }

    fn sender(name: &SockAddrStorage, len: libc::socklen_t) -> SockAddr {
        let name = match len {
            // The kernel has written nothing: what stands there is the name of an earlier one.
            0 => SockAddrStorage::zeroed(),
            // SAFETY: it is plain bytes, all of them initialised.
            _ => unsafe { std::ptr::read(name) },
        };
        // SAFETY: the kernel has written an address of this length there, or none, and then it is
        // all zero. All of the storage was zero before.
        unsafe { SockAddr::new(name, len) }
    }
}

/// One at a time, where the system has no call for several.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod single {
    use std::io::IoSliceMut;

    use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg};

    use super::{BUFFER, BorrowedFd, Incoming, io, room};
    use crate::poll::datagrams::any_address;

    pub(in crate::poll) struct Batch {
        buffer: Box<[u8]>,
        received: Option<(usize, ropewalk_core::Address, bool)>,
    }

    impl Batch {
        pub(in crate::poll) fn new() -> Self {
            let _ = room;
            Self {
                buffer: vec![0; BUFFER].into_boxed_slice(),
                received: None,
            }
        }

        /// Receives one, and returns whether there may be more.
        pub(in crate::poll) fn receive(
            &mut self,
            socket: BorrowedFd<'_>,
            max_size: usize,
        ) -> io::Result<bool> {
            self.received = None;
            let mut slices = [IoSliceMut::new(&mut self.buffer[..max_size])];
            let mut control = RecvAncillaryBuffer::default();
            let message = recvmsg(socket, &mut slices, &mut control, RecvFlags::DONTWAIT)?;
            let truncated = message.flags.contains(ReturnFlags::TRUNC);
            let from = any_address(message.address);
            self.received = Some((message.bytes.min(max_size), from, truncated));
            Ok(true)
        }

        /// What was received.
        pub(in crate::poll) fn iter(&self) -> impl Iterator<Item = Incoming<'_>> {
            let received = self.received.iter();
            received.map(|(len, from, truncated)| Incoming {
                data: &self.buffer[..*len],
                from: from.clone(),
                truncated: *truncated,
            })
        }
    }
}
