//! GETs of one path over kept connections of TLS, two in flight on each, so that a server never waits for the next.
//!
//! Each byte of each body is decrypted and compared with the file that it must be. That takes as long as the server takes
//! to encrypt it: where the generator has no more cores than the server, it is the limit.

use std::{
    fs,
    io::{self, Read, Write},
    sync::Arc,
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};
use rustls::ClientConnection;

use crate::{
    answer::{self, scan},
    args,
    failure::{Failure, Trouble},
    source,
    threads::{Share, Turn, Work, may_read},
    tls::{self, Settings},
};

/// What is taken from a socket at once.
const READ: usize = 1 << 18;

pub(crate) struct Bulk {
    request: Vec<u8>,
    body: Arc<[u8]>,
    buffer: Vec<u8>,
    connections: Vec<Option<Connection>>,
    alive: usize,
}

struct Connection {
    socket: TcpStream,
    tls: ClientConnection,
    incoming: Incoming,
}

/// The answer that is coming.
struct Incoming {
    since: u64,
    /// What came of a head that is not whole.
    head: Vec<u8>,
    /// What came of the body; `None` before the head is whole.
    came: Option<usize>,
}

impl Bulk {
    pub(crate) fn connect(
        bulk: &args::Bulk,
        registry: &Registry,
        share: Share,
    ) -> Result<Self, Failure> {
        let (to, path) = (bulk.load.to, &bulk.path);
        let body = fs::read(&bulk.body).map_err(Failure::doing("reading what must come"))?;
        let settings = Settings::new(&bulk.certificate)?;
        let mut connections = Vec::new();
        for index in share.of(bulk.connections) {
            let error = |error| Failure::Connect { to, error };
            let mut stream = source::connect(to, index).map_err(error)?;
            let tls = tls::shake(&settings, &mut stream).map_err(|trouble| match trouble {
                Trouble::Lost(what) => error(io::Error::other(what)),
                Trouble::Wrong(what) => Failure::Wrong(what),
            })?;
            stream.set_nonblocking(true).map_err(error)?;
            let mut socket = TcpStream::from_std(stream);
            let both = Interest::READABLE | Interest::WRITABLE;
            registry
                .register(&mut socket, Token(connections.len()), both)
                .map_err(Failure::doing("watching a connection"))?;
            connections.push(Some(Connection {
                socket,
                tls,
                incoming: Incoming {
                    since: 0,
                    head: Vec::with_capacity(answer::LONGEST),
                    came: None,
                },
            }));
        }
        Ok(Self {
            request: format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes(),
            body: body.into(),
            buffer: vec![0; READ],
            alive: connections.len(),
            connections,
        })
    }

    fn serve(&mut self, index: usize, event: &Event, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        let Connection {
            socket,
            tls,
            incoming,
        } = connection;
        if event.is_writable() {
            tls::flush(tls, socket)?;
        }
        if !may_read(event) {
            return Ok(());
        }
        loop {
            let read = match socket.read(&mut self.buffer) {
                Ok(0) => return Err(closed()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Lost(format!("reading: {error}"))),
            };
            let mut whole = 0;
            let is_over = tls::decrypt(tls, &self.buffer[..read], |mut plain| {
                while !plain.is_empty() {
                    let taken = incoming.take(plain, &self.body)?;
                    plain = &plain[taken..];
                    if incoming.came == Some(self.body.len()) {
                        let now = turn.clock.now();
                        turn.answered(now, incoming.since, 1, self.body.len() as u64);
                        incoming.begin(now);
                        whole += 1;
                    }
                }
                Ok(())
            })?;
            if is_over {
                return Err(closed());
            }
            for _ in 0..whole {
                tls.writer().write_all(&self.request)?;
            }
            // Where the server has renewed its keys, that is answered too.
            tls::flush(tls, socket)?;
            if read < self.buffer.len() && !event.is_read_closed() {
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

fn closed() -> Trouble {
    Trouble::Lost("the server closed a connection that waited for an answer".to_owned())
}

impl Work for Bulk {
    fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        for index in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[index] else {
                continue;
            };
            connection.incoming.begin(turn.clock.now());
            let sent = connection.ask(&self.request);
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
}

impl Connection {
    /// For the first answer, and for the one that follows it.
    fn ask(&mut self, request: &[u8]) -> Result<(), Trouble> {
        self.tls.writer().write_all(request)?;
        self.tls.writer().write_all(request)?;
        tls::flush(&mut self.tls, &mut self.socket)
    }
}

impl Incoming {
    /// The next answer is owed.
    fn begin(&mut self, now: u64) {
        self.since = now;
        self.head.clear();
        self.came = None;
    }

    /// Takes what is this answer's from the start of `plain`, and says how much that is.
    fn take(&mut self, plain: &[u8], body: &[u8]) -> Result<usize, Trouble> {
        let Some(came) = &mut self.came else {
            return self.take_head(plain, body.len());
        };
        let taken = plain.len().min(body.len() - *came);
        let must = &body[*came..*came + taken];
        if plain[..taken] != *must {
            let equal = must.iter().zip(plain).take_while(|(a, b)| a == b).count();
            let at = *came + equal;
            return Err(Trouble::Wrong(format!("byte {at} of a body is another")));
        }
        *came += taken;
        Ok(taken)
    }

    fn take_head(&mut self, plain: &[u8], length: usize) -> Result<usize, Trouble> {
        let before = self.head.len();
        let room = answer::LONGEST - before;
        self.head.extend_from_slice(&plain[..plain.len().min(room)]);
        let Some(head) = scan(&self.head).map_err(Trouble::Wrong)? else {
            return Ok(plain.len());
        };
        if head.body != Some(length as u64) {
            let what = format!("a Content-Length of {:?}, not {length}", head.body);
            return Err(Trouble::Wrong(what));
        }
        self.came = Some(0);
        Ok(head.length - before)
    }
}
