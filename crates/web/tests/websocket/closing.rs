//! How a WebSocket ends: RFC 6455, section 7.

use std::time::Duration;

use ropewalk_core::TimedOut;
use ropewalk_web::websocket::{CloseCode, Options, Role};

use crate::rig::{Rig, frame};

fn rig(role: Role) -> Rig {
    Rig::new(role, &Options::default())
}

#[test]
fn a_close_is_answered_with_its_code_and_the_server_ends_the_connection() {
    for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999_u16] {
        let rig = rig(Role::Server);
        rig.frame(0x88, [&code.to_be_bytes()[..], b"why"].concat());
        assert_eq!(rig.close_code(), code);
        assert!(rig.seen(|seen| seen.read_closed));
        rig.peer.lose_connection();
        rig.reactor.run();
        assert!(rig.is_over());
        assert_eq!(rig.log(), format!("open, lost {code} clean"));
        assert_eq!(rig.end.closed.borrow().as_ref().unwrap().reason, "why");
    }
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let rig = rig(Role::Server);
    rig.frame(0x88, b"");
    assert_eq!(rig.frames(), [(0x88, vec![])]);
    rig.peer.lose_connection();
    rig.reactor.run();
    assert_eq!(rig.log(), "open, lost 1005 clean");
}

#[test]
fn a_client_waits_for_the_server_to_end_the_connection_but_not_for_ever() {
    let patient = rig(Role::Client);
    patient.frame(0x88, b"\x03\xe8");
    assert_eq!(patient.close_code(), 1000);
    assert!(!patient.seen(|seen| seen.read_closed));
    patient.peer.lose_connection();
    patient.reactor.run();
    assert_eq!(patient.log(), "open, lost 1000 clean");

    let cheated = rig(Role::Client);
    cheated.frame(0x88, b"\x03\xe8");
    cheated.reactor.advance(Duration::from_secs(9));
    assert!(!cheated.is_over());
    cheated.reactor.advance(Duration::from_secs(1));
    assert!(cheated.is_over());
    assert_eq!(cheated.log(), "open, lost 1000 clean");
}

#[test]
fn after_a_close_of_ours_messages_still_come_until_the_peers() {
    for role in [Role::Server, Role::Client] {
        let rig = rig(role);
        let socket = rig.end.socket();
        assert!(socket.lose_connection(CloseCode(4001), "enough"));
        assert!(!socket.lose_connection(CloseCode(4002), "again"));
        assert!(!socket.send_text_message("too late") && !socket.is_connected());
        rig.reactor.run();
        assert_eq!(rig.frames(), [(0x88, b"\x0f\xa1enough".to_vec())]);
        rig.frame(0x81, b"I had sent this").frame(0x89, b"and this");
        rig.frame(0x88, b"\x0f\xa1");
        assert!(rig.frames().is_empty());
        rig.peer.lose_connection();
        rig.reactor.run();
        let told = "open, text I had sent this, ping b\"and this\", lost 4001 clean";
        assert_eq!(rig.log(), told);
    }
}

#[test]
fn a_peer_that_does_not_answer_a_close_is_cut_off() {
    let rig = rig(Role::Server);
    rig.end.socket().lose_connection(CloseCode::NORMAL, "");
    // That it goes on talking changes nothing.
    for _ in 0..9 {
        rig.frame(0x81, b"but")
            .reactor
            .advance(Duration::from_secs(1));
    }
    assert!(!rig.is_over());
    rig.reactor.advance(Duration::from_secs(1));
    assert!(rig.is_over());
    let closed = rig.end.closed.borrow().clone().unwrap();
    assert_eq!(closed.code, CloseCode::ABNORMAL);
    assert!(closed.failure.check::<TimedOut>().is_some() && !closed.was_clean);
}

#[test]
fn a_peer_that_was_refused_and_does_not_go_is_cut_off() {
    let rig = rig(Role::Server);
    rig.frame(0x83, b"");
    rig.reactor.advance(Duration::from_secs(9));
    assert!(!rig.is_over());
    rig.frame(0x83, b"");
    rig.reactor.advance(Duration::from_secs(1));
    assert!(rig.is_over());
}

#[test]
fn a_peer_that_goes_without_a_close_is_abnormal() {
    for role in [Role::Server, Role::Client] {
        let half = rig(role);
        half.say(&frame(role == Role::Server, 0x81, b"half a")[..5]);
        half.peer.act(|transport| transport.lose_write_connection());
        half.reactor.run();
        assert_eq!(half.log(), "open, lost 1006 unclean");
        assert!(half.seen(|seen| seen.read_closed));

        let reset = rig(role);
        reset.peer.abort_connection();
        reset.reactor.run();
        assert_eq!(reset.log(), "open, lost 1006 unclean");
        assert!(!reset.end.socket().send_text_message("anyone?"));
    }
}

#[test]
fn a_shutdown_says_1001_and_waits_for_the_answer() {
    let rig = rig(Role::Server);
    rig.reactor.drain();
    rig.reactor.run();
    assert_eq!(rig.close_code(), 1001);
    rig.frame(0x81, b"wait").frame(0x88, b"\x03\xe9");
    rig.peer.lose_connection();
    rig.reactor.run();
    assert_eq!(rig.log(), "open, text wait, lost 1001 clean");
    assert!(rig.is_over());
}

#[test]
fn a_close_gets_through_although_reading_was_paused() {
    let rig = rig(Role::Server);
    rig.end.socket().pause_producing();
    rig.frame(0x81, b"unread").frame(0x81, b"unread");
    rig.end.socket().lose_connection(CloseCode::NORMAL, "");
    rig.reactor.run();
    assert_eq!(rig.close_code(), 1000);
    rig.frame(0x88, b"\x03\xe8");
    rig.peer.lose_connection();
    rig.reactor.run();
    assert_eq!(rig.log(), "open, lost 1000 clean");
}

#[test]
fn what_came_before_the_end_is_told_when_reading_goes_on() {
    let rig = rig(Role::Server);
    rig.end.socket().pause_producing();
    rig.frame(0x81, b"one").frame(0x81, b"two").frame(0x88, b"");
    rig.peer.act(|transport| transport.lose_write_connection());
    rig.reactor.run();
    assert_eq!(rig.log(), "open");
    rig.end.socket().resume_producing();
    rig.reactor.run();
    assert_eq!(rig.log(), "open, text one, text two, lost 1005 clean");
}

#[test]
fn a_peer_that_still_reads_what_was_said_before_the_close_is_not_cut_off() {
    let rig = rig(Role::Server);
    rig.read_pieces(64 * 1024);
    let socket = rig.end.socket();
    assert!(socket.send(vec![1; 4 * 1024 * 1024]));
    assert!(socket.lose_connection(CloseCode::NORMAL, ""));
    rig.reactor.run();
    for _ in 0..64 {
        rig.reactor.advance(Duration::from_secs(1));
        assert!(!rig.is_over());
        rig.read_on();
    }
    rig.read_on();
    let frames = rig.frames();
    assert_eq!(frames[0].1.len(), 4 * 1024 * 1024);
    assert_eq!(frames[1], (0x88, b"\x03\xe8".to_vec()));
    // From here on it has its time to answer.
    rig.reactor.advance(Duration::from_secs(9));
    assert!(!rig.is_over());
    rig.reactor.advance(Duration::from_secs(10));
    assert!(rig.is_over());
}

#[test]
fn a_peer_that_reads_nothing_of_what_was_said_before_the_close_is_cut_off() {
    let rig = rig(Role::Server);
    rig.peer.pause_producing();
    rig.reactor.set_window(64 * 1024);
    let socket = rig.end.socket();
    assert!(socket.send(vec![1; 4 * 1024 * 1024]));
    assert!(socket.lose_connection(CloseCode::NORMAL, ""));
    rig.reactor.run();
    rig.reactor.advance(Duration::from_secs(30));
    assert!(rig.is_over());
}
