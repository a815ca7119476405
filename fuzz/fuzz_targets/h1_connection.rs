//! A whole connection: whatever is sent, it is answered the same however it is cut, and nothing
//! panics.

#![no_main]

use std::rc::Rc;

use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Failure, Protocol, Transport};
use ropewalk_web::h1::Limits;
use ropewalk_web::{Body, Site, handler_fn};

fuzz_target!(|input: &[u8]| {
    let whole = answers(input, usize::MAX);
    assert_eq!(answers(input, 1), whole);
    let middle = input.first().map_or(1, |byte| usize::from(*byte)).max(1);
    assert_eq!(answers(input, middle), whole);
});

/// What the server answers to `input`, when at most `split` bytes are received at once.
fn answers(input: &[u8], split: usize) -> Vec<u8> {
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    let mut limits = Limits::default();
    limits.request_line = 64;
    limits.header_block = 256;
    limits.header_fields = 8;
    limits.body = 64;
    // It panics, and ends the run, only if the server does.
    let site = Site::with_limits(
        handler_fn(|request: Request<Body>| {
            Response::new(match request.uri().path() {
                "/echo" => request.into_body(),
                path => Body::from(path.to_owned()),
            })
        }),
        limits,
    );
    let port = "tcp:80".parse().expect("an endpoint");
    reactor
        .listen(&port, Rc::new(site))
        .expect("the port is free");
    let client = "tcp:192.0.2.1:80".parse().expect("an endpoint");
    let answers = Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = Rc::clone(&answers);
    let sent = input.to_vec();
    let made = reactor.connect(
        &client,
        Rc::new(move |_: &Address| Client {
            sent: sent.clone(),
            seen: Rc::clone(&seen),
        }),
    );
    reactor.run();
    drop(made);
    answers.take()
}

struct Client {
    sent: Vec<u8>,
    seen: Rc<std::cell::RefCell<Vec<u8>>>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(&self.sent);
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.seen.borrow_mut().extend_from_slice(data);
    }

    fn connection_lost(&mut self, reason: Failure) {
        assert!(
            reason.check::<ropewalk_core::Panicked>().is_none(),
            "{reason}"
        );
    }
}
