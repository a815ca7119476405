//! What a test leaves behind is named, with its place.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use ropewalk_core::{
    Address, ConnectionStream, DatagramProtocol, DatagramTransport, Deferred, DelayedCall, Factory,
    Failure, Layer, LayerIo, LoopingCall, OutputQueue, Port, ProcessProtocol, Protocol,
    ReactorTime, Spawn, StreamFactory, Transport, defer_later,
};
use ropewalk_reactor::{Handle, Live, LiveKind, ThreadPool};
use ropewalk_trial::{Problem, Test};

use crate::{Echo, echo, problem, run};

const LONG: Duration = Duration::from_secs(3600);

/// What a test has left.
fn left<F>(body: impl Fn(Test) -> F + 'static) -> Vec<Live>
where
    F: Future<Output = Result<(), Failure>> + 'static,
{
    match problem(body) {
        Problem::Left(left) => left,
        other => panic!("nothing was left, but: {other}"),
    }
}

/// Sees that `live` is of this kind, said to be `what`, and made at `line` of this file.
#[track_caller]
fn assert_is(live: &Live, kind: LiveKind, what: &str, line: u32) {
    assert_eq!(live.kind, kind, "{live}");
    assert!(live.what.contains(what), "{live}");
    let place = format!("crates/trial/tests/kit/leaks.rs:{line} ");
    assert!(live.made_at.starts_with(&place), "{live}, not at {place}");
}

fn listen(reactor: &Handle) -> Port {
    let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
    reactor.listen(&endpoint, Rc::new(echo)).unwrap()
}

/// The endpoint that leads to `port`.
fn to(port: &Port) -> ropewalk_core::endpoint::ClientEndpoint {
    let port = port.address().port().unwrap();
    format!("tcp:127.0.0.1:{port}").parse().unwrap()
}

#[test]
fn a_test_that_ends_all_that_it_has_begun_passes() {
    let passed = run(|test| async move {
        let reactor = test.reactor();
        let port = listen(reactor);
        let connection = reactor.connect(&to(&port), Rc::new(echo)).await?;
        reactor.defer_to_thread::<(), _>(|| ()).await?;
        defer_later::<(), _>(reactor, Duration::from_millis(1), || ()).await?;
        let task = reactor.spawn(pending());
        let timer = reactor.call_later(LONG, || ());
        task.cancel();
        timer.cancel();
        port.stop_listening();
        // The other end learns of it over the network, after the test has ended.
        connection.lose_connection();
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_timer_is_named_with_its_time_and_its_place() {
    let line = line!() + 2;
    let left = left(|test| async move {
        test.reactor().call_later(LONG, || ());
        Ok(())
    });
    assert_eq!(left.len(), 1);
    assert_is(&left[0], LiveKind::Timer, "due in 3", line);
}

#[test]
fn the_place_of_a_timer_is_found_behind_what_core_makes_of_it() {
    // Through a trait object, and from within a callback of the loop.
    let line = line!() + 8;
    let left = left(|test| async move {
        let (resolver, called) = Deferred::<()>::pair();
        let core: Rc<dyn ReactorTime> = Rc::new(test.reactor().clone());
        test.reactor().call_later(Duration::ZERO, move || {
            let late = Deferred::<()>::pair();
            std::mem::forget(late.0);
            // A timeout that core makes of it.
            std::mem::forget(late.1.add_timeout(LONG, &*core));
            resolver.callback(());
        });
        called.await
    });
    assert_eq!(left.len(), 1, "{left:?}");
    assert_is(&left[0], LiveKind::Timer, "a timer", line);
}

#[test]
fn a_looping_call_that_goes_on_is_a_timer() {
    let left = left(|test| async move {
        let clock: Rc<dyn ReactorTime> = Rc::new(test.reactor().clone());
        let call = LoopingCall::new(clock, || ());
        std::mem::forget(call.start(LONG, false));
        std::mem::forget(call);
        Ok(())
    });
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].kind, LiveKind::Timer);
    assert!(left[0].made_at.contains("leaks.rs"), "{}", left[0]);
}

#[test]
fn a_timer_that_runs_while_a_connection_is_waited_for_counts_as_left() {
    let line = line!() + 8;
    let left = left(|test| async move {
        let reactor = test.reactor();
        let (release, held) = mpsc::channel::<()>();
        // The job holds the end of the test up, until the timer has run.
        reactor.call_in_thread(move || {
            let _ = held.recv();
        })?;
        reactor.call_later(Duration::from_millis(5), move || release.send(()).unwrap());
        Ok(())
    });
    assert_eq!(left.len(), 1, "{left:?}");
    assert_is(&left[0], LiveKind::Timer, "ran after the end", line);
}

#[test]
fn a_timer_that_runs_in_time_is_no_leak_though_something_was_waited_for_before() {
    let passed = run(|test| async move {
        let reactor = test.reactor();
        reactor.call_later(Duration::from_millis(5), || ());
        let left = reactor.track().settled(Duration::ZERO).await?;
        assert_eq!(
            left.iter()
                .filter(|left| left.kind == LiveKind::Timer)
                .count(),
            1
        );
        defer_later::<(), _>(reactor, Duration::from_millis(20), || ()).await
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_task_is_named_with_its_place() {
    let line = line!() + 2;
    let left = left(|test| async move {
        test.reactor().spawn(pending());
        Ok(())
    });
    assert_eq!(left.len(), 1);
    assert_is(&left[0], LiveKind::Task, "a task", line);
}

#[test]
fn a_port_is_named_with_its_endpoint() {
    let line = line!() + 4;
    let left = left(|test| async move {
        let reactor = test.reactor();
        let endpoint = "tcp:0:interface=127.0.0.1".parse()?;
        reactor.listen(&endpoint, Rc::new(echo))?;
        Ok(())
    });
    assert_eq!(left.len(), 1);
    assert_is(&left[0], LiveKind::Port, "tcp:0:interface=127.0.0.1", line);
}

#[test]
fn both_ends_of_a_connection_are_named_by_who_connected_and_who_listened() {
    let lines = (line!() + 4, line!() + 6);
    let left = left(|test| async move {
        let reactor = test.reactor();
        let endpoint = "tcp:0:interface=127.0.0.1".parse()?;
        let port = reactor.listen(&endpoint, Rc::new(echo))?;
        let (server, client) = (to(&port), Rc::new(|_: &Address| Echo));
        let connection = reactor.connect(&server, client).await?;
        // The other end may be accepted later than this one is connected.
        connection.write(b"are you there");
        let echoed = move || connection.unsent() == Some(0);
        while !echoed() || test.reactor().connections() < 2 {
            defer_later::<(), _>(test.reactor(), Duration::from_millis(1), || ()).await?;
        }
        port.stop_listening();
        Ok(())
    });
    assert_eq!(left.len(), 2, "{left:?}");
    let accepted = left.iter().find(|one| one.what.contains("accepted"));
    let accepted = accepted.expect("the accepted end");
    assert_is(accepted, LiveKind::Connection, "kit::Echo", lines.0);
    assert!(accepted.what.contains("with 127.0.0.1:"), "{accepted}");
    let connected = left
        .iter()
        .find(|one| one.what.contains("the connection to tcp:127.0.0.1:"));
    let connected = connected.expect("the connected end");
    assert_is(connected, LiveKind::Connection, "kit::Echo", lines.1);
}

#[test]
fn an_attempt_to_connect_is_named_with_its_endpoint() {
    let line = line!() + 7;
    let left = left(|test| async move {
        let reactor = test.reactor();
        reactor.install_name_resolver(Rc::new(Silent::default()));
        // Its name is never found.
        let endpoint = "tcp:example.com:80".parse()?;
        let factory = Rc::new(echo);
        std::mem::forget(reactor.connect(&endpoint, factory));
        Ok(())
    });
    assert_eq!(left.len(), 1, "{left:?}");
    assert_is(&left[0], LiveKind::Attempt, "tcp:example.com:80", line);
}

/// Knows no name, and does not say so.
#[derive(Default)]
struct Silent(RefCell<Vec<ropewalk_core::Resolver<Vec<std::net::SocketAddr>>>>);

impl ropewalk_core::NameResolver for Silent {
    fn resolve_host_name(&self, _: &str, _: u16) -> Deferred<Vec<std::net::SocketAddr>> {
        let (resolver, found) = Deferred::pair();
        self.0.borrow_mut().push(resolver);
        found
    }
}

struct Deaf;

impl DatagramProtocol for Deaf {
    fn datagram_received(&mut self, _: &mut DatagramTransport, _: &[u8], _: &Address) {}
}

#[test]
fn a_datagram_port_is_named_with_its_address_and_protocol() {
    let line = line!() + 4;
    let left = left(|test| async move {
        let reactor = test.reactor();
        let endpoint = "udp:0:interface=127.0.0.1".parse()?;
        reactor.listen_datagram(&endpoint, Deaf)?;
        Ok(())
    });
    assert_eq!(left.len(), 1);
    assert_is(&left[0], LiveKind::DatagramPort, "127.0.0.1:", line);
    assert!(left[0].what.contains("Deaf"), "{}", left[0]);
}

struct Ignorant;

impl ProcessProtocol for Ignorant {}

#[test]
fn a_process_is_named_with_its_program_and_number() {
    let line = line!() + 3;
    let left = left(|test| async move {
        let cat = Spawn::new("cat");
        test.reactor().spawn_process(&cat, Ignorant)?;
        Ok(())
    });
    assert_eq!(left.len(), 1, "{left:?}");
    assert_is(&left[0], LiveKind::Process, "the process cat (", line);
}

#[test]
fn jobs_are_named_whether_anybody_waits_for_them_or_not() {
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(Some(held));
    let (also_held, waits) = (mpsc::channel::<()>(), mpsc::channel::<()>());
    let jobs = std::sync::Mutex::new(Some((also_held.1, waits.1)));
    let lines = (line!() + 5, line!() + 9, line!() + 13);
    let left = left(move |test| {
        let held = held.lock().unwrap().take().unwrap();
        let (also_held, waits) = jobs.lock().unwrap().take().unwrap();
        async move {
            let ran = test.reactor().defer_to_thread::<(), _>(move || {
                let _ = held.recv();
            });
            let loose = move || also_held.recv().unwrap_or_default();
            test.reactor().call_in_thread(loose)?;
            let (pool, job) = (ThreadPool::new("own", 0..=1), move || {
                let _ = waits.recv();
            });
            let ours = test.reactor().defer_to_thread_pool::<(), _>(&pool, job);
            std::mem::forget((ran, ours));
            Ok(())
        }
    });
    drop((release, also_held.0, waits.0));
    assert_eq!(left.len(), 3, "{left:?}");
    for (live, line) in left.iter().zip([lines.0, lines.1, lines.2]) {
        assert_is(live, LiveKind::Job, &format!("leaks.rs:{line}:"), line);
    }
}

#[test]
fn what_the_body_does_as_it_is_dropped_is_seen_too() {
    /// Begins a timer then.
    struct Parting(Handle);
    impl Drop for Parting {
        fn drop(&mut self) {
            self.0.call_later(LONG, || ());
        }
    }
    let left = left(|test| {
        let parting = Parting(test.reactor().clone());
        // A future that drops nothing as it ends, as one that was written by hand.
        poll_fn(move |_| {
            let _ = &parting;
            Poll::Ready(Ok(()))
        })
    });
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_timer_that_is_made_after_the_end_and_runs_in_time_is_no_leak() {
    /// Hangs up some time after its peer has.
    struct Slow;
    impl Protocol for Slow {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}

        fn read_closed(&mut self, transport: &mut Transport) {
            let connection = transport.connection();
            let hang_up = move || _ = connection.lose_connection();
            let after = Duration::from_millis(5);
            let reactor = transport.reactor();
            reactor.call_later(after, Box::new(hang_up));
        }
    }
    let passed = run(|test| async move {
        let reactor = test.reactor();
        let endpoint = "tcp:0:interface=127.0.0.1".parse()?;
        let (resolver, accepted) = Deferred::pair();
        let resolver = RefCell::new(Some(resolver));
        let factory = move |_: &Address| {
            resolver.take().into_iter().for_each(|one| one.callback(()));
            Slow
        };
        let port = reactor.listen(&endpoint, Rc::new(factory))?;
        let connection = reactor.connect(&to(&port), Rc::new(echo)).await?;
        accepted.await?;
        port.stop_listening();
        connection.lose_connection();
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

/// A layer that is never ready.
struct Unready;

impl Layer for Unready {
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

struct Layered;

impl Factory for Layered {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Echo))
    }

    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        vec![Box::new(Unready)]
    }
}

#[test]
fn a_connection_that_is_up_and_not_ready_is_named_once() {
    let left = left(|test| async move {
        let reactor = test.reactor();
        let port = listen(reactor);
        drop(reactor.connect(&to(&port), Rc::new(Layered)));
        // Until both ends are there.
        let ledger = reactor.track();
        let ends = || {
            let live = ledger.live();
            let ends = live.iter().filter(|one| one.kind == LiveKind::Connection);
            ends.count()
        };
        while ends() < 2 {
            defer_later::<(), _>(reactor, Duration::from_millis(1), || ()).await?;
        }
        port.stop_listening();
        Ok(())
    });
    assert_eq!(left.len(), 2, "{left:#?}");
    assert!(
        left.iter().all(|one| one.kind == LiveKind::Connection),
        "{left:#?}"
    );
}

#[test]
fn a_server_of_streams_whose_client_has_gone_is_no_leak() {
    let passed = run(|test| async move {
        let reactor = test.reactor();
        let serve = |stream: ConnectionStream| async move {
            let (mut reader, mut writer) = stream.into_split();
            let mut data = [0; 16];
            while let Ok(length @ 1..) = reader.read(&mut data).await {
                let _ = writer.write_all(&data[..length]).await;
            }
        };
        let endpoint = "tcp:0:interface=127.0.0.1".parse()?;
        let port = reactor.listen(&endpoint, Rc::new(StreamFactory::new(serve)))?;
        let connection = reactor.connect(&to(&port), Rc::new(echo)).await?;
        connection.write(b"once");
        port.stop_listening();
        connection.lose_connection();
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_hundred_thousand_timers_that_have_ended_are_not_kept() {
    let passed = run(|test| async move {
        let ledger = test.reactor().track();
        let mut last: Option<DelayedCall> = None;
        for _ in 0..100_000 {
            let timer = test.reactor().call_later(LONG, || ());
            if let Some(last) = last.replace(timer) {
                last.cancel();
            }
        }
        let noted = format!("{ledger:?}");
        let noted = noted.trim_matches(|c: char| !c.is_ascii_digit());
        assert!(noted.parse::<usize>().unwrap() <= 64, "{noted}");
        last.map(|last| last.cancel());
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}
