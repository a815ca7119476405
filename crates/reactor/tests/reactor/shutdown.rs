//! The end of a run.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ropewalk_core::endpoint::{ClientEndpoint, TcpConnect};
use ropewalk_core::{Connection, Deferred, Failure};
use ropewalk_reactor::{Handle, Phase, Reactor, RunError};

use crate::support::{Log, On, factory, once, serve};

#[test]
fn the_phases_come_in_order_and_each_waits_for_its_deferreds() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    for (phase, name) in [
        (Phase::After, "after"),
        (Phase::During, "during"),
        (Phase::Before, "before"),
    ] {
        for n in 1..=2 {
            let (log, handle) = (Rc::clone(&log), reactor.handle());
            reactor.add_system_event_trigger(phase, move || {
                log.borrow_mut().push(format!("{name} {n}"));
                let (resolver, done) = Deferred::pair();
                handle.call_later(Duration::from_millis(2), move || {
                    log.borrow_mut().push(format!("{name} {n} done"));
                    resolver.callback(());
                });
                done
            });
        }
    }
    reactor.stop();
    reactor.stop();
    reactor.run().unwrap();
    let expected = ["before", "during", "after"]
        .iter()
        .flat_map(|name| ["1", "2", "1 done", "2 done"].map(|what| format!("{name} {what}")));
    assert_eq!(*log.borrow(), expected.collect::<Vec<_>>());
}

#[test]
fn a_trigger_of_a_phase_that_has_begun_is_run_in_it() {
    for phase in [Phase::Before, Phase::During, Phase::After] {
        let reactor = Reactor::new().unwrap();
        let reached = Rc::new(Cell::new(false));
        let (late, handle) = (Rc::clone(&reached), reactor.handle());
        reactor.add_system_event_trigger(phase, move || {
            handle.add_system_event_trigger(phase, move || late.set(true));
        });
        reactor.stop();
        reactor.run().unwrap();
        assert!(reached.get(), "{phase:?}");
    }
}

#[test]
fn a_trigger_that_fails_does_not_stop_the_shutdown() {
    let reactor = Reactor::new().unwrap();
    let reached = Rc::new(Cell::new(false));
    let after = Rc::clone(&reached);
    reactor.add_system_event_trigger(Phase::Before, || Err::<(), _>(Failure::msg("no")));
    reactor.add_system_event_trigger(Phase::After, move || after.set(true));
    reactor.stop();
    reactor.run().unwrap();
    assert!(reached.get());
}

#[test]
fn a_shutdown_that_takes_too_long_is_cut_short() {
    let reactor = Reactor::new().unwrap();
    let after = Duration::from_millis(20);
    reactor.set_shutdown_deadline(after);
    let kept = Rc::new(RefCell::new(None));
    let never = Rc::clone(&kept);
    reactor.add_system_event_trigger(Phase::During, move || {
        let (resolver, deferred) = Deferred::<()>::pair();
        *never.borrow_mut() = Some(resolver);
        deferred
    });
    let began = Instant::now();
    reactor.stop();
    let error = reactor.run().unwrap_err();
    assert!(
        matches!(error, RunError::ShutdownTimedOut { after: a, connections: 0, .. } if a == after),
        "{error}"
    );
    assert!(began.elapsed() >= after);
}

#[test]
fn a_connection_that_does_not_drain_is_cut_at_the_deadline() {
    let reactor = Reactor::new().unwrap();
    reactor.set_shutdown_deadline(Duration::from_millis(20));
    let log = Log::default();
    let handle = reactor.handle();
    let protocol = On::logging(&log).made(move |_| handle.stop()).drain(|_| ());
    let address = serve(&reactor, once(protocol));
    let _peer = TcpStream::connect(address).unwrap();
    let error = reactor.run().unwrap_err();
    assert!(
        matches!(error, RunError::ShutdownTimedOut { connections: 1, .. }),
        "{error}"
    );
    assert_eq!(log.borrow().len(), 1, "{log:?}");
}

#[test]
fn stop_now_ends_a_shutdown_that_waits() {
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    reactor.add_system_event_trigger(Phase::Before, move || {
        let now = handle.clone();
        handle.call_later(Duration::from_millis(1), move || now.stop_now());
        let (resolver, deferred) = Deferred::<()>::pair();
        std::mem::forget(resolver);
        deferred
    });
    reactor.stop();
    let error = reactor.run().unwrap_err();
    assert!(
        matches!(error, RunError::EndedAtOnce { connections: 0 }),
        "{error}"
    );
}

#[test]
fn who_connected_is_drained_after_those_that_were_accepted() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let draining = |name: &'static str| {
        let (log, lost) = (Rc::clone(&log), Rc::clone(&log));
        On::nothing()
            .drain(move |transport| {
                log.borrow_mut().push(format!("{name} drains"));
                let connection = transport.connection();
                transport.reactor().call_later(
                    Duration::from_millis(5),
                    Box::new(move || {
                        let _ = connection.lose_connection();
                    }),
                );
            })
            .lost(move |_| lost.borrow_mut().push(format!("{name} lost")))
    };
    // Two separate peers, so that the end of one is not the end of the other.
    let served = serve(&reactor, once(draining("server")));
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap();
    let endpoint = TcpConnect::new(address.ip(), address.port()).into();
    let peer = TcpStream::connect(served).unwrap();
    let handle = reactor.handle();
    let connected = reactor
        .connect(&endpoint, once(draining("client")))
        .add_callback::<(), _>(move |_: Connection| {
            // By then the peer of the server, which came first, was accepted.
            let stopping = handle.clone();
            crate::support::when(&handle, move || stopping.connections() == 2, {
                let handle = handle.clone();
                move || handle.stop()
            });
        });
    reactor.run().unwrap();
    drop((peer, backend));
    assert!(connected.is_fired());
    let expected = [
        "server drains",
        "server lost",
        "client drains",
        "client lost",
    ];
    assert_eq!(*log.borrow(), expected);
}

/// Connects again whenever its connection has ended.
fn persistent(handle: &Handle, endpoint: &ClientEndpoint, outcomes: &Log) {
    let (again, same, told) = (handle.clone(), endpoint.clone(), Rc::clone(outcomes));
    let lost = move |_| persistent(&again, &same, &told);
    let connecting = handle.connect(endpoint, once(On::nothing().lost(lost)));
    let outcomes = Rc::clone(outcomes);
    drop(connecting.add_both::<(), _>(move |outcome| {
        outcomes.borrow_mut().push(match outcome {
            Ok(_) => "up".to_owned(),
            Err(failure) => failure.to_string(),
        });
    }));
}

#[test]
fn whoever_connects_again_and_again_does_not_keep_the_shutdown() {
    let reactor = Reactor::new().unwrap();
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap();
    let endpoint: ClientEndpoint = TcpConnect::new(address.ip(), address.port()).into();
    let outcomes = Log::default();
    let handle = reactor.handle();
    persistent(&handle, &endpoint, &outcomes);
    // What a trigger says goodbye to is there while it does, and left behind by it is no obstacle.
    let (last, goodbye) = (handle.clone(), endpoint);
    let reached = Rc::new(Cell::new(false));
    let is_up = Rc::clone(&reached);
    reactor.add_system_event_trigger(Phase::During, move || {
        let made = last.connect(&goodbye, once(On::nothing()));
        made.add_callback(move |_: Connection| is_up.set(true))
    });
    let up = Rc::clone(&outcomes);
    crate::support::when(&handle, move || !up.borrow().is_empty(), {
        let handle = handle.clone();
        move || handle.stop()
    });
    reactor.run().unwrap();
    assert!(reached.get());
    let outcomes = outcomes.borrow();
    assert_eq!(outcomes.first().unwrap(), "up");
    assert_eq!(
        outcomes.last().unwrap(),
        "cannot connect: the reactor has ended"
    );
}

#[test]
fn a_draining_server_finishes_what_is_in_flight_and_lets_nobody_in() {
    let reactor = Reactor::new().unwrap();
    let (draining, is_draining) = mpsc::channel();
    let address = serve(
        &reactor,
        factory(move || {
            let draining = draining.clone();
            On::nothing()
                .drain(move |_| draining.send(()).unwrap())
                .data(|transport, data| {
                    transport.write(data);
                    transport.lose_connection();
                })
                .made(|transport| transport.write(b"!"))
        }),
    );
    let remote = reactor.remote();
    let thread = std::thread::spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.read_exact(&mut [0]).unwrap();
        remote.call_from_thread(|reactor| reactor.stop());
        is_draining.recv().unwrap();
        assert!(TcpStream::connect(address).is_err());
        peer.write_all(b"last").unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "last");
    });
    reactor.run().unwrap();
    thread.join().unwrap();
}
