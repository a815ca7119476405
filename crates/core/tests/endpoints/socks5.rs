//! SOCKS5 on connections in memory, against proxies that say what a test wants.

use proptest::prelude::*;
use ropewalk_core::ConnectionLost;
use ropewalk_core::handshake::Socks5Error;

use super::rig::Log;
use super::scripted::{Outcome, Script, through};

const TARGET: &str = "socks5:proxy.example.com:80:tcp:example.com:443";
const REQUEST: &[u8] = b"\x05\x01\0\x03\x0bexample.com\x01\xbb";
const REPLY: &[u8] = b"\x05\0\0\x01\xc0\0\x02\x01\x04\0";

fn script() -> Script {
    Script::new()
        .hears(b"\x05\x01\0")
        .says(b"\x05\0")
        .hears(REQUEST)
        .says(REPLY)
}

/// What a proxy that says this is refused with.
fn refused(endpoint: &str, script: &Script) -> Socks5Error {
    let Outcome::Failed(failure) = through(endpoint, script, usize::MAX, &Log::default()) else {
        panic!("it connected");
    };
    assert!(
        failure.to_string().starts_with("cannot connect to socks5:"),
        "{failure}"
    );
    *failure.check::<Socks5Error>().expect("its own error")
}

#[test]
fn a_connection_is_asked_for_by_name_and_opens_at_every_split() {
    for split in 1..=REPLY.len() + 6 {
        let log = Log::default();
        let outcome = through(TARGET, &script().says(b"hello"), split, &log);
        assert_eq!(outcome.heard(), b"written");
        let told = log.take();
        assert!(told[1].starts_with("lost \"hello\""), "{told:?}");
    }
}

#[test]
fn replies_with_names_and_ipv6_addresses_are_skipped_whole() {
    for reply in [
        b"\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0".to_vec(),
        [b"\x05\0\0\x03\xff", &[b'x'; 255][..], b"\0\0"].concat(),
        b"\x05\0\0\x03\0\0\0".to_vec(),
    ] {
        for split in [1, 2, 3, 1000] {
            let log = Log::default();
            let script = Script::new()
                .hears(b"\x05\x01\0")
                .says(b"\x05\0")
                .hears(REQUEST)
                .says(&reply)
                .says(b"hello");
            through(TARGET, &script, split, &log);
            assert!(log.take()[1].starts_with("lost \"hello\""));
        }
    }
}

#[test]
fn addresses_are_sent_as_addresses() {
    for (target, request) in [
        (
            "tcp:192.0.2.9:80",
            &b"\x05\x01\0\x01\xc0\0\x02\x09\0\x50"[..],
        ),
        (
            "tcp:[2001:db8::9]:80",
            b"\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\x50",
        ),
    ] {
        let script = Script::new()
            .hears(b"\x05\x01\0")
            .says(b"\x05\0")
            .hears(request)
            .says(REPLY);
        let endpoint = format!("socks5:proxy.example.com:80:{target}");
        let outcome = through(&endpoint, &script, usize::MAX, &Log::default());
        assert_eq!(outcome.heard(), b"written");
    }
}

#[test]
fn a_user_is_named_when_the_proxy_asks_and_not_before() {
    let endpoint = "socks5:proxy.example.com:80:user=ada:password=secret:tcp:example.com:443";
    let asked = Script::new()
        .hears(b"\x05\x02\0\x02")
        .says(b"\x05\x02")
        .hears(b"\x01\x03ada\x06secret")
        .says(b"\x01\0")
        .hears(REQUEST)
        .says(REPLY);
    let outcome = through(endpoint, &asked, 1, &Log::default());
    assert_eq!(outcome.heard(), b"written");
    let not_asked = Script::new()
        .hears(b"\x05\x02\0\x02")
        .says(b"\x05\0")
        .hears(REQUEST)
        .says(REPLY);
    let outcome = through(endpoint, &not_asked, 1, &Log::default());
    assert_eq!(outcome.heard(), b"written");
    let wrong = Script::new()
        .hears(b"\x05\x02\0\x02")
        .says(b"\x05\x02")
        .hears(b"\x01\x03ada\x06secret")
        .says(b"\x01\x01");
    assert_eq!(refused(endpoint, &wrong), Socks5Error::CredentialsRefused);
}

#[test]
fn each_refusal_has_its_reason() {
    for code in [1, 2, 3, 4, 5, 6, 7, 8, 9, 255] {
        let script = Script::new()
            .hears(b"\x05\x01\0")
            .says(b"\x05\0")
            .hears(REQUEST)
            .says(&[5, code]);
        assert_eq!(refused(TARGET, &script), Socks5Error::Refused { code });
    }
    let error = Socks5Error::Refused { code: 5 }.to_string();
    assert_eq!(
        error,
        "the SOCKS5 proxy did not connect: the connection was refused (5)"
    );
}

#[test]
fn what_is_no_socks5_proxy_is_told_from_its_first_byte() {
    for first in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x04", b"\0"] {
        let script = Script::new().hears(b"\x05\x01\0").says(first);
        assert_eq!(refused(TARGET, &script), Socks5Error::NotSocks5);
    }
    for reply in [&b"\x04\0"[..], b"\x05\0\0\x02", b"\x05\0\0\0"] {
        let script = Script::new()
            .hears(b"\x05\x01\0")
            .says(b"\x05\0")
            .hears(REQUEST)
            .says(reply);
        assert_eq!(refused(TARGET, &script), Socks5Error::NotSocks5);
    }
}

#[test]
fn a_way_to_authenticate_that_was_not_offered_is_refused() {
    for method in [1, 2, 0xff] {
        let script = Script::new().hears(b"\x05\x01\0").says(&[5, method]);
        assert_eq!(refused(TARGET, &script), Socks5Error::NoMethod);
    }
}

#[test]
fn a_proxy_that_closes_early_is_an_error_at_each_point() {
    let start = || Script::new().hears(b"\x05\x01\0");
    let asked = || start().says(b"\x05\0").hears(REQUEST);
    for script in [
        start().closes(),
        start().says(b"\x05").closes(),
        asked().closes(),
        asked().says(&REPLY[..9]).closes(),
    ] {
        assert_eq!(refused(TARGET, &script), Socks5Error::Closed);
    }
}

#[test]
fn names_that_do_not_fit_are_an_error_before_they_are_sent() {
    let script = || Script::new().hears(b"\x05\x01\0").says(b"\x05\0");
    let long = format!("socks5:proxy.example.com:80:tcp:{}:443", "x".repeat(256));
    assert_eq!(refused(&long, &script()), Socks5Error::BadName);
    let long = format!(
        "socks5:p.example.com:80:user={}:password=x:tcp:a:443",
        "x".repeat(256)
    );
    let script = Script::new().hears(b"\x05\x02\0\x02").says(b"\x05\x02");
    assert_eq!(refused(&long, &script), Socks5Error::BadCredentials);
}

#[test]
fn a_proxy_can_be_reached_through_another_one() {
    let endpoint = "socks5:one.example.com:80:connect:two.example.com:3128:tcp:example.com:443";
    let script = Script::new()
        .hears(b"\x05\x01\0")
        .says(b"\x05\0")
        .hears(b"\x05\x01\0\x03\x0ftwo.example.com\x0c\x38")
        .says(REPLY)
        .hears(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        .says(b"HTTP/1.1 200 OK\r\n\r\nhello");
    for split in [1, 2, 5, 1000] {
        let log = Log::default();
        assert_eq!(through(endpoint, &script, split, &log).heard(), b"written");
        assert!(log.take()[1].starts_with("lost \"hello\""));
    }
}

proptest! {
    #[test]
    fn a_hostile_proxy_is_told_no_more_than_the_protocol_and_ends_in_an_error_or_a_connection(
        answer in proptest::collection::vec(prop_oneof![Just(5), Just(0), Just(1), any::<u8>()], 0..400),
        split in 1_usize..50,
    ) {
        let script = Script::new().hears(b"\x05\x01\0").says(&answer).closes();
        match through(TARGET, &script, split, &Log::default()) {
            Outcome::Failed(failure) => {
                // It may be gone before it was asked.
                let is_lost = failure.check::<ConnectionLost>().is_some();
                prop_assert!(is_lost || failure.check::<Socks5Error>().is_some());
            }
            Outcome::Opened { .. } => prop_assert!(answer.starts_with(b"\x05\0\x05\0")),
        }
    }
}
