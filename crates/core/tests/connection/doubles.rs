//! The doubles that users get for their own tests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::testing::{MemoryReactor, Pair, StringTransport};
use ropewalk_core::{
    Address, ConnectError, ConnectionLost, Factory, ListenError, Protocol, Transport,
};

use crate::layer_kit::Secure;
use crate::rig::{Log, Script, describe};

const SECOND: Duration = Duration::from_secs(1);

/// Builds scripts that share a log, and writes down when it starts and stops.
struct Scripts(&'static str, Log);

impl Factory for Scripts {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Script::named(self.0, &self.1)))
    }
    fn start_factory(&self) {
        self.1.borrow_mut().push(format!("{}start", self.0));
    }
    fn stop_factory(&self) {
        self.1.borrow_mut().push(format!("{}stop", self.0));
    }
}

/// Builds nothing.
struct Refuse;

impl Factory for Refuse {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        None
    }
}

fn scripts(name: &'static str, log: &Log) -> Rc<dyn Factory> {
    Rc::new(Scripts(name, Rc::clone(log)))
}

#[test]
fn a_string_transport_records_what_is_written_and_asked() {
    let mut transport = StringTransport::new();
    transport.write(b"one");
    transport.write(b" two");
    assert_eq!(transport.value(), b"one two");
    assert_eq!(transport.value(), b"one two", "looking changes nothing");
    transport.clear();
    assert_eq!(transport.value(), b"");

    assert!(transport.connection().is_connected());
    assert!(!transport.producing_paused());
    transport.pause_producing();
    assert!(transport.producing_paused());
    transport.resume_producing();
    assert!(!transport.producing_paused());

    transport.lose_connection();
    transport.write(b"dropped");
    assert_eq!(transport.value(), b"");
    assert!(transport.disconnecting() && !transport.aborted());
    transport.abort_connection();
    assert!(transport.aborted());
}

#[test]
fn a_string_transport_has_addresses_a_handle_and_a_reactor() {
    let mut transport = StringTransport::default();
    assert_eq!(transport.peer().to_string(), "192.0.2.2:1024");
    assert_eq!(transport.host().to_string(), "192.0.2.1:80");
    assert!(transport.connection().write(b"by the handle"));
    assert_eq!(transport.value(), b"by the handle");
    let rang = Rc::new(Cell::new(false));
    let bell = Rc::clone(&rang);
    let call = Box::new(move || bell.set(true));
    let _call = transport.reactor().call_later(SECOND, call);
    transport.memory_reactor().advance(SECOND);
    assert!(rang.get());
    assert_eq!(
        format!("{:?}", &*transport),
        "Transport { id: 0.0, peer: Tcp(192.0.2.2:1024), host: Tcp(192.0.2.1:80), .. }"
    );
    transport.clear();
}

#[test]
fn a_connection_is_made_on_both_ends_when_the_reactor_runs() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    let port = reactor
        .listen(&"tcp:80".parse().unwrap(), scripts("server ", &log))
        .unwrap();
    assert_eq!(port.address().to_string(), "192.0.2.1:80");
    let endpoint = "tcp:example.com:80".parse().unwrap();
    let made = reactor.connect(&endpoint, scripts("client ", &log));
    assert_eq!(
        log.take(),
        ["server start"],
        "nothing happens within the call"
    );
    assert!(!made.is_fired());
    reactor.run();
    assert!(made.is_fired());
    assert_eq!(log.take(), ["server made", "client made"]);
    assert_eq!(reactor.connections(), 2);
}

#[test]
fn connect_is_refused_where_nobody_listens() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    for endpoint in ["tcp:example.com:81", "unix:/run/none"] {
        let made = reactor.connect(&endpoint.parse().unwrap(), scripts("", &log));
        let checked = made.add_errback(|failure| {
            let error = failure.trap::<ConnectError>()?;
            assert!(matches!(error, ConnectError::Refused { .. }));
            Err(failure)
        });
        assert!(checked.is_fired());
        let _handled = checked.add_both(|_| ());
    }
    assert!(log.take().is_empty());
}

#[test]
fn a_factory_may_refuse_on_either_side() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    reactor
        .listen(&"tcp:1".parse().unwrap(), Rc::new(Refuse))
        .unwrap();
    reactor
        .listen(&"tcp:2".parse().unwrap(), scripts("", &log))
        .unwrap();
    log.take();

    let refused = Rc::new(Cell::new(false));
    let seen = Rc::clone(&refused);
    let made = reactor.connect(&"tcp:example.com:2".parse().unwrap(), Rc::new(Refuse));
    let _handled = made.add_both(move |result| {
        let failure = result.unwrap_err();
        let error = failure.check::<ConnectError>();
        seen.set(matches!(error, Some(ConnectError::FactoryRefused)));
    });
    assert!(refused.get());
    assert_eq!(reactor.connections(), 0);

    // The client cannot tell a server that refuses from one that closes at once.
    let made = reactor.connect(&"tcp:example.com:1".parse().unwrap(), scripts("", &log));
    reactor.run();
    assert!(made.is_fired());
    assert_eq!(log.take(), ["made", "read_closed", "lost done"]);
}

#[test]
fn a_port_has_one_listener_until_it_stops() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    let endpoint = "tcp:80".parse().unwrap();
    let first = reactor.listen(&endpoint, scripts("first ", &log)).unwrap();
    let taken = reactor.listen(&endpoint, scripts("second ", &log));
    assert!(matches!(taken, Err(ListenError::AddressInUse { .. })));
    first.stop_listening();
    first.stop_listening();
    reactor.listen(&endpoint, scripts("third ", &log)).unwrap();
    first.stop_listening();
    assert_eq!(log.take(), ["first start", "first stop", "third start"]);
    let client = "tcp:example.com:80".parse().unwrap();
    let _made = reactor.connect(&client, Rc::new(|_: &Address| Script::new()));
    reactor.run();
    assert_eq!(log.take(), ["third made"]);
}

#[test]
fn port_zero_is_a_free_port() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    let listen = || reactor.listen(&"tcp:0".parse().unwrap(), scripts("", &log));
    let (first, second) = (listen().unwrap(), listen().unwrap());
    assert_ne!(first.address().port(), Some(0));
    assert_ne!(first.address(), second.address());
}

#[test]
fn a_connection_outlives_the_port_that_it_came_by() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    let port = reactor
        .listen(&"unix:/run/a".parse().unwrap(), scripts("", &log))
        .unwrap();
    let made = reactor.connect(
        &"unix:/run/a".parse().unwrap(),
        Rc::new(|_: &Address| Script::new()),
    );
    reactor.run();
    port.stop_listening();
    let _said = made.add_callback(|connection| connection.write(b"still here"));
    reactor.run();
    assert_eq!(log.take(), ["start", "made", "stop", "data still here"]);
}

/// Clients that shake hands first.
struct SecureClient;

impl Factory for SecureClient {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Script::new()))
    }
    fn build_layers(&self, _: &Address) -> Vec<Box<dyn ropewalk_core::Layer>> {
        vec![Box::new(Secure::default())]
    }
}

#[test]
fn connect_fires_when_the_handshake_is_over_or_has_failed() {
    let failed = "cannot connect to tcp:example.com:1: a bad record";
    for (answer, expected) in [(b"OK", "made"), (b"NO", failed)] {
        let reactor = MemoryReactor::new();
        let connections = Rc::new(RefCell::new(None));
        let kept = Rc::clone(&connections);
        let server = move |_: &Address| {
            let kept = Rc::clone(&kept);
            Script::new().on("made", move |transport, _| {
                *kept.borrow_mut() = Some(transport.connection());
            })
        };
        reactor
            .listen(&"tcp:1".parse().unwrap(), Rc::new(server))
            .unwrap();
        let outcome = Rc::new(RefCell::new(String::new()));
        let seen = Rc::clone(&outcome);
        let client = "tcp:example.com:1".parse().unwrap();
        let made = reactor.connect(&client, Rc::new(SecureClient));
        let _handled = made.add_both(move |result| {
            *seen.borrow_mut() = match result {
                Ok(_) => "made".to_owned(),
                Err(failure) => describe(&failure),
            };
        });
        reactor.run();
        assert_eq!(*outcome.borrow(), "");
        connections.borrow().as_ref().unwrap().write(answer);
        reactor.run();
        assert_eq!(*outcome.borrow(), expected);
    }
}

#[test]
fn split_and_window_bound_what_moves_at_once() {
    let reactor = MemoryReactor::new();
    reactor.set_split(3);
    reactor.set_window(5);
    let log = Log::default();
    let server = Script::named("", &log);
    let pair = Pair::on(reactor, Box::new(Script::new()), Box::new(server));
    pair.server().pause_producing();
    pair.client().write(b"0123456789");
    pair.run();
    assert_eq!(pair.client().unsent(), Some(5));
    pair.server().resume_producing();
    pair.run();
    assert_eq!(pair.client().unsent(), Some(0));
    let told = log.take();
    assert_eq!(told[..2], ["made", "data 012"]);
    let lens: Vec<usize> = told[1..]
        .iter()
        .map(|what| what.len() - "data ".len())
        .collect();
    assert!(lens.iter().all(|len| *len <= 3), "{lens:?}");
    assert_eq!(lens.iter().sum::<usize>(), 10);
}

#[test]
fn who_waits_to_send_to_a_peer_that_is_gone_hears_of_it() {
    let log = Log::default();
    let client = Script::named("", &log).on("read_closed", |_, _| ());
    let reactor = MemoryReactor::new();
    reactor.set_window(1);
    let pair = Pair::on(reactor, Box::new(client), Box::new(Script::new()));
    pair.server().pause_producing();
    pair.client().write(b"too much");
    pair.run();
    pair.server().lose_connection();
    pair.run();
    assert_eq!(log.take(), ["made", "read_closed", "lost BrokenPipe"]);
}

/// Writes down the time since the test began, at its timeout and at its connection's timer.
struct Timed {
    log: Log,
    name: &'static str,
}

impl Protocol for Timed {
    fn connection_made(&mut self, transport: &mut Transport) {
        let log = Rc::clone(&self.log);
        let name = self.name;
        transport.set_timeout(Some(2 * SECOND));
        let call = Box::new(move || log.borrow_mut().push(format!("{name} timer")));
        let _call = transport.reactor().call_later(2 * SECOND, call);
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    fn timeout_connection(&mut self, transport: &mut Transport) {
        assert_eq!(transport.now(), transport.reactor().now());
        self.log.borrow_mut().push(format!("{} timeout", self.name));
    }
}

#[test]
fn deadlines_of_connections_come_before_timers_of_the_same_time() {
    let log = Log::default();
    let timed = |name| Timed {
        log: Rc::clone(&log),
        name,
    };
    let pair = Pair::new(timed("client"), timed("server"));
    let reactor = pair.reactor().clone();
    let early = Rc::clone(&log);
    let call = Box::new(move || early.borrow_mut().push("early".to_owned()));
    let _call = reactor.call_later(SECOND, call);
    pair.advance(2 * SECOND);
    assert_eq!(
        log.take(),
        [
            "early",
            "client timeout",
            "server timeout",
            "server timer",
            "client timer"
        ]
    );
}

#[test]
fn time_moves_as_far_as_it_was_advanced_and_what_is_set_on_the_way_counts_from_there() {
    let reactor = MemoryReactor::new();
    let start = reactor.now();
    let times: Rc<RefCell<Vec<Duration>>> = Rc::default();
    let (seen, inner) = (Rc::clone(&times), reactor.clone());
    let first = Box::new(move || {
        seen.borrow_mut().push(inner.now() - start);
        let (again, then) = (Rc::clone(&seen), inner.clone());
        let second = Box::new(move || again.borrow_mut().push(then.now() - start));
        let _call = inner.call_later(SECOND, second);
    });
    let _call = reactor.call_later(SECOND, first);
    reactor.advance(5 * SECOND);
    assert_eq!(*times.borrow(), [SECOND, 2 * SECOND]);
    assert_eq!(reactor.now() - start, 5 * SECOND);
}

#[test]
fn drain_is_told_to_all() {
    let log = Log::default();
    let pair = Pair::new(
        Script::named("client ", &log),
        Script::named("server ", &log),
    );
    log.take();
    pair.reactor().drain();
    pair.run();
    assert_eq!(pair.reactor().connections(), 0);
    let told = log.take();
    assert!(told.contains(&"client drain".to_owned()), "{told:?}");
}

#[test]
fn the_end_of_the_reactor_ends_its_connections() {
    let log = Log::default();
    let pair = Pair::new(Script::named("", &log), Script::new());
    let handle = pair.client().clone();
    drop(pair);
    assert_eq!(log.take(), ["made", "lost aborted"]);
    assert!(!handle.is_connected());
}

#[test]
fn a_look_at_a_protocol_may_use_the_pair() {
    let pair = Pair::new(Script::new(), Script::new());
    let looked = pair.with_client(|script: &mut Script| {
        pair.client().write(b"x");
        pair.run();
        script.log().take()
    });
    assert_eq!(looked, Some(vec!["made".to_owned()]));
    assert!(pair.with_client(|_: &mut Timed| ()).is_none());
    pair.client().abort_connection();
    pair.run();
    assert!(pair.with_client(|_: &mut Script| ()).is_none());
}

#[test]
fn a_task_runs_and_its_writes_are_sent_in_the_same_run() {
    let log = Log::default();
    let pair = Pair::new(Script::new(), Script::named("", &log));
    let client = pair.client().clone();
    let task = pair.reactor().spawn(Box::pin(async move {
        client.write(b"from a task");
    }));
    drop(task);
    pair.run();
    assert_eq!(log.take(), ["made", "data from a task"]);
}

#[test]
fn a_write_to_a_peer_that_has_closed_is_a_lost_connection() {
    let log = Log::default();
    let client = Script::named("", &log).on("read_closed", |transport, _| transport.write(b"?"));
    let pair = Pair::new(client, Script::new());
    pair.server().lose_connection();
    pair.run();
    assert_eq!(log.take(), ["made", "read_closed", "lost BrokenPipe"]);
    let lost = ropewalk_core::Failure::from(ConnectionLost(std::io::ErrorKind::BrokenPipe.into()));
    assert_eq!(lost.to_string(), "the connection was lost: broken pipe");
}
