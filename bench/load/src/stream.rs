//! A connection whose bytes come back: what is to be written and what must be read are positions in a pattern.

use std::io::{self, Read, Write};

use mio::{Interest, Registry, Token, net::TcpStream};

use crate::{
    failure::{Failure, Trouble},
    pattern::Pattern,
};

pub(crate) struct Stream {
    socket: TcpStream,
    /// Where in the pattern it began: each elsewhere, so that a mix-up of connections shows.
    origin: u64,
    /// Bytes that are to be written in all.
    pub(crate) wanted: u64,
    written: u64,
    /// Bytes that came back, and were compared.
    pub(crate) came_back: u64,
}

impl Stream {
    pub(crate) fn new(
        mut socket: TcpStream,
        origin: u64,
        registry: &Registry,
        token: usize,
    ) -> Result<Self, Failure> {
        registry
            .register(
                &mut socket,
                Token(token),
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(Failure::doing("watching a connection"))?;
        Ok(Self {
            socket,
            origin,
            wanted: 0,
            written: 0,
            came_back: 0,
        })
    }

    /// Writes what is wanted, as far as the kernel takes it; the rest when it says `writable`.
    pub(crate) fn flush(&mut self, pattern: &Pattern) -> Result<(), Trouble> {
        while self.written < self.wanted {
            let piece = pattern.at(self.origin + self.written, self.wanted - self.written);
            match self.socket.write(piece) {
                Ok(written) => {
                    self.written += written as u64;
                    if written < piece.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(format!("writing: {error}"))),
            }
        }
        Ok(())
    }

    /// Reads once, and compares. Zero: nothing is there now.
    pub(crate) fn receive(
        &mut self,
        pattern: &Pattern,
        buffer: &mut [u8],
    ) -> Result<usize, Trouble> {
        let read = loop {
            match self.socket.read(buffer) {
                Ok(0) => {
                    let missing = self.written - self.came_back;
                    return Err(Trouble::Lost(format!(
                        "the server closed a connection that waited for {missing} bytes"
                    )));
                }
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(format!("reading: {error}"))),
            }
        };
        if self.came_back + read as u64 > self.written {
            return Err(Trouble::Wrong(format!(
                "{} bytes came back of {} that went",
                self.came_back + read as u64,
                self.written
            )));
        }
        pattern
            .check(self.origin + self.came_back, &buffer[..read])
            .map_err(Trouble::Wrong)?;
        self.came_back += read as u64;
        Ok(read)
    }
}
