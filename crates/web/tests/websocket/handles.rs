//! Handles that are used from anywhere, at any time, and code that panics.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use ropewalk_core::Panicked;
use ropewalk_core::testing::Pair;
use ropewalk_web::Randomness;
use ropewalk_web::websocket::{
    CloseCode, Closed, Options, Role, Session, WebSocket, WebSocketProtocol,
};

use crate::rig::{Log, Recorder, Rig};

/// Does with each text what the text says.
struct Obedient(Log, Rc<RefCell<Option<Closed>>>);

impl WebSocketProtocol for Obedient {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        socket.send_text_message("ready");
    }

    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        self.0.add(&text);
        match &text[..] {
            "close" => assert!(socket.lose_connection(CloseCode(4000), "as you say")),
            "abort" => assert!(socket.abort_connection()),
            "pause" => assert!(socket.pause_producing()),
            "resume" => {
                socket.pause_producing();
                socket.resume_producing();
            }
            "much" => {
                socket.send(vec![0; 1 << 20]);
                socket.send_text_message("behind it");
            }
            "ping" => assert!(socket.ping(b"you")),
            "panic" => panic!("as you say"),
            _ => {}
        }
        // Whatever was done, this does no harm.
        socket.send_text_message("done");
        assert!(socket.unsent().is_some() || text == "abort");
    }

    fn bytes_message_received(&mut self, _: &WebSocket, _: Bytes) {}

    fn connection_lost(&mut self, closed: Closed) {
        self.0.add("lost");
        self.1.replace(Some(closed));
    }
}

/// What an obedient server does with these texts, which come at once, and how it ends.
fn obey(texts: &[&str]) -> (Vec<String>, Vec<(u8, Vec<u8>)>, Option<Closed>) {
    let log = Log::default();
    let closed = Rc::default();
    let options = Options::default();
    let obedient = Obedient(log.clone(), Rc::clone(&closed));
    let pair = Pair::new(Collect::default(), Session::server(&options, obedient));
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend(crate::rig::frame(true, 0x81, text.as_bytes()));
    }
    pair.client().write(&bytes);
    pair.run();
    let seen = pair.with_client(|client: &mut Collect| client.0.clone());
    pair.client().abort_connection();
    pair.run();
    let frames = crate::rig::parse_frames(&seen.unwrap_or_default(), false);
    (log.lines(), frames, closed.take())
}

#[derive(Default)]
struct Collect(Vec<u8>);

impl ropewalk_core::Protocol for Collect {
    fn data_received(&mut self, _: &mut ropewalk_core::Transport, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    fn read_closed(&mut self, _: &mut ropewalk_core::Transport) {}
}

#[test]
fn a_handle_can_do_everything_within_a_callback() {
    let (told, frames, _) = obey(&["resume", "ping", "x"]);
    assert_eq!(told, ["resume", "ping", "x", "lost"]);
    let payloads: Vec<_> = frames.iter().map(|(_, payload)| &payload[..]).collect();
    assert_eq!(payloads, [&b"ready"[..], b"done", b"you", b"done", b"done"]);
}

#[test]
fn what_follows_a_pause_within_a_callback_waits() {
    let (told, ..) = obey(&["one", "pause", "two"]);
    assert_eq!(told, ["one", "pause", "lost"]);
}

#[test]
fn what_follows_an_abort_within_a_callback_is_not_told() {
    let (told, ..) = obey(&["abort", "two"]);
    assert_eq!(told, ["abort", "lost"]);
}

#[test]
fn after_a_close_within_a_callback_nothing_more_is_sent() {
    let (told, frames, _) = obey(&["close", "two"]);
    assert_eq!(told, ["close", "two", "lost"]);
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1].0, 0x88);
}

#[test]
fn long_messages_and_short_ones_stay_in_order() {
    let (_, frames, _) = obey(&["much", "x"]);
    let lengths: Vec<_> = frames.iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(lengths, [5, 1 << 20, 9, 4, 4]);
}

#[test]
fn a_panic_in_a_callback_ends_this_connection_and_says_so() {
    let (told, _, closed) = obey(&["panic", "two"]);
    assert_eq!(told, ["panic", "lost"]);
    assert!(closed.unwrap().failure.check::<Panicked>().is_some());
}

#[test]
fn randomness_that_uses_the_socket_itself_does_no_harm() {
    let end = Recorder::default();
    let within = end.clone();
    let randomness = Randomness::new(move |bytes| {
        let socket = within.socket();
        within.log.add("drawn");
        // It draws again, once.
        if within.log.lines().len() < 4 {
            socket.send_text_message("within");
        }
        bytes.fill(3);
    });
    let options = Options {
        randomness,
        ..Options::default()
    };
    let session = Session::client(&options, end.clone());
    let pair = Pair::new(session, Collect::default());
    assert!(end.socket().send_text_message("hello"));
    pair.run();
    let seen = pair.with_server(|server: &mut Collect| server.0.clone());
    let frames = crate::rig::parse_frames(&seen.unwrap(), true);
    assert_eq!(frames.last().unwrap().1, b"hello");
}

#[test]
fn a_handle_of_what_has_ended_does_nothing_and_says_so() {
    let rig = Rig::new(Role::Server, &Options::default());
    let socket = rig.end.socket();
    assert!(socket.is_connected());
    rig.peer.abort_connection();
    rig.reactor.run();
    for socket in [socket, WebSocket::default()] {
        assert!(!socket.send_text_message("x") && !socket.send_bytes_message(b"x"));
        assert!(!socket.send("x") && !socket.ping(b"") && !socket.is_connected());
        assert!(!socket.lose_connection(CloseCode::NORMAL, "") && !socket.abort_connection());
        assert!(!socket.pause_producing() && !socket.resume_producing());
        assert!(socket.unsent().is_none() && socket.peer().is_none());
        assert_eq!(format!("{socket:?}"), "WebSocket(ended)");
    }
}
