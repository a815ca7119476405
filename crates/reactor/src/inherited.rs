//! Descriptors that this process was given by the one that started it: each is taken once, and by
//! nobody by mistake.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use ropewalk_core::Address;
use ropewalk_core::endpoint::Descriptor;
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{SockRef, Type};

/// The numbers that were taken. One that was closed since is not the inherited one any more,
/// whatever has it.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// The descriptor, for whoever closes it.
pub(crate) fn take(descriptor: &Descriptor) -> io::Result<OwnedFd> {
    match descriptor {
        Descriptor::Given(descriptor) => descriptor.try_clone(),
        Descriptor::Inherited(number) => take_inherited(*number),
    }
}

/// A connected stream socket, and whom it is connected to.
pub(crate) fn connected(descriptor: &Descriptor) -> io::Result<(OwnedFd, Address)> {
    let socket = take(descriptor)?;
    let sock = SockRef::from(&socket);
    if sock.r#type().map_err(no_socket)? != Type::STREAM {
        return Err(invalid("the socket is not a stream socket"));
    }
    let peer = sock.peer_addr().map_err(|error| match error.kind() {
        io::ErrorKind::NotConnected => invalid("the socket is not connected"),
        _ => error,
    })?;
    let peer = match peer.as_socket() {
        Some(address) => Address::Tcp(address),
        None => Address::Unix(peer.as_pathname().map(Arc::from)),
    };
    Ok((socket, peer))
}

/// Says of a descriptor that is no socket what is wrong.
fn no_socket(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOTSOCK) => invalid("the descriptor is not a socket"),
        _ => error,
    }
}

fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&number) {
        return Err(invalid(format!(
            "the descriptor {number} was taken before; each can be used once"
        )));
    }
    if number < 0 {
        return Err(invalid("a descriptor is not negative"));
    }
    #[expect(unsafe_code, reason = "a number is all that is inherited")]
    // SAFETY: the descriptor is asked for a flag by this borrow, and duplicated if it is a standard
    // stream; if it is not open, the kernel says so, and nothing else is done with it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(borrowed).map_err(|_| {
        invalid(format!(
            "the descriptor {number} is not open; it is to be inherited from the process that \
             starts this one"
        ))
    })?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(invalid(format!(
            "the descriptor {number} was not inherited: this process has opened it itself; give \
             the number under which its parent passed the socket on"
        )));
    }
    let owned = if number < 3 {
        take_standard(number, borrowed)?
    } else {
        fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
        #[expect(unsafe_code, reason = "a number is all that is inherited")]
        // SAFETY: it is open, and nobody in this process has opened it, since it would not be
        // inherited by others then; whoever takes it here does so once.
        let owned = unsafe { OwnedFd::from_raw_fd(number) };
        owned
    };
    taken.insert(number);
    Ok(owned)
}

/// A standard stream stays open, on nothing, since the number is everybody's.
fn take_standard(number: RawFd, stream: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let owned = stream.try_clone_to_owned()?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    match number {
        0 => rustix::stdio::dup2_stdin(nothing.as_fd())?,
        1 => rustix::stdio::dup2_stdout(nothing.as_fd())?,
        _ => rustix::stdio::dup2_stderr(nothing.as_fd())?,
    }
    Ok(owned)
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}
