//! Connections between hosts.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_sim::{Fault, Link, World};

use crate::rig::{Log, ask, echo_at, pattern};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_megabyte_goes_there_and_back_over_a_bad_link_and_nothing_is_changed() {
    for seed in 0..10 {
        let world = World::new(seed);
        let (server, client) = (world.host("server"), world.host("client"));
        world.set_default_link(&Link {
            loss: 0.01,
            delayed: 0.1,
            ..Link::default()
        });
        server.start(|reactor| echo_at(reactor, "tcp:7"));
        let log = Log::default();
        let noted = Rc::clone(&log);
        client.start(move |reactor| ask(reactor, "tcp:server:7", pattern(1 << 20), &noted));
        world.run_for(HOUR);
        let log = log.borrow();
        assert_eq!(log.len(), 3, "{seed}: {log:?}\n{}", world.trace());
        assert_eq!(log[..2], ["made", "answered"]);
        assert!(log[2].contains("closed"), "{}", log[2]);
        assert_eq!(server.descriptors(), 1, "the listener");
        assert_eq!(client.descriptors(), 0);
    }
}

/// What a client's log says when the server is in this state.
fn asked(prepare: impl FnOnce(&World)) -> (Vec<String>, Duration, World) {
    let world = World::new(5);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    world.run_for(Duration::from_secs(1));
    prepare(&world);
    let log = Log::default();
    let noted = Rc::clone(&log);
    client.start(move |reactor| {
        ask(reactor, "tcp:server:7:timeout=1h", pattern(100), &noted);
    });
    let begun = world.now();
    let told = Rc::clone(&log);
    world.run_until(HOUR * 2, || told.borrow().iter().any(|line| line != "made"));
    let took = world.now() - begun;
    let log = log.borrow().clone();
    (log, took, world)
}

#[test]
fn who_does_not_listen_refuses_and_who_is_dark_lets_one_wait_as_linux_does() {
    let (log, took, _) = asked(|world| world.begin(&Fault::Refusal("server".into())));
    assert!(log[0].contains("refused"), "{log:?}");
    assert!(took < Duration::from_millis(50), "{took:?}");
    let (log, took, world) = asked(|world| world.begin(&Fault::Darkness("server".into())));
    assert!(log[0].contains("timed out"), "{log:?}");
    assert_eq!(took.as_secs(), 127, "{}", world.trace());
    let (log, took, _) = asked(|world| world.begin(&Fault::Crash("server".into())));
    assert!(log[0].contains("timed out"), "{log:?}");
    assert_eq!(took.as_secs(), 127);
    let (log, _, _) = asked(|world| world.begin(&Fault::Kill("server".into())));
    assert!(log[0].contains("refused"), "{log:?}");
    let (log, took, _) = asked(|world| world.begin(&Fault::NoNames("client".into())));
    assert!(log[0].contains("name resolution"), "{log:?}");
    assert_eq!(took.as_secs(), 10);
}

#[test]
fn a_partition_that_ends_only_delays_and_one_that_lasts_ends_the_connection() {
    let (log, took, world) = asked(|world| {
        let partition = Fault::Partition("client".into(), "server".into());
        world.inflict(&partition, Duration::from_secs(20));
    });
    assert_eq!(log[..2], ["made", "answered"], "{}", world.trace());
    assert_eq!(took.as_secs(), 31, "the sixth SYN gets through");
}

#[test]
fn a_capture_has_what_was_sent() {
    let world = World::new(1);
    let (server, client) = (world.host("server"), world.host("client"));
    world.capture();
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    let log = Log::default();
    let noted = Rc::clone(&log);
    client.start(move |reactor| ask(reactor, "tcp:server:7", pattern(10_000), &noted));
    world.run_for(Duration::from_secs(120));
    let file = world.take_capture();
    let (mut rest, mut to_server, mut packets) = (&file[24..], vec![0; 10_000], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let packet = &rest[16..16 + length];
        let (ip, tcp) = packet.split_at(20);
        assert_eq!((ip[0], ip[9]), (0x45, 6), "IPv4, TCP");
        let port = u16::from_be_bytes(tcp[2..4].try_into().unwrap());
        let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap()) as usize;
        packets.push((port == 7, tcp[13]));
        if port == 7 && tcp.len() > 20 {
            to_server[sequence - 1..][..tcp.len() - 20].copy_from_slice(&tcp[20..]);
        }
        rest = &rest[16 + length..];
    }
    assert_eq!(to_server, pattern(10_000));
    let [syn, syn_ack, ack] = [2, 18, 16];
    assert_eq!(packets[..2], [(true, syn), (false, syn_ack)]);
    assert!(packets.contains(&(true, ack)));
    let fins = packets.iter().filter(|(_, flags)| flags & 1 != 0).count();
    assert_eq!(fins, 2, "{packets:?}");
}
