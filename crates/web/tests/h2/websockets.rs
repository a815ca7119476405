//! WebSockets within streams (RFC 8441), frames by hand.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::Request;
use ropewalk_core::Factory;
use ropewalk_web::websocket::{CloseCode, Closed, Options, WebSocket, WebSocketProtocol, upgrade};
use ropewalk_web::{Body, Site, handler_fn};

use super::rig::*;

/// Echoes, but for `bye`, which it is that closes; and notes how it ended.
struct Echo(Rc<RefCell<Vec<Closed>>>);

impl WebSocketProtocol for Echo {
    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        match &text[..] {
            "bye" => socket.lose_connection(CloseCode::NORMAL, ""),
            _ => socket.send(text),
        };
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
        socket.send(data);
    }

    fn connection_lost(&mut self, closed: Closed) {
        self.0.borrow_mut().push(closed);
    }
}

fn site() -> (Rc<dyn Factory>, Rc<RefCell<Vec<Closed>>>) {
    let ends: Rc<RefCell<Vec<Closed>>> = Rc::default();
    let notes = Rc::clone(&ends);
    let options = Options::default();
    let site = Site::new(handler_fn(move |request: Request<Body>| {
        upgrade(&request, &options, Echo(Rc::clone(&notes)))
    }));
    (Rc::new(site), ends)
}

fn open(stream: u32) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "example.com"),
        ("sec-websocket-version", "13"),
    ];
    headers(stream, 0, block(&fields))
}

/// A short frame, masked with nothing.
fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut all = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    all.extend(payload);
    all
}

fn payload(frames: &[Frame]) -> Vec<u8> {
    let data = frames.iter().filter(|frame| frame.kind == DATA);
    data.flat_map(|frame| frame.payload.clone()).collect()
}

fn begun() -> (Client, Rc<RefCell<Vec<Closed>>>) {
    let (site, ends) = site();
    let client = Client::new(site);
    client.send(open(1));
    let frames = client.of_stream(1);
    assert_eq!((frames[0].status(), frames[0].flags), (200, END_HEADERS));
    (client, ends)
}

#[test]
fn a_message_in_fragments_is_echoed_wherever_the_data_is_cut() {
    let mut fragments = frame_of(0x01, b"te");
    fragments.extend(frame_of(0x89, b"there?"));
    fragments.extend(frame_of(0x00, b"a"));
    fragments.extend(frame_of(0x80, b"pot"));
    for size in [1, 7, fragments.len()] {
        let (client, _) = begun();
        for piece in fragments.chunks(size) {
            client.send(data(1, 0, piece));
        }
        let said = payload(&client.of_stream(1));
        assert_eq!(said, b"\x8a\x06there?\x81\x06teapot", "pieces of {size}");
    }
}

#[test]
fn the_client_closes() {
    let (client, ends) = begun();
    client.send(data(1, 0, frame_of(0x88, b"\x03\xe8")));
    let frames = client.of_stream(1);
    assert_eq!(payload(&frames), b"\x88\x02\x03\xe8");
    let is_last = |frame: &Frame| frame.kind == DATA && frame.flags == END_STREAM;
    assert!(frames.iter().any(is_last), "{frames:?}");
    assert!(ends.borrow()[0].was_clean, "{ends:?}");
    client.assert_alive();
}

#[test]
fn the_server_closes() {
    let (client, ends) = begun();
    client.send(data(1, 0, frame_of(0x81, b"bye")));
    assert_eq!(payload(&client.of_stream(1)), b"\x88\x02\x03\xe8");
    client.send(data(1, END_STREAM, frame_of(0x88, b"\x03\xe8")));
    let frames = client.of_stream(1);
    assert_eq!(frames.last().unwrap().flags, END_STREAM, "{frames:?}");
    assert!(ends.borrow()[0].was_clean, "{ends:?}");
    client.assert_alive();
}

#[test]
fn a_reset_in_the_middle_of_a_message_is_a_loss_of_this_one_alone() {
    let (client, ends) = begun();
    client.send(open(3));
    client.send(data(1, 0, frame_of(0x01, b"te")));
    client.send(rst(1, CANCEL));
    assert_eq!(ends.borrow().len(), 1);
    assert!(!ends.borrow()[0].was_clean, "{ends:?}");
    client.received();
    client.send(data(3, 0, frame_of(0x81, b"tea")));
    assert_eq!(payload(&client.of_stream(3)), b"\x81\x03tea");
}

#[test]
fn an_end_of_the_stream_without_a_close_is_no_clean_end() {
    let (client, ends) = begun();
    client.send(data(1, END_STREAM, []));
    assert!(!ends.borrow()[0].was_clean, "{ends:?}");
    client.assert_alive();
}
