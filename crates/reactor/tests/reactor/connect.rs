//! Connecting: what comes of it, and what stops it.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use ropewalk_core::endpoint::{ClientEndpoint, TcpConnect};
use ropewalk_core::{
    Address, Cancelled, ConnectError, Connection, ConnectionDone, Deferred, Factory, Failure,
    Layer, LayerIo, OutputQueue, Protocol,
};
use ropewalk_reactor::{Phase, Reactor};

use crate::support::{Log, On, accepted_from, factory, nobody, once, reset, run_with, serve};

fn to(address: SocketAddr) -> ClientEndpoint {
    TcpConnect::new(address.ip(), address.port()).into()
}

type Outcome = Rc<RefCell<Option<Result<Connection, Failure>>>>;

/// Keeps what comes of `connecting`, and stops the reactor.
fn keep(reactor: &Reactor, connecting: Deferred<Connection>) -> (Outcome, Deferred<()>) {
    let outcome = Outcome::default();
    let (kept, handle) = (Rc::clone(&outcome), reactor.handle());
    let done = connecting.add_both(move |result| {
        *kept.borrow_mut() = Some(result);
        handle.stop();
    });
    (outcome, done)
}

/// Runs until something has come of `connecting`.
fn outcome(reactor: &Reactor, connecting: Deferred<Connection>) -> Result<Connection, Failure> {
    let (outcome, _done) = keep(reactor, connecting);
    reactor.run().unwrap();
    outcome.take().expect("the Deferred has not fired")
}

#[test]
fn the_deferred_fires_after_connection_made_with_the_connection() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let address = serve(&reactor, factory(On::echo));
    let kept = Rc::clone(&log);
    let protocol = On::logging(&log).made(move |transport| {
        assert_eq!(transport.peer(), Address::Tcp(address));
        kept.borrow_mut().push("made".to_owned());
    });
    let (kept, handle) = (Rc::clone(&log), reactor.handle());
    let done = reactor.connect(&to(address), once(protocol)).add_callback(
        move |connection: Connection| {
            assert!(connection.is_connected());
            kept.borrow_mut().push("fired".to_owned());
            handle.stop();
        },
    );
    reactor.run().unwrap();
    assert!(done.is_fired());
    assert_eq!(log.borrow()[..2], ["made", "fired"]);
}

#[test]
fn nobody_there_is_refused() {
    let reactor = Reactor::new().unwrap();
    let (_held, address) = nobody();
    let connecting = reactor.connect(&to(address), factory(On::echo));
    let failure = outcome(&reactor, connecting).unwrap_err();
    let error = failure.check::<ConnectError>();
    assert!(
        matches!(error, Some(ConnectError::Refused { .. })),
        "{failure}"
    );
    assert_eq!(reactor.connections(), 0);
}

/// A port where the system does not answer: its backlog holds one, and has it.
struct Full {
    address: SocketAddr,
    _listens: socket2::Socket,
    _waits: TcpStream,
}

fn full() -> Full {
    let (full, address) = nobody();
    full.listen(0).unwrap();
    Full {
        address,
        _listens: full,
        _waits: TcpStream::connect(address).unwrap(),
    }
}

#[test]
fn an_answer_that_does_not_come_is_timed_out() {
    let full = full();
    let reactor = Reactor::new().unwrap();
    let after = Duration::from_millis(50);
    let endpoint = TcpConnect::new(full.address.ip(), full.address.port()).timeout(after);
    let connecting = reactor.connect(&endpoint.into(), factory(On::echo));
    let failure = outcome(&reactor, connecting).unwrap_err();
    let error = failure.check::<ConnectError>();
    assert!(
        matches!(error, Some(ConnectError::TimedOut { .. })),
        "{failure}"
    );
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn what_becomes_of_a_closed_socket_is_no_news_of_the_one_in_its_place() {
    let full = full();
    let reactor = Reactor::new().unwrap();
    let attempt = Rc::new(RefCell::new(None));
    let (kept, handle, endpoint) = (Rc::clone(&attempt), reactor.handle(), to(full.address));
    let (begun, is_begun) = mpsc::channel();
    // Its end makes room for an attempt that nobody answers.
    let first = On::nothing()
        .made(|transport| transport.write(b"!"))
        .data(|transport, _| transport.lose_connection())
        .lost(move |_| {
            *kept.borrow_mut() = Some(handle.connect(&endpoint, factory(On::echo)));
            begun.send(()).unwrap();
        });
    let (first, echo) = (
        serve(&reactor, once(first)),
        serve(&reactor, factory(On::echo)),
    );
    let fired = Rc::new(Cell::new(None));
    let (seen, looked_at) = (Rc::clone(&fired), Rc::clone(&attempt));
    reactor.add_system_event_trigger(Phase::Before, move || {
        let attempt: &Option<Deferred<Connection>> = &looked_at.borrow();
        seen.set(attempt.as_ref().map(Deferred::is_fired));
    });
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(first).unwrap();
        let mut other = TcpStream::connect(echo).unwrap();
        peer.read_exact(&mut [0]).unwrap();
        // As a child process has it, from its start to its exec.
        let held = accepted_from(&peer);
        peer.write_all(b"x").unwrap();
        is_begun.recv().unwrap();
        reset(peer);
        other.write_all(b"y").unwrap();
        other.read_exact(&mut [0]).unwrap();
        drop(held);
    });
    assert_eq!(fired.get(), Some(false));
}

#[test]
fn a_name_is_looked_up() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let endpoint = TcpConnect::new("localhost", address.port()).into();
    let connecting = reactor.connect(&endpoint, factory(On::nothing));
    // It may have an IPv6 address too, where nobody is: that is tried, and then the other.
    let connection = outcome(&reactor, connecting);
    assert!(connection.is_ok(), "{:?}", connection.err());
}

#[test]
fn many_names_are_looked_up_by_few_threads() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let endpoint: ClientEndpoint = TcpConnect::new("localhost", address.port()).into();
    let left = Rc::new(Cell::new(100));
    let all: Vec<_> = (0..100)
        .map(|_| {
            let (left, handle) = (Rc::clone(&left), reactor.handle());
            let connecting = reactor.connect(&endpoint, factory(On::nothing));
            connecting.add_callback(move |_| {
                left.set(left.get() - 1);
                if left.get() == 0 {
                    handle.stop();
                }
            })
        })
        .collect::<Vec<Deferred<()>>>();
    reactor.run().unwrap();
    assert!(all.iter().all(Deferred::is_fired));
    assert_eq!(left.get(), 0);
}

#[test]
fn ipv6_works_where_there_is_any() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return;
    };
    let address = listener.local_addr().unwrap();
    let reactor = Reactor::new().unwrap();
    reactor
        .adopt_stream_port(listener.into(), factory(On::echo))
        .unwrap();
    let connecting = reactor.connect(&to(address), factory(On::nothing));
    assert!(outcome(&reactor, connecting).is_ok());
}

#[test]
fn cancelling_gives_up_and_nothing_is_left() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let address = serve(&reactor, factory(On::echo));
    let connecting = reactor.connect(&to(address), once(On::logging(&log)));
    connecting.cancel();
    let failure = outcome(&reactor, connecting).unwrap_err();
    assert!(failure.check::<Cancelled>().is_some());
    assert_eq!(reactor.connections(), 0);
    assert!(log.borrow().is_empty());
}

#[test]
fn cancelling_a_look_up_gives_up() {
    let reactor = Reactor::new().unwrap();
    let endpoint = TcpConnect::new("localhost", 1).into();
    let connecting = reactor.connect(&endpoint, factory(On::echo));
    connecting.cancel();
    let failure = outcome(&reactor, connecting).unwrap_err();
    assert!(failure.check::<Cancelled>().is_some());
}

#[test]
fn a_factory_may_cancel_the_attempt_that_it_builds_for() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let log = Log::default();
    let attempt = Rc::new(RefCell::new(None::<Deferred<()>>));
    let (own, kept) = (Rc::clone(&attempt), Rc::clone(&log));
    let cancelling = factory(move || {
        if let Some(attempt) = &*own.borrow() {
            attempt.cancel();
        }
        On::logging(&kept)
    });
    let connecting = reactor.connect(&to(address), cancelling);
    let (outcome, done) = keep(&reactor, connecting);
    *attempt.borrow_mut() = Some(done);
    reactor.run().unwrap();
    let failure = outcome.take().unwrap().unwrap_err();
    assert!(failure.check::<Cancelled>().is_some());
    assert!(log.borrow().is_empty(), "{log:?}");
}

#[test]
fn a_factory_that_builds_nothing_refuses() {
    struct Refusing;
    impl Factory for Refusing {
        fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
            None
        }
    }
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let connecting = reactor.connect(&to(address), Rc::new(Refusing));
    let failure = outcome(&reactor, connecting).unwrap_err();
    let error = failure.check::<ConnectError>();
    assert!(
        matches!(error, Some(ConnectError::FactoryRefused)),
        "{failure}"
    );
}

/// A layer whose handshake never ends.
struct Never;

impl Layer for Never {
    fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn received(&mut self, _: &[u8], _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn send(&mut self, _: &mut OutputQueue, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

struct Layered(Log);

impl Factory for Layered {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(On::logging(&self.0)))
    }

    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        vec![Box::new(Never)]
    }
}

#[test]
fn layers_that_do_not_get_ready_are_timed_out() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let after = Duration::from_millis(20);
    let endpoint = TcpConnect::new(address.ip(), address.port()).timeout(after);
    let log = Log::default();
    let connecting = reactor.connect(&endpoint.into(), Rc::new(Layered(Rc::clone(&log))));
    let failure = outcome(&reactor, connecting).unwrap_err();
    let error = failure.check::<ConnectError>();
    assert!(
        matches!(error, Some(ConnectError::TimedOut { .. })),
        "{failure}"
    );
    assert!(log.borrow().is_empty(), "{log:?}");
}

#[test]
fn cancelling_while_the_layers_get_ready_closes_the_connection() {
    let reactor = Reactor::new().unwrap();
    let attempt = Rc::new(RefCell::new(None::<Deferred<()>>));
    let (cancelled, handle) = (Rc::clone(&attempt), reactor.handle());
    // The server sees the connection, cancels the client's attempt, and sees the connection end.
    let address = serve(
        &reactor,
        factory(move || {
            let (cancelled, handle) = (Rc::clone(&cancelled), handle.clone());
            On::nothing()
                .made(move |transport| {
                    let cancelled = Rc::clone(&cancelled);
                    let later = move || cancelled.borrow().as_ref().unwrap().cancel();
                    // When the client's side has been told too.
                    transport
                        .reactor()
                        .call_later(Duration::from_millis(5), Box::new(later));
                })
                .lost(move |_| handle.stop())
        }),
    );
    let log = Log::default();
    let connecting = reactor.connect(&to(address), Rc::new(Layered(Rc::clone(&log))));
    let outcome = Outcome::default();
    let kept = Rc::clone(&outcome);
    let done = connecting.add_both(move |result| *kept.borrow_mut() = Some(result));
    *attempt.borrow_mut() = Some(done);
    reactor.run().unwrap();
    let failure = outcome.take().unwrap().unwrap_err();
    assert!(failure.check::<Cancelled>().is_some(), "{failure}");
    assert!(log.borrow().is_empty(), "{log:?}");
}

#[test]
fn a_connection_that_says_its_piece_and_closes_was_connected() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let log = Log::default();
    let protocol = On::logging(&log).made(|transport| {
        transport.write(b"bye");
        transport.lose_connection();
    });
    let connecting = reactor.connect(&to(address), once(protocol));
    let connection = outcome(&reactor, connecting).unwrap();
    assert!(!connection.is_connected());
    assert_eq!(*log.borrow(), [format!("lost: {ConnectionDone}")]);
}

#[test]
fn a_stopping_reactor_fails_what_is_being_connected() {
    let reactor = Reactor::new().unwrap();
    let full = full();
    let connecting = reactor.connect(&to(full.address), factory(On::nothing));
    reactor.stop();
    let failure = outcome(&reactor, connecting).unwrap_err();
    let error = failure.check::<ConnectError>();
    assert!(
        matches!(error, Some(ConnectError::ReactorStopped)),
        "{failure}"
    );
}
