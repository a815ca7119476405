//! Datagrams on real sockets.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::endpoint::{DatagramEndpoint, Interface, UdpListen, UnixDatagramListen};
use ropewalk_core::{
    Address, ConnectError, DatagramError, DatagramLimits, DatagramPort, DatagramProtocol,
    DatagramTransport, Failure, FixedNames, ListenError,
};
use ropewalk_reactor::{Handle, Reactor};

use crate::support::{Counting, Log, run_with, when};

type OnTransport = Box<dyn FnMut(&mut DatagramTransport)>;
type OnDatagram = Box<dyn FnMut(&mut DatagramTransport, &[u8], &Address)>;

/// Notes everything, and does what it was given.
struct On {
    log: Log,
    started: Option<OnTransport>,
    datagram: OnDatagram,
    limits: DatagramLimits,
}

impl On {
    fn new(
        log: &Log,
        datagram: impl FnMut(&mut DatagramTransport, &[u8], &Address) + 'static,
    ) -> Self {
        Self {
            log: Rc::clone(log),
            started: None,
            datagram: Box::new(datagram),
            limits: DatagramLimits::default(),
        }
    }

    fn logging(log: &Log) -> Self {
        Self::new(log, |_, _, _| ())
    }

    fn echo() -> Self {
        Self::new(&Log::default(), |transport, data, from| {
            transport.write_to(data, from);
        })
    }

    fn started(mut self, call: impl FnMut(&mut DatagramTransport) + 'static) -> Self {
        self.started = Some(Box::new(call));
        self
    }

    fn note(&self, what: String) {
        self.log.borrow_mut().push(what);
    }
}

impl DatagramProtocol for On {
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        self.note("started".to_owned());
        if let Some(call) = &mut self.started {
            call(transport);
        }
    }

    fn datagram_received(
        &mut self,
        transport: &mut DatagramTransport,
        data: &[u8],
        from: &Address,
    ) {
        self.note(String::from_utf8_lossy(data).into_owned());
        (self.datagram)(transport, data, from);
    }

    fn connection_refused(&mut self, _: &mut DatagramTransport) {
        self.note("refused".to_owned());
    }

    fn datagram_failed(&mut self, _: &mut DatagramTransport, error: &DatagramError) {
        self.note(format!("failed: {error}"));
    }

    fn limits(&self) -> DatagramLimits {
        self.limits
    }

    fn stop_protocol(&mut self) {
        self.note("stopped".to_owned());
    }
}

fn loopback() -> DatagramEndpoint {
    UdpListen::new(0).interface(Ipv4Addr::LOCALHOST).into()
}

fn socket_addr(port: &DatagramPort) -> SocketAddr {
    port.address().unwrap().socket_addr().unwrap()
}

/// A blocking peer on loopback.
fn peer() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// Stops the reactor when `ready`.
fn stop_when(reactor: &Handle, ready: impl Fn() -> bool + 'static) {
    let stop = reactor.clone();
    when(reactor, ready, move || stop.stop());
}

#[test]
fn an_echo_answers_each_peer() {
    let reactor = Reactor::new().unwrap();
    let port = reactor.listen_datagram(&loopback(), On::echo()).unwrap();
    let to = socket_addr(&port);
    run_with(&reactor, move || {
        let peers = [peer(), peer()];
        for (number, peer) in peers.iter().enumerate() {
            peer.send_to(&[number as u8; 100], to).unwrap();
        }
        for (number, peer) in peers.iter().enumerate() {
            let mut buffer = [0; 200];
            let (read, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..read], from), (&[number as u8; 100][..], to));
        }
        // An empty datagram is a datagram.
        peers[0].send_to(b"", to).unwrap();
        assert_eq!(peers[0].recv(&mut [0; 10]).unwrap(), 0);
    });
    assert!(!port.is_open());
}

#[test]
fn a_port_of_all_interfaces_takes_both_families_and_answers_in_kind() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let noted = Rc::clone(&log);
    let echo = On::new(&Log::default(), move |transport, data, from| {
        noted
            .borrow_mut()
            .push(from.socket_addr().unwrap().ip().to_string());
        transport.write_to(data, from);
    });
    let port = reactor
        .listen_datagram(&"udp:0".parse().unwrap(), echo)
        .unwrap();
    let port = socket_addr(&port).port();
    run_with(&reactor, move || {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let Ok(peer) = UdpSocket::bind((address, 0)) else {
                continue;
            };
            peer.send_to(b"x", (address, port)).unwrap();
            assert_eq!(peer.recv(&mut [0; 10]).unwrap(), 1);
        }
    });
    assert_eq!(log.borrow()[0], "127.0.0.1");
}

#[test]
fn a_connected_port_hears_its_peer_alone_and_that_nobody_is_there() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let friend = peer();
    let to = friend.local_addr().unwrap();
    let stop = reactor.handle();
    let client = On::new(&log, move |_, _, _| stop.stop()).started(|transport| {
        assert!(transport.peer().is_some());
        transport.write(b"hello");
    });
    let endpoint = format!("udp:127.0.0.1:{}", to.port()).parse().unwrap();
    let connected = reactor.connect_datagram(&endpoint, client);
    let ports: Rc<RefCell<Option<DatagramPort>>> = Rc::default();
    let kept = Rc::clone(&ports);
    drop(connected.add_callback(move |port| *kept.borrow_mut() = Some(port)));
    let own = socket_addr(ports.borrow().as_ref().unwrap());
    let stranger = peer();
    stranger.send_to(b"not for you", own).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(friend.recv_from(&mut buffer).unwrap(), (5, own));
    friend.send_to(b"welcome", own).unwrap();
    reactor.run().unwrap();
    assert_eq!(log.take(), ["started", "welcome", "stopped"]);
    drop(friend);

    let client = On::logging(&log).started(|transport| {
        transport.write(b"hello");
    });
    let (seen, _open) = (Rc::clone(&log), reactor.connect_datagram(&endpoint, client));
    stop_when(&reactor.handle(), move || seen.borrow().len() > 1);
    reactor.run().unwrap();
    assert_eq!(log.take(), ["started", "refused", "stopped"]);
}

#[test]
#[cfg(target_os = "linux")]
fn an_unconnected_port_hears_which_of_its_datagrams_did_not_arrive_and_goes_on() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let port = reactor
        .listen_datagram(&loopback(), On::logging(&log))
        .unwrap();
    let gone = peer();
    let nowhere = gone.local_addr().unwrap();
    drop(gone);
    let friend = peer();
    let to = friend.local_addr().unwrap();
    for _ in 0..3 {
        assert!(port.write_to(b"anybody?", &Address::Udp(nowhere)));
        assert!(port.write_to(b"friend", &Address::Udp(to)));
    }
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() >= 4);
    let counts = port;
    let sent = Rc::new(Cell::new(0));
    let kept = Rc::clone(&sent);
    reactor.add_system_event_trigger(ropewalk_reactor::Phase::Before, move || {
        kept.set(counts.counts().unwrap().sent);
    });
    reactor.run().unwrap();
    assert_eq!(sent.get(), 6, "{log:?}");
    let expected = format!("failed: a datagram to {nowhere} did not arrive: ");
    assert!(
        log.borrow()[1..4]
            .iter()
            .all(|line| line.starts_with(&expected)),
        "{log:?}"
    );
    for _ in 0..3 {
        assert_eq!(friend.recv(&mut [0; 10]).unwrap(), 6);
    }
}

#[test]
fn many_that_came_together_come_in_order_and_none_twice() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let port = reactor
        .listen_datagram(&loopback(), On::logging(&log))
        .unwrap();
    let to = socket_addr(&port);
    let peer = peer();
    for number in 0..150 {
        peer.send_to(number.to_string().as_bytes(), to).unwrap();
    }
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 151);
    reactor.run().unwrap();
    let expected: Vec<_> = (0..150).map(|number| number.to_string()).collect();
    assert_eq!(log.borrow()[1..151], expected);
}

#[test]
fn what_is_paused_is_kept_by_the_kernel_and_comes_later() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let once = On::new(&log, |transport, data, _| {
        if data == b"1" {
            transport.pause_producing();
        }
    });
    let port = reactor.listen_datagram(&loopback(), once).unwrap();
    let to = socket_addr(&port);
    let peer = peer();
    for number in 0..100 {
        peer.send_to(number.to_string().as_bytes(), to).unwrap();
    }
    let (seen, resumed) = (Rc::clone(&log), port);
    let before = Rc::new(Cell::new(0));
    let kept = Rc::clone(&before);
    when(
        &reactor.handle(),
        {
            let seen = Rc::clone(&seen);
            move || seen.borrow().len() >= 3
        },
        move || {
            kept.set(seen.borrow().len());
            assert!(resumed.resume_producing());
        },
    );
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 101);
    reactor.run().unwrap();
    assert_eq!(before.get(), 3);
    assert_eq!(log.borrow()[100], "99");
}

#[test]
fn one_that_is_too_large_is_told_with_its_sender_and_the_next_one_comes() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let endpoint = UdpListen::new(0).interface(Ipv4Addr::LOCALHOST).max_size(8);
    let port = reactor
        .listen_datagram(&endpoint.into(), On::logging(&log))
        .unwrap();
    let peer = peer();
    peer.send_to(b"nine byte", socket_addr(&port)).unwrap();
    peer.send_to(b"8 bytes.", socket_addr(&port)).unwrap();
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 3);
    reactor.run().unwrap();
    let mut lines = log.take();
    lines.sort();
    let from = peer.local_addr().unwrap();
    assert_eq!(lines[0], "8 bytes.");
    let told = format!(
        "failed: a datagram from {from} was dropped: it has more than 8 bytes; raise max_size of \
         the endpoint"
    );
    assert_eq!(lines[1], told);
}

#[test]
fn one_that_no_network_takes_is_told_and_those_beside_it_go() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let port = reactor
        .listen_datagram(&loopback(), On::logging(&log))
        .unwrap();
    let friend = peer();
    let to = Address::Udp(friend.local_addr().unwrap());
    assert!(port.write_to(b"before", &to));
    assert!(port.write_to(&[0; 65_535], &to));
    assert!(port.write_to(b"after", &to));
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 2);
    reactor.run().unwrap();
    assert!(
        log.borrow()[1].starts_with("failed: cannot send a datagram of 65535 bytes to 127.0.0.1:"),
        "{log:?}"
    );
    assert_eq!(friend.recv(&mut [0; 10]).unwrap(), 6);
    assert_eq!(friend.recv(&mut [0; 10]).unwrap(), 5);
}

#[test]
fn multicast_on_the_loopback_comes_to_the_members_of_the_group() {
    let reactor = Reactor::new().unwrap();
    let logs = [Log::default(), Log::default()];
    let group: IpAddr = [239, 255, 77, 1].into();
    let member = UdpListen::new(0)
        .interface(Ipv4Addr::UNSPECIFIED)
        .reuse_port(true);
    let first = reactor
        .listen_datagram(&member.into(), On::logging(&logs[0]))
        .unwrap();
    let number = socket_addr(&first).port();
    let lo: Interface = "127.0.0.1".into();
    let joined = first.act(|transport| {
        transport.join_group(group, &lo)?;
        transport.set_outgoing_interface(group, &lo)?;
        transport.set_multicast_ttl(0)
    });
    joined.unwrap().unwrap();
    let text = format!("udp:{number}:group={group}%127.0.0.1:reuse_port=yes");
    reactor
        .listen_datagram(&text.parse().unwrap(), On::logging(&logs[1]))
        .unwrap();
    let to = Address::Udp((group, number).into());
    assert!(first.write_to(b"all", &to));
    let seen = logs.clone();
    when(
        &reactor.handle(),
        move || seen.iter().all(|log| log.borrow().len() == 2),
        {
            move || {
                // The first hears no more of it.
                first
                    .act(|transport| transport.leave_group(group, &lo))
                    .unwrap()
                    .unwrap();
                let again = first
                    .act(|transport| transport.leave_group(group, &lo))
                    .unwrap();
                assert!(again.is_err());
                first.write_to(b"others", &to);
            }
        },
    );
    let seen = Rc::clone(&logs[1]);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 3);
    reactor.run().unwrap();
    assert_eq!(logs[0].borrow()[1..2], ["all"]);
    assert_eq!(logs[1].borrow()[1..3], ["all", "others"]);
}

#[test]
fn options_are_refused_where_they_mean_nothing() {
    let reactor = Reactor::new().unwrap();
    let port = reactor.listen_datagram(&loopback(), On::echo()).unwrap();
    let refused = |action: &dyn Fn(&mut DatagramTransport) -> std::io::Result<()>| {
        port.act(|transport| action(transport))
            .unwrap()
            .unwrap_err()
            .to_string()
    };
    let any = Interface::Any;
    refused(&|transport| transport.join_group([192, 0, 2, 1].into(), &any));
    let name: Interface = "no-such-interface".into();
    let error = refused(&|transport| transport.join_group([239, 1, 1, 1].into(), &name));
    assert!(error.contains("no-such-interface"), "{error}");
    for result in [
        port.act(|transport| transport.set_ttl(5)),
        port.act(|transport| transport.set_loopback_mode(false)),
        port.act(|transport| transport.set_broadcast_allowed(true)),
    ] {
        result.unwrap().unwrap();
    }
}

#[test]
fn a_port_that_is_taken_is_said_to_be() {
    let reactor = Reactor::new().unwrap();
    let taken = peer();
    let endpoint =
        UdpListen::new(taken.local_addr().unwrap().port()).interface(Ipv4Addr::LOCALHOST);
    let error = reactor
        .listen_datagram(&endpoint.into(), On::echo())
        .unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    assert_eq!(reactor.datagram_ports(), 0);
}

#[test]
fn a_port_may_be_closed_in_the_middle_of_what_has_come_and_another_has_its_place() {
    let reactor = Reactor::new().unwrap();
    let (log, second) = (Log::default(), Log::default());
    let (kept, handle) = (Rc::clone(&second), reactor.handle());
    let endpoint = loopback();
    let closing = On::new(&log, move |transport, _, _| {
        transport.stop_listening();
        handle
            .listen_datagram(&endpoint, On::logging(&kept))
            .unwrap();
    });
    let port = reactor.listen_datagram(&loopback(), closing).unwrap();
    let peer = peer();
    for text in ["one", "two", "three"] {
        peer.send_to(text.as_bytes(), socket_addr(&port)).unwrap();
    }
    stop_when(&reactor.handle(), move || !port.is_open());
    reactor.run().unwrap();
    assert_eq!(log.take(), ["started", "one", "stopped"]);
    assert_eq!(second.take(), ["started", "stopped"]);
}

#[test]
fn a_name_is_looked_up_by_what_was_installed() {
    let reactor = Reactor::new().unwrap();
    let names = FixedNames::new().with("peer.example.com", [Ipv4Addr::LOCALHOST.into()]);
    reactor.install_name_resolver(Rc::new(names));
    let friend = peer();
    let port = friend.local_addr().unwrap().port();
    let client = On::logging(&Log::default()).started(|transport| {
        transport.write(b"hello");
    });
    let endpoint = format!("udp:peer.example.com:{port}").parse().unwrap();
    let connected = reactor.connect_datagram(&endpoint, client);
    assert!(connected.is_fired());
    assert_eq!(friend.recv(&mut [0; 10]).unwrap(), 5);
    let endpoint = format!("udp:other.example.com:{port}").parse().unwrap();
    let failed = reactor
        .connect_datagram(&endpoint, On::echo())
        .add_errback(|failure| {
            let error = failure.check::<ConnectError>();
            assert!(
                matches!(error, Some(ConnectError::NameNotFound { .. })),
                "{failure}"
            );
            DatagramPort::default()
        });
    assert!(failed.is_fired());
}

#[test]
fn unix_sockets_talk_by_path_and_the_path_goes_with_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let reactor = Reactor::new().unwrap();
    let endpoint = DatagramEndpoint::from(UnixDatagramListen::new(&path));
    let port = reactor.listen_datagram(&endpoint, On::echo()).unwrap();
    assert_eq!(
        port.address(),
        Some(Address::Unix(Some(Arc::from(path.as_path()))))
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (server, own) = (path.clone(), folder.path().join("client"));
    run_with(&reactor, move || {
        let client = UnixDatagram::bind(own).unwrap();
        for _ in 0..2 {
            client.send_to(b"hello", &server).unwrap();
            let mut buffer = [0; 10];
            let (read, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((read, from.as_pathname()), (5, Some(server.as_path())));
        }
    });
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(UnixDatagram::bind(&path).unwrap());
    let reactor = Reactor::new().unwrap();
    let endpoint = DatagramEndpoint::from(UnixDatagramListen::new(&path));
    let _port = reactor.listen_datagram(&endpoint, On::echo()).unwrap();
    let error = reactor.listen_datagram(&endpoint, On::echo()).unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    assert!(path.exists());
}

#[test]
fn who_has_no_name_cannot_be_answered_and_who_is_connected_need_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let answering = On::new(&log, |transport, data, from| {
        assert_eq!(*from, Address::Unix(None));
        transport.write_to(data, from);
    });
    let endpoint = DatagramEndpoint::from(UnixDatagramListen::new(&path));
    reactor.listen_datagram(&endpoint, answering).unwrap();
    let client = On::logging(&Log::default()).started(|transport| {
        transport.write(b"hello");
    });
    let endpoint = format!("unix-datagram:{}", path.display()).parse().unwrap();
    assert!(reactor.connect_datagram(&endpoint, client).is_fired());
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 3);
    reactor.run().unwrap();
    assert_eq!(log.borrow()[1], "hello");
    assert!(
        log.borrow()[2].contains("who is there has no address"),
        "{log:?}"
    );
}

#[test]
fn who_has_no_name_does_not_get_that_of_another_ports_peer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    // All ports of a loop receive into one buffer.
    let udp = reactor
        .listen_datagram(&loopback(), On::logging(&log))
        .unwrap();
    let kept = Rc::clone(&log);
    let unix = On::new(&log, move |_, _, from| {
        kept.borrow_mut().push(format!("from {from:?}"));
    });
    let endpoint = DatagramEndpoint::from(UnixDatagramListen::new(&path));
    reactor.listen_datagram(&endpoint, unix).unwrap();
    peer().send_to(b"udp", socket_addr(&udp)).unwrap();
    let seen = Rc::clone(&log);
    when(
        &reactor.handle(),
        move || seen.borrow().len() == 3,
        move || {
            let nameless = UnixDatagram::unbound().unwrap();
            nameless.send_to(b"unix", path).unwrap();
        },
    );
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 5);
    reactor.run().unwrap();
    assert_eq!(log.borrow()[4], "from Unix(None)");
}

#[test]
#[cfg(target_os = "linux")]
fn an_error_of_a_unix_socket_loses_none_of_what_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let peer = UnixDatagram::bind(path("peer")).unwrap();
    let other = UnixDatagram::bind(path("other")).unwrap();
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let client = On::logging(&log).started(|transport| {
        transport.write(b"never read");
    });
    let endpoint = format!(
        "unix-datagram:{}:bind={}",
        path("peer").display(),
        path("own").display()
    );
    let connected = reactor.connect_datagram(&endpoint.parse().unwrap(), client);
    assert!(connected.is_fired());
    peer.connect(path("own")).unwrap();
    for text in ["one", "two"] {
        peer.send(text.as_bytes()).unwrap();
    }
    // It turns to another, and has not read what was sent to it: the kernel reports a reset.
    peer.connect(path("other")).unwrap();
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || {
        let seen = seen.borrow();
        seen.iter().any(|line| line.starts_with("failed: ")) && seen.len() >= 4
    });
    reactor.run().unwrap();
    assert_eq!(log.borrow()[1..3], ["one", "two"]);
    drop(other);
}

#[test]
fn what_cannot_be_sent_is_told_once_on_a_connected_port_too() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let friend = peer();
    let to = friend.local_addr().unwrap();
    let endpoint = format!("udp:127.0.0.1:{}", to.port()).parse().unwrap();
    let client = On::logging(&log).started(|transport| {
        assert!(transport.write(&[0; 70_000]));
        assert!(transport.write(b"after"));
    });
    let connected = reactor.connect_datagram(&endpoint, client);
    assert!(connected.is_fired());
    assert_eq!(friend.recv(&mut [0; 10]).unwrap(), 5);
    reactor.call_when_running({
        let stop = reactor.handle();
        move || stop.stop()
    });
    reactor.run().unwrap();
    assert_eq!(log.borrow().len(), 3, "{log:?}");
    assert!(
        log.borrow()[1].starts_with("failed: cannot send a datagram of 70000 bytes to the peer:"),
        "{log:?}"
    );
}

/// A duplicate of this process's own socket that is bound to `address`.
#[cfg(target_os = "linux")]
fn duplicate_of(address: SocketAddr) -> UdpSocket {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let me = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let name = entry.unwrap().file_name();
        let number: i32 = name.to_str().unwrap().parse().unwrap();
        let Ok(copy) = pidfd_getfd(&me, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let socket = socket2::Socket::from(copy);
        let is_udp = socket
            .r#type()
            .is_ok_and(|kind| kind == socket2::Type::DGRAM);
        if is_udp
            && socket
                .local_addr()
                .is_ok_and(|own| own.as_socket() == Some(address))
        {
            return socket.into();
        }
    }
    panic!("the socket was not found");
}

#[test]
#[cfg(target_os = "linux")]
fn however_much_the_network_has_to_say_nothing_is_lost_that_goes_elsewhere() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let port = reactor
        .listen_datagram(&loopback(), On::logging(&log))
        .unwrap();
    // The port is taken, by one that receives from another alone.
    let deaf = peer();
    let nowhere = deaf.local_addr().unwrap();
    deaf.connect("127.0.0.1:1").unwrap();
    // The loop has not looked at what the network says of all these.
    let same = duplicate_of(socket_addr(&port));
    // (Every other call has the error of the one before; the last one's is still to come.)
    let sent = (0..401).filter(|_| same.send_to(b"anybody?", nowhere).is_ok());
    assert_eq!(sent.count(), 201);
    let friend = peer();
    let to = Address::Udp(friend.local_addr().unwrap());
    for _ in 0..64 {
        assert!(port.write_to(b"friend", &to));
    }
    let counts = port.counts().unwrap();
    assert_eq!((counts.sent, counts.failed), (64, 0));
    let refused = "did not arrive: Connection refused";
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || {
        seen.borrow().iter().any(|line| line.contains(refused))
    });
    reactor.run().unwrap();
    for _ in 0..64 {
        assert_eq!(friend.recv(&mut [0; 10]).unwrap(), 6);
    }
}

#[test]
fn a_connected_unix_port_that_sends_to_one_who_is_full_does_not_spin() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let _peer = UnixDatagram::bind(path("peer")).unwrap();
    let _full = UnixDatagram::bind(path("full")).unwrap();
    let driver = Counting::new();
    let reactor = Reactor::with_driver(Rc::clone(&driver) as _);
    let to = Address::Unix(Some(Arc::from(path("full"))));
    let client = On::echo().started(move |transport| {
        // To one that it is not connected to, and who never reads.
        for _ in 0..1000 {
            transport.write_to(b"too many", &to);
        }
    });
    let endpoint = format!("unix-datagram:{}", path("peer").display());
    let connected = reactor.connect_datagram(&endpoint.parse().unwrap(), client);
    let ports: Rc<RefCell<Option<DatagramPort>>> = Rc::default();
    let kept = Rc::clone(&ports);
    drop(connected.add_callback(move |port| *kept.borrow_mut() = Some(port)));
    let counts = move || ports.borrow().as_ref().unwrap().counts().unwrap();
    assert!(counts().sent < 1000);
    // What it tries again is given up at last; until then there is nothing to do.
    let (seen, polled) = (Rc::clone(&driver), Rc::new(Cell::new(0)));
    let kept = Rc::clone(&polled);
    let stop = reactor.handle();
    when(
        &reactor.handle(),
        move || counts().failed > 0 || seen.polls.get() > 10_000,
        move || {
            kept.set(driver.polls.get());
            stop.stop();
        },
    );
    reactor.run().unwrap();
    assert!(polled.get() < 2_000, "{} polls", polled.get());
}

#[test]
fn a_port_that_has_stopped_has_given_its_address_back() {
    struct Rebinds {
        log: Log,
        address: Option<SocketAddr>,
    }
    impl DatagramProtocol for Rebinds {
        fn start_protocol(&mut self, transport: &mut DatagramTransport) {
            self.address = transport.host().socket_addr();
        }
        fn datagram_received(&mut self, transport: &mut DatagramTransport, _: &[u8], _: &Address) {
            transport.stop_listening();
        }
        fn stop_protocol(&mut self) {
            let bound = UdpSocket::bind(self.address.unwrap());
            self.log.borrow_mut().push(format!("{:?}", bound.map(drop)));
        }
    }
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let (kept, address) = (Rc::clone(&log), None);
    let rebinds = Rebinds { log: kept, address };
    let port = reactor.listen_datagram(&loopback(), rebinds).unwrap();
    peer().send_to(b"stop", socket_addr(&port)).unwrap();
    stop_when(&reactor.handle(), move || !port.is_open());
    reactor.run().unwrap();
    assert_eq!(log.take(), ["Ok(())"]);
}

#[test]
fn a_size_that_no_datagram_has_is_taken_for_the_nearest_that_one_has() {
    for (max_size, sent) in [(0, 1), (usize::MAX, 60_000)] {
        let reactor = Reactor::new().unwrap();
        let log = Log::default();
        let mut endpoint = UdpListen::new(0).interface(Ipv4Addr::LOCALHOST);
        endpoint.options.max_size = max_size;
        let port = reactor
            .listen_datagram(&endpoint.into(), On::logging(&log))
            .unwrap();
        let (to, peer) = (socket_addr(&port), peer());
        peer.send_to(&vec![b'x'; sent], to).unwrap();
        let seen = Rc::clone(&log);
        stop_when(&reactor.handle(), move || seen.borrow().len() == 2);
        reactor.run().unwrap();
        assert_eq!(log.borrow()[1], "x".repeat(sent));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn abstract_names_are_no_files() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let name = format!("ropewalk-test-{}", std::process::id());
    let text = format!("unix-datagram:@{name}");
    let port = reactor
        .listen_datagram(&text.parse().unwrap(), On::echo())
        .unwrap();
    assert_eq!(port.address().unwrap().to_string(), format!("unix:@{name}"));
    let client = On::logging(&log).started(|transport| {
        transport.write(b"hello");
    });
    let client_text = format!("{text}:bind=@{name}-client").parse().unwrap();
    assert!(reactor.connect_datagram(&client_text, client).is_fired());
    let seen = Rc::clone(&log);
    stop_when(&reactor.handle(), move || seen.borrow().len() == 2);
    reactor.run().unwrap();
    assert_eq!(log.borrow()[1], "hello");
    assert!(!Path::new(&format!("@{name}")).exists());
}

#[test]
fn a_receiver_that_is_full_holds_up_and_loses_what_it_never_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow");
    let slow = UnixDatagram::bind(&path).unwrap();
    let own = DatagramEndpoint::from(UnixDatagramListen::new(folder.path().join("own")));
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let mut sender = On::logging(&log);
    sender.limits.queue_datagrams = 1500;
    let port = reactor.listen_datagram(&own, sender).unwrap();
    let to = Address::Unix(Some(Arc::from(path.as_path())));
    let taken = (0..2000).filter(|_| port.write_to(&[0; 10], &to)).count();
    let counts = port.counts().unwrap();
    assert!(
        (1500..2000).contains(&taken) && counts.dropped as usize == 2000 - taken,
        "{counts:?}"
    );
    let before = counts.sent;
    slow.set_nonblocking(true).unwrap();
    when(
        &reactor.handle(),
        {
            move || {
                while slow.recv(&mut [0; 100]).is_ok() {}
                port.counts().unwrap().sent as usize == taken
            }
        },
        {
            let stop = reactor.handle();
            move || stop.stop()
        },
    );
    reactor.run().unwrap();
    assert!(before < taken as u64);
    assert_eq!(
        log.borrow()
            .iter()
            .filter(|line| line.contains("was dropped"))
            .count(),
        1
    );
}

#[test]
fn of_many_that_are_echoed_none_is_lost_while_sockets_have_room() {
    const COUNT: u64 = 20_000;
    let reactor = Reactor::new().unwrap();
    let port = reactor.listen_datagram(&loopback(), On::echo()).unwrap();
    let to = socket_addr(&port);
    let counts = Rc::new(Cell::new(None));
    let (kept, of) = (Rc::clone(&counts), port);
    reactor.add_system_event_trigger(ropewalk_reactor::Phase::Before, move || {
        kept.set(of.counts());
    });
    let echoed = run_with(&reactor, move || {
        let peer = peer();
        peer.connect(to).unwrap();
        let (mut echoed, mut buffer) = (0, [0; 64]);
        // No more under way than any socket has room for.
        for number in 0..COUNT {
            peer.send(&number.to_be_bytes()).unwrap();
            if number >= 32 {
                peer.recv(&mut buffer).unwrap();
                echoed += 1;
            }
        }
        (0..32).for_each(|_| assert_eq!(peer.recv(&mut buffer).unwrap(), 8));
        echoed + 32
    });
    let counts = counts.get().unwrap();
    assert_eq!(echoed, COUNT);
    assert_eq!((counts.received, counts.sent), (COUNT, COUNT));
    assert_eq!((counts.dropped, counts.failed, counts.truncated), (0, 0, 0));
}

/// Echoes, and keeps no log of it.
struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        transport: &mut DatagramTransport,
        data: &[u8],
        from: &Address,
    ) {
        transport.write_to(data, from);
    }
}

#[test]
fn of_a_million_that_nobody_holds_back_each_is_echoed_or_counted_as_lost() {
    const COUNT: u64 = 1_000_000;
    // Sent while the loop receives nothing: more than any socket has room for.
    const AT_ONCE: u64 = 100_000;
    let reactor = Reactor::new().unwrap();
    let port = reactor.listen_datagram(&loopback(), Echo).unwrap();
    let to = socket_addr(&port);
    let counts = Rc::new(Cell::new(None));
    let (kept, of) = (Rc::clone(&counts), port);
    // On the loopback a datagram has come, or is lost, when it is sent.
    stop_when(&reactor.handle(), move || {
        kept.set(of.counts());
        let counts = kept.get().unwrap();
        counts.received + counts.overflowed == COUNT
    });
    let remote = reactor.remote();
    let sending = std::thread::spawn(move || {
        let peer = Arc::new(peer());
        peer.connect(to).unwrap();
        peer.set_nonblocking(true).unwrap();
        let mut back = 0;
        let at_once = Arc::clone(&peer);
        let sent: Result<(), Failure> = remote.blocking_call_from_thread(move |_| {
            (0..AT_ONCE).for_each(|_| assert_eq!(at_once.send(b"datagram").unwrap(), 8));
        });
        sent.unwrap();
        for _ in AT_ONCE..COUNT {
            assert_eq!(peer.send(b"datagram").unwrap(), 8);
            while peer.recv(&mut [0; 64]).is_ok() {
                back += 1;
            }
        }
        (peer, back)
    });
    reactor.run().unwrap();
    let (peer, mut back) = sending.join().unwrap();
    while peer.recv(&mut [0; 64]).is_ok() {
        back += 1;
    }
    let counts = counts.get().unwrap();
    assert!(counts.overflowed > 0);
    assert_eq!(counts.sent, counts.received);
    assert_eq!((counts.dropped, counts.failed, counts.truncated), (0, 0, 0));
    // Its own socket may have had no room for some.
    assert!(back > 0 && back <= counts.sent, "{back} of {counts:?}");
}
