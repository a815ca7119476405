//! A connection over descriptors that are no socket: pipes, a terminal, files.
//!
//! One is read and another one written; both may be duplicates of one terminal. A pipe whose other
//! end is closed, and a terminal whose programs are gone, read as ended.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;

use super::flag;

pub(super) struct Pipes {
    read: Option<OwnedFd>,
    write: Option<OwnedFd>,
    /// It is a terminal that nobody has open at its other side.
    hung_up: Cell<bool>,
}

impl Pipes {
    /// With the flags that its socket starts with.
    pub(super) fn open(read: Option<OwnedFd>, write: Option<OwnedFd>) -> (Self, u16) {
        let mut flags = flag::READING | flag::PIPES | flag::ASKED;
        if read.is_none() {
            flags |= flag::READ_END;
        }
        let hung_up = Cell::new(false);
        let pipes = Self {
            read,
            write,
            hung_up,
        };
        (pipes, flags)
    }

    /// Asks for what happens to both. Whether the kernel will say when it can be read: of a file
    /// it does not, which can always be.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<bool> {
        let register = |descriptor: &Option<OwnedFd>, interest| match descriptor {
            None => Ok(false),
            Some(descriptor) => {
                let raw = descriptor.as_raw_fd();
                match registry.register(&mut SourceFd(&raw), token, interest) {
                    Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => Ok(false),
                    other => other.map(|()| true),
                }
            }
        };
        let is_watched = register(&self.read, Interest::READABLE)?;
        register(&self.write, Interest::WRITABLE)?;
        Ok(is_watched)
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(read) = &self.read else {
            return Ok(0);
        };
        match rustix::io::read(read, buffer) {
            // What a terminal says when nobody has its other side open any more.
            Err(Errno::IO) if rustix::termios::isatty(read) => {
                self.hung_up.set(true);
                Ok(0)
            }
            other => Ok(other?),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.hung_up.get() {
            // A terminal that is full would say "not yet" for ever, and at once that it may be
            // written to again.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let write = self.write.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(rustix::io::write(write, bytes)?)
    }

    /// What the kernel reports when nobody reads what is written. It matters at once where nothing
    /// else is to happen; otherwise the next write finds it.
    pub(super) fn error(&self) -> Option<io::Error> {
        (self.read.is_none() && self.write.is_some()).then(|| io::ErrorKind::BrokenPipe.into())
    }

    pub(super) fn close_write(&mut self, registry: &Registry) {
        if let Some(write) = self.write.take() {
            // Where it was not registered, there is nothing to end.
            let _ = registry.deregister(&mut SourceFd(&write.as_raw_fd()));
            // A socket may have duplicates elsewhere; what is none need not be told.
            let _ = rustix::net::shutdown(&write, rustix::net::Shutdown::Write);
        }
    }
}
