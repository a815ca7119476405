//! A TLS connection for each request: a fixed number of slots, in each of which one connection follows another.
//!
//! The latency of a cycle is from before the connect to the server's close_notify: a handshake, a GET, its short answer.
//! With resumption the first handshake of a slot is a full one, which is not counted, and each after it must be resumed
//! by what the one before was given. The server closes first; this side ends with a reset, as in `churn`, and at once: there
//! are servers that would wait for a close_notify in return.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use mio::{Interest, Token, event::Event, net::TcpStream};
use rustls::ClientConnection;
use socket2::SockRef;

use crate::{
    answer::scan,
    args,
    failure::{Failure, Trouble},
    source,
    threads::{Share, Turn, Work, may_read},
    tls::{self, Settings},
};

/// The body that is owed.
const HELLO: &[u8] = b"Hello, World!";

/// An answer may be this long.
const LONGEST: usize = 64 * 1024;

/// After a connect that failed at once.
const RETRY: Duration = Duration::from_millis(10);

pub(crate) struct Handshakes {
    to: SocketAddr,
    request: Vec<u8>,
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots with no connection.
    empty: VecDeque<usize>,
    /// For the sources' turn.
    connects: usize,
}

struct Slot {
    settings: Settings,
    connection: Option<(TcpStream, ClientConnection)>,
    since: u64,
    resumes: bool,
    /// What the next connection must do.
    is_to_resume: bool,
    answer: Vec<u8>,
}

impl Handshakes {
    pub(crate) fn new(handshake: &args::Handshake, share: Share) -> Result<Self, Failure> {
        let to = handshake.load.to;
        let settings = Settings::new(&handshake.certificate)?;
        let slots = share.of(handshake.connections).map(|_| Slot {
            settings: settings.resuming(handshake.resume),
            connection: None,
            since: 0,
            resumes: handshake.resume,
            is_to_resume: false,
            answer: Vec::new(),
        });
        let slots: Vec<Slot> = slots.collect();
        let head = format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        Ok(Self {
            to,
            request: head.into_bytes(),
            buffer: vec![0; LONGEST],
            empty: (0..slots.len()).collect(),
            slots,
            connects: share.thread,
        })
    }

    /// A new connection, and the first message of its handshake. The request waits in rustls, and goes with the last one.
    fn open(&mut self, index: usize, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let slot = &mut self.slots[index];
        slot.since = turn.clock.now();
        slot.answer.clear();
        self.connects += 1;
        let mut socket = source::begin_connect(self.to, self.connects)
            .map_err(|error| Trouble::Lost(format!("connecting: {error}")))?;
        let mut tls = slot.settings.connection()?;
        tls.writer().write_all(&self.request)?;
        tls::flush(&mut tls, &mut socket)?;
        // Where nothing is left to write, a report that it could be is one too many.
        let interest = match tls.wants_write() {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        let (socket, _) = slot.connection.insert((socket, tls));
        turn.registry.register(socket, Token(index), interest)?;
        Ok(())
    }

    /// Whether the cycle is complete.
    fn serve(&mut self, index: usize, event: &Event) -> Result<bool, Trouble> {
        let slot = &mut self.slots[index];
        let Some((socket, tls)) = &mut slot.connection else {
            return Ok(false);
        };
        if event.is_writable() || event.is_error() {
            tls::flush(tls, socket)?;
        }
        if !may_read(event) {
            return Ok(false);
        }
        loop {
            let read = match socket.read(&mut self.buffer) {
                Ok(0) => {
                    let what = "the stream ended without a close_notify";
                    return Err(Trouble::Lost(what.to_owned()));
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Lost(format!("reading: {error}"))),
            };
            let was_handshaking = tls.is_handshaking();
            let answer = &mut slot.answer;
            let is_over = tls::decrypt(tls, &self.buffer[..read], |plain| {
                answer.extend_from_slice(plain);
                match answer.len() > LONGEST {
                    true => Err(Trouble::Wrong(format!("more than {LONGEST} bytes"))),
                    false => Ok(()),
                }
            })?;
            if was_handshaking && !tls.is_handshaking() {
                tls::check(tls, slot.is_to_resume)?;
            }
            if is_over {
                return slot.check().map(|()| true);
            }
            tls::flush(tls, socket)?;
            if read < self.buffer.len() && !event.is_read_closed() {
                return Ok(false);
            }
        }
    }

    /// Counts the end of a connection, and begins the next.
    fn settle(
        &mut self,
        index: usize,
        served: Result<bool, Trouble>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Failure> {
        let slot = &mut self.slots[index];
        match served {
            Ok(false) => return Ok(()),
            Ok(true) => {
                if slot.is_to_resume == slot.resumes {
                    let bytes = slot.answer.len() as u64;
                    turn.answered(turn.clock.now(), slot.since, 1, bytes);
                }
                slot.is_to_resume = slot.resumes;
                if let Some((socket, _)) = slot.connection.take() {
                    // A system that refuses keeps a port a little longer.
                    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                }
            }
            Err(Trouble::Lost(what)) => {
                turn.tally.error(what);
                slot.connection = None;
                // What it was to resume by is used up.
                slot.is_to_resume = false;
            }
            Err(Trouble::Wrong(what)) => return Err(Failure::Wrong(what)),
        }
        self.empty.push_back(index);
        Ok(())
    }
}

impl Work for Handshakes {
    fn begin(&mut self, _: &mut Turn<'_>) -> Result<(), Failure> {
        // Later connects that fail are counted. If the first does, there is no server.
        source::connect_ready(self.to, self.connects).map(drop)
    }

    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let index = event.token().0;
        let served = self.serve(index, event);
        self.settle(index, served, turn)
    }

    fn due(&mut self, turn: &mut Turn<'_>) -> Result<Duration, Failure> {
        for _ in 0..self.empty.len() {
            let Some(index) = self.empty.pop_front() else {
                break;
            };
            let opened = self.open(index, turn).map(|()| false);
            self.settle(index, opened, turn)?;
        }
        Ok(match self.empty.is_empty() {
            true => Duration::MAX,
            false => RETRY,
        })
    }

    fn is_alive(&self) -> bool {
        true
    }
}

impl Slot {
    /// The answer, when it has ended.
    fn check(&self) -> Result<(), Trouble> {
        let length = self.answer.len();
        let early = || {
            Trouble::Lost(format!(
                "the stream ended after {length} bytes of an answer"
            ))
        };
        let head = scan(&self.answer).map_err(Trouble::Wrong)?;
        let head = head.ok_or_else(early)?;
        let body = &self.answer[head.length..];
        if body == HELLO {
            return Ok(());
        }
        if HELLO.starts_with(body) {
            return Err(early());
        }
        let body = String::from_utf8_lossy(body);
        Err(Trouble::Wrong(format!("a body of {body:?}")))
    }
}
