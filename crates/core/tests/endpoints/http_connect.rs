//! CONNECT on connections in memory, against proxies that say what a test wants.

use proptest::prelude::*;
use ropewalk_core::handshake::HttpConnectError;

use super::rig::Log;
use super::scripted::{Outcome, Script, through};

const TARGET: &str = "connect:proxy.example.com:80:tcp:example.com:443";
const REQUEST: &[u8] = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";

fn refused(endpoint: &str, answer: &[u8], split: usize) -> HttpConnectError {
    let script = Script::new().hears(REQUEST).says(answer).closes();
    let Outcome::Failed(failure) = through(endpoint, &script, split, &Log::default()) else {
        panic!("it connected");
    };
    assert!(
        failure
            .to_string()
            .starts_with("cannot connect to connect:"),
        "{failure}"
    );
    failure
        .check::<HttpConnectError>()
        .expect("its own error")
        .clone()
}

#[test]
fn a_tunnel_opens_at_every_split_and_what_follows_is_the_target_s() {
    for answer in [
        &b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhello"[..],
        b"HTTP/1.0 299 \r\n\r\nhello",
        b"HTTP/1.1 200\n\nhello",
        b"HTTP/1.1 200 OK\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
    ] {
        for split in 1..=answer.len() {
            let log = Log::default();
            let script = Script::new().hears(REQUEST).says(answer);
            assert_eq!(through(TARGET, &script, split, &log).heard(), b"written");
            assert!(log.take()[1].starts_with("lost \"hello\""));
        }
    }
}

#[test]
fn a_user_is_named_at_once() {
    let endpoint = "connect:proxy.example.com:80:user=ada:password=a\\:b:tcp:[2001:db8::1]:443";
    let request = b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
                    Proxy-Authorization: Basic YWRhOmE6Yg==\r\n\r\n";
    let script = Script::new()
        .hears(request)
        .says(b"HTTP/1.1 200 OK\r\n\r\n");
    let outcome = through(endpoint, &script, usize::MAX, &Log::default());
    assert_eq!(outcome.heard(), b"written");
}

#[test]
fn a_refusal_is_told_with_its_status_and_reason() {
    for split in [1, 7, 1000] {
        let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
        let error = refused(TARGET, answer, split);
        assert_eq!(
            error.to_string(),
            "the HTTP proxy did not connect: 403 Forbidden"
        );
    }
    let error = refused(TARGET, b"HTTP/1.1 407 Proxy\x1b[31m Auth\r\n\r\n", 1000);
    assert_eq!(
        error.to_string(),
        "the HTTP proxy did not connect: 407 Proxy\u{fffd}[31m Auth; give it `user` and \
         `password`, or others",
    );
}

#[test]
fn an_answer_has_16_kib_and_no_more() {
    for (length, split) in [(16_384, 100_000), (16_384, 999), (100_000, 100_000)] {
        let answer = [
            b"HTTP/1.1 200 OK\r\nX: ",
            &vec![b'x'; length][..],
            b"\r\n\r\n",
        ]
        .concat();
        assert_eq!(refused(TARGET, &answer, split), HttpConnectError::TooLong);
        let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(length / 20);
        assert_eq!(refused(TARGET, &many, split), HttpConnectError::TooLong);
    }
}

#[test]
fn what_is_no_http_proxy_is_told_so() {
    for answer in [
        &b"SSH-2.0-x\r\n"[..],
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2xx OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"\r\n\r\n",
    ] {
        for split in [1, 1000] {
            assert_eq!(refused(TARGET, answer, split), HttpConnectError::NotHttp);
        }
    }
}

#[test]
fn a_proxy_that_closes_early_is_an_error() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\n"] {
        assert_eq!(refused(TARGET, answer, 1000), HttpConnectError::Closed);
    }
}

#[test]
fn nothing_that_would_be_another_line_gets_into_a_request() {
    use ropewalk_core::endpoint::{ClientEndpoint, Host, HttpConnectVia, TcpConnect};
    use ropewalk_core::testing::MemoryReactor;
    let host = Host::Name("a\r\nX: y".to_owned());
    let target = ClientEndpoint::from(TcpConnect::new(host, 443));
    let via = HttpConnectVia::new(TcpConnect::new("proxy.example.com", 80), target);
    let reactor = MemoryReactor::new();
    let log = Log::default();
    reactor
        .listen(&"tcp:80".parse().unwrap(), log.factory())
        .unwrap();
    let made = reactor.connect(&via.into(), super::rig::silent());
    reactor.run();
    assert!(made.is_fired());
    drop(made.add_errback(|failure| {
        assert_eq!(failure.check(), Some(&HttpConnectError::BadName));
        ropewalk_core::Connection::default()
    }));
    assert!(log.take()[1].starts_with("lost \"\""), "nothing was sent");
}

proptest! {
    #[test]
    fn a_hostile_proxy_ends_in_an_error_or_a_tunnel(
        answer in r"(HTTP/1\.[01] [1-5][0-9]{2})?( |\PC|\r\n|\n){0,200}",
        split in 1_usize..50,
    ) {
        let script = Script::new().hears(REQUEST).says(answer.as_bytes()).closes();
        if let Outcome::Failed(failure) = through(TARGET, &script, split, &Log::default()) {
            prop_assert!(failure.check::<HttpConnectError>().is_some(), "{}", failure);
        }
    }
}
