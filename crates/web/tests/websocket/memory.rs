//! What very many WebSockets hold: bounds in bytes, on the allocator's word. How it is for 10,000 of them
//! on real sockets is measured by `bench/crowd`.

use std::rc::Rc;
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Connection, Protocol, Transport};
use ropewalk_web::SlowReader;
use ropewalk_web::websocket::{
    Broadcast, Deflate, Options, PreparedMessage, Role, Session, WebSocket, WebSocketProtocol,
};

const CONNECTIONS: usize = 500;

/// In the room, and answers what is said.
struct Member(Rc<Broadcast>);

impl WebSocketProtocol for Member {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        self.0.join(socket);
    }

    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        socket.send(text);
    }

    fn bytes_message_received(&mut self, _: &WebSocket, _: Bytes) {}
}

/// Keeps nothing.
struct Peer;

impl Protocol for Peer {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

/// Servers of WebSockets, their peers, and the room that all are in.
struct Crowd {
    reactor: MemoryReactor,
    room: Rc<Broadcast>,
    peers: Vec<Connection>,
}

impl Crowd {
    fn new(options: &Options) -> Self {
        let reactor = MemoryReactor::new();
        let room = Rc::new(Broadcast::new(SlowReader::Skip));
        let connect = |_| {
            let session = Session::compressed(Role::Server, options, Member(Rc::clone(&room)));
            reactor.join(Box::new(Peer), Box::new(session)).0
        };
        let peers = (0..CONNECTIONS).map(connect).collect();
        reactor.run();
        Self {
            reactor,
            room,
            peers,
        }
    }

    /// Bytes for each connection, both ends of it, that are held after `work`.
    fn holds(options: &Options, work: impl FnOnce(&Self)) -> i64 {
        let mut kept = None;
        let counted = measure(|| {
            let crowd = Self::new(options);
            work(&crowd);
            kept = Some(crowd);
        });
        drop(kept);
        counted.bytes_current / CONNECTIONS as i64
    }
}

fn deflate(takeover: bool) -> Options {
    let mut deflate = Deflate::default();
    deflate.no_context_takeover = !takeover;
    deflate.peer_no_context_takeover = !takeover;
    Options {
        deflate: Some(deflate),
        ..Options::default()
    }
}

/// A text of 1 KiB in a client's frame whose mask is zero; compressed, it is one stored block.
fn said(compressed: bool) -> Vec<u8> {
    let (mut frame, mut text) = (vec![0x81, 0xfe], vec![b'x'; 1024]);
    if compressed {
        frame[0] = 0xc1;
        text.splice(0..0, [0, 0x00, 0x04, 0xff, 0xfb]);
        text.push(0);
    }
    frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    [frame, text].concat()
}

#[test]
fn an_idle_websocket_holds_no_buffer_whatever_it_has_sent_and_been_told() {
    let message = PreparedMessage::new("x".repeat(1024));
    for (options, compressed) in [(Options::default(), false), (deflate(false), true)] {
        Crowd::new(&options);
        let idle = Crowd::holds(&options, |_| ());
        let after = Crowd::holds(&options, |crowd| {
            assert_eq!(crowd.room.send(&message).sent, CONNECTIONS);
            crowd.reactor.run();
            for peer in &crowd.peers {
                peer.write(&said(compressed));
            }
            crowd.reactor.run();
        });
        println!("deflate {compressed}: idle {idle}, after messages {after}");
        assert!(idle < 2560, "{idle}");
        // The reactor in memory keeps what it has moved a message in, 1 KiB each way. One compressor is
        // kept for all.
        assert!(after - idle < 2560 + 1024, "{idle}, {after}");
    }
}

#[test]
fn a_context_that_is_taken_over_holds_what_its_options_say() {
    let options = deflate(true);
    Crowd::new(&options);
    let before = Crowd::holds(&options, |_| ());
    let after = Crowd::holds(&options, |crowd| {
        for peer in &crowd.peers {
            peer.write(&said(true));
        }
        crowd.reactor.run();
    });
    let silent = Crowd::holds(&options, |crowd| {
        for peer in &crowd.peers {
            peer.write(&said(true));
        }
        crowd.reactor.advance(Duration::from_secs(30));
    });
    println!("idle {before}, after messages {after}, pinged {silent}");
    // What the peer may refer to is kept; what is sent need not refer to anything.
    assert!(silent < 100 * 1024, "{silent}");
    assert!(before < 2560, "{before}");
    assert!((256 * 1024..440 * 1024).contains(&after), "{after}");
}

#[test]
fn a_thousand_messages_to_those_who_do_not_read_hold_no_more_than_the_bound() {
    let message = || PreparedMessage::new("x".repeat(1000));
    let held = Crowd::holds(&Options::default(), |crowd| {
        crowd.reactor.set_window(1000);
        for peer in &crowd.peers {
            peer.pause_producing();
        }
        for _ in 0..1000 {
            let report = crowd.room.send(&message());
            assert_eq!(report.sent + report.skipped, CONNECTIONS);
            crowd.reactor.run();
        }
        assert_eq!(crowd.room.send(&message()).skipped, CONNECTIONS);
    });
    println!("{held} bytes each");
    assert!(held < 2560 + 2 * 64 * 1024, "{held}");
}
