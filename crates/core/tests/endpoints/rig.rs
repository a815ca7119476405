//! Protocols that note what they are told, and ends that say what a test wants.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Failure, Protocol, Transport};

/// What protocols of a test were told, a line each.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// All that was received, together.
    pub(crate) fn factory(&self) -> Rc<dyn Factory> {
        let log = self.clone();
        Rc::new(move |_: &Address| Noting(log.clone(), Vec::new()))
    }
}

/// Notes what it is told; what it received, when that ends.
pub(crate) struct Noting(pub(crate) Log, pub(crate) Vec<u8>);

impl Protocol for Noting {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.0
            .add(format!("made {} {}", transport.peer(), transport.host()));
    }
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.1.extend_from_slice(data);
    }
    fn connection_lost(&mut self, reason: Failure) {
        let data = String::from_utf8_lossy(&self.1);
        self.0.add(format!("lost {data:?} {reason}"));
    }
}

/// Says nothing.
pub(crate) struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

pub(crate) fn silent() -> Rc<dyn Factory> {
    Rc::new(|_: &Address| Silent)
}

/// A reactor on which `factory` listens at `listen`.
pub(crate) fn listening(listen: &str, factory: Rc<dyn Factory>) -> MemoryReactor {
    let reactor = MemoryReactor::new();
    reactor.listen(&listen.parse().unwrap(), factory).unwrap();
    reactor
}

/// Connects to port 80, and says nothing yet.
pub(crate) fn dial(reactor: &MemoryReactor) -> Connection {
    let made = reactor.connect(&"tcp:example.com:80".parse().unwrap(), silent());
    let kept = Rc::new(RefCell::new(Connection::default()));
    let keep = Rc::clone(&kept);
    drop(made.add_callback(move |connection: Connection| *keep.borrow_mut() = connection));
    reactor.run();
    kept.take()
}
