//! A limit of N is N, however connections end.

use std::cell::Cell;
use std::rc::Rc;

use ropewalk_core::policies::{
    LimitConnectionsByPeer, LimitTotalConnectionsFactory, PeerPrefix, TimeoutFactory,
};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{
    Address, ConnectionDone, Factory, Failure, Layer, LayerIo, OutputQueue, Protocol, Transport,
};

use crate::rig::{Echo, SECOND, client, echo, serve};

type Total<F> = Rc<LimitTotalConnectionsFactory<F>>;

/// Ends as it is told to.
struct Ending;

impl Protocol for Ending {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        match data {
            b"close" => transport.lose_connection(),
            b"abort" => transport.abort_connection(),
            b"panic" => panic!("on purpose"),
            b"timeout" => transport.set_timeout(Some(SECOND)),
            b"exchange" => transport.exchange_protocol(Box::new(Echo), b""),
            b"exchange and panic" => transport.exchange_protocol(Box::new(Ending), b"panic"),
            b"layer" => transport.push_layer(Box::new(Broken)),
            _ => {}
        }
    }
}

struct Broken;

impl Layer for Broken {
    fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Err(Failure::msg("broken"))
    }
    fn received(&mut self, _: &[u8], _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn send(&mut self, _: &mut OutputQueue, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn limited<F: Factory>(reactor: &MemoryReactor, inner: F, max: usize) -> Total<F> {
    let factory = Rc::new(LimitTotalConnectionsFactory::new(inner, max));
    serve(reactor, Rc::clone(&factory));
    factory
}

#[test]
fn a_limit_of_n_is_n_however_connections_end() {
    let reactor = MemoryReactor::new();
    let inner = TimeoutFactory::new(|_: &Address| Ending).lifetime(Some(100 * SECOND));
    let factory = limited(&reactor, inner, 3);
    for end in [
        "close",
        "abort",
        "panic",
        "timeout",
        "exchange and panic",
        "layer",
        "the peer closes",
        "the peer aborts",
        "its lifetime",
    ] {
        let open: Vec<_> = (0..3).map(|_| client(&reactor)).collect();
        assert_eq!(factory.connections(), 3, "{end}");
        let (_, refused) = client(&reactor);
        assert!(refused.is_lost(), "{end}");
        assert_eq!(factory.connections(), 3, "{end}");
        for (connection, seen) in &open {
            assert!(!seen.is_lost(), "{end}");
            match end {
                "the peer closes" => connection.lose_connection(),
                "the peer aborts" => connection.abort_connection(),
                "its lifetime" => true,
                end => connection.write(end.as_bytes()),
            };
        }
        reactor.advance(match end {
            "its lifetime" => 100 * SECOND,
            _ => 2 * SECOND,
        });
        assert_eq!(factory.connections(), 0, "{end}");
        assert_eq!(reactor.connections(), 0, "{end}");
    }
}

#[test]
fn an_exchange_is_still_the_same_connection() {
    let reactor = MemoryReactor::new();
    let factory = limited(&reactor, |_: &Address| Ending, 1);
    let (connection, _) = client(&reactor);
    connection.write(b"exchange");
    reactor.run();
    assert_eq!(factory.connections(), 1);
    connection.lose_connection();
    reactor.run();
    assert_eq!(factory.connections(), 0);
}

/// Refuses every second connection, and panics for every third.
struct Choosy(Cell<u32>);

impl Factory for Choosy {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        let number = self.0.get() + 1;
        self.0.set(number);
        (number % 2 == 1).then(|| Box::new(Echo) as Box<dyn Protocol>)
    }
}

#[test]
fn a_connection_that_the_inner_factory_refuses_does_not_count() {
    let reactor = MemoryReactor::new();
    let factory = limited(&reactor, Choosy(Cell::new(0)), 3);
    let open: Vec<_> = (0..5).map(|_| client(&reactor)).collect();
    let lost: Vec<bool> = open.iter().map(|(_, seen)| seen.is_lost()).collect();
    assert_eq!(lost, [false, true, false, true, false]);
    assert_eq!(factory.connections(), 3);
}

#[test]
fn a_place_that_a_panic_left_behind_is_given_back_with_the_next_connection() {
    let factory = LimitTotalConnectionsFactory::new(echo, 1);
    let peer = Address::Unix(None);
    // A reactor in which building the layers panicked does not go on to the policies.
    assert!(factory.build_protocol(&peer).is_some());
    assert!(factory.build_protocol(&peer).is_some());
    let policies = factory.build_policies(&peer);
    assert!(factory.build_protocol(&peer).is_none());
    drop(policies);
    assert_eq!(factory.connections(), 0);
}

#[test]
fn a_limit_of_none_lets_none_in_and_the_rest_is_as_the_inner_factory_says() {
    let factory = LimitTotalConnectionsFactory::new(echo, 0);
    assert!(factory.build_protocol(&Address::Unix(None)).is_none());
    assert!(factory.build_policies(&Address::Unix(None)).is_empty());
}

#[test]
fn one_too_many_is_told_so_and_closed_when_it_has_closed() {
    let reactor = MemoryReactor::new();
    let factory = LimitTotalConnectionsFactory::new(echo, 1).overflow_text("busy\r\n");
    let factory = Rc::new(factory);
    serve(&reactor, Rc::clone(&factory));
    let (first, _) = client(&reactor);
    let (_, seen) = client(&reactor);
    assert_eq!(*seen.bytes.borrow(), b"busy\r\n");
    assert!(seen.is_lost());
    assert!(seen.lost.borrow()[0].check::<ConnectionDone>().is_some());
    assert_eq!(factory.connections(), 1);
    first.lose_connection();
    reactor.run();
    let (again, seen) = client(&reactor);
    again.write(b"hello");
    reactor.run();
    assert_eq!(*seen.bytes.borrow(), b"hello");
}

/// Does not close when the other has closed, and sends on.
struct Stubborn;

impl Protocol for Stubborn {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    fn read_closed(&mut self, _: &mut Transport) {}
}

#[test]
fn those_who_are_told_are_bounded_in_number_and_in_time() {
    let reactor = MemoryReactor::new();
    serve(
        &reactor,
        LimitTotalConnectionsFactory::new(echo, 0).overflow_text("busy\r\n"),
    );
    let stubborn = |_: &Address| Stubborn;
    let before: Vec<_> = (0..64)
        .map(|_| crate::rig::connect(&reactor, stubborn))
        .collect();
    assert!(before.iter().all(|connection| connection.is_connected()));
    let (_, seen) = client(&reactor);
    assert!(seen.bytes.borrow().is_empty(), "closed in silence");
    assert!(seen.is_lost());
    reactor.advance(5 * SECOND);
    assert_eq!(reactor.connections(), 0);
    let (_, seen) = client(&reactor);
    assert_eq!(*seen.bytes.borrow(), b"busy\r\n");
}

#[test]
fn one_too_many_may_have_a_protocol_of_its_own() {
    struct Sorry;
    impl Protocol for Sorry {
        fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
            transport.write(b"sorry, ");
            transport.write(data);
            transport.lose_connection();
        }
    }
    let reactor = MemoryReactor::new();
    let factory = LimitTotalConnectionsFactory::new(echo, 0);
    serve(&reactor, factory.overflow_protocol(|_| Box::new(Sorry)));
    let (connection, seen) = client(&reactor);
    connection.write(b"friend");
    reactor.run();
    assert_eq!(*seen.bytes.borrow(), b"sorry, friend");
}

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse().unwrap())
}

#[test]
fn each_peer_has_its_own_limit_and_a_table_entry_only_while_it_is_here() {
    let factory = LimitConnectionsByPeer::new(echo, 2);
    let connect = |peer: &str| {
        let peer = tcp(peer);
        factory.build_protocol(&peer)?;
        Some(factory.build_policies(&peer))
    };
    let one = [connect("192.0.2.1:1"), connect("192.0.2.1:2")];
    assert!(one.iter().all(Option::is_some));
    assert!(connect("192.0.2.1:3").is_none());
    assert!(connect("[::ffff:192.0.2.1]:3").is_none(), "it is the same");
    let other = [connect("192.0.2.2:1"), connect("[2001:db8::1]:1")];
    assert!(other.iter().all(Option::is_some));
    assert_eq!(factory.peers(), 3);
    let sibling = connect("[2001:db8::2]:1");
    assert!(sibling.is_some());
    assert!(connect("[2001:db8::3]:1").is_none(), "of the same /64");
    drop(one);
    assert_eq!(factory.peers(), 2);
    assert!(connect("192.0.2.1:3").is_some());
    drop((other, sibling));
    for peer in 0..=255 {
        assert!(connect(&format!("198.51.100.{peer}:1")).is_some());
    }
    assert_eq!(factory.peers(), 0);
}

#[test]
fn a_prefix_makes_one_peer_of_many_and_unix_peers_are_none() {
    let factory = LimitConnectionsByPeer::new(echo, 1).peer_prefix(PeerPrefix::new(24, 48));
    let peer = tcp("192.0.2.1:1");
    assert!(factory.build_protocol(&peer).is_some());
    let _first = factory.build_policies(&peer);
    assert!(factory.build_protocol(&tcp("192.0.2.2:1")).is_none());
    for _ in 0..3 {
        assert!(factory.build_protocol(&Address::Unix(None)).is_some());
        assert!(factory.build_policies(&Address::Unix(None)).is_empty());
    }
}

#[test]
fn limits_nest_in_either_order_and_count_the_same() {
    let reactor = MemoryReactor::new();
    let peers = Rc::new(LimitConnectionsByPeer::new(echo, 2));
    let total = Rc::new(LimitTotalConnectionsFactory::new(Rc::clone(&peers), 3));
    serve(&reactor, Rc::clone(&total));
    let mut open: Vec<_> = (0..3).map(|_| client(&reactor)).collect();
    assert_eq!((total.connections(), peers.peers()), (2, 1));
    assert!(open.pop().unwrap().1.is_lost());
    for (connection, _) in open {
        connection.lose_connection();
    }
    reactor.run();
    assert_eq!((total.connections(), peers.peers()), (0, 0));

    let total = Rc::new(LimitTotalConnectionsFactory::new(echo, 1));
    let peers = LimitConnectionsByPeer::new(Rc::clone(&total), 2);
    let peer = tcp("192.0.2.1:1");
    assert!(peers.build_protocol(&peer).is_some());
    let first = peers.build_policies(&peer);
    assert_eq!(first.len(), 2);
    assert!(peers.build_protocol(&peer).is_none(), "of the total");
    drop(first);
    assert_eq!((total.connections(), peers.peers()), (0, 0));
}
