//! A proxy that hears and says what a test has written down, and a client that goes through it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Failure, Protocol, Transport};

use super::rig::{Log, Noting};

#[derive(Clone, Debug)]
enum Line {
    Hears(Vec<u8>),
    Says(Vec<u8>),
    Closes,
}

/// What a proxy does, in turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Vec<Line>);

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits for exactly these bytes.
    pub(crate) fn hears(mut self, bytes: &[u8]) -> Self {
        self.0.push(Line::Hears(bytes.to_vec()));
        self
    }

    pub(crate) fn says(mut self, bytes: &[u8]) -> Self {
        self.0.push(Line::Says(bytes.to_vec()));
        self
    }

    pub(crate) fn closes(mut self) -> Self {
        self.0.push(Line::Closes);
        self
    }
}

/// What became of it.
pub(crate) enum Outcome {
    /// The protocol was there, and wrote `written`; what the proxy heard after its script.
    Opened {
        heard: Vec<u8>,
    },
    Failed(Failure),
}

impl Outcome {
    #[track_caller]
    pub(crate) fn heard(self) -> Vec<u8> {
        match self {
            Self::Opened { heard } => heard,
            Self::Failed(failure) => panic!("{failure}"),
        }
    }
}

struct Proxy {
    lines: Vec<Line>,
    heard: Rc<RefCell<Vec<u8>>>,
}

impl Proxy {
    fn play(&mut self, transport: &mut Transport) {
        while !self.lines.is_empty() {
            match &self.lines[0] {
                Line::Hears(bytes) => {
                    let mut heard = self.heard.borrow_mut();
                    let common = heard.len().min(bytes.len());
                    assert_eq!(
                        heard[..common],
                        bytes[..common],
                        "the client says something else"
                    );
                    if heard.len() < bytes.len() {
                        return;
                    }
                    heard.drain(..common);
                }
                Line::Says(bytes) => transport.write(bytes),
                Line::Closes => transport.lose_connection(),
            }
            self.lines.remove(0);
        }
    }
}

impl Protocol for Proxy {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.play(transport);
    }
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.heard.borrow_mut().extend_from_slice(data);
        self.play(transport);
    }
}

/// Writes at once, and notes the rest.
struct Writing(Noting);

impl Protocol for Writing {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.0.connection_made(transport);
        transport.write(b"written");
    }
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.0.data_received(transport, data);
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.0.connection_lost(reason);
    }
}

/// Connects to `endpoint`, whose first proxy is on port 80 and does what `script` says. `split` is
/// how many bytes come at once.
pub(crate) fn through(endpoint: &str, script: &Script, split: usize, log: &Log) -> Outcome {
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let (lines, hears) = (script.0.clone(), Rc::clone(&heard));
    let proxies = move |_: &Address| Proxy {
        lines: lines.clone(),
        heard: Rc::clone(&hears),
    };
    reactor
        .listen(&"tcp:80".parse().unwrap(), Rc::new(proxies))
        .unwrap();
    let made = Rc::new(Cell::new(None));
    let told = Rc::clone(&made);
    let noting = log.clone();
    let factory = move |_: &Address| Writing(Noting(noting.clone(), Vec::new()));
    let connecting = reactor.connect(&endpoint.parse().unwrap(), Rc::new(factory));
    drop(connecting.add_both(move |result: Result<Connection, Failure>| told.set(Some(result))));
    reactor.run();
    match made.take().expect("it connects or fails without waiting") {
        Ok(connection) => {
            connection.lose_connection();
            reactor.run();
            assert_eq!(reactor.connections(), 0);
            let heard = heard.take();
            Outcome::Opened { heard }
        }
        Err(failure) => {
            assert_eq!(reactor.connections(), 0);
            Outcome::Failed(failure)
        }
    }
}
