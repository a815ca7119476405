//! The three protocols, and what a client says and hears on each.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use http::{Request, Response};
use ropewalk::web::{Body, Site, handler_fn};
use ropewalk::{Address, Factory, Protocol, Reactor, Transport};

/// Sends back what comes.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Answers `get N` with N letters and a line end, and `bye` with an end.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn line(transport: &mut Transport, line: &str) {
        match line.strip_prefix("get ").map(str::parse) {
            Some(Ok(count)) => {
                transport.write(&vec![b'x'; count]);
                transport.write(b"\n");
            }
            _ if line == "bye" => transport.lose_connection(),
            _ => transport.write(b"what?\n"),
        }
    }
}

impl Protocol for Lines {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.0.extend_from_slice(data);
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            Self::line(transport, String::from_utf8_lossy(&line).trim_end());
        }
    }
}

/// One of the three protocols.
pub(crate) struct Spoken {
    pub(crate) name: &'static str,
    factory: fn() -> Rc<dyn Factory>,
    /// What is to be sent so that so many bytes are received, and how many these are in all.
    pub(crate) ask: fn(usize) -> (Vec<u8>, usize),
}

pub(crate) const ALL: [Spoken; 3] = [
    Spoken {
        name: "echo",
        factory: || Rc::new(|_: &Address| Echo),
        ask: |count| (vec![b'e'; count], count),
    },
    Spoken {
        name: "lines",
        factory: || Rc::new(|_: &Address| Lines::default()),
        ask: |count| (format!("get {count}\n").into_bytes(), count + 1),
    },
    Spoken {
        name: "HTTP",
        factory: || {
            Rc::new(Site::new(handler_fn(|request: Request<Body>| {
                let count: usize = request.uri().path()[1..].parse().unwrap_or(0);
                Response::new(Body::from(vec![b'h'; count]))
            })))
        },
        ask: |count| {
            let request = format!("GET /{count} HTTP/1.1\r\nHost: example.com\r\n\r\n");
            // Less than the head is never sent.
            (request.into_bytes(), count)
        },
    },
];

impl Spoken {
    /// Serves it within `wrap`, while `client` runs on another thread with the address.
    pub(crate) fn serve<T: Send + 'static>(
        &self,
        wrap: impl FnOnce(Rc<dyn Factory>, &Reactor) -> Rc<dyn Factory>,
        client: impl FnOnce(SocketAddr) -> T + Send + 'static,
    ) -> T {
        let reactor = Reactor::new().unwrap();
        let factory = wrap((self.factory)(), &reactor);
        let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
        let port = reactor.listen(&endpoint, factory).unwrap();
        let address = port.address().socket_addr().unwrap();
        let remote = reactor.remote();
        let thread = std::thread::spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| client(address)));
            remote.call_from_thread(|reactor| reactor.stop());
            result
        });
        reactor.run().unwrap();
        let result = thread.join().unwrap();
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

/// A peer that blocks.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    ask: fn(usize) -> (Vec<u8>, usize),
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr, ask: fn(usize) -> (Vec<u8>, usize)) -> Self {
        Self::on(TcpStream::connect(address).unwrap(), ask)
    }

    pub(crate) fn on(stream: TcpStream, ask: fn(usize) -> (Vec<u8>, usize)) -> Self {
        Self { stream, ask }
    }

    /// Asks for so many bytes.
    pub(crate) fn ask(&mut self, count: usize) {
        let (request, _) = (self.ask)(count);
        self.stream.write_all(&request).unwrap();
    }

    /// Asks for so many bytes, and reads as many. (HTTP sends its head too.)
    pub(crate) fn exchange(&mut self, count: usize) {
        self.ask(count);
        let (_, expected) = (self.ask)(count);
        let mut bytes = vec![0; expected];
        self.stream.read_exact(&mut bytes).unwrap();
    }

    /// All that comes until the end. A reset is an end too.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// Whether it was let in: it gets an answer.
    pub(crate) fn is_served(&mut self) -> bool {
        let (request, _) = (self.ask)(10);
        self.stream.write_all(&request).is_ok() && matches!(self.stream.read(&mut [0; 10]), Ok(1..))
    }

    pub(crate) fn close_write(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}
