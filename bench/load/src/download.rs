//! GETs of one path, one after another on each kept connection.
//!
//! A server may end a connection after so many answers if it says so: then the next request goes over a new
//! one, and its latency has the connect in it.

use std::{
    io::{self, Read, Write},
    mem,
    net::SocketAddr,
    os::fd::AsRawFd,
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};

use crate::{
    answer::{self, scan},
    args,
    failure::{Failure, Trouble},
    source,
    threads::{Share, Turn, Work, may_read},
};

const READ: usize = 1 << 18;

/// A discard writes nothing to the buffer, but takes no more than it could hold.
const DISCARD: usize = 1 << 20;

pub(crate) struct Download {
    to: SocketAddr,
    request: Vec<u8>,
    discard: bool,
    buffer: Vec<u8>,
    connections: Vec<Option<Connection>>,
    alive: usize,
    reconnects: u64,
}

struct Connection {
    socket: TcpStream,
    since: u64,
    sent: usize,
    /// What came of a head that is not whole.
    head: Vec<u8>,
    /// The length of the body, and what is missing of it; `None` before the head.
    body: Option<(u64, u64)>,
    /// This answer is the last one here.
    closes: bool,
}

impl Download {
    pub(crate) fn connect(
        download: &args::Download,
        registry: &Registry,
        share: Share,
    ) -> Result<Self, Failure> {
        let (to, path) = (download.load.to, &download.path);
        let mut connections = Vec::new();
        for index in share.of(download.connections) {
            let mut socket = source::connect_ready(to, index)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            registry
                .register(&mut socket, Token(connections.len()), both)
                .map_err(Failure::doing("watching a connection"))?;
            connections.push(Some(Connection {
                socket,
                since: 0,
                sent: 0,
                head: Vec::with_capacity(answer::LONGEST),
                body: None,
                closes: false,
            }));
        }
        Ok(Self {
            to,
            request: format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes(),
            discard: download.body.discard,
            buffer: vec![0; DISCARD],
            alive: connections.len(),
            connections,
            reconnects: 0,
        })
    }

    fn serve(&mut self, index: usize, event: &Event, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        if event.is_writable() {
            connection.send(&self.request)?;
        }
        if !may_read(event) {
            return Ok(());
        }
        loop {
            let Some((read, asked)) = connection.receive(&mut self.buffer, self.discard)? else {
                return Ok(());
            };
            if let Some((length, 0)) = connection.body {
                let now = turn.clock.now();
                turn.answered(now, connection.since, 1, length);
                if mem::take(&mut connection.closes) {
                    self.reconnects += 1;
                    connection.socket = source::begin_connect(self.to, index)?;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    let socket = &mut connection.socket;
                    turn.registry.register(socket, Token(index), both)?;
                    connection.begin(now);
                    return connection.send(&self.request);
                }
                connection.begin(now);
                connection.send(&self.request)?;
                // The answer to come is another event.
                if !event.is_read_closed() {
                    return Ok(());
                }
            } else if read < asked && !event.is_read_closed() {
                return Ok(());
            }
        }
    }

    fn settle(
        &mut self,
        index: usize,
        served: Result<(), Trouble>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Failure> {
        if turn.is_lost(served)? {
            self.connections[index] = None;
            self.alive -= 1;
        }
        Ok(())
    }
}

impl Work for Download {
    fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        for index in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[index] else {
                continue;
            };
            connection.begin(turn.clock.now());
            let sent = connection.send(&self.request);
            self.settle(index, sent, turn)?;
        }
        Ok(())
    }

    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let index = event.token().0;
        let served = self.serve(index, event, turn);
        self.settle(index, served, turn)
    }

    fn is_alive(&self) -> bool {
        self.alive > 0
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        turn.tally.reconnects = Some(self.reconnects);
    }
}

impl Connection {
    /// A new request is to be sent.
    fn begin(&mut self, now: u64) {
        self.since = now;
        self.sent = 0;
        self.head.clear();
        self.body = None;
    }

    fn send(&mut self, request: &[u8]) -> Result<(), Trouble> {
        while self.sent < request.len() {
            match self.socket.write(&request[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(format!("sending a request: {error}"))),
            }
        }
        Ok(())
    }

    /// One read: how much came, and how much could have. `None` when nothing is there now.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        discard: bool,
    ) -> Result<Option<(usize, usize)>, Trouble> {
        let discarded = match self.body {
            Some((_, left)) if discard => left.min(buffer.len() as u64) as usize,
            _ => 0,
        };
        let asked = match (discarded, self.body) {
            (0, None) if discard => answer::LONGEST,
            (0, _) => READ,
            (discarded, _) => discarded,
        };
        let buffer = &mut buffer[..asked];
        let read = loop {
            let read = if discarded > 0 {
                recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC).map_err(Errno::into)
            } else {
                self.socket.read(buffer)
            };
            match read {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(format!("reading an answer: {error}"))),
            }
        };
        if read == 0 {
            return Err(Trouble::Lost(match self.body {
                Some((_, left)) => format!("a body ended {left} bytes early"),
                None => "the server closed a connection that waited for an answer".to_owned(),
            }));
        }
        let came = if self.body.is_some() {
            read as u64
        } else {
            self.read_head(&buffer[..read])?
        };
        if let Some((length, left)) = &mut self.body {
            *left = left.checked_sub(came).ok_or_else(|| {
                Trouble::Wrong(format!("more came than the {length} bytes of the body"))
            })?;
        }
        Ok(Some((read, asked)))
    }

    /// Looks for the head's end; the answer is how much of the body came after it.
    fn read_head(&mut self, came: &[u8]) -> Result<u64, Trouble> {
        let whole = if self.head.is_empty() {
            came
        } else {
            self.head.extend_from_slice(came);
            &self.head
        };
        let Some(head) = scan(whole).map_err(Trouble::Wrong)? else {
            if self.head.is_empty() {
                self.head.extend_from_slice(came);
            }
            return Ok(0);
        };
        let length = head.body.ok_or_else(|| {
            Trouble::Wrong("an answer with no Content-Length; serve a file of known size".into())
        })?;
        self.body = Some((length, length));
        self.closes = head.closes;
        Ok((whole.len() - head.length) as u64)
    }
}
