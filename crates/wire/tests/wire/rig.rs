//! A peer that keeps what it is told.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, ConnectionLost, Failure, Protocol, Transport};

/// What a peer has seen.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) data: Rc<RefCell<Vec<u8>>>,
    pub(crate) closed: Rc<Cell<bool>>,
    pub(crate) lost: Rc<RefCell<Option<Failure>>>,
}

impl Seen {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.data.borrow().clone()).unwrap()
    }

    pub(crate) fn is_reset(&self) -> bool {
        let lost = self.lost.borrow();
        lost.as_ref()
            .is_some_and(|reason| reason.check::<ConnectionLost>().is_some())
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }
}

/// It leaves the other side to close.
pub(crate) struct Peer(pub(crate) Seen);

impl Protocol for Peer {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.data.borrow_mut().extend_from_slice(data);
    }

    fn read_closed(&mut self, _: &mut Transport) {
        self.0.closed.set(true);
    }

    fn drain(&mut self, _: &mut Transport) {}

    fn connection_lost(&mut self, reason: Failure) {
        self.0.lost.replace(Some(reason));
    }
}

/// Connects a peer to `port`.
pub(crate) fn connect(reactor: &MemoryReactor, port: u16) -> (Connection, Seen) {
    let seen = Seen::default();
    let mine = seen.clone();
    let endpoint = format!("tcp:example.com:{port}").parse().unwrap();
    let factory = Rc::new(move |_: &Address| Peer(mine.clone()));
    let made = reactor.connect(&endpoint, factory);
    let connection = Rc::new(RefCell::new(Connection::default()));
    let keep = Rc::clone(&connection);
    let kept = made.add_callback(move |made| {
        keep.replace(made);
    });
    reactor.run();
    assert!(kept.is_fired());
    (connection.take(), seen)
}

/// Bytes that show when one is missing, doubled or out of order.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
