//! CONNECT (RFC 9113, section 8.5) and extended CONNECT (RFC 8441).

use std::cell::RefCell;
use std::rc::Rc;

use http::Request;
use ropewalk_core::{Factory, Failure, Protocol, Transport};
use ropewalk_web::{Body, Site, Upgrade, handler_fn};

use super::rig::*;

/// Echoes, and notes what happens to it.
struct Echo(Rc<RefCell<Vec<String>>>);

impl Echo {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }
}

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.note("made");
        transport.write(b"hi ");
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.note("read_closed");
        transport.lose_connection();
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.note("drain");
        transport.lose_connection();
    }

    fn connection_lost(&mut self, reason: Failure) {
        let clean = reason.check::<ropewalk_core::ConnectionDone>().is_some();
        self.note(if clean { "done" } else { "lost" });
    }
}

type Notes = Rc<RefCell<Vec<String>>>;

fn site() -> (Rc<dyn Factory>, Notes) {
    let notes = Notes::default();
    let protocol = notes.clone();
    let site = Site::new(handler_fn(move |request: Request<Body>| {
        if Upgrade::is_asked_for(&request, "echo") {
            return Upgrade::to("echo", Echo(protocol.clone()));
        }
        match request.method() {
            &http::Method::CONNECT => Upgrade::tunnel(Echo(protocol.clone())),
            _ => Upgrade::to("echo", Echo(protocol.clone())),
        }
    }));
    (Rc::new(site), notes)
}

fn connect(stream: u32) -> Vec<u8> {
    let fields = [(":method", "CONNECT"), (":authority", "example.com:443")];
    headers(stream, 0, block(&fields))
}

fn extended(stream: u32, protocol: &str) -> Vec<u8> {
    headers(
        stream,
        0,
        request("CONNECT", "/chat", &[(":protocol", protocol)]),
    )
}

/// As above, with the pseudo-field in its place.
fn extended_connect(stream: u32, protocol: &str) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "example.com"),
    ];
    headers(stream, 0, block(&fields))
}

#[test]
fn a_tunnel_carries_bytes_both_ways_until_both_ends_are_said() {
    for open in [connect(1), extended_connect(1, "echo"), extended(1, "echo")] {
        let (site, notes) = site();
        let client = Client::new(site);
        client.send(open);
        let frames = client.of_stream(1);
        assert_eq!((frames[0].status(), frames[0].flags), (200, END_HEADERS));
        assert_eq!(content(&frames), "hi ");
        client.send(data(1, 0, "tea")).send(data(1, 0, "pot"));
        assert_eq!(content(&client.of_stream(1)), "teapot");
        client.send(data(1, END_STREAM, []));
        let last = client.of_stream(1);
        assert_eq!(last.last().unwrap().flags, END_STREAM, "{last:?}");
        assert_eq!(*notes.borrow(), ["made", "read_closed", "done"]);
        client.assert_alive();
    }
}

#[test]
fn a_reset_is_a_loss() {
    let (site, notes) = site();
    let client = Client::new(site);
    client.send(connect(1)).send(rst(1, CANCEL));
    assert_eq!(*notes.borrow(), ["made", "lost"]);
    client.assert_alive();
}

#[test]
fn a_lost_connection_is_a_loss() {
    let (site, notes) = site();
    let client = Client::new(site);
    client.send(connect(1));
    client.connection.abort_connection();
    client.reactor.run();
    assert_eq!(*notes.borrow(), ["made", "lost"]);
}

#[test]
fn a_tunnel_is_held_to_the_windows_of_its_stream() {
    let (site, _) = site();
    let client = Client::with_settings(site, &[(4, 5)]);
    client.send(connect(1)).send(data(1, 0, "teapot"));
    assert_eq!(content(&client.of_stream(1)), "hi te");
    client.send(window_update(1, 2));
    assert_eq!(content(&client.of_stream(1)), "ap");
    client.send(window_update(1, 100));
    assert_eq!(content(&client.of_stream(1)), "ot");
}

#[test]
fn what_a_tunnel_does_not_take_is_held_back() {
    struct Deaf;
    impl Protocol for Deaf {
        fn connection_made(&mut self, transport: &mut Transport) {
            transport.pause_producing();
        }
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    }
    let client = Client::new(Rc::new(Site::new(handler_fn(|_: Request<Body>| {
        Upgrade::tunnel(Deaf)
    }))));
    client.send(connect(1));
    for _ in 0..4 {
        client.send(data(1, 0, [0; 16_384]));
    }
    assert!(
        client
            .of_stream(1)
            .iter()
            .all(|frame| frame.kind != WINDOW_UPDATE)
    );
}

#[test]
fn a_shutdown_is_told_to_tunnels() {
    let (site, notes) = site();
    let client = Client::new(site);
    client.send(connect(1)).received();
    client.reactor.drain();
    client.reactor.run();
    let frames = client.received();
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
    assert!(
        frames
            .iter()
            .any(|frame| frame.stream == 1 && frame.flags & END_STREAM != 0)
    );
    assert_eq!(*notes.borrow(), ["made", "drain", "done"]);
}

#[test]
fn only_a_connect_is_handed_over() {
    let (site, notes) = site();
    let client = Client::new(site);
    client.send(get(1, "/"));
    assert_eq!(client.answer(1).0, 500);
    assert!(notes.borrow().is_empty());
}

#[test]
fn malformed_connects_are_refused() {
    for fields in [
        &[
            (":method", "CONNECT"),
            (":authority", "a:1"),
            (":path", "/"),
        ][..],
        &[
            (":method", "CONNECT"),
            (":authority", "a:1"),
            (":scheme", "http"),
        ],
        &[
            (":method", "CONNECT"),
            (":protocol", "echo"),
            (":authority", "a"),
        ],
        &[
            (":method", "GET"),
            (":protocol", "echo"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ],
    ] {
        let client = Client::new(mirror());
        client.send(headers(1, 0, block(fields)));
        client.assert_reset(1, PROTOCOL_ERROR);
    }
    for host in [&[][..], &[("host", "no-port")]] {
        let mut fields = vec![(":method", "CONNECT"), (":authority", "no-port")];
        fields.extend(host);
        let client = Client::new(mirror());
        client.send(headers(1, 0, block(&fields)));
        assert_eq!(client.of_stream(1)[0].status(), 400, "{fields:?}");
    }
}
