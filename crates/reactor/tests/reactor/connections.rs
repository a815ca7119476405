//! What a connection's life looks like, over TCP.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;

use ropewalk_core::{Address, ConnectionAborted, ConnectionDone, ConnectionLost, Failure};
use ropewalk_reactor::Reactor;

use crate::support::{Log, On, factory, once, pattern, reset, run_with, serve, socket_addr};

/// Serves one connection with `protocol`, and returns why it ended.
fn reason_of(protocol: On, peer: impl FnOnce(TcpStream) + Send + 'static) -> Option<Failure> {
    let reactor = Reactor::new().unwrap();
    let reason = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&reason);
    let (lost, ended) = mpsc::channel();
    let protocol = protocol.lost(move |failure| {
        *kept.borrow_mut() = Some(failure);
        lost.send(()).unwrap();
    });
    let address = serve(&reactor, once(protocol));
    run_with(&reactor, move || {
        peer(TcpStream::connect(address).unwrap());
        ended.recv().unwrap();
    });
    reason.take()
}

#[test]
fn what_a_peer_sends_comes_back_from_an_echo() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        for length in [1, 64, 4096, 70_000] {
            let sent = pattern(length, length);
            peer.write_all(&sent).unwrap();
            let mut received = vec![0; length];
            peer.read_exact(&mut received).unwrap();
            assert_eq!(received, sent);
        }
    });
}

#[test]
fn bytes_and_an_end_that_come_before_the_accept_are_told_in_order() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let handle = reactor.handle();
    let ended = Rc::clone(&log);
    let protocol = On::logging(&log)
        .read_closed({
            let log = Rc::clone(&log);
            move |transport| {
                log.borrow_mut().push("read_closed".to_owned());
                transport.lose_connection();
            }
        })
        .lost(move |reason| {
            assert!(reason.check::<ConnectionDone>().is_some(), "{reason}");
            ended.borrow_mut().push("lost".to_owned());
            handle.stop();
        });
    let address = serve(&reactor, once(protocol));
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(b"all of it").unwrap();
    drop(peer);
    reactor.run().unwrap();
    assert_eq!(
        *log.borrow(),
        ["made", "data all of it", "read_closed", "lost"]
    );
}

#[test]
fn a_peer_that_closed_its_side_still_gets_the_answer() {
    let answer = pattern(0, 300_000);
    let expected = answer.clone();
    let reason = reason_of(
        On::nothing().read_closed(move |transport| {
            transport.write(&answer);
            transport.lose_connection();
        }),
        move |mut peer| {
            peer.write_all(b"question").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert_eq!(received, expected);
        },
    );
    assert!(reason.unwrap().check::<ConnectionDone>().is_some());
}

#[test]
fn after_lose_write_connection_the_peer_sees_the_end_and_may_go_on_sending() {
    let received = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&received);
    let reason = reason_of(
        On::nothing()
            .made(|transport| {
                transport.write(b"last words");
                transport.lose_write_connection();
            })
            .data(move |_, data| kept.borrow_mut().extend_from_slice(data)),
        |mut peer| {
            let mut words = String::new();
            peer.read_to_string(&mut words).unwrap();
            assert_eq!(words, "last words");
            peer.write_all(&pattern(0, 200_000)).unwrap();
        },
    );
    assert!(reason.unwrap().check::<ConnectionDone>().is_some());
    assert!(*received.borrow() == pattern(0, 200_000));
}

#[test]
fn a_reset_is_a_connection_lost() {
    let reason = reason_of(On::nothing(), reset).unwrap();
    let lost = reason.check::<ConnectionLost>().unwrap();
    assert_eq!(lost.0.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_ends_a_connection_that_is_not_being_read() {
    let (paused, is_paused) = mpsc::channel();
    let reason = reason_of(
        On::nothing().data(move |transport, _| {
            transport.pause_producing();
            paused.send(()).unwrap();
        }),
        move |mut peer| {
            peer.write_all(b"pause").unwrap();
            is_paused.recv().unwrap();
            reset(peer);
        },
    );
    assert!(reason.unwrap().check::<ConnectionLost>().is_some());
}

#[test]
fn an_abort_is_a_reset_for_the_peer() {
    let reason = reason_of(
        On::nothing().data(|transport, _| transport.abort_connection()),
        |mut peer| {
            peer.write_all(b"x").unwrap();
            let error = peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        },
    );
    assert!(reason.unwrap().check::<ConnectionAborted>().is_some());
}

#[test]
fn lose_connection_sends_megabytes_before_it_closes() {
    let reason = reason_of(
        On::nothing().made(|transport| {
            transport.write(&pattern(0, 8_000_000));
            transport.lose_connection();
        }),
        |mut peer| {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert!(
                received == pattern(0, 8_000_000),
                "{} bytes",
                received.len()
            );
        },
    );
    assert!(reason.unwrap().check::<ConnectionDone>().is_some());
}

#[test]
fn bytes_behind_the_mark_of_an_urgent_one_are_received_with_those_before() {
    let reactor = Reactor::new().unwrap();
    let received = Rc::new(RefCell::new(Vec::new()));
    let (kept, handle) = (Rc::clone(&received), reactor.handle());
    let protocol = On::nothing().data(move |_, data| {
        kept.borrow_mut().extend_from_slice(data);
        if kept.borrow().ends_with(b"ABOR\r\n") {
            handle.stop();
        }
    });
    let address = serve(&reactor, once(protocol));
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(b"before").unwrap();
    socket2::SockRef::from(&peer)
        .send_out_of_band(b"!")
        .unwrap();
    peer.write_all(b"ABOR\r\n").unwrap();
    reactor.run().unwrap();
    assert_eq!(*received.borrow(), b"beforeABOR\r\n");
}

#[test]
fn hundreds_that_wait_before_the_first_turn_are_all_accepted() {
    const PEERS: usize = 200;
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let peers: Vec<_> = (0..PEERS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let counted = run_with(&reactor, move || {
        let mut served = 0;
        for mut peer in peers {
            peer.write_all(b"x").unwrap();
            peer.read_exact(&mut [0]).unwrap();
            served += 1;
        }
        served
    });
    assert_eq!(counted, PEERS);
}

#[test]
fn a_closed_connections_place_is_taken_by_a_new_one_that_hears_nothing_of_it() {
    let reactor = Reactor::new().unwrap();
    let names = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&names);
    let address = serve(
        &reactor,
        factory(move || {
            let kept = Rc::clone(&kept);
            On::echo().made(move |transport| kept.borrow_mut().push(transport.id()))
        }),
    );
    run_with(&reactor, move || {
        for _ in 0..50 {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(b"one").unwrap();
            peer.read_exact(&mut [0; 3]).unwrap();
            reset(peer);
        }
    });
    let mut names = names.take();
    assert!(names.iter().any(|name| name.generation() > 0));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50);
}

#[test]
fn a_connection_may_close_another_one_whose_bytes_are_waiting() {
    let reactor = Reactor::new().unwrap();
    let all = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::new(Cell::new(0));
    let ended = Rc::new(Cell::new(0));
    let (kept, count, over) = (Rc::clone(&all), Rc::clone(&heard), Rc::clone(&ended));
    let address = serve(
        &reactor,
        factory(move || {
            let (made, kept) = (Rc::clone(&kept), Rc::clone(&kept));
            let (count, over) = (Rc::clone(&count), Rc::clone(&over));
            On::nothing()
                .made(move |transport| made.borrow_mut().push(transport.connection()))
                .data(move |transport, _| {
                    count.set(count.get() + 1);
                    let me = transport.id();
                    for other in &*kept.borrow() {
                        if other.act(|transport| transport.id()) != Some(me) {
                            other.abort_connection();
                        }
                    }
                })
                .lost(move |_| over.set(over.get() + 1))
        }),
    );
    let mut peers: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let (handle, all_made) = (reactor.handle(), Rc::clone(&all));
    // All in the same turn: what they sent is there when the loop waits the next time.
    crate::support::when(
        &handle.clone(),
        move || all_made.borrow().len() == 8,
        move || {
            for peer in &mut peers {
                peer.write_all(b"x").unwrap();
            }
            crate::support::when(
                &handle.clone(),
                move || ended.get() == 7,
                move || {
                    drop(peers);
                    handle.stop();
                },
            );
        },
    );
    reactor.run().unwrap();
    assert!(heard.get() >= 1);
}

#[test]
fn an_ipv4_peer_of_a_dual_stack_listener_is_an_ipv4_peer() {
    let reactor = Reactor::new().unwrap();
    let addresses = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&addresses);
    let protocol = On::nothing().made(move |transport| {
        *kept.borrow_mut() = Some((transport.peer(), transport.host().clone()));
        transport.lose_connection();
    });
    let port = reactor
        .listen(&"tcp:0".parse().unwrap(), once(protocol))
        .unwrap();
    let number = socket_addr(&port).port();
    let from = run_with(&reactor, move || {
        let mut peer = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        peer.local_addr().unwrap()
    });
    let (peer, host) = addresses.take().unwrap();
    assert_eq!(peer, Address::Tcp(from));
    assert_eq!(
        host.socket_addr().unwrap().ip(),
        IpAddr::from(Ipv4Addr::LOCALHOST)
    );
    assert_eq!(host.port(), Some(number));
}

#[test]
fn set_timeout_ends_a_silent_connection_and_no_earlier() {
    use std::time::{Duration, Instant};
    let after = Duration::from_millis(30);
    let began = Instant::now();
    let reason = reason_of(
        On::nothing().made(move |transport| transport.set_timeout(Some(after))),
        |mut peer| {
            let error = peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        },
    );
    assert!(reason.unwrap().check::<ropewalk_core::TimedOut>().is_some());
    assert!(began.elapsed() >= after);
}
