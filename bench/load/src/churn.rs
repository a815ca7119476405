//! A connection for each request: a fixed number of slots, in each of which one connection follows another.
//!
//! The latency of a cycle is from before the connect to the server's end of stream. After HTTP, where the server closes first,
//! this side ends with a reset (no linger), so that the server keeps no port waiting. After an echo this side closes first,
//! in order, as most clients do; its ports wait, and are taken again after a second (Linux does so on loopback), eight
//! source addresses of them.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use mio::{Interest, Token, event::Event, net::TcpStream};
use socket2::SockRef;

use crate::{
    answer::scan,
    args::{self, Request},
    failure::{Failure, Trouble},
    pattern::Pattern,
    source,
    threads::{Share, Turn, Work},
};

const MESSAGE: usize = 64;

/// An answer may be this long.
const LONGEST: usize = 64 * 1024;

/// After a connect that failed at once.
const RETRY: Duration = Duration::from_millis(10);

pub(crate) struct Churn {
    to: SocketAddr,
    request: Request,
    bytes: Vec<u8>,
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots with no connection.
    empty: VecDeque<usize>,
    /// For the sources' turn.
    connects: usize,
}

#[derive(Default)]
struct Slot {
    socket: Option<TcpStream>,
    since: u64,
    sent: usize,
    /// Kept from cycle to cycle, so that none allocates.
    answer: Vec<u8>,
    is_shut: bool,
}

impl Churn {
    pub(crate) fn new(churn: &args::Churn, share: Share) -> Self {
        let to = churn.load.to;
        let bytes = match churn.request {
            Request::Hello => {
                format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").into_bytes()
            }
            Request::Echo => Pattern::noise(MESSAGE).at(0, MESSAGE as u64).to_vec(),
        };
        let slots = share.of(churn.connections).map(|_| Slot::default());
        let slots: Vec<Slot> = slots.collect();
        Self {
            to,
            request: churn.request,
            bytes,
            buffer: vec![0; LONGEST],
            empty: (0..slots.len()).collect(),
            slots,
            connects: share.thread,
        }
    }

    /// A new connection, and its request, which the kernel takes at once if the connect needed no wait.
    fn open(&mut self, index: usize, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let slot = &mut self.slots[index];
        slot.since = turn.clock.now();
        slot.answer.clear();
        slot.is_shut = false;
        self.connects += 1;
        let socket = source::begin_connect(self.to, self.connects)
            .map_err(|error| Trouble::Lost(format!("connecting: {error}")))?;
        let socket = slot.socket.insert(socket);
        slot.sent = match socket.write(&self.bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(Trouble::Lost(format!("sending a request: {error}"))),
        };
        // Where nothing is left to write, a report that it could be is one too many.
        let interest = if slot.sent == self.bytes.len() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        turn.registry.register(socket, Token(index), interest)?;
        Ok(())
    }

    /// Whether the cycle is complete.
    fn serve(&mut self, index: usize, event: &Event) -> Result<bool, Trouble> {
        let slot = &mut self.slots[index];
        if event.is_writable() || event.is_error() {
            slot.send(&self.bytes)?;
        }
        if !event.is_readable() && !event.is_read_closed() {
            return Ok(false);
        }
        loop {
            let Some(read) = slot.receive(&mut self.buffer)? else {
                return Ok(false);
            };
            if read == 0 {
                return slot.check(self.request, &self.bytes).map(|()| true);
            }
            if self.request == Request::Echo && slot.answer.len() >= MESSAGE && !slot.is_shut {
                slot.is_shut = true;
                if let Some(socket) = &slot.socket {
                    socket.shutdown(Shutdown::Write)?;
                }
            }
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
        match served {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let slot = &mut self.slots[index];
                let now = turn.clock.now();
                turn.answered(now, slot.since, 1, slot.answer.len() as u64);
                if let Some(socket) = slot.socket.take() {
                    // A system that refuses keeps a port a little longer.
                    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                }
            }
            Err(Trouble::Lost(what)) => {
                turn.tally.error(what);
                self.slots[index].socket = None;
            }
            Err(Trouble::Wrong(what)) => return Err(Failure::Wrong(what)),
        }
        self.empty.push_back(index);
        Ok(())
    }
}

impl Work for Churn {
    fn begin(&mut self, _turn: &mut Turn<'_>) -> Result<(), Failure> {
        // Later connects that fail are counted. If the first does, there is no server.
        source::connect_ready(self.to, self.connects).map(drop)
    }

    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let index = event.token().0;
        if self.slots[index].socket.is_none() {
            return Ok(());
        }
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
        Ok(if self.empty.is_empty() {
            Duration::MAX
        } else {
            RETRY
        })
    }

    fn is_alive(&self) -> bool {
        true
    }
}

impl Slot {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        while self.sent < bytes.len() {
            match socket.write(&bytes[self.sent..]) {
                Ok(sent) => self.sent += sent,
                // Also while the connect is under way.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(format!("sending a request: {error}"))),
            }
        }
        Ok(())
    }

    /// What one read brought; `None` when nothing is there now, zero at the end of the stream.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Trouble> {
        let Some(socket) = &mut self.socket else {
            return Ok(None);
        };
        loop {
            match socket.read(buffer) {
                Ok(read) => {
                    self.answer.extend_from_slice(&buffer[..read]);
                    if self.answer.len() > LONGEST {
                        return Err(Trouble::Wrong(format!("more than {LONGEST} bytes")));
                    }
                    return Ok(Some(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(format!("reading an answer: {error}"))),
            }
        }
    }

    /// The answer, when the stream has ended.
    fn check(&self, request: Request, bytes: &[u8]) -> Result<(), Trouble> {
        let answer = &self.answer;
        let early = |what: &str| {
            let length = answer.len();
            Trouble::Lost(format!("the stream ended after {length} bytes, {what}"))
        };
        match request {
            Request::Echo if answer == bytes => Ok(()),
            Request::Echo if bytes.starts_with(answer) => Err(early("before all came back")),
            Request::Echo => Err(Trouble::Wrong("another message came back".to_owned())),
            Request::Hello => {
                let head = scan(answer).map_err(Trouble::Wrong)?;
                let head = head.ok_or_else(|| early("within the head"))?;
                let body = (answer.len() - head.length) as u64;
                match head.body {
                    Some(length) if body < length => Err(early("within the body")),
                    Some(length) if body > length => Err(Trouble::Wrong(format!(
                        "a body of {body} bytes; Content-Length says {length}"
                    ))),
                    _ => Ok(()),
                }
            }
        }
    }
}
