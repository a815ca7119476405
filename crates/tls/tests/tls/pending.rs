//! How many handshakes are under way at once, and for how long.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Factory, Failure, Protocol, Transport};
use ropewalk_tls::{TlsClientFactory, TlsFactory};

use crate::rig::{Log, NAME, Talker, both};

struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

fn listen(reactor: &MemoryReactor, factory: impl Factory) {
    let endpoint = "tcp:443".parse().unwrap();
    reactor.listen(&endpoint, Rc::new(factory)).unwrap();
}

/// A connection on which no handshake ever comes.
fn half_open(reactor: &MemoryReactor) {
    let endpoint = "tcp:example.com:443".parse().unwrap();
    drop(reactor.connect(&endpoint, Rc::new(|_: &Address| Silent)));
}

#[test]
fn three_hundred_half_open_handshakes_keep_nobody_waiting_and_are_closed_in_time() {
    let reactor = MemoryReactor::new();
    let (server, client) = both();
    let log = Log::default();
    let echo = log.clone();
    listen(
        &reactor,
        TlsFactory::new(move |_: &Address| Talker::echo(&echo), server),
    );
    for _ in 0..300 {
        half_open(&reactor);
    }
    reactor.run();
    let seen = Log::default();
    let talker = seen.clone();
    let made = move |_: &Address| Talker::new(&talker, |transport| transport.write(b"hello"));
    let factory = TlsClientFactory::new(made, client, NAME).unwrap();
    let endpoint = "tcp:example.com:443".parse().unwrap();
    let connected = reactor.connect(&endpoint, Rc::new(factory));
    reactor.run();
    assert!(connected.is_fired());
    assert_eq!(seen.text(), "hello");
    reactor.advance(Duration::from_secs(10));
    // Both ends of the one that is up.
    assert_eq!(reactor.connections(), 2);
    assert_eq!(log.told().made, 1);
}

#[test]
fn beyond_the_limit_a_connection_is_closed_and_a_place_that_is_given_back_serves_again() {
    let reactor = MemoryReactor::new();
    let (server, client) = both();
    let factory = TlsFactory::new(|_: &Address| Silent, server)
        .max_pending(2)
        .handshake(Duration::from_secs(3));
    listen(&reactor, factory);
    let connect = || {
        let factory = TlsClientFactory::new(|_: &Address| Silent, client.clone(), NAME);
        let endpoint = "tcp:example.com:443".parse().unwrap();
        let connected = reactor.connect(&endpoint, Rc::new(factory.unwrap()));
        reactor.run();
        let up = Rc::new(Cell::new(None));
        let (yes, no) = (Rc::clone(&up), Rc::clone(&up));
        drop(connected.add_callbacks(
            move |_| yes.set(Some(true)),
            move |_: Failure| no.set(Some(false)),
        ));
        up.get()
    };
    half_open(&reactor);
    // Handshakes that are done take no place.
    assert_eq!([connect(), connect(), connect()], [Some(true); 3]);
    half_open(&reactor);
    reactor.run();
    assert_eq!(connect(), Some(false));
    reactor.advance(Duration::from_secs(3));
    assert_eq!(connect(), Some(true));
}

#[test]
fn a_protocol_that_is_refused_takes_no_place() {
    let (server, _) = both();
    struct Nobody;
    impl Factory for Nobody {
        fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
            None
        }
    }
    let factory = TlsFactory::new(Nobody, server).max_pending(1);
    for _ in 0..3 {
        assert!(factory.build_protocol(&Address::Unix(None)).is_none());
    }
}
