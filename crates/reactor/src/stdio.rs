//! The standard input and output of this process, as what a connection stands on.
//!
//! They are shared with others: the shell has the same terminal, and what is set to not block
//! there does not block for the shell. So a terminal or a pipe is opened anew, through `/proc`,
//! which leaves the one of the others as it is. Where that cannot be, it is set back in the end.

use std::any::Any;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use ropewalk_core::endpoint::Descriptor;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat};

use crate::inherited;

/// What a connection over the standard streams is made of.
pub(crate) struct Stdio {
    pub(crate) streams: Streams,
    /// Sets back what was changed, when it is dropped.
    pub(crate) restore: Box<dyn Any>,
}

pub(crate) enum Streams {
    /// Both are one socket.
    Socket(OwnedFd),
    Pair {
        read: OwnedFd,
        write: OwnedFd,
    },
}

/// How a connection over them is called.
pub(crate) const NAME: &str = "stdio";

/// Takes both away from the process: what reads or writes them from now on finds `/dev/null`.
pub(crate) fn take() -> io::Result<Stdio> {
    let read = inherited::take(&Descriptor::Inherited(0))?;
    let write = inherited::take(&Descriptor::Inherited(1))?;
    if is_socket(&read)? && is_same(&read, &write)? {
        let restore = Restore::unblock(&read, fcntl_getfl(&read)?)?;
        return Ok(Stdio {
            streams: Streams::Socket(read),
            restore: Box::new(restore),
        });
    }
    pair(read, write)
}

/// Both, which may be one and the same.
fn pair(read: OwnedFd, write: OwnedFd) -> io::Result<Stdio> {
    // Of both before either is changed.
    let flags = (fcntl_getfl(&read)?, fcntl_getfl(&write)?);
    let (read, restore_read) = unblocked(read, OFlags::RDONLY, flags.0)?;
    let (write, restore_write) = unblocked(write, OFlags::WRONLY, flags.1)?;
    Ok(Stdio {
        streams: Streams::Pair { read, write },
        restore: Box::new((restore_read, restore_write)),
    })
}

/// The same thing, which does not block. `before` are the flags that it has in the end.
fn unblocked(
    stream: OwnedFd,
    way: OFlags,
    before: OFlags,
) -> io::Result<(OwnedFd, Option<Restore>)> {
    let kind = FileType::from_raw_mode(fstat(&stream)?.st_mode);
    let is_terminal = rustix::termios::isatty(&stream);
    match kind {
        FileType::Fifo | FileType::Socket => {}
        _ if is_terminal => {}
        // A file and the like never block for long.
        _ => return Ok((stream, None)),
    }
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = way | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => Ok((opened, None)),
        // A socket cannot be opened, and someone else's terminal may not be.
        Err(_) => {
            let restore = Restore::unblock(&stream, before)?;
            // A pipe is not set back: whoever keeps it for that keeps it from being closed.
            Ok((stream, (kind != FileType::Fifo).then_some(restore)))
        }
    }
}

/// Sets the flags back that were there before.
struct Restore {
    stream: OwnedFd,
    flags: OFlags,
}

impl Restore {
    fn unblock(stream: &OwnedFd, flags: OFlags) -> io::Result<Self> {
        fcntl_setfl(stream, flags | OFlags::NONBLOCK)?;
        Ok(Self {
            stream: stream.try_clone()?,
            flags,
        })
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // It fails only on what is no descriptor any more.
        let _ = fcntl_setfl(&self.stream, self.flags);
    }
}

fn is_socket(stream: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(stream)?.st_mode) == FileType::Socket)
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_flags_of_two_that_are_one_are_set_back() {
        // A socket cannot be opened anew, as someone else's terminal cannot.
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let ours = OwnedFd::from(ours);
        let before = fcntl_getfl(&ours).unwrap();
        let taken = pair(ours.try_clone().unwrap(), ours.try_clone().unwrap()).unwrap();
        assert!(fcntl_getfl(&ours).unwrap().contains(OFlags::NONBLOCK));
        drop(taken);
        assert_eq!(fcntl_getfl(&ours).unwrap(), before);
    }
}
