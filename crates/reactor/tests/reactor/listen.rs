//! Ports: what they refuse, what they set, and what their factories hear.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{ServerEndpoint, TcpListen};
use ropewalk_core::{Address, ConnectionLimits, Factory, ListenError, Port, Protocol};
use ropewalk_reactor::{Handle, Reactor};

use crate::support::{On, accepted_from, factory, loopback, nobody, once, run_with, socket_addr};

fn refusal(endpoint: impl Into<ServerEndpoint>) -> ListenError {
    let reactor = Reactor::new().unwrap();
    reactor
        .listen(&endpoint.into(), factory(On::echo))
        .unwrap_err()
}

#[test]
fn a_port_that_is_taken_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let error = refusal(TcpListen::new(number).interface([127, 0, 0, 1]));
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
}

#[test]
fn an_address_of_another_machine_is_not_available() {
    let error = refusal(TcpListen::new(0).interface([192, 0, 2, 1]));
    assert!(
        matches!(error, ListenError::AddressNotAvailable { .. }),
        "{error}"
    );
}

#[test]
fn a_path_in_a_folder_that_may_not_be_written_is_denied() {
    if rustix::process::geteuid().is_root() {
        return; // To whom nothing is denied.
    }
    let error = refusal(ropewalk_core::endpoint::UnixListen::new("/ropewalk-test"));
    assert!(
        matches!(error, ListenError::PermissionDenied { .. }),
        "{error}"
    );
}

#[test]
fn a_port_can_be_shared_when_both_say_so() {
    let reactor = Reactor::new().unwrap();
    let first = TcpListen::new(0).interface([127, 0, 0, 1]).reuse_port(true);
    let port = reactor
        .listen(&first.clone().into(), factory(On::echo))
        .unwrap();
    let mut second = first;
    second.port = socket_addr(&port).port();
    reactor
        .listen(&second.clone().into(), factory(On::echo))
        .unwrap();
    let error = refusal(second.reuse_port(false));
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
}

#[test]
fn the_options_of_a_port_are_those_of_its_connections() {
    let reactor = Reactor::new().unwrap();
    let listen = TcpListen::new(0)
        .interface([127, 0, 0, 1])
        .keep_alive(Duration::from_secs(77))
        .send_buffer(100_000);
    let port = reactor.listen(&listen.into(), factory(On::echo)).unwrap();
    let address = socket_addr(&port);
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        let socket = accepted_from(&peer);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        let after = socket.tcp_keepalive_time().unwrap();
        assert_eq!(after, Duration::from_secs(77));
        assert!(socket.send_buffer_size().unwrap() >= 100_000);
    });
}

#[test]
fn no_delay_is_on_unless_it_is_turned_off_and_can_be_changed_later() {
    for (endpoint, expected) in [
        ("tcp:0:interface=127.0.0.1", true),
        ("tcp:0:interface=127.0.0.1:no_delay=no", false),
    ] {
        let reactor = Reactor::new().unwrap();
        let protocol = On::nothing().data(|transport, data| {
            transport.set_no_delay(data == b"1");
            transport.write(data);
        });
        let port = reactor
            .listen(&endpoint.parse().unwrap(), once(protocol))
            .unwrap();
        let address = socket_addr(&port);
        run_with(&reactor, move || {
            let mut peer = TcpStream::connect(address).unwrap();
            for (command, expected) in [(b"0", false), (b"1", true)] {
                peer.write_all(command).unwrap();
                peer.read_exact(&mut [0]).unwrap();
                assert_eq!(accepted_from(&peer).tcp_nodelay().unwrap(), expected);
            }
        });
        let port = reactor
            .listen(&endpoint.parse().unwrap(), factory(On::echo))
            .unwrap();
        let address = socket_addr(&port);
        run_with(&reactor, move || {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(b"x").unwrap();
            peer.read_exact(&mut [0]).unwrap();
            assert_eq!(accepted_from(&peer).tcp_nodelay().unwrap(), expected);
        });
    }
}

#[test]
fn only_v6_keeps_ipv4_peers_out() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return; // This machine has no IPv6.
    }
    let reactor = Reactor::new().unwrap();
    // A listener for IPv6 alone leaves the number on IPv4 to others.
    let (_held, address) = nobody();
    let number = address.port();
    let listen = TcpListen::new(number).only_v6(true);
    reactor.listen(&listen.into(), factory(On::echo)).unwrap();
    run_with(&reactor, move || {
        assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, number)).is_ok());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, number)).is_err());
    });
}

#[test]
fn a_socket_that_listens_already_can_be_adopted_and_one_that_does_not_cannot() {
    let reactor = Reactor::new().unwrap();
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inherited.local_addr().unwrap();
    let port = reactor
        .adopt_stream_port(inherited.into(), factory(On::echo))
        .unwrap();
    assert_eq!(*port.address(), Address::Tcp(address));
    let stream = TcpStream::connect(address).unwrap();
    let error = reactor
        .adopt_stream_port(stream.into(), factory(On::echo))
        .unwrap_err();
    assert!(error.to_string().contains("does not listen"), "{error}");
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn after_stop_listening_nobody_gets_in_and_who_is_in_stays() {
    let reactor = Reactor::new().unwrap();
    let port = Rc::new(RefCell::new(None::<Port>));
    let stopping = Rc::clone(&port);
    let opened = reactor
        .listen(
            &loopback(),
            factory(move || {
                let stopping = Rc::clone(&stopping);
                On::nothing().data(move |transport, data| {
                    if let Some(port) = stopping.take() {
                        port.stop_listening();
                        port.stop_listening();
                    }
                    transport.write(data);
                })
            }),
        )
        .unwrap();
    let address = socket_addr(&opened);
    *port.borrow_mut() = Some(opened);
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        for _ in 0..2 {
            peer.write_all(b"x").unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
        assert!(TcpStream::connect(address).is_err());
    });
}

/// Hears how it is used.
struct Hearing {
    log: Rc<RefCell<Vec<&'static str>>>,
    reactor: Option<Handle>,
    panics: bool,
}

impl Factory for Hearing {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        self.log.borrow_mut().push("build");
        None
    }

    fn limits(&self) -> ConnectionLimits {
        if let Some(reactor) = &self.reactor {
            // Whoever builds limits may do anything else too.
            reactor.listen(&loopback(), factory(On::echo)).unwrap();
        }
        ConnectionLimits::default()
    }

    fn start_factory(&self) {
        self.log.borrow_mut().push("start");
        assert!(!self.panics, "cannot start");
    }

    fn stop_factory(&self) {
        self.log.borrow_mut().push("stop");
    }
}

#[test]
fn a_factory_hears_of_its_start_and_end_and_may_refuse() {
    let reactor = Reactor::new().unwrap();
    let log = Rc::default();
    let hearing = Hearing {
        log: Rc::clone(&log),
        reactor: Some(reactor.handle()),
        panics: false,
    };
    let port = reactor.listen(&loopback(), Rc::new(hearing)).unwrap();
    let address = socket_addr(&port);
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
    assert_eq!(*log.borrow(), ["start", "build", "stop"]);
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn a_factory_that_cannot_start_leaves_no_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let reactor = Reactor::new().unwrap();
    let hearing: Rc<dyn Factory> = Rc::new(Hearing {
        log: Rc::default(),
        reactor: None,
        panics: true,
    });
    let adopted = catch_unwind(AssertUnwindSafe(|| {
        reactor.adopt_stream_port(taken.into(), hearing)
    }));
    assert!(adopted.is_err());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_new_port_under_the_number_of_a_closed_one_has_its_own_factory() {
    let reactor = Reactor::new().unwrap();
    let old = reactor.listen(&loopback(), factory(On::nothing)).unwrap();
    old.stop_listening();
    let served = Rc::new(Cell::new(0));
    let count = Rc::clone(&served);
    let new = reactor
        .listen(
            &loopback(),
            factory(move || {
                count.set(count.get() + 1);
                On::echo()
            }),
        )
        .unwrap();
    // Closing what is closed is not closing what came after it.
    old.stop_listening();
    let address = socket_addr(&new);
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
    });
    assert_eq!(served.get(), 1);
}
