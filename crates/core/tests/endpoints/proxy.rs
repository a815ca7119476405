//! `proxy:` on connections: for whom protocols are built, at every split, and who is refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::handshake::ProxyFactory;
use ropewalk_core::policies::{AccessListFactory, LimitConnectionsByPeer};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Failure, Layer, LayerIo, OutputQueue};

use super::proxy_headers::v2;
use super::rig::{Log, dial, listening};

const V1: &[u8] = b"PROXY TCP4 198.51.100.7 203.0.113.1 4096 443\r\n";

/// The peer in memory is 192.0.2.2.
const TRUSTING: &str = "proxy:trusted=192.0.2.0/24:tcp:80";

/// What a protocol behind a header is told.
fn told(listen: &str, bytes: &[u8], split: usize) -> Vec<String> {
    let log = Log::default();
    let reactor = listening(listen, log.factory());
    reactor.set_split(split);
    let client = dial(&reactor);
    client.write(bytes);
    client.lose_connection();
    reactor.run();
    assert_eq!(reactor.connections(), 0);
    log.take()
}

#[test]
fn a_protocol_is_built_for_the_addresses_of_the_header_at_every_split() {
    let v2 = v2(1, 0x11, &[198, 51, 100, 7, 203, 0, 113, 1, 16, 0, 1, 0xbb]);
    for header in [V1, &v2] {
        let bytes = [header, b"hello"].concat();
        for split in 1..=bytes.len() {
            assert_eq!(
                told(TRUSTING, &bytes, split),
                [
                    "made 198.51.100.7:4096 203.0.113.1:443",
                    "lost \"hello\" the connection was closed cleanly",
                ],
                "{split}"
            );
        }
    }
}

#[test]
fn a_header_that_names_nobody_leaves_the_connection_s_own_addresses() {
    for header in [&b"PROXY UNKNOWN\r\n"[..], &v2(0, 0, b"")] {
        let told = told(TRUSTING, &[header, b"hello"].concat(), 7);
        assert!(told[0].starts_with("made 192.0.2.2:"), "{told:?}");
        assert!(told[1].starts_with("lost \"hello\""), "{told:?}");
    }
}

#[test]
fn what_begins_with_no_header_reaches_no_protocol_and_is_closed() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY TCP4 1",
    ] {
        assert!(told(TRUSTING, bytes, 3).is_empty());
    }
}

#[test]
fn who_is_not_trusted_is_refused_whatever_it_sends() {
    for listen in ["proxy:tcp:80", "proxy:trusted=192.0.3.0/24:tcp:80"] {
        assert!(told(listen, &[V1, b"hello"].concat(), 1000).is_empty());
    }
    let factory = ProxyFactory::new(Log::default().factory());
    let takes = |peer: &Address| factory.build_protocol(peer).is_some();
    assert!(takes(&Address::Unix(None)));
    for (peer, is_trusted) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("[::2]:1", false),
        ("10.0.0.1:1", false),
    ] {
        assert_eq!(takes(&Address::Tcp(peer.parse().unwrap())), is_trusted);
    }
}

#[test]
fn a_header_that_does_not_come_is_waited_for_as_long_as_a_handshake() {
    let log = Log::default();
    let reactor = listening(TRUSTING, log.factory());
    let client = dial(&reactor);
    client.write(&V1[..20]);
    reactor.advance(Duration::from_millis(9_999));
    assert!(client.is_connected());
    reactor.advance(Duration::from_millis(1));
    assert!(!client.is_connected());
    assert!(log.take().is_empty());
}

#[test]
fn the_deadline_is_over_with_the_header() {
    let log = Log::default();
    let reactor = listening(TRUSTING, log.factory());
    let client = dial(&reactor);
    client.write(V1);
    reactor.advance(Duration::from_secs(3600));
    assert!(client.is_connected());
    assert_eq!(log.take().len(), 1);
}

#[test]
fn limits_within_are_about_the_peer_in_the_header_and_limits_around_about_the_proxy() {
    let connect = |listen: &str, from: &[u8]| {
        let log = Log::default();
        let reactor = listening(listen, log.factory());
        let clients: Vec<Connection> = from
            .iter()
            .map(|last| {
                let client = dial(&reactor);
                let line = format!("PROXY TCP4 198.51.100.{last} 203.0.113.1 4096 443\r\n");
                client.write(line.as_bytes());
                client
            })
            .collect();
        reactor.run();
        let open = clients
            .iter()
            .filter(|client| client.is_connected())
            .count();
        (open, log.take().len())
    };
    let within = "proxy:trusted=192.0.2.2:limit:per_peer=1:tcp:80";
    assert_eq!(connect(within, &[1, 1, 2, 3]), (3, 3));
    let around = "limit:per_peer=1:proxy:trusted=192.0.2.2:tcp:80";
    assert_eq!(connect(around, &[1, 1, 2, 3]), (1, 1));
}

#[test]
fn a_place_among_limited_connections_is_given_back_when_the_connection_ends() {
    let log = Log::default();
    let limited: Rc<dyn Factory> = Rc::new(LimitConnectionsByPeer::new(log.factory(), 1));
    let reactor = listening(TRUSTING, limited);
    for _ in 0..3 {
        let client = dial(&reactor);
        client.write(V1);
        reactor.run();
        assert_eq!(log.take().len(), 1);
        client.lose_connection();
        reactor.run();
        assert_eq!(log.take().len(), 1);
    }
}

#[test]
fn access_lists_within_look_at_the_peer_in_the_header() {
    let log = Log::default();
    let list = "deny 198.51.100.7, allow all".parse().unwrap();
    let reactor = listening(
        TRUSTING,
        Rc::new(AccessListFactory::new(log.factory(), list)),
    );
    let client = dial(&reactor);
    client.write(V1);
    reactor.run();
    assert!(!client.is_connected());
    assert!(log.take().is_empty());
}

/// Adds one to each byte on the way up, after a handshake of one byte.
struct Shift {
    is_ready: bool,
}

impl Layer for Shift {
    fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let mut data = data;
        if !self.is_ready {
            assert_eq!(data[0], b'!', "the header is not for this layer");
            data = &data[1..];
            self.is_ready = true;
            io.ready();
        }
        io.up().extend(data.iter().map(|byte| byte + 1));
        Ok(())
    }
    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().append(output);
        Ok(())
    }
}

struct Shifted(Rc<dyn Factory>);

impl Factory for Shifted {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn ropewalk_core::Protocol>> {
        self.0.build_protocol(peer)
    }
    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&*self.0)
    }
    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        vec![Box::new(Shift { is_ready: false })]
    }
}

#[test]
fn layers_begin_after_the_header_and_the_protocol_after_their_handshake() {
    let bytes = [V1, b"!gdkkn"].concat();
    for split in 1..=bytes.len() {
        let log = Log::default();
        let reactor = listening(TRUSTING, Rc::new(Shifted(log.factory())));
        reactor.set_split(split);
        let client = dial(&reactor);
        client.write(&bytes[..V1.len()]);
        reactor.run();
        assert!(log.take().is_empty(), "the layer is not ready");
        client.write(&bytes[V1.len()..]);
        client.lose_connection();
        reactor.run();
        assert_eq!(
            log.take(),
            [
                "made 198.51.100.7:4096 203.0.113.1:443",
                "lost \"hello\" the connection was closed cleanly",
            ],
        );
    }
}

#[test]
fn a_layer_that_does_not_become_ready_has_its_own_time_after_the_header() {
    let log = Log::default();
    let reactor = listening(TRUSTING, Rc::new(Shifted(log.factory())));
    let client = dial(&reactor);
    reactor.advance(Duration::from_secs(9));
    client.write(V1);
    reactor.advance(Duration::from_secs(9));
    assert!(client.is_connected());
    reactor.advance(Duration::from_secs(1));
    assert!(!client.is_connected());
    assert!(log.take().is_empty());
}

#[test]
fn a_drain_ends_a_connection_whose_header_has_not_come() {
    let log = Log::default();
    let reactor = listening(TRUSTING, log.factory());
    let client = dial(&reactor);
    client.write(&V1[..10]);
    reactor.run();
    reactor.drain();
    reactor.run();
    assert_eq!(reactor.connections(), 0);
    assert!(log.take().is_empty());
}

/// Panics.
struct Panicking;

impl Factory for Panicking {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn ropewalk_core::Protocol>> {
        panic!("no protocol today");
    }
}

#[test]
fn a_factory_that_panics_after_the_header_ends_that_connection_alone() {
    let reactor = listening(TRUSTING, Rc::new(Panicking));
    let (first, second) = (dial(&reactor), dial(&reactor));
    first.write(V1);
    reactor.run();
    assert!(!first.is_connected());
    assert!(second.is_connected());
}

#[test]
fn factories_are_started_and_stopped_through_the_wrapper() {
    struct Started(RefCell<Vec<&'static str>>);
    impl Factory for Started {
        fn build_protocol(&self, _: &Address) -> Option<Box<dyn ropewalk_core::Protocol>> {
            None
        }
        fn start_factory(&self) {
            self.0.borrow_mut().push("start");
        }
        fn stop_factory(&self) {
            self.0.borrow_mut().push("stop");
        }
    }
    let started = Rc::new(Started(RefCell::default()));
    let reactor = MemoryReactor::new();
    let endpoint: ServerEndpoint = TRUSTING.parse().unwrap();
    let port = reactor
        .listen(&endpoint, Rc::clone(&started) as Rc<dyn Factory>)
        .unwrap();
    port.stop_listening();
    assert_eq!(*started.0.borrow(), ["start", "stop"]);
}
