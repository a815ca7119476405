//! Our receivers against Twisted's own, over real sockets, as servers and as clients: frames of
//! all lengths come back as they were sent, and one that is too long ends the connection. And our
//! datagrams against Twisted's.
//!
//! Twisted is looked for in `target/twisted`, where CONTRIBUTING.md puts it. Without it these say
//! so in one line; with `CI=true` they fail.

mod datagrams;

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use ropewalk::framing::{
    DecodeError, FrameTransport, Int8StringReceiver, Int16StringReceiver, Int32StringReceiver,
    LineProtocol, LineReceiver, LineTransport, NetstringReceiver, StringProtocol,
};
use ropewalk::{Address, Factory, Failure, Protocol, Reactor, ReactorRemote};

/// Twisted's Python, with this script.
fn twisted(script: &str) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python: PathBuf = root.join("target/twisted/bin/python");
    if !python.is_file() {
        let message = "Twisted is missing: what it would test is not tested (CONTRIBUTING.md says how to get it)";
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{message}"
        );
        eprintln!("{message}");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(root.join("crates/ropewalk/tests/twisted").join(script));
    Some(command)
}

/// Sends back each frame, and counts them and those that were too long.
#[derive(Clone, Default)]
struct Echo {
    frames: Rc<Cell<usize>>,
    refused: Rc<Cell<usize>>,
}

impl Echo {
    fn received(&self) {
        self.frames.set(self.frames.get() + 1);
    }

    fn lost(&self, reason: &Failure) {
        let refused = matches!(reason.check(), Some(DecodeError::TooLong { .. }));
        self.refused.set(self.refused.get() + usize::from(refused));
    }
}

impl LineProtocol for Echo {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        self.received();
        transport.send_line(line);
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.lost(&reason);
    }
}

impl StringProtocol for Echo {
    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        self.received();
        transport.send_string(string);
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.lost(&reason);
    }
}

/// Twisted's client connects to what `protocol` makes, and sends so many frames that are answered
/// and so many that are too long.
fn serve<P: Protocol>(kind: &str, frames: usize, refused: usize, protocol: fn(Echo) -> P) {
    let Some(mut client) = twisted("peer.py") else {
        return;
    };
    let echo = Echo::default();
    let reactor = Reactor::new().unwrap();
    let shared = echo.clone();
    let factory: Rc<dyn Factory> = Rc::new(move |_: &Address| protocol(shared.clone()));
    let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
    let port = reactor.listen(&endpoint, factory).unwrap();
    let number = port.address().socket_addr().unwrap().port();
    let mut client = client
        .args([kind, "connect", &number.to_string()])
        .spawn()
        .unwrap();
    let remote = reactor.remote();
    let waiter = std::thread::spawn(move || {
        let status = client.wait();
        remote.call_from_thread(|reactor| reactor.stop());
        status
    });
    reactor.run().unwrap();
    let status = waiter.join().unwrap().unwrap();
    assert!(status.success(), "{kind}: {status}");
    assert_eq!(
        (echo.frames.get(), echo.refused.get()),
        (frames, refused),
        "{kind}"
    );
}

/// Sends frames of these lengths, wants each back, and then sends one that Twisted takes for too
/// long, or closes if the format has no such one.
struct Client {
    lengths: &'static [usize],
    too_long: Option<usize>,
    back: Rc<Cell<usize>>,
    remote: ReactorRemote,
}

enum Next {
    Wait,
    Send(Vec<u8>),
    Close,
}

fn frame(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7) as u8).collect()
}

impl Client {
    fn received(&mut self, received: &[u8]) -> Next {
        let back = self.back.get();
        assert!(received == frame(self.lengths[back]), "frame {back}");
        self.back.set(back + 1);
        if back + 1 < self.lengths.len() {
            return Next::Wait;
        }
        match self.too_long {
            Some(length) => Next::Send(frame(length)),
            None => Next::Close,
        }
    }

    fn lost(&self) {
        self.remote.call_from_thread(|reactor| reactor.stop());
    }
}

impl LineProtocol for Client {
    fn connection_made(&mut self, transport: &mut LineTransport<'_>) {
        for length in self.lengths {
            transport.send_line(&frame(*length));
        }
    }
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        match self.received(line) {
            Next::Wait => {}
            Next::Send(line) => transport.send_line(&line),
            Next::Close => transport.lose_connection(),
        }
    }
    fn connection_lost(&mut self, _: Failure) {
        self.lost();
    }
}

impl StringProtocol for Client {
    fn connection_made(&mut self, transport: &mut FrameTransport<'_>) {
        for length in self.lengths {
            transport.send_string(&frame(*length));
        }
    }
    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        match self.received(string) {
            Next::Wait => {}
            Next::Send(string) => transport.send_string(&string),
            Next::Close => transport.lose_connection(),
        }
    }
    fn connection_lost(&mut self, _: Failure) {
        self.lost();
    }
}

/// What `protocol` makes connects to Twisted's server.
fn connect<P: Protocol>(
    kind: &str,
    lengths: &'static [usize],
    too_long: Option<usize>,
    protocol: fn(Client) -> P,
) {
    let Some(mut server) = twisted("peer.py") else {
        return;
    };
    let server = server.args([kind, "serve"]).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut port = String::new();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    output.read_line(&mut port).unwrap();
    let reactor = Reactor::new().unwrap();
    let (back, remote) = (Rc::new(Cell::new(0)), reactor.remote());
    let counted = Rc::clone(&back);
    let factory = Rc::new(move |_: &Address| {
        protocol(Client {
            lengths,
            too_long,
            back: Rc::clone(&counted),
            remote: remote.clone(),
        })
    });
    let endpoint = format!("tcp:127.0.0.1:{}", port.trim()).parse().unwrap();
    let connected = reactor.connect(&endpoint, factory);
    drop(connected.add_errback(|failure| -> Result<_, Failure> { panic!("{failure}") }));
    reactor.run().unwrap();
    assert_eq!(back.get(), lengths.len(), "{kind}");
    let status = server.wait().unwrap();
    assert!(status.success(), "{kind}: {status}");
}

#[test]
fn our_servers_answer_twisteds_clients() {
    serve("line", 6, 1, LineReceiver::new);
    serve("netstring", 6, 1, NetstringReceiver::new);
    serve("int8", 4, 0, Int8StringReceiver::new);
    serve("int16", 5, 0, Int16StringReceiver::new);
    serve("int32", 6, 1, Int32StringReceiver::new);
}

#[test]
fn twisteds_servers_answer_our_clients() {
    connect("line", &[0, 1, 1000, 16384], Some(16385), LineReceiver::new);
    connect(
        "netstring",
        &[0, 1, 9, 10, 1000, 99_999],
        Some(100_000),
        NetstringReceiver::new,
    );
    connect("int8", &[0, 1, 254, 255], None, Int8StringReceiver::new);
    connect(
        "int16",
        &[0, 1, 255, 256, 65_535],
        None,
        Int16StringReceiver::new,
    );
    connect(
        "int32",
        &[0, 1, 255, 65_536, 99_999],
        Some(100_000),
        Int32StringReceiver::new,
    );
}
