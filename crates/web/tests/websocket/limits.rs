//! What a peer cannot make a WebSocket do, or hold.

use std::time::Duration;

use ropewalk_core::{TimedOut, WriteBufferFull};
use ropewalk_web::websocket::{CloseCode, Deflate, Options, Role};

use crate::rig::{Recorder, Rig, frame};

const KIB: usize = 1024;

fn small() -> Options {
    let mut options = Options::default();
    options.limits.message = 1000;
    options.limits.frame = 600;
    options
}

#[test]
fn a_message_may_be_as_long_as_the_limit_and_no_longer() {
    let fits = Rig::new(Role::Server, &small());
    fits.frame(0x02, [0; 600]).frame(0x80, [0; 400]);
    assert_eq!(fits.log(), "open, binary of 1000");
    for (payload, last) in [(600, 401), (601, 0)] {
        let rig = Rig::new(Role::Server, &small());
        rig.frame(0x02, vec![0; payload]);
        if last > 0 {
            rig.frame(0x80, vec![0; last]);
        }
        assert_eq!(rig.close_code(), 1009);
        assert_eq!(rig.log(), "open");
    }
}

#[test]
fn a_length_that_is_too_long_is_refused_before_anything_of_it_comes() {
    for length in [601, 1 << 32, (1 << 63) - 1_u64] {
        let rig = Rig::new(Role::Client, &small());
        let mut head = vec![0x82, 127];
        head.extend_from_slice(&length.to_be_bytes());
        if length < 65_536 {
            head = vec![0x82, 126, (length >> 8) as u8, length as u8];
        }
        rig.say(head);
        assert_eq!(rig.close_code(), 1009);
    }
}

#[test]
fn what_inflates_to_more_than_a_message_may_have_is_refused() {
    let mut options = Options::default();
    options.deflate = Some(Deflate::default());
    options.limits.message = 100 * KIB;
    // 16 KiB that inflate to 16 MiB.
    let bomb = {
        let sender = Rig::new(Role::Client, &options);
        sender.end.socket().send(vec![0; 16 * KIB * KIB]);
        sender.reactor.run();
        let [(0xc2, payload)] = &sender.frames()[..] else {
            panic!("not compressed");
        };
        payload.clone()
    };
    assert!(bomb.len() < 20 * KIB, "{}", bomb.len());
    let rig = Rig::new(Role::Server, &options);
    rig.frame(0xc2, bomb);
    assert_eq!(rig.close_code(), 1009);
    assert_eq!(rig.log(), "open");
}

#[test]
fn a_flood_of_pings_of_a_peer_that_does_not_read_costs_no_memory() {
    let rig = Rig::new(Role::Server, &Options::default());
    rig.peer.pause_producing();
    rig.reactor.set_window(1000);
    let mut pings = Vec::new();
    for n in 0..1000_u32 {
        let payload = [&n.to_be_bytes()[..], &[0; 121]].concat();
        pings.extend(frame(true, 0x89, &payload));
    }
    for _ in 0..10 {
        rig.say(&pings);
    }
    let unsent = rig.end.socket().unsent().unwrap();
    assert!(unsent <= 66 * KIB as u64, "{unsent}");
    rig.peer.resume_producing();
    rig.reactor.run();
    let pongs = rig.frames();
    // The last one is answered.
    assert_eq!(pongs.last().unwrap().1[..4], 999_u32.to_be_bytes());
    assert!(pongs.len() < 600);
    assert!(rig.end.socket().is_connected());
}

#[test]
fn a_handler_that_answers_is_told_no_more_than_its_peer_reads() {
    let rig = Rig::with(Role::Server, &Options::default(), Recorder::echo());
    rig.peer.pause_producing();
    rig.reactor.set_window(1000);
    for _ in 0..100 {
        rig.frame(0x82, vec![1; 100 * KIB]);
    }
    let unsent = rig.end.socket().unsent().unwrap();
    assert!(unsent < 400 * KIB as u64, "{unsent}");
    rig.reactor.set_window(256 * KIB);
    rig.peer.resume_producing();
    rig.reactor.run();
    let frames = rig.frames();
    assert_eq!(frames.len(), 100);
    assert!(
        frames
            .iter()
            .all(|(first, payload)| *first == 0x82 && payload.len() == 100 * KIB)
    );
    assert!(rig.log().contains("write resumed"));
}

#[test]
fn a_message_of_any_length_may_follow_what_is_unsent_but_nothing_after_the_limit() {
    let mut options = Options::default();
    options.limits.unsent = 1000 * KIB;
    let rig = Rig::new(Role::Server, &options);
    rig.peer.pause_producing();
    rig.reactor.set_window(1000);
    let socket = rig.end.socket();
    // More than the connection itself would hold.
    assert!(socket.send(vec![1; 17 * KIB * KIB]));
    rig.reactor.run();
    assert!(socket.unsent().unwrap() > 16 * KIB as u64 * KIB as u64);
    rig.reactor.set_window(256 * KIB);
    rig.peer.resume_producing();
    rig.reactor.run();
    assert_eq!(rig.frames()[0].1.len(), 17 * KIB * KIB);
    assert_eq!(rig.log(), "open, write paused, write resumed");

    rig.peer.pause_producing();
    rig.reactor.set_window(1000);
    let sent = (0..100)
        .take_while(|_| socket.send(vec![1; 100 * KIB]))
        .count();
    assert_eq!(sent, 10);
    rig.reactor.run();
    assert!(rig.log().ends_with("lost 1006 unclean"));
    let closed = rig.end.closed.borrow().clone().unwrap();
    assert!(closed.failure.check::<WriteBufferFull>().is_some());
}

#[test]
fn a_silent_peer_is_pinged_and_cut_off_when_it_stays_silent() {
    let rig = Rig::new(Role::Server, &Options::default());
    rig.reactor.advance(Duration::from_secs(29));
    rig.frame(0x81, b"here");
    rig.reactor.advance(Duration::from_secs(29));
    assert!(rig.frames().is_empty());
    rig.reactor.advance(Duration::from_secs(1));
    assert_eq!(rig.frames(), [(0x89, vec![])]);
    rig.frame(0x8a, b"");
    rig.reactor.advance(Duration::from_secs(30));
    assert_eq!(rig.frames(), [(0x89, vec![])]);
    rig.reactor.advance(Duration::from_secs(30));
    assert_eq!(rig.log(), r#"open, text here, pong b"", lost 1006 unclean"#);
    let closed = rig.end.closed.borrow().clone().unwrap();
    assert!(closed.failure.check::<TimedOut>().is_some());
}

#[test]
fn a_peer_that_still_reads_what_was_said_before_the_ping_is_not_cut_off() {
    let mut options = Options::default();
    options.keep_alive.timeout = Duration::from_secs(5);
    let rig = Rig::new(Role::Client, &options);
    rig.read_pieces(64 * KIB);
    assert!(rig.end.socket().send(vec![1; 4 * KIB * KIB]));
    rig.reactor.run();
    for _ in 0..64 {
        rig.reactor.advance(Duration::from_secs(1));
        assert!(!rig.is_over());
        rig.read_on();
    }
    rig.read_on();
    rig.frame(0x8a, b"");
    rig.reactor.advance(Duration::from_secs(29));
    assert!(rig.end.socket().is_connected());
}

#[test]
fn who_has_paused_reading_does_not_take_the_peer_for_gone() {
    let mut options = Options::default();
    options.keep_alive.timeout = Duration::from_secs(5);
    let rig = Rig::new(Role::Server, &options);
    rig.end.socket().pause_producing();
    rig.reactor.advance(Duration::from_secs(300));
    assert!(rig.frames().is_empty() && rig.end.socket().is_connected());
    rig.end.socket().resume_producing();
    rig.reactor.advance(Duration::from_secs(34));
    assert!(rig.end.socket().is_connected());
    rig.reactor.advance(Duration::from_secs(30));
    assert!(rig.is_over());
}

#[test]
fn without_keep_alive_silence_is_no_end() {
    let mut options = Options::default();
    options.keep_alive.interval = None;
    let rig = Rig::new(Role::Client, &options);
    rig.reactor.advance(Duration::from_secs(86_400));
    assert!(rig.frames().is_empty());
    rig.end.socket().lose_connection(CloseCode::NORMAL, "");
    rig.reactor.advance(Duration::from_secs(10));
    assert!(rig.is_over());
}
