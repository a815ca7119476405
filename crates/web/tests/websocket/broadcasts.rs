//! One message to many.

use std::rc::Rc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::websocket::{Broadcast, Deflate, Options, PreparedMessage, Role, Session};
use ropewalk_web::{BroadcastReport, SlowReader};

use crate::rig::{Recorder, Rig};

/// Servers and clients of them, joined in memory.
fn pairs(count: usize, options: &Options) -> (MemoryReactor, Vec<Recorder>, Vec<Recorder>) {
    let reactor = MemoryReactor::new();
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (client, server) = (Recorder::default(), Recorder::default());
        reactor.join(
            Box::new(Session::compressed(Role::Client, options, client.clone())),
            Box::new(Session::compressed(Role::Server, options, server.clone())),
        );
        servers.push(server);
        clients.push(client);
    }
    reactor.run();
    (reactor, servers, clients)
}

#[test]
fn all_who_have_joined_hear_it_but_for_who_said_it() {
    let (reactor, servers, clients) = pairs(3, &Options::default());
    let room = Broadcast::new(SlowReader::Skip);
    for server in &servers {
        room.join(&server.socket());
    }
    assert_eq!(room.send(&PreparedMessage::new("all")).sent, 3);
    let other = room.send_except(&PreparedMessage::new("others"), &servers[1].socket());
    assert_eq!(other.sent, 2);
    assert!(room.leave(&servers[2].socket()) && !room.leave(&servers[2].socket()));
    assert_eq!(room.send(&PreparedMessage::new(vec![1])).sent, 2);
    reactor.run();
    assert_eq!(
        clients[0].log.text(),
        r#"open, text all, text others, binary b"\x01""#
    );
    assert_eq!(clients[1].log.text(), r#"open, text all, binary b"\x01""#);
    assert_eq!(clients[2].log.text(), "open, text all, text others");
    clients[0].socket().abort_connection();
    reactor.run();
    assert_eq!(room.send(&PreparedMessage::new("who is left")).sent, 1);
    assert_eq!(room.len(), 1);
}

#[test]
fn a_compressed_message_and_those_after_it_are_understood_with_context_takeover_and_without() {
    for takeover in [true, false] {
        let mut options = Options::default();
        let mut deflate = Deflate::default();
        deflate.no_context_takeover = !takeover;
        options.deflate = Some(deflate);
        let (reactor, servers, clients) = pairs(2, &options);
        let room = Broadcast::new(SlowReader::Skip);
        let text = "the same words again and again, ".repeat(20);
        for server in &servers {
            room.join(&server.socket());
        }
        let message = PreparedMessage::new(text.clone());
        for _ in 0..3 {
            servers[0].socket().send_text_message(&text);
            room.send(&message);
            servers[0].socket().send_text_message(&text[1..]);
        }
        reactor.run();
        let all = ["text of 640", "text of 640", "text of 639"]
            .repeat(3)
            .join(", ");
        assert_eq!(clients[0].log.text(), format!("open, {all}"));
        assert_eq!(
            clients[1].log.text(),
            "open, text of 640, text of 640, text of 640"
        );
    }
}

#[test]
fn who_does_not_read_is_skipped_or_dropped_and_costs_no_more_than_the_bound() {
    for slow_reader in [SlowReader::Skip, SlowReader::Drop] {
        let rig = Rig::new(Role::Server, &Options::default());
        rig.peer.pause_producing();
        rig.reactor.set_window(1000);
        let room = Broadcast::new(slow_reader).unsent(100_000);
        room.join(&rig.end.socket());
        let message = PreparedMessage::new(vec![7; 10_000]);
        let mut all = BroadcastReport::default();
        for _ in 0..30 {
            let report = room.send(&message);
            all.sent += report.sent;
            all.skipped += report.skipped;
            all.dropped += report.dropped;
            rig.reactor.run();
        }
        assert_eq!(all.sent, 11);
        match slow_reader {
            SlowReader::Skip => {
                assert_eq!((all.skipped, all.dropped), (19, 0));
                assert!(rig.end.socket().unsent().unwrap() <= 110_100);
                rig.reactor.set_window(256 * 1024);
                rig.peer.resume_producing();
                rig.reactor.run();
                assert_eq!(room.send(&message).sent, 1);
                rig.reactor.run();
                assert_eq!(rig.frames().len(), 12);
            }
            SlowReader::Drop => {
                assert_eq!((all.skipped, all.dropped), (0, 1));
                assert!(room.is_empty());
                assert!(rig.log().ends_with("lost 1006 unclean"));
            }
        }
    }
}

#[test]
fn those_that_have_ended_do_not_pile_up_where_nothing_is_sent() {
    let options = Options::default();
    let room = Rc::new(Broadcast::new(SlowReader::Skip));
    for _ in 0..1000 {
        let rig = Rig::new(Role::Server, &options);
        room.join(&rig.end.socket());
    }
    assert!(room.len() <= 64, "{}", room.len());
}
