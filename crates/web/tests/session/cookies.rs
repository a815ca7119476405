//! The cookie of a session, and what can be done with one that lives in it.

use ropewalk_web::cookies::{CookieKeys, SameSite};
use ropewalk_web::session::{MemoryStore, Secure, Sessions};

use super::rig::Rig;
use super::values::{in_cookie, keys};

#[test]
fn a_cookie_is_kept_from_scripts_and_other_sites() {
    let rig = Rig::new(|reactor| Sessions::new(reactor, MemoryStore::default()));
    let set = rig.visit("/set?a=1").set_cookie.unwrap();
    let (value, attributes) = set.split_once("; ").unwrap();
    assert_eq!(value.len(), "session=".len() + 43);
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Path=/");
}

#[test]
fn over_https_it_is_secure_and_of_this_host_alone() {
    for setting in [Secure::Https, Secure::Always] {
        let mut rig = Rig::new(|reactor| {
            let sessions = Sessions::new(reactor, MemoryStore::default());
            sessions
                .secure(setting)
                .same_site(SameSite::Strict)
                .cookie_name("id")
        });
        rig.https = setting == Secure::Https;
        let set = rig.visit("/set?a=1").set_cookie.unwrap();
        assert!(set.starts_with("__Host-id="), "{set}");
        assert!(
            set.ends_with("; HttpOnly; SameSite=Strict; Secure; Path=/"),
            "{set}"
        );
        assert_eq!(rig.text("/get?a"), "1");
        // The name without the prefix could have been set by another host of the domain.
        let value = rig.cookie_value();
        *rig.cookie.borrow_mut() = Some(("id".into(), value));
        assert_eq!(rig.text("/get?a"), "-");
    }
}

#[test]
fn what_is_in_a_cookie_is_not_to_be_read_or_changed() {
    let rig = in_cookie();
    rig.visit("/set?user=ada");
    let value = rig.cookie_value();
    assert!(!value.contains("ada"));
    for at in 0..value.len() {
        let mut forged = value.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        *rig.cookie.borrow_mut() = Some(("session".into(), forged));
        assert_eq!(rig.text("/get?user"), "-", "{at}");
    }
}

#[test]
fn keys_can_be_rotated() {
    let old = in_cookie();
    old.visit("/set?user=ada");
    let new_key: Vec<u8> = (100..164).collect();
    let accepting = CookieKeys::new(&new_key)
        .unwrap()
        .accept(&(0..64).collect::<Vec<u8>>())
        .unwrap();
    let new = Rig::new(|reactor| Sessions::in_cookie(reactor, accepting));
    new.has_cookie_of(&old);
    assert_eq!(new.text("/get?user"), "ada");
    new.visit("/set?seen=1");
    let later =
        Rig::new(|reactor| Sessions::in_cookie(reactor, CookieKeys::new(&new_key).unwrap()));
    later.has_cookie_of(&new);
    assert_eq!(later.text("/get?user"), "ada");
    later.has_cookie_of(&old);
    assert_eq!(later.text("/get?user"), "-");
}

#[test]
fn the_largest_session_fits_into_a_cookie() {
    let rig = Rig::new(|reactor| {
        Sessions::in_cookie(reactor, keys())
            .secure(Secure::Always)
            .max_bytes(1 << 20)
    });
    let fits = "x".repeat(2560 - r#"{"a":""}"#.len());
    let answer = rig.visit(&format!("/set?a={fits}"));
    assert!(answer.set_cookie.unwrap().len() <= 4096);
    assert_eq!(rig.text("/get?a"), fits);
}

#[test]
fn a_session_that_is_only_looked_at_is_sent_anew_when_its_time_runs() {
    let rig = in_cookie();
    rig.visit("/set?a=1");
    assert_eq!(rig.visit("/get?a").set_cookie, None);
    rig.reactor.advance(std::time::Duration::from_secs(90));
    assert!(rig.visit("/get?a").set_cookie.is_some());
    assert_eq!(rig.visit("/get?a").set_cookie, None);
}
