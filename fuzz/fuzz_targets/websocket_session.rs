//! A whole WebSocket, as server or as client, with compression: whatever comes is told, and
//! answered, the same however it is cut, and no message is longer than it may be. The first byte says
//! which role it is, and how the rest is cut.

#![no_main]

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Panicked, Protocol, Transport};
use ropewalk_web::Randomness;
use ropewalk_web::websocket::{
    Closed, Deflate, Options, Role, Session, WebSocket, WebSocketProtocol,
};

const LONGEST: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((first, input)) = input.split_first() else {
        return;
    };
    let role = match first & 1 {
        0 => Role::Server,
        _ => Role::Client,
    };
    let whole = run(role, input, usize::MAX);
    assert_eq!(run(role, input, 1), whole);
    assert_eq!(run(role, input, usize::from(first >> 1).max(1)), whole);
});

/// What was told, and what was answered.
fn run(role: Role, input: &[u8], split: usize) -> (Vec<String>, Vec<u8>) {
    let mut options = Options::default();
    options.limits.message = LONGEST;
    options.limits.frame = 2 * LONGEST as u64;
    options.deflate = Some(Deflate::default());
    // Masks that are the same in each run.
    options.randomness = Randomness::new(|bytes| bytes.fill(0x5a));
    let told = Rc::default();
    let answered = Rc::default();
    let teller = Teller(Rc::clone(&told));
    let session = Box::new(Session::compressed(role, &options, teller));
    let peer = Box::new(Peer(Rc::clone(&answered)));
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    let (_, peer) = reactor.join(session, peer);
    peer.write(input);
    reactor.run();
    peer.lose_connection();
    reactor.run();
    (told.take(), answered.take())
}

struct Teller(Rc<RefCell<Vec<String>>>);

impl WebSocketProtocol for Teller {
    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        assert!(text.len() <= LONGEST);
        socket.send_text_message(&text);
        self.0.borrow_mut().push(text);
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
        assert!(data.len() <= LONGEST);
        self.0.borrow_mut().push(format!("{data:?}"));
        socket.send(data);
    }

    fn connection_lost(&mut self, closed: Closed) {
        assert!(closed.failure.check::<Panicked>().is_none(), "{closed}");
        self.0.borrow_mut().push(format!("{} {}", closed.code, closed.reason));
    }
}

struct Peer(Rc<RefCell<Vec<u8>>>);

impl Protocol for Peer {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }

    fn read_closed(&mut self, _: &mut Transport) {}
}
