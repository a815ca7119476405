//! The store in memory: its bounds, and whom it tells of what has ended.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ropewalk_web::session::{MemoryStore, SessionEnd, Sessions};

use super::rig::Rig;

type Told = Arc<Mutex<Vec<(String, SessionEnd)>>>;

fn watched(max_sessions: usize, max_bytes: usize) -> (MemoryStore, Told, Rig) {
    let store = MemoryStore::new(max_sessions, max_bytes);
    let told = Told::default();
    let tell = Arc::clone(&told);
    let inner = store.clone();
    store.notify_on_expire(move |_, record, end| {
        // It may use the store.
        let _ = inner.len();
        let user = record.values["user"].as_str().unwrap().to_owned();
        tell.lock().unwrap().push((user, end));
    });
    let rig = Rig::new(|reactor| Sessions::new(reactor, store.clone()));
    (store, told, rig)
}

fn told(told: &Told) -> Vec<(String, SessionEnd)> {
    std::mem::take(&mut *told.lock().unwrap())
}

#[test]
fn the_timer_removes_what_has_expired_and_tells_of_it() {
    let (store, ends, rig) = watched(100, 1 << 20);
    rig.visit("/set?user=ada");
    rig.reactor.advance(Duration::from_secs(60));
    let other = rig.other();
    other.visit("/set?user=bob");
    rig.reactor.advance(Duration::from_secs(14 * 60));
    assert_eq!(told(&ends), [("ada".to_owned(), SessionEnd::Expired)]);
    assert_eq!(store.len(), 1);
    rig.reactor.advance(Duration::from_secs(60));
    assert_eq!(told(&ends), [("bob".to_owned(), SessionEnd::Expired)]);
    assert_eq!((store.len(), store.bytes()), (0, 0));
    // And begins again with the next.
    rig.visit("/set?user=eve");
    rig.reactor.advance(Duration::from_secs(60 * 60));
    assert_eq!(told(&ends), [("eve".to_owned(), SessionEnd::Expired)]);
}

#[test]
fn a_session_that_is_destroyed_is_told_of_once() {
    let (_, ends, rig) = watched(100, 1 << 20);
    rig.visit("/set?user=ada");
    rig.visit("/rotate");
    rig.visit("/set?user=bob");
    assert_eq!(told(&ends), []);
    rig.visit("/destroy");
    assert_eq!(told(&ends), [("bob".to_owned(), SessionEnd::Destroyed)]);
    rig.reactor.advance(Duration::from_secs(60 * 60));
    assert_eq!(told(&ends), []);
}

#[test]
fn the_one_that_was_unused_for_longest_makes_room() {
    let (store, ends, first) = watched(2, 1 << 20);
    let (second, third) = (first.other(), first.other());
    first.visit("/set?user=ada");
    second.visit("/set?user=bob");
    first.visit("/get?user");
    third.visit("/set?user=eve");
    assert_eq!(told(&ends), [("bob".to_owned(), SessionEnd::Evicted)]);
    assert_eq!(store.len(), 2);
    assert_eq!(first.text("/get?user"), "ada");
    assert_eq!(second.text("/get?user"), "-");
}

#[test]
fn the_bytes_of_all_are_bounded() {
    let (store, ends, rig) = watched(1000, 10_000);
    let long = "x".repeat(2000);
    for number in 0..20 {
        let other = rig.other();
        other.visit(&format!("/set?user={number}"));
        other.visit(&format!("/set?long={long}"));
        assert!(store.bytes() <= 10_000);
    }
    assert_eq!(store.len(), 3);
    assert_eq!(told(&ends).len(), 17);
}

#[test]
fn a_loop_that_is_gone_leaves_the_timer_to_another() {
    let store = MemoryStore::default();
    let first = Rig::new(|reactor| Sessions::new(reactor, store.clone()));
    first.visit("/set?a=1");
    drop(first);
    let second = Rig::new(|reactor| Sessions::new(reactor, store.clone()));
    second.visit("/set?a=2");
    second.reactor.advance(Duration::from_secs(24 * 60 * 60));
    assert!(store.is_empty());
}
