//! Reactors are values: made, run, run again and dropped.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::TcpConnect;
use ropewalk_core::{ConnectError, ListenError};
use ropewalk_reactor::{Phase, Reactor, RunError};

use crate::support::{Log, On, factory, loopback, once, run_with, serve};

#[test]
fn a_reactor_can_be_run_again_and_starts_afresh() {
    let reactor = Reactor::new().unwrap();
    for _ in 0..3 {
        let address = serve(&reactor, factory(On::echo));
        run_with(&reactor, move || {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(b"x").unwrap();
            peer.read_exact(&mut [0]).unwrap();
        });
        assert!(
            TcpStream::connect(address).is_err(),
            "a port outlived its run"
        );
    }
}

#[test]
fn a_stop_during_the_end_of_a_run_is_not_for_the_next_one() {
    let reactor = Reactor::new().unwrap();
    let (handle, ending) = (reactor.handle(), reactor.handle());
    let protocol = On::nothing()
        .made(move |_| handle.stop_now())
        .lost(move |_| ending.stop());
    let address = serve(&reactor, once(protocol));
    let _peer = TcpStream::connect(address).unwrap();
    assert!(reactor.run().is_err());
    let ran = Rc::new(Cell::new(false));
    let (reached, handle) = (Rc::clone(&ran), reactor.handle());
    reactor.call_later(Duration::from_millis(5), move || {
        reached.set(true);
        handle.stop();
    });
    reactor.run().unwrap();
    assert!(ran.get());
}

#[test]
fn a_reactor_cannot_be_run_by_what_it_runs() {
    let reactor = Rc::new(Reactor::new().unwrap());
    let inner = Rc::clone(&reactor);
    let refused = Rc::new(Cell::new(false));
    let seen = Rc::clone(&refused);
    reactor.call_when_running(move || {
        seen.set(matches!(inner.run(), Err(RunError::AlreadyRunning)));
        inner.stop();
    });
    reactor.run().unwrap();
    assert!(refused.get());
}

#[test]
fn reactors_run_side_by_side_in_threads() {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..5 {
                    let reactor = Reactor::new().unwrap();
                    let address = serve(&reactor, factory(On::echo));
                    run_with(&reactor, move || {
                        let mut peer = TcpStream::connect(address).unwrap();
                        peer.write_all(b"x").unwrap();
                        peer.read_exact(&mut [0]).unwrap();
                    });
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn dropping_a_reactor_ends_everything_on_it() {
    /// Counts the living.
    struct Alive(Rc<Cell<i32>>);
    impl Alive {
        fn new(count: &Rc<Cell<i32>>) -> Self {
            count.set(count.get() + 1);
            Self(Rc::clone(count))
        }
    }
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let alive = Rc::new(Cell::new(0));
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    // All of these also hold the reactor, as users' closures do.
    let hold = || {
        let (alive, handle) = (Alive::new(&alive), handle.clone());
        move || drop((alive, handle))
    };
    reactor.call_later(Duration::from_secs(3600), hold());
    reactor.call_when_running(hold());
    reactor.add_system_event_trigger(Phase::During, hold());
    let task = hold();
    reactor.spawn(async move {
        std::future::pending::<()>().await;
        task();
    });
    let in_factory = (Alive::new(&alive), handle.clone());
    reactor
        .listen(
            &loopback(),
            factory(move || {
                let _ = &in_factory;
                On::nothing()
            }),
        )
        .unwrap();
    assert_eq!(alive.get(), 5);
    drop(reactor);
    assert_eq!(alive.get(), 0);

    // And what comes too late is dropped at once.
    handle.call_later(Duration::ZERO, hold());
    handle.call_when_running(hold());
    handle.add_system_event_trigger(Phase::During, hold());
    let task = hold();
    let spawned = handle.spawn(async move { task() });
    assert_eq!(alive.get(), 0);
    assert!(spawned.is_finished());
    let error = handle
        .listen(&loopback(), factory(On::nothing))
        .unwrap_err();
    assert!(matches!(error, ListenError::ReactorStopped));
    let endpoint = TcpConnect::new("localhost", 1).into();
    let failed = handle
        .connect(&endpoint, factory(On::nothing))
        .add_both::<(), _>(|result| {
            let failure = result.unwrap_err();
            let error = failure.check::<ConnectError>();
            assert!(matches!(error, Some(ConnectError::ReactorStopped)));
        });
    assert!(failed.is_fired());
    assert!(!handle.remote().call_from_thread(|_| ()));
}

#[test]
fn dropping_a_reactor_tells_its_connections() {
    let log = Log::default();
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let kept = Rc::clone(&log);
    let protocol = On::logging(&log).made(move |_| {
        kept.borrow_mut().push("made".to_owned());
        handle.stop_now();
    });
    let address = serve(&reactor, once(protocol));
    let mut peer = TcpStream::connect(address).unwrap();
    let error = reactor.run().unwrap_err();
    assert!(
        matches!(error, RunError::EndedAtOnce { connections: 1 }),
        "{error}"
    );
    assert_eq!(log.borrow().len(), 2, "{log:?}");
    assert!(peer.read(&mut [0]).is_err());
}
