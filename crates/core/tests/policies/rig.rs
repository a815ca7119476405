//! A reactor in memory, a server behind policies, and clients that look.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Failure, Protocol, Transport};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Sends back what comes.
pub(crate) struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

pub(crate) fn echo(_: &Address) -> Echo {
    Echo
}

/// Writes without end, as fast as it is taken.
pub(crate) struct Flood;

impl Flood {
    fn more(transport: &mut Transport) {
        transport.write(&[b'x'; 50_000]);
        transport.await_drain();
    }
}

impl Protocol for Flood {
    fn connection_made(&mut self, transport: &mut Transport) {
        Self::more(transport);
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    fn write_resumed(&mut self, transport: &mut Transport) {
        Self::more(transport);
    }
}

/// What a [`Sink`] has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) bytes: RefCell<Vec<u8>>,
    pub(crate) count: Cell<u64>,
    /// How often bytes came.
    pub(crate) times: Cell<u64>,
    pub(crate) lost: RefCell<Vec<Failure>>,
}

impl Seen {
    pub(crate) fn is_lost(&self) -> bool {
        !self.lost.borrow().is_empty()
    }
}

/// Takes what comes, and counts it.
pub(crate) struct Sink(pub(crate) Rc<Seen>);

impl Protocol for Sink {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.count.set(self.0.count.get() + data.len() as u64);
        self.0.times.set(self.0.times.get() + 1);
        let mut bytes = self.0.bytes.borrow_mut();
        if bytes.len() < 10_000 {
            bytes.extend_from_slice(data);
        }
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.0.lost.borrow_mut().push(reason);
    }
}

pub(crate) fn serve(reactor: &MemoryReactor, factory: impl Factory) {
    let endpoint = "tcp:7".parse().unwrap();
    reactor.listen(&endpoint, Rc::new(factory)).unwrap();
}

/// A client of what is served; it has not run yet.
pub(crate) fn client(reactor: &MemoryReactor) -> (Connection, Rc<Seen>) {
    let seen = Rc::new(Seen::default());
    let theirs = Rc::clone(&seen);
    let factory = move |_: &Address| Sink(Rc::clone(&theirs));
    (connect(reactor, factory), seen)
}

/// A connection of what `factory` builds to what is served.
pub(crate) fn connect(reactor: &MemoryReactor, factory: impl Factory) -> Connection {
    let endpoint = "tcp:example.com:7".parse().unwrap();
    let made = reactor.connect(&endpoint, Rc::new(factory));
    reactor.run();
    let connection = Rc::new(RefCell::new(Connection::default()));
    let kept = Rc::clone(&connection);
    drop(
        made.add_callback(move |connection| *kept.borrow_mut() = connection)
            .add_errback(|_| ()),
    );
    connection.take()
}
