//! The forwarder between two peers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Protocol, Transport};
use ropewalk_wire::Forward;

use crate::rig::{Peer, Seen, connect, pattern};

const FRONT: u16 = 8007;

/// A client, a forwarder, and a server of our own behind it.
struct Rig {
    reactor: MemoryReactor,
    client: Connection,
    at_client: Seen,
    server: Connection,
    at_server: Seen,
}

/// Keeps a handle to its connection for the test.
struct Server(Peer, Rc<RefCell<Connection>>);

impl Protocol for Server {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.1.replace(transport.connection());
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.0.data_received(transport, data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.0.read_closed(transport);
    }

    fn drain(&mut self, _: &mut Transport) {}

    fn connection_lost(&mut self, reason: ropewalk_core::Failure) {
        self.0.connection_lost(reason);
    }
}

fn forward() -> Forward {
    Forward::new("tcp:example.com:7".parse().unwrap())
}

fn rig(forward: Forward) -> Rig {
    let reactor = MemoryReactor::new();
    let (at_server, server) = (
        Seen::default(),
        Rc::new(RefCell::new(Connection::default())),
    );
    let (seen, made) = (at_server.clone(), Rc::clone(&server));
    let factory = move |_: &Address| Server(Peer(seen.clone()), Rc::clone(&made));
    reactor
        .listen(&"tcp:7".parse().unwrap(), Rc::new(factory))
        .unwrap();
    let front = format!("tcp:{FRONT}").parse().unwrap();
    reactor.listen(&front, Rc::new(forward)).unwrap();
    let (client, at_client) = connect(&reactor, FRONT);
    let server = server.take();
    assert_eq!(reactor.connections(), 4);
    Rig {
        reactor,
        client,
        at_client,
        server,
        at_server,
    }
}

proptest! {
    #[test]
    fn both_directions_pass_whole_at_every_split_each_with_its_end(
        up in proptest::collection::vec(any::<u8>(), 0..2000),
        down in proptest::collection::vec(any::<u8>(), 0..2000),
        split in 1..2000_usize,
        window in 1..2000_usize,
    ) {
        let rig = rig(forward());
        rig.reactor.set_split(split);
        rig.reactor.set_window(window);
        rig.client.write(&up);
        rig.client.act(|client| client.lose_write_connection());
        rig.reactor.run();
        prop_assert_eq!(&*rig.at_server.data.borrow(), &up);
        prop_assert!(rig.at_server.closed.get() && !rig.at_server.is_lost());
        prop_assert!(!rig.at_client.closed.get());
        rig.server.write(&down);
        rig.server.act(|server| server.lose_write_connection());
        rig.reactor.run();
        prop_assert_eq!(&*rig.at_client.data.borrow(), &down);
        prop_assert!(rig.at_client.is_lost() && !rig.at_client.is_reset());
        prop_assert_eq!(rig.reactor.connections(), 0);
    }
}

#[test]
fn the_servers_half_close_passes_first_too() {
    let rig = rig(forward());
    rig.server.act(|server| server.lose_write_connection());
    rig.reactor.run();
    assert!(rig.at_client.closed.get());
    rig.client.write(b"still");
    rig.client.lose_connection();
    rig.reactor.run();
    assert_eq!(rig.at_server.text(), "still");
    assert_eq!(rig.reactor.connections(), 0);
}

#[test]
fn whoever_does_not_read_holds_the_other_back_within_bounds() {
    const LEN: usize = 1_000_000;
    let rig = rig(forward());
    rig.reactor.set_window(10_000);
    for (from, to, seen) in [
        (&rig.client, &rig.server, &rig.at_server),
        (&rig.server, &rig.client, &rig.at_client),
    ] {
        to.pause_producing();
        from.write(&pattern(LEN));
        rig.reactor.run();
        let taken = LEN as u64 - from.unsent().unwrap();
        assert!(taken < 2 * 64 * 1024 + 20_000, "{taken}");
        to.resume_producing();
        rig.reactor.run();
        assert!(*seen.data.borrow() == pattern(LEN));
    }
}

#[test]
fn a_peer_that_stops_for_minutes_is_waited_for_and_one_that_stays_away_is_not() {
    let rig = rig(forward());
    rig.reactor.set_window(1000);
    rig.server.pause_producing();
    rig.client.write(&pattern(3000));
    rig.reactor.advance(Duration::from_secs(20));
    assert_eq!(rig.client.unsent(), Some(0));
    rig.reactor.advance(Duration::from_secs(9 * 60));
    assert_eq!(rig.reactor.connections(), 4);
    rig.reactor.advance(Duration::from_secs(60));
    assert!(rig.at_client.is_reset());
}

#[test]
fn a_reset_of_either_end_ends_the_other_with_one() {
    let first = rig(forward());
    first.client.abort_connection();
    first.reactor.run();
    assert!(first.at_server.is_reset());
    assert_eq!(first.reactor.connections(), 0);

    let second = rig(forward());
    second.server.abort_connection();
    second.reactor.run();
    assert!(second.at_client.is_reset());
    assert_eq!(second.reactor.connections(), 0);
}

#[test]
fn nobody_there_closes_the_accepted_end() {
    let reactor = MemoryReactor::new();
    let front = format!("tcp:{FRONT}").parse().unwrap();
    reactor.listen(&front, Rc::new(forward())).unwrap();
    let (client, seen) = connect(&reactor, FRONT);
    client.write(b"hello?");
    reactor.run();
    assert!(seen.closed.get() || seen.is_lost());
    client.lose_connection();
    reactor.run();
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn a_forwarder_to_itself_goes_round_once() {
    let reactor = MemoryReactor::new();
    let itself = Forward::new(format!("tcp:example.com:{FRONT}").parse().unwrap());
    let front = format!("tcp:{FRONT}").parse().unwrap();
    reactor.listen(&front, Rc::new(itself)).unwrap();
    let (client, seen) = connect(&reactor, FRONT);
    assert!(seen.closed.get());
    client.lose_connection();
    reactor.run();
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn a_client_that_goes_before_the_connection_is_made_leaves_nothing_behind() {
    let reactor = MemoryReactor::new();
    let factory = move |_: &Address| Peer(Seen::default());
    reactor
        .listen(&"tcp:7".parse().unwrap(), Rc::new(factory))
        .unwrap();
    let front = format!("tcp:{FRONT}").parse().unwrap();
    reactor.listen(&front, Rc::new(forward())).unwrap();
    struct Goes;
    impl Protocol for Goes {
        fn connection_made(&mut self, transport: &mut Transport) {
            transport.abort_connection();
        }
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    }
    let endpoint = format!("tcp:example.com:{FRONT}").parse().unwrap();
    let made = reactor.connect(&endpoint, Rc::new(|_: &Address| Goes));
    reactor.run();
    assert_eq!(reactor.connections(), 0);
    drop(made);
}

#[test]
fn idle_connections_stay_unless_asked_and_what_moves_is_not_idle() {
    let stays = rig(forward());
    stays.reactor.advance(Duration::from_secs(100_000));
    assert_eq!(stays.reactor.connections(), 4);

    let goes = rig(forward().idle(Duration::from_secs(60)));
    goes.reactor.advance(Duration::from_secs(50));
    goes.client.write(b"up");
    goes.reactor.advance(Duration::from_secs(50));
    goes.server.write(b"down");
    goes.reactor.advance(Duration::from_secs(59));
    assert_eq!(goes.reactor.connections(), 4);
    goes.reactor.advance(Duration::from_secs(1));
    assert!(goes.at_client.closed.get() && goes.at_server.closed.get());
    assert_eq!(goes.reactor.connections(), 2);
}

#[test]
fn a_shutdown_lets_what_moves_go_on_and_closes_what_is_quiet() {
    let rig = rig(forward());
    rig.reactor.drain();
    for _ in 0..5 {
        rig.reactor.advance(Duration::from_millis(900));
        rig.server.write(b".");
        rig.reactor.run();
    }
    assert_eq!(rig.at_client.text(), ".....");
    rig.reactor.advance(Duration::from_secs(1));
    assert!(rig.at_client.closed.get() && rig.at_server.closed.get());
    assert_eq!(rig.reactor.connections(), 2);
}

#[test]
fn a_shutdown_waits_for_a_slow_reader() {
    let rig = rig(forward());
    rig.reactor.set_window(1000);
    rig.client.pause_producing();
    rig.server.write(&pattern(300_000));
    rig.reactor.run();
    rig.reactor.drain();
    rig.reactor.advance(Duration::from_secs(5));
    rig.client.resume_producing();
    rig.reactor.run();
    assert!(*rig.at_client.data.borrow() == pattern(300_000));
}
