//! The built-in wrappers as text: what they read, what they write, and where they are wrong.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{ClientEndpoint, ServerEndpoint, TcpListen};
use ropewalk_core::{Address, Protocol, Transport};

use super::rig::{Log, dial, listening, silent};

/// `column: message`.
fn error(text: &str) -> String {
    let error = text.parse::<ServerEndpoint>().unwrap_err();
    format!("{}: {}", error.column(), error.message())
}

#[test]
fn wrappers_are_written_as_they_are_read() {
    for text in [
        "proxy:tcp:80",
        "proxy:trusted=[10.0.0.0/8,2001:db8::/32]:tcp:80:backlog=5",
        "limit:connections=100:per_peer=5:proxy:throttle:read=64k:write=1m:unix:/run/app.sock",
        "systemd:name=web",
        "systemd:index=3",
        r"systemd:name=a\=b",
        "fd:3",
    ] {
        assert_eq!(text.parse::<ServerEndpoint>().unwrap().to_string(), text);
    }
    for text in [
        "socks5:proxy.example.com:1080:tcp:example.com:80:timeout=5s",
        "connect:[2001:db8::1]:3128:socks5:192.0.2.1:1080:tcp:example.com:80",
        "fd:7",
    ] {
        assert_eq!(text.parse::<ClientEndpoint>().unwrap().to_string(), text);
    }
}

#[test]
fn tcp6_is_tcp_without_ipv4() {
    let parsed: ServerEndpoint = "tcp6:80".parse().unwrap();
    assert_eq!(parsed, TcpListen::new(80).only_v6(true).into());
    let expected = "18: `tcp6` listens on IPv6 addresses; write `tcp` for this one";
    assert_eq!(
        error("tcp6:80:interface=127.0.0.1"),
        expected.replace("18", "19")
    );
}

#[test]
fn what_is_wrong_with_a_wrapper_is_told_at_its_column() {
    let missing =
        |usage: &str| format!("the endpoint that it stands on is missing; write `{usage}`");
    for (text, expected) in [
        ("proxy:", format!("7: {}", missing("proxy:tcp:80"))),
        (
            "proxy:trusted=::1:tcp:80",
            "15: `trusted` has no value".to_owned(),
        ),
        (
            "proxy:trusted=10.0.0.0/33:tcp:80",
            "15: `trusted` is networks".to_owned(),
        ),
        (
            "proxy:proxy:tcp:80",
            "7: a connection has one PROXY header".to_owned(),
        ),
        ("proxy", format!("6: {}", missing("proxy:tcp:80"))),
        ("limit:tcp:80", "7: the limit is missing".to_owned()),
        (
            "limit:connections=0:tcp:80",
            "19: `connections` is a number of at least 1".to_owned(),
        ),
        (
            "limit:connections=5",
            format!("20: {}", missing("limit:connections=100:tcp:80")),
        ),
        ("throttle:tcp:80", "10: the rate is missing".to_owned()),
        (
            "throttle:read=0:tcp:80",
            "15: `read` is a number of bytes a second".to_owned(),
        ),
        ("throttle:read=1k:tcp:x", "22: `x` is not a port".to_owned()),
        ("systemd", "8: which socket is missing".to_owned()),
        (
            "systemd:index=0:name=a",
            "1: a socket has an index or a name here".to_owned(),
        ),
        (
            "systemd:index=x",
            "15: `index` is a number from 0".to_owned(),
        ),
        (
            "fd:stdin",
            "4: `stdin` is not the number of a descriptor".to_owned(),
        ),
        (
            "fd:-1",
            "4: `-1` is not the number of a descriptor".to_owned(),
        ),
        (
            "fd:99999999999",
            "4: `99999999999` is not the number".to_owned(),
        ),
    ] {
        let error = error(text);
        assert!(error.starts_with(&expected), "{text}: {error}");
    }
    for (text, expected) in [
        (
            "socks5:a:1080",
            "14: the endpoint that it stands on is missing",
        ),
        (
            "socks5:a:user=b:1:tcp:c:2",
            "19: `user` and `password` belong together",
        ),
        ("socks5:a:0:tcp:c:2", "10: `0` is not a port"),
        ("connect:a:1:tcp:c:0", "19: `0` is not a port"),
        (
            "connect:a:1:usr=b:tcp:c:1",
            "13: `usr` is not an option of `connect`; did you mean",
        ),
    ] {
        let error = text.parse::<ClientEndpoint>().unwrap_err();
        let error = format!("{}: {}", error.column(), error.message());
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn a_password_is_in_no_text_of_the_endpoint() {
    let text = "socks5:proxy.example.com:1080:user=ada:password=secret:tcp:example.com:80";
    let endpoint: ClientEndpoint = text.parse().unwrap();
    assert!(!endpoint.to_string().contains("secret"));
    assert!(!format!("{endpoint:?}").contains("secret"));
}

#[test]
fn the_time_of_an_attempt_is_that_of_the_endpoint_within() {
    let endpoint: ClientEndpoint = "socks5:a:1:connect:b:2:tcp:c:3:timeout=5s".parse().unwrap();
    assert_eq!(endpoint.timeout(), Duration::from_secs(5));
}

#[test]
fn the_options_of_a_socket_behind_a_proxy_are_those_of_the_connection_to_it() {
    for target in ["tcp:b:2", "tls:b:2"] {
        let text = format!("socks5:a:1:{target}:bind=127.0.0.1:keep_alive=1m");
        let Ok(ClientEndpoint::Other(kind)) = text.parse() else {
            panic!("{text}");
        };
        let expected = "tcp:a:1:bind=127.0.0.1:keep_alive=1m".parse();
        assert_eq!(kind.base().ok(), expected.ok());
    }
}

#[test]
fn connections_over_the_limit_are_closed() {
    let log = Log::default();
    let reactor = listening("limit:connections=2:tcp:80", log.factory());
    let clients = [dial(&reactor), dial(&reactor), dial(&reactor)];
    reactor.run();
    assert_eq!(
        clients.map(|client| client.is_connected()),
        [true, true, false]
    );
}

/// Writes 1 MB at once.
struct Megabyte;

impl Protocol for Megabyte {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(&vec![0; 1_000_000]);
        transport.lose_connection();
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

#[test]
fn a_throttled_connection_takes_its_time() {
    let reactor = listening(
        "throttle:write=100k:tcp:80",
        Rc::new(|_: &Address| Megabyte),
    );
    drop(reactor.connect(&"tcp:example.com:80".parse().unwrap(), silent()));
    reactor.advance(Duration::from_secs(9));
    assert_ne!(reactor.connections(), 0);
    reactor.advance(Duration::from_secs(1));
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn what_a_proxy_cannot_connect_to_is_an_error() {
    let reactor = listening("tcp:80", silent());
    let endpoint = "socks5:proxy.example.com:80:unix:/run/app.sock"
        .parse()
        .unwrap();
    let failed = reactor.connect(&endpoint, silent()).add_errback(|failure| {
        assert!(
            failure
                .to_string()
                .contains("a proxy connects to TCP endpoints"),
            "{failure}"
        );
        ropewalk_core::Connection::default()
    });
    assert!(failed.is_fired());
}
