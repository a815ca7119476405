//! When sessions end, by a clock that the test moves.

use std::time::Duration;

use ropewalk_web::session::{MemoryStore, Sessions};

use super::rig::Rig;
use super::values::keys;

const MINUTE: Duration = Duration::from_secs(60);

fn both(times: impl Fn(Sessions) -> Sessions) -> [Rig; 2] {
    let in_memory = Rig::new(|reactor| times(Sessions::new(reactor, MemoryStore::default())));
    let in_cookie = Rig::new(|reactor| times(Sessions::in_cookie(reactor, keys())));
    [in_memory, in_cookie]
}

#[test]
fn a_session_ends_when_it_was_not_used_for_a_quarter_of_an_hour() {
    for rig in both(|sessions| sessions) {
        rig.visit("/set?a=1");
        rig.reactor.advance(15 * MINUTE - Duration::from_secs(1));
        assert_eq!(rig.text("/get?a"), "1");
        rig.reactor.advance(15 * MINUTE - Duration::from_secs(1));
        assert_eq!(rig.text("/get?a"), "1");
        rig.reactor.advance(15 * MINUTE);
        assert_eq!(rig.text("/look"), "new=true empty=true");
    }
}

#[test]
fn a_request_that_does_not_look_at_the_session_does_not_prolong_it() {
    for rig in both(|sessions| sessions) {
        rig.visit("/set?a=1");
        for _ in 0..3 {
            rig.reactor.advance(5 * MINUTE);
            rig.visit("/static");
        }
        assert_eq!(rig.text("/get?a"), "-");
    }
}

#[test]
fn a_session_in_use_ends_after_a_day() {
    for rig in both(|sessions| sessions) {
        rig.visit("/set?a=1");
        for _ in 0..(24 * 6 - 1) {
            rig.reactor.advance(10 * MINUTE);
            assert_eq!(rig.text("/get?a"), "1");
        }
        rig.reactor.advance(10 * MINUTE);
        assert_eq!(rig.text("/get?a"), "-");
    }
}

#[test]
fn neither_a_change_nor_a_rotation_makes_a_session_younger() {
    for rig in both(|sessions| sessions.absolute(30 * MINUTE)) {
        rig.visit("/set?a=1");
        rig.reactor.advance(10 * MINUTE);
        rig.visit("/set?a=2");
        rig.reactor.advance(10 * MINUTE);
        rig.visit("/rotate");
        rig.reactor.advance(10 * MINUTE - Duration::from_secs(1));
        assert_eq!(rig.text("/get?a"), "2");
        rig.reactor.advance(Duration::from_secs(1));
        assert_eq!(rig.text("/get?a"), "-");
    }
}

#[test]
fn the_cookie_lasts_as_long_as_the_session_if_it_is_to_outlive_the_browser() {
    for rig in both(|sessions| sessions) {
        let set = rig.visit("/set?a=1").set_cookie.unwrap();
        assert!(!set.contains("Max-Age"), "{set}");
    }
    for rig in both(|sessions| sessions.persistent(true).absolute(MINUTE)) {
        let set = rig.visit("/set?a=1").set_cookie.unwrap();
        assert!(set.contains("; Max-Age=60"), "{set}");
    }
}
