//! A rate is a rate, over a minute and over an hour, and the same for all who wait.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::policies::{Bucket, Rate, Throttle, ThrottlingFactory};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, ConnectionLimits, Factory, Protocol};

use crate::rig::{Echo, Flood, SECOND, Seen, Sink, client, connect, serve};

const MINUTE: Duration = Duration::from_secs(60);

fn flood(_: &Address) -> Flood {
    Flood
}

/// What came in a minute in which nobody rested, and what the burst was before.
fn within_two_percent(bytes: u64, rate: u64) {
    let expected = 60 * rate;
    assert!(
        bytes.abs_diff(expected) * 50 <= expected,
        "{bytes} bytes in a minute at {rate} a second"
    );
}

#[test]
fn a_connection_writes_at_its_rate_in_its_first_minute_and_any_other() {
    for rate in [512, 1000, 20_000, 1_000_000, 30_000_000] {
        let reactor = MemoryReactor::new();
        let throttle = Throttle::new().per_connection(Rate::per_second(rate));
        serve(&reactor, ThrottlingFactory::new(flood).writes(throttle));
        let (_connection, seen) = client(&reactor);
        let burst = Rate::per_second(rate).burst();
        assert_eq!(seen.count.get(), burst, "the burst goes at once");
        reactor.advance(MINUTE);
        within_two_percent(seen.count.get() - burst, rate);
        within_two_percent(seen.count.replace(0), rate);
        reactor.advance(MINUTE);
        within_two_percent(seen.count.get(), rate);
        let wakes = seen.times.get();
        // A flood that waits for less to be unsent asks for no more than that at once.
        let most = 120 * (40 + rate / 16_384);
        assert!(wakes <= most, "woken {wakes} times, not {most}");
    }
}

#[test]
fn a_connection_is_read_at_its_rate() {
    for rate in [70_000, 1_000_000] {
        let reactor = MemoryReactor::new();
        let server = Rc::new(Seen::default());
        let seen = Rc::clone(&server);
        let sink = move |_: &Address| Sink(Rc::clone(&seen));
        let throttle = Throttle::new().per_connection(Rate::per_second(rate));
        serve(&reactor, ThrottlingFactory::new(sink).reads(throttle));
        let _client = connect(&reactor, flood);
        let burst = server.count.get();
        assert!(burst <= Rate::per_second(rate).burst() + 65_536);
        reactor.advance(MINUTE);
        within_two_percent(server.count.get() - burst, rate);
    }
}

/// A flood that takes no pause for a stall.
struct Patient;

impl Factory for Patient {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Flood))
    }
    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            write_stall: Duration::MAX,
            ..Default::default()
        }
    }
}

#[test]
fn a_slow_rate_of_reading_is_kept_over_an_hour() {
    let reactor = MemoryReactor::new();
    let server = Rc::new(Seen::default());
    let seen = Rc::clone(&server);
    let sink = move |_: &Address| Sink(Rc::clone(&seen));
    let throttle = Throttle::new().per_connection(Rate::per_second(1000));
    serve(&reactor, ThrottlingFactory::new(sink).reads(throttle));
    // Reads are up to 64 KiB, and so a minute apart.
    let _client = connect(&reactor, Patient);
    reactor.advance(60 * MINUTE);
    let most = 3_600_000 + Rate::per_second(1000).burst() + 65_536;
    let bytes = server.count.get();
    assert!((3_600_000..=most).contains(&bytes), "{bytes}");
}

/// How much each of so many connections got in a minute.
fn shares(factory: impl Factory, connections: usize) -> Vec<u64> {
    let reactor = MemoryReactor::new();
    serve(&reactor, factory);
    let clients: Vec<_> = (0..connections).map(|_| client(&reactor)).collect();
    // The burst goes to whoever comes first.
    reactor.advance(10 * SECOND);
    clients.iter().for_each(|(_, seen)| seen.count.set(0));
    reactor.advance(MINUTE);
    clients.iter().map(|(_, seen)| seen.count.get()).collect()
}

fn fair(shares: &[u64]) {
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(most - least <= most / 20, "{shares:?}");
}

#[test]
fn those_who_share_a_rate_get_the_same_and_all_of_it() {
    for connections in [2, 7, 30] {
        let bucket = Bucket::new(Rate::per_second(1_000_000));
        let factory = ThrottlingFactory::new(flood).writes(Throttle::new().total(&bucket));
        let shares = shares(factory, connections);
        within_two_percent(shares.iter().sum(), 1_000_000);
        fair(&shares);
    }
}

#[test]
fn the_narrowest_of_connection_peer_and_total_holds() {
    let rate = |bytes| Rate::per_second(bytes);
    for (connection, peer, total, expected) in [
        (10_000, 1_000_000, 1_000_000, 40_000),
        (100_000, 80_000, 1_000_000, 80_000),
        (100_000, 300_000, 200_000, 200_000),
        (50_000, 200_000, 200_000, 200_000),
    ] {
        let bucket = Bucket::new(rate(total));
        let throttle = Throttle::new()
            .per_connection(rate(connection))
            .per_peer(rate(peer))
            .total(&bucket);
        let shares = shares(ThrottlingFactory::new(flood).writes(throttle), 4);
        within_two_percent(shares.iter().sum(), expected);
        fair(&shares);
    }
}

#[test]
fn a_bucket_is_held_to_its_parent_too() {
    let line = Bucket::new(Rate::per_second(100_000));
    let port = Bucket::new(Rate::per_second(1_000_000)).with_parent(&line);
    let factory = ThrottlingFactory::new(flood).writes(Throttle::new().total(&port));
    within_two_percent(shares(factory, 3).iter().sum(), 100_000);
}

#[test]
fn what_one_leaves_the_others_get() {
    let reactor = MemoryReactor::new();
    let bucket = Bucket::new(Rate::per_second(100_000));
    let throttle = Throttle::new().total(&bucket);
    serve(&reactor, ThrottlingFactory::new(flood).writes(throttle));
    let clients: Vec<_> = (0..10).map(|_| client(&reactor)).collect();
    reactor.advance(10 * SECOND);
    // Five go, and one reads no more.
    for (connection, _) in &clients[..5] {
        connection.abort_connection();
    }
    clients[5].0.pause_producing();
    reactor.advance(20 * SECOND);
    clients.iter().for_each(|(_, seen)| seen.count.set(0));
    reactor.advance(MINUTE);
    let shares: Vec<u64> = clients[6..]
        .iter()
        .map(|(_, seen)| seen.count.get())
        .collect();
    within_two_percent(
        shares.iter().sum::<u64>() + clients[5].1.count.get(),
        100_000,
    );
    fair(&shares);
}

#[test]
fn peers_that_take_nothing_keep_nothing_from_the_others() {
    let reactor = MemoryReactor::new();
    let bucket = Bucket::new(Rate::per_second(100_000));
    let throttle = Throttle::new().total(&bucket);
    serve(&reactor, ThrottlingFactory::new(flood).writes(throttle));
    // Two shares: the third finds no room, and is not used.
    reactor.set_window(1024);
    let stalled: Vec<_> = (0..120).map(|_| client(&reactor)).collect();
    for (connection, _) in &stalled {
        connection.pause_producing();
    }
    reactor.advance(5 * SECOND);
    let (_connection, seen) = client(&reactor);
    reactor.advance(SECOND);
    seen.count.set(0);
    reactor.advance(10 * SECOND);
    let bytes = seen.count.get();
    assert!(bytes >= 980_000, "{bytes} of 1000000");
}

#[test]
fn a_slow_connection_leaves_the_rate_to_the_fast() {
    let reactor = MemoryReactor::new();
    let bucket = Bucket::new(Rate::per_second(100_000));
    let total = || Throttle::new().total(&bucket);
    let slow = total().per_connection(Rate::per_second(1000));
    serve(&reactor, ThrottlingFactory::new(flood).writes(slow));
    reactor
        .listen(
            &"tcp:8".parse().unwrap(),
            Rc::new(ThrottlingFactory::new(flood).writes(total())),
        )
        .unwrap();
    let slow: Vec<_> = (0..10).map(|_| client(&reactor).1).collect();
    let fast = Rc::new(Seen::default());
    let seen = Rc::clone(&fast);
    let endpoint = "tcp:example.com:8".parse().unwrap();
    let sink = move |_: &Address| Sink(Rc::clone(&seen));
    let _made = reactor.connect(&endpoint, Rc::new(sink));
    reactor.advance(10 * SECOND);
    slow.iter()
        .chain([&fast])
        .for_each(|seen| seen.count.set(0));
    reactor.advance(MINUTE);
    let slow: u64 = slow.iter().map(|seen| seen.count.get()).sum();
    within_two_percent(slow, 10_000);
    within_two_percent(fast.count.get(), 90_000);
}

#[test]
fn one_peer_reads_in_turn_with_itself_and_at_its_rate() {
    let reactor = MemoryReactor::new();
    let all: Vec<_> = (0..5).map(|_| Rc::new(Seen::default())).collect();
    let next = std::cell::Cell::new(0);
    let server = all.clone();
    let sink = move |_: &Address| {
        let at = next.replace(next.get() + 1);
        Sink(Rc::clone(&server[at]))
    };
    let throttle = Throttle::new().per_peer(Rate::per_second(500_000));
    serve(&reactor, ThrottlingFactory::new(sink).reads(throttle));
    let _clients: Vec<_> = (0..5).map(|_| connect(&reactor, flood)).collect();
    reactor.advance(10 * SECOND);
    all.iter().for_each(|seen| seen.count.set(0));
    reactor.advance(MINUTE);
    let shares: Vec<u64> = all.iter().map(|seen| seen.count.get()).collect();
    within_two_percent(shares.iter().sum(), 500_000);
    fair(&shares);
}

#[test]
fn a_peer_that_comes_again_finds_its_bucket_as_it_left_it() {
    let reactor = MemoryReactor::new();
    let rate = Rate::per_second(1000).with_burst(10_000);
    let throttle = Throttle::new().per_peer(rate);
    serve(&reactor, ThrottlingFactory::new(flood).writes(throttle));
    for expected in [10_000, 0, 0] {
        let (connection, seen) = client(&reactor);
        assert_eq!(seen.count.get(), expected);
        connection.abort_connection();
        reactor.run();
    }
    reactor.advance(10 * SECOND);
    assert_eq!(client(&reactor).1.count.get(), 10_000);
}

#[test]
fn a_peer_that_comes_again_is_read_when_what_was_read_of_it_is_paid_for() {
    let reactor = MemoryReactor::new();
    let server = Rc::new(Seen::default());
    let seen = Rc::clone(&server);
    let sink = move |_: &Address| Sink(Rc::clone(&seen));
    let throttle = Throttle::new().per_peer(Rate::per_second(10_000));
    serve(&reactor, ThrottlingFactory::new(sink).reads(throttle));
    for _ in 0..10 {
        connect(&reactor, flood).abort_connection();
        reactor.run();
    }
    let first = server.count.get();
    assert!(first <= 65_536, "{first}");
    let _client = connect(&reactor, flood);
    reactor.advance(10 * SECOND);
    assert!(server.count.get() > first, "it is read in the end");
}

#[test]
fn what_is_not_throttled_costs_no_policy() {
    let peer = Address::Unix(None);
    assert!(
        ThrottlingFactory::new(flood)
            .build_policies(&peer)
            .is_empty()
    );
    let throttle = Throttle::new().per_peer(Rate::per_second(1));
    let factory = ThrottlingFactory::new(flood).writes(throttle);
    assert!(factory.build_policies(&peer).is_empty(), "a Unix peer");
}

#[test]
fn a_throttled_connection_is_closed_when_all_is_sent() {
    let reactor = MemoryReactor::new();
    let throttle = Throttle::new().per_connection(Rate::per_second(1000).with_burst(1000));
    serve(
        &reactor,
        ThrottlingFactory::new(|_: &Address| Echo).writes(throttle),
    );
    let (connection, seen) = client(&reactor);
    connection.write(&[b'x'; 5500]);
    connection.act(|transport| transport.lose_write_connection());
    reactor.advance(4 * SECOND);
    // Less what it waits for, to go at once.
    assert!((4488..=5000).contains(&seen.count.get()));
    assert!(!seen.is_lost());
    reactor.advance(SECOND);
    assert_eq!(seen.count.get(), 5500);
    assert!(seen.is_lost());
}
