//! A whole HTTP/2 connection: whatever is sent after the preface, nothing panics, the frames that
//! come back are whole, and the connection ends when its times have passed.

#![no_main]

use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Failure, Protocol, Transport};
use ropewalk_web::{Body, Site, handler_fn};

fuzz_target!(|input: &[u8]| {
    answers(input, usize::MAX);
    answers(input, input.first().map_or(1, |byte| usize::from(*byte)).max(1));
});

fn answers(input: &[u8], split: usize) {
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    // It panics, and ends the run, only if the server does.
    let site = Site::new(handler_fn(|request: Request<Body>| {
        Response::new(match request.uri().path() {
            "/echo" => request.into_body(),
            path => Body::from(path.to_owned()),
        })
    }));
    let port = "tcp:80".parse().expect("an endpoint");
    reactor
        .listen(&port, Rc::new(site))
        .expect("the port is free");
    let client = "tcp:192.0.2.1:80".parse().expect("an endpoint");
    let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
    let answers = Rc::clone(&seen);
    // The preface, SETTINGS, and their acknowledgement.
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0");
    sent.extend(input);
    let made = reactor.connect(
        &client,
        Rc::new(move |_: &Address| Client {
            sent: sent.clone(),
            seen: Rc::clone(&answers),
        }),
    );
    reactor.run();
    drop(made);
    for _ in 0..20 {
        reactor.advance(Duration::from_secs(30));
        reactor.run();
    }
    assert_eq!(reactor.connections(), 0, "it goes on");
    let mut frames = &seen.take()[..];
    while let [l2, l1, l0, _, _, _, _, _, _, rest @ ..] = frames {
        let length = u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
        assert!(length <= 16_384 && length <= rest.len(), "half a frame");
        frames = &rest[length..];
    }
    assert!(frames.is_empty(), "half a frame");
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
