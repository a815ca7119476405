//! What the tests of the world share.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::{Address, Connection, Factory, Failure, Protocol, Transport};
use ropewalk_reactor::Handle;

/// What happened to a connection, in order.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

/// Writes back what comes, and closes when its peer does.
pub(crate) struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Notes all that happens; sends `request` first, and checks that what comes back is the same.
pub(crate) struct Asker {
    pub(crate) request: Vec<u8>,
    pub(crate) got: usize,
    pub(crate) log: Log,
}

impl Protocol for Asker {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.log.borrow_mut().push("made".to_owned());
        transport.write(&self.request);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        assert_eq!(self.request[self.got..][..data.len()], *data);
        self.got += data.len();
        if self.got == self.request.len() {
            self.log.borrow_mut().push("answered".to_owned());
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.borrow_mut().push(format!("lost: {reason}"));
    }
}

/// Bytes of which no two stretches are the same.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect()
}

pub(crate) fn echo_at(reactor: &Handle, endpoint: &str) {
    let factory: Rc<dyn Factory> = Rc::new(|_: &Address| Echo);
    reactor.listen(&endpoint.parse().unwrap(), factory).unwrap();
}

/// Asks `endpoint` for `request`, and logs what becomes of it.
pub(crate) fn ask(reactor: &Handle, endpoint: &str, request: Vec<u8>, log: &Log) {
    let (made, failed) = (Rc::clone(log), Rc::clone(log));
    let factory = move |_: &Address| Asker {
        request: request.clone(),
        got: 0,
        log: Rc::clone(&made),
    };
    let connected = reactor.connect(&endpoint.parse().unwrap(), Rc::new(factory));
    let told = connected.add_both(move |connected: Result<Connection, Failure>| {
        if let Err(failure) = connected {
            failed.borrow_mut().push(format!("failed: {failure}"));
        }
    });
    drop(told);
}
