//! Datagrams of the reactor in memory.

use std::rc::Rc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{DatagramPort, Deferred, ListenError};

use crate::rig::{Log, On, address};

fn listen(reactor: &MemoryReactor, endpoint: &str, protocol: On) -> DatagramPort {
    reactor
        .listen_datagram(&endpoint.parse().unwrap(), Box::new(protocol))
        .unwrap()
}

fn connect(reactor: &MemoryReactor, endpoint: &str, protocol: On) -> Deferred<DatagramPort> {
    reactor.connect_datagram(&endpoint.parse().unwrap(), Box::new(protocol))
}

fn echo(log: &Log) -> On {
    On::logging(log).datagram(|transport, data, from| assert!(transport.write_to(data, from)))
}

#[test]
fn what_is_sent_is_received_and_answered() {
    let reactor = MemoryReactor::new();
    let (served, seen) = (Log::default(), Log::default());
    listen(&reactor, "udp:7", echo(&served));
    let client = On::logging(&seen).started(|transport| {
        assert!(transport.write(b"one"));
        assert!(transport.write(b"two"));
    });
    assert!(connect(&reactor, "udp:example.com:7", client).is_fired());
    reactor.run();
    assert_eq!(
        served.borrow()[1..],
        ["one from 192.0.2.1:1024", "two from 192.0.2.1:1024"]
    );
    assert_eq!(
        seen.borrow()[1..],
        ["one from 192.0.2.1:7", "two from 192.0.2.1:7"]
    );
}

#[test]
fn nobody_there_is_told_to_who_is_connected_and_to_who_is_not() {
    let reactor = MemoryReactor::new();
    let (one, other) = (Log::default(), Log::default());
    let client = On::logging(&one).started(|transport| assert!(transport.write(b"x")));
    let _connected = connect(&reactor, "udp:example.com:9", client);
    listen(&reactor, "udp:0", On::logging(&other)).write_to(b"x", &address(9));
    reactor.run();
    assert_eq!(one.borrow()[1..], ["refused"]);
    assert!(
        other.borrow()[1].contains("192.0.2.1:9 did not arrive"),
        "{other:?}"
    );
}

#[test]
fn multicast_comes_to_all_members_and_to_nobody_else() {
    let reactor = MemoryReactor::new();
    let logs: Vec<Log> = (0..3).map(|_| Log::default()).collect();
    let member = "udp:5353:group=239.1.2.3:reuse_port=yes";
    let first = listen(&reactor, member, On::logging(&logs[0]));
    listen(&reactor, member, On::logging(&logs[1]));
    listen(&reactor, "udp:5353:reuse_port=yes", On::logging(&logs[2]));
    let group = ropewalk_core::Address::Udp("239.1.2.3:5353".parse().unwrap());
    first.write_to(b"all", &group);
    reactor.run();
    assert_eq!(logs[0].borrow()[1..], ["all from 192.0.2.1:5353"]);
    assert_eq!(logs[1].borrow()[1..], ["all from 192.0.2.1:5353"]);
    assert_eq!(logs[2].borrow().len(), 1);
    first.act(|transport| transport.set_loopback_mode(false).unwrap());
    first.write_to(b"others", &group);
    reactor.run();
    assert_eq!((logs[0].borrow().len(), logs[1].borrow().len()), (2, 3));
}

#[test]
fn a_port_is_one_ports_until_it_is_closed() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    let port = listen(&reactor, "udp:7", On::logging(&log));
    let again = reactor.listen_datagram(&"udp:7".parse().unwrap(), Box::new(On::default()));
    assert!(matches!(again, Err(ListenError::AddressInUse { .. })));
    port.stop_listening();
    reactor.run();
    assert_eq!(log.take(), ["started", "stopped"]);
    listen(&reactor, "udp:7", On::default());
}

#[test]
fn what_is_too_large_is_told_and_not_received() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    let port = listen(&reactor, "udp:7:max_size=4", On::logging(&log));
    port.write_to(b"four", &address(7));
    port.write_to(b"fives", &address(7));
    reactor.run();
    let log = log.borrow();
    assert_eq!(log[1], "four from 192.0.2.1:7");
    assert!(
        log[2].contains("it has more than 4 bytes; raise max_size"),
        "{}",
        log[2]
    );
    assert_eq!(port.counts().unwrap().truncated, 1);
}

#[test]
fn unix_sockets_answer_those_that_have_a_name() {
    let reactor = MemoryReactor::new();
    let (served, seen) = (Log::default(), Log::default());
    listen(&reactor, "unix-datagram:@server", echo(&served));
    let client = On::logging(&seen).started(|transport| assert!(transport.write(b"hello")));
    let _made = connect(&reactor, "unix-datagram:@server:bind=/run/me", client);
    reactor.run();
    assert_eq!(served.borrow()[1..], ["hello from unix:/run/me"]);
    assert_eq!(seen.borrow()[1..], ["hello from unix:@server"]);
}

#[test]
fn the_end_of_the_reactor_stops_its_ports() {
    let log = Log::default();
    let reactor = MemoryReactor::new();
    let port = listen(&reactor, "udp:7", On::logging(&log));
    drop(reactor);
    assert!(!port.is_open());
    assert_eq!(log.take(), ["started", "stopped"]);
    assert_eq!(Rc::strong_count(&log), 1);
}
