//! WebSockets whose messages come back: one binary message in flight on each (RFC 6455).

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};

use crate::{
    args::WebSocket,
    failure::{Failure, Trouble},
    source,
    threads::{Share, Turn, Work, may_read},
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What shows that the server has read the key: the example of section 1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// No server says more.
const LONGEST_HEAD: usize = 4096;

/// A client masks what it sends; servers unmask as they would with any key.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest payload whose length is in the second byte of a frame.
pub(crate) const LONGEST: usize = 125;

pub(crate) struct WebSockets {
    /// A message as it goes, and as it must come.
    request: Vec<u8>,
    answer: Vec<u8>,
    size: u64,
    connections: Vec<Option<Connection>>,
    alive: usize,
}

struct Connection {
    socket: TcpStream,
    written: usize,
    came: usize,
    since: u64,
}

impl WebSockets {
    pub(crate) fn connect(
        websocket: &WebSocket,
        registry: &Registry,
        share: Share,
    ) -> Result<Self, Failure> {
        let to = websocket.load.to;
        let message: Vec<u8> = (0..=u8::MAX).cycle().take(websocket.size).collect();
        let mut connections = Vec::new();
        for index in share.of(websocket.connections) {
            let mut socket = open(to, index).map_err(|error| Failure::Connect { to, error })?;
            let both = Interest::READABLE | Interest::WRITABLE;
            registry
                .register(&mut socket, Token(connections.len()), both)
                .map_err(Failure::doing("watching a connection"))?;
            connections.push(Some(Connection {
                socket,
                written: 0,
                came: 0,
                since: 0,
            }));
        }
        let length = websocket.size.min(LONGEST) as u8;
        let masked = message.iter().zip(MASK.iter().cycle());
        let masked: Vec<u8> = masked.map(|(byte, mask)| byte ^ mask).collect();
        Ok(Self {
            request: [&[0x82, 0x80 | length], &MASK[..], &masked].concat(),
            answer: [&[0x82, length], &message[..]].concat(),
            size: websocket.size as u64,
            alive: connections.len(),
            connections,
        })
    }

    fn serve(&mut self, index: usize, event: &Event, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        if event.is_writable() {
            connection.flush(&self.request)?;
        }
        if !may_read(event) {
            return Ok(());
        }
        // One message is in flight: a read that gives less than the buffer has room for is the last.
        let mut buffer = [0; LONGEST + 3];
        loop {
            let read = match connection.socket.read(&mut buffer) {
                Ok(0) => {
                    let what = "the server closed a connection that waited for a message";
                    return Err(Trouble::Lost(what.to_owned()));
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Lost(format!("reading: {error}"))),
            };
            let came = &buffer[..read];
            if !self.answer[connection.came..].starts_with(came) {
                let what = format!("{came:02x?} came, after {} bytes", connection.came);
                return Err(Trouble::Wrong(what));
            }
            connection.came += read;
            if connection.came == self.answer.len() {
                let now = turn.clock.now();
                turn.answered(now, connection.since, 1, self.size);
                connection.begin(now, &self.request)?;
                return Ok(());
            }
        }
    }
}

impl Connection {
    fn begin(&mut self, now: u64, request: &[u8]) -> Result<(), Trouble> {
        (self.since, self.written, self.came) = (now, 0, 0);
        self.flush(request)
    }

    fn flush(&mut self, request: &[u8]) -> Result<(), Trouble> {
        while self.written < request.len() {
            match self.socket.write(&request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(format!("writing: {error}"))),
            }
        }
        Ok(())
    }
}

impl Work for WebSockets {
    fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        for slot in &mut self.connections {
            if let Some(connection) = slot {
                let begun = connection.begin(turn.clock.now(), &self.request);
                if turn.is_lost(begun)? {
                    *slot = None;
                    self.alive -= 1;
                }
            }
        }
        Ok(())
    }

    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let index = event.token().0;
        let served = self.serve(index, event, turn);
        if turn.is_lost(served)? {
            self.connections[index] = None;
            self.alive -= 1;
        }
        Ok(())
    }

    fn is_alive(&self) -> bool {
        self.alive > 0
    }
}

/// Connects, and makes the handshake.
fn open(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let mut stream = source::connect(to, index)?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
        return Err(io::Error::other(format!("no WebSocket: {head}")));
    }
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}
