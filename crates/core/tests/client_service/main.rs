//! Clients that keep a connection up, with time by hand: each event in each state, and what callers
//! do in the middle of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{
    Address, Backoff, Cancelled, ClientService, ClientServiceBuilder, ClientState, Connection,
    Deferred, Factory, Failure, Layer, LayerIo, OutputQueue, Port, Protocol, Resolver,
    StateSubscription, Transport,
};

use ClientState::{Connected, Connecting, Disconnecting, Preparing, Stopped};

struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

/// Keeps the server's ends.
#[derive(Clone, Default)]
struct Ends(Rc<RefCell<Vec<Connection>>>);

struct End(Ends);

impl Protocol for End {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.0.0.borrow_mut().push(transport.connection());
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

struct Rig {
    reactor: MemoryReactor,
    ends: Ends,
    states: Rc<RefCell<Vec<ClientState>>>,
    kept: RefCell<Option<StateSubscription>>,
}

impl Rig {
    fn new() -> Self {
        Self {
            reactor: MemoryReactor::new(),
            ends: Ends::default(),
            states: Rc::default(),
            kept: RefCell::default(),
        }
    }

    fn listen(&self) -> Port {
        let ends = self.ends.clone();
        let factory = Rc::new(move |_: &Address| End(ends.clone()));
        let endpoint = "tcp:80".parse().unwrap();
        self.reactor.listen(&endpoint, factory).unwrap()
    }

    fn builder(&self) -> ClientServiceBuilder {
        self.builder_of(Rc::new(|_: &Address| Silent))
    }

    /// Delays of 1, 2, 4 s and so on.
    fn builder_of(&self, factory: Rc<dyn Factory>) -> ClientServiceBuilder {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            factor: 2.0,
            maximum: Duration::from_secs(60),
            jitter: 0.0,
        };
        let endpoint = "tcp:example.com:80".parse().unwrap();
        ClientService::builder(self.reactor.handle(), endpoint, factory).backoff(backoff)
    }

    fn build(&self, builder: ClientServiceBuilder) -> ClientService {
        let service = builder.build();
        let states = Rc::clone(&self.states);
        let told = service.subscribe(move |state| states.borrow_mut().push(state));
        *self.kept.borrow_mut() = Some(told);
        service
    }

    fn service(&self) -> ClientService {
        self.build(self.builder())
    }

    fn seconds(&self, seconds: u64) {
        self.reactor.advance(Duration::from_secs(seconds));
    }

    fn states(&self) -> Vec<ClientState> {
        self.states.take()
    }

    /// The server's end of the last connection.
    fn end(&self) -> Connection {
        self.ends
            .0
            .borrow()
            .last()
            .expect("somebody has connected")
            .clone()
    }
}

fn waiting(failures: u32) -> ClientState {
    ClientState::Waiting { failures }
}

type Outcome<T> = Rc<RefCell<Option<Result<T, Failure>>>>;

fn outcome<T: 'static>(deferred: Deferred<T>) -> Outcome<T> {
    let outcome = Outcome::default();
    let told = Rc::clone(&outcome);
    let noted: Deferred<()> = deferred.add_both(move |result| {
        *told.borrow_mut() = Some(result);
    });
    drop(noted);
    outcome
}

#[track_caller]
fn is_cancelled<T>(outcome: &Outcome<T>) {
    match &*outcome.borrow() {
        Some(Err(failure)) => assert!(failure.check::<Cancelled>().is_some(), "{failure}"),
        Some(Ok(_)) => panic!("not cancelled"),
        None => panic!("not fired"),
    }
}

#[test]
fn it_connects_and_connects_again_after_a_second_when_the_connection_is_lost() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.service();
    assert_eq!(service.state(), Stopped);
    service.start();
    rig.reactor.run();
    assert_eq!(rig.states(), [Connecting, Connected]);
    rig.end().abort_connection();
    rig.reactor.run();
    assert_eq!(rig.states(), [waiting(0)]);
    rig.reactor.advance(Duration::from_millis(999));
    assert_eq!(rig.states(), []);
    rig.reactor.advance(Duration::from_millis(1));
    assert_eq!(rig.states(), [Connecting, Connected]);
}

#[test]
fn pauses_grow_with_each_failure_and_begin_anew_after_a_connection() {
    let rig = Rig::new();
    let service = rig.service();
    service.start();
    for (failures, pause) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        assert_eq!(rig.states(), [Connecting, waiting(failures)]);
        rig.reactor
            .advance(Duration::from_secs(pause) - Duration::from_millis(1));
        assert_eq!(rig.states(), []);
        rig.reactor.advance(Duration::from_millis(1));
    }
    let port = rig.listen();
    rig.seconds(16);
    assert_eq!(
        rig.states(),
        [Connecting, waiting(5), Connecting, Connected]
    );
    port.stop_listening();
    rig.end().abort_connection();
    rig.seconds(1);
    assert_eq!(rig.states(), [waiting(0), Connecting, waiting(1)]);
}

#[test]
fn when_connected_waits_for_the_next_connection_or_gives_the_present_one() {
    let rig = Rig::new();
    let service = rig.service();
    let before_start = outcome(service.when_connected(None));
    service.start();
    let while_waiting = outcome(service.when_connected(None));
    rig.seconds(10);
    assert!(before_start.borrow().is_none());
    let _port = rig.listen();
    rig.seconds(10);
    for outcome in [
        before_start,
        while_waiting,
        outcome(service.when_connected(Some(1))),
    ] {
        let outcome = outcome.take().expect("fired").unwrap();
        assert!(outcome.is_connected());
    }
    rig.end().abort_connection();
    rig.reactor.run();
    let after_loss = outcome(service.when_connected(None));
    assert!(after_loss.borrow().is_none());
    rig.seconds(1);
    assert!(after_loss.take().unwrap().unwrap().is_connected());
}

#[test]
fn those_who_wait_for_so_many_failures_fail_with_the_last_one_counted_from_their_call() {
    let rig = Rig::new();
    let service = rig.service();
    service.start(); // the first failure
    let one = outcome(service.when_connected(Some(1)));
    let none_is_one = outcome(service.when_connected(Some(0)));
    let two = outcome(service.when_connected(Some(2)));
    let forever = outcome(service.when_connected(None));
    assert!(one.borrow().is_none());
    rig.seconds(1);
    for failed in [one, none_is_one] {
        let failure = failed.take().expect("fired").unwrap_err();
        assert!(failure.to_string().contains("refused"), "{failure}");
    }
    assert!(two.borrow().is_none());
    rig.seconds(2);
    assert!(two.take().unwrap().is_err());
    assert!(forever.borrow().is_none());
}

#[test]
fn one_who_stopped_waiting_is_not_told() {
    let rig = Rig::new();
    let service = rig.service();
    let deferred = service.when_connected(None);
    deferred.cancel();
    is_cancelled(&outcome(deferred));
    let _port = rig.listen();
    service.start();
    rig.reactor.run();
    assert_eq!(service.state(), Connected);
}

#[test]
fn stop_while_waiting_is_done_at_once() {
    let rig = Rig::new();
    let service = rig.service();
    service.start();
    let waiting = outcome(service.when_connected(None));
    let stopped = service.stop();
    assert!(stopped.is_fired());
    is_cancelled(&waiting);
    rig.states();
    rig.seconds(1000);
    assert_eq!(rig.states(), []);
    is_cancelled(&outcome(service.when_connected(None)));
}

#[test]
fn stop_while_connected_closes_when_all_is_sent_and_fires_when_it_is_down() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.service();
    service.start();
    rig.reactor.run();
    rig.states();
    let stops = [outcome(service.stop()), outcome(service.stop())];
    assert_eq!(rig.states(), [Disconnecting]);
    assert!(stops[0].borrow().is_none());
    rig.reactor.run();
    assert_eq!(rig.states(), [Stopped]);
    for stop in stops {
        stop.take().expect("fired").unwrap();
    }
    assert_eq!(rig.reactor.connections(), 0);
    assert!(service.stop().is_fired(), "a stopped one is down");
    assert_eq!(rig.states(), []);
}

/// Becomes ready with the first byte.
struct Handshake(bool);

impl Layer for Handshake {
    fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if !self.0 {
            self.0 = true;
            io.ready();
        }
        io.up().extend_from_slice(data);
        Ok(())
    }
    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().append(output);
        Ok(())
    }
}

struct Shaking;

impl Factory for Shaking {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Silent))
    }
    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        vec![Box::new(Handshake(false))]
    }
}

#[test]
fn stop_while_connecting_cancels_the_attempt_and_nothing_is_left() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.build(rig.builder_of(Rc::new(Shaking)));
    service.start();
    rig.reactor.run();
    assert_eq!(rig.states(), [Connecting]);
    let waits = outcome(service.when_connected(None));
    let stopped = service.stop();
    assert!(stopped.is_fired());
    is_cancelled(&waits);
    assert_eq!(rig.states(), [Disconnecting, Stopped]);
    rig.seconds(100);
    assert_eq!(rig.reactor.connections(), 0);
    assert_eq!(rig.states(), []);
}

#[test]
fn an_attempt_whose_layers_do_not_become_ready_has_failed() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.build(rig.builder_of(Rc::new(Shaking)));
    service.start();
    let waits = outcome(service.when_connected(Some(1)));
    rig.seconds(10);
    assert_eq!(rig.states(), [Connecting, waiting(1)]);
    let failure = waits.take().unwrap().unwrap_err();
    assert!(failure.to_string().contains("handshake"), "{failure}");
    rig.seconds(1);
    rig.end().write(b"!");
    rig.reactor.run();
    assert_eq!(rig.states(), [Connecting, Connected]);
}

/// A preparation that a test decides.
#[derive(Clone, Default)]
struct Decide {
    resolver: Rc<Cell<Option<Resolver<()>>>>,
    cancelled: Rc<Cell<u32>>,
}

impl Decide {
    fn prepare(&self) -> impl Fn(&Connection) -> Deferred<()> + 'static {
        let decide = self.clone();
        move |_| {
            let cancelled = Rc::clone(&decide.cancelled);
            let (resolver, deferred) =
                Deferred::with_canceller(move || cancelled.set(cancelled.get() + 1));
            decide.resolver.set(Some(resolver));
            deferred
        }
    }

    fn take(&self) -> Resolver<()> {
        self.resolver.take().expect("it prepares")
    }
}

#[test]
fn a_connection_counts_when_it_is_prepared() {
    let rig = Rig::new();
    let _port = rig.listen();
    let decide = Decide::default();
    let service = rig.build(rig.builder().prepare(decide.prepare()));
    service.start();
    let waits = outcome(service.when_connected(None));
    rig.reactor.run();
    assert_eq!(rig.states(), [Connecting, Preparing]);
    assert!(waits.borrow().is_none());
    decide.take().callback(());
    assert_eq!(rig.states(), [Connected]);
    assert!(waits.take().unwrap().unwrap().is_connected());
}

#[test]
fn a_preparation_that_fails_closes_the_connection_and_counts_as_a_failure() {
    let rig = Rig::new();
    let _port = rig.listen();
    let decide = Decide::default();
    let service = rig.build(rig.builder().prepare(decide.prepare()));
    service.start();
    let waits = outcome(service.when_connected(Some(2)));
    for failures in [1, 2] {
        rig.reactor.run();
        assert_eq!(rig.states(), [Connecting, Preparing]);
        decide.take().errback(Failure::msg("wrong password"));
        assert_eq!(rig.states(), [Disconnecting]);
        rig.reactor.run();
        assert_eq!(rig.states(), [waiting(failures)]);
        assert_eq!(rig.reactor.connections(), 0);
        rig.seconds(u64::from(failures));
    }
    let failure = waits.take().unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "wrong password");
}

#[test]
fn a_preparation_that_fails_or_panics_at_once_is_no_different() {
    let rig = Rig::new();
    let _port = rig.listen();
    let failing = |_: &Connection| Err::<(), _>(Failure::msg("no"));
    let service = rig.build(rig.builder().prepare(failing));
    service.start();
    rig.reactor.run();
    assert_eq!(
        rig.states(),
        [Connecting, Preparing, Disconnecting, waiting(1)]
    );
    drop(service.stop());
    rig.states();
    let panicking = |_: &Connection| -> () { panic!("oh") };
    let service = rig.build(rig.builder().prepare(panicking));
    service.start();
    let waits = outcome(service.when_connected(Some(1)));
    rig.reactor.run();
    assert_eq!(
        rig.states(),
        [Connecting, Preparing, Disconnecting, waiting(1)]
    );
    assert!(
        waits
            .take()
            .unwrap()
            .unwrap_err()
            .to_string()
            .contains("oh")
    );
}

#[test]
fn a_connection_that_is_lost_while_it_is_prepared_cancels_the_preparation() {
    let rig = Rig::new();
    let _port = rig.listen();
    let decide = Decide::default();
    let service = rig.build(rig.builder().prepare(decide.prepare()));
    service.start();
    rig.reactor.run();
    rig.end().abort_connection();
    rig.reactor.run();
    assert_eq!(rig.states(), [Connecting, Preparing, waiting(1)]);
    assert_eq!(decide.cancelled.get(), 1);
    // Too late, and nobody's.
    decide.take().callback(());
    assert_eq!(rig.states(), []);
}

#[test]
fn stop_while_preparing_cancels_that_and_closes() {
    let rig = Rig::new();
    let _port = rig.listen();
    let decide = Decide::default();
    let service = rig.build(rig.builder().prepare(decide.prepare()));
    service.start();
    rig.reactor.run();
    let stopped = service.stop();
    assert_eq!(decide.cancelled.get(), 1);
    assert!(!stopped.is_fired());
    rig.reactor.run();
    assert!(stopped.is_fired());
    assert_eq!(
        rig.states(),
        [Connecting, Preparing, Disconnecting, Stopped]
    );
    assert_eq!(rig.reactor.connections(), 0);
}

#[test]
fn a_preparation_that_stops_the_service_is_cancelled_too() {
    let rig = Rig::new();
    let _port = rig.listen();
    let decide = Decide::default();
    let prepare = decide.prepare();
    let own: Rc<RefCell<Option<ClientService>>> = Rc::default();
    let stops = Rc::clone(&own);
    let service = rig.build(rig.builder().prepare(move |connection: &Connection| {
        drop(stops.borrow().as_ref().unwrap().stop());
        prepare(connection)
    }));
    own.replace(Some(service.clone()));
    service.start();
    rig.reactor.run();
    assert_eq!(service.state(), Stopped);
    assert_eq!(decide.cancelled.get(), 1);
    own.take();
}

#[test]
fn stop_while_a_failed_preparation_closes_stops_for_good() {
    let rig = Rig::new();
    let _port = rig.listen();
    let decide = Decide::default();
    let service = rig.build(rig.builder().prepare(decide.prepare()));
    service.start();
    rig.reactor.run();
    decide.take().errback(Failure::msg("no"));
    let stopped = service.stop();
    rig.seconds(100);
    assert!(stopped.is_fired());
    assert_eq!(
        rig.states(),
        [Connecting, Preparing, Disconnecting, Stopped]
    );
}

#[test]
fn start_while_it_stops_starts_again_when_it_is_down() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.service();
    service.start();
    rig.reactor.run();
    let stopped = service.stop();
    service.start();
    let waits = outcome(service.when_connected(None));
    rig.reactor.run();
    assert!(stopped.is_fired());
    assert!(waits.take().unwrap().unwrap().is_connected());
    assert_eq!(
        rig.states(),
        [
            Connecting,
            Connected,
            Disconnecting,
            Stopped,
            Connecting,
            Connected
        ]
    );
    // And the last word counts.
    drop(service.stop());
    service.start();
    drop(service.stop());
    rig.seconds(100);
    assert_eq!(service.state(), Stopped);
}

#[test]
fn a_second_start_changes_nothing() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.service();
    service.start();
    service.start();
    rig.reactor.run();
    service.start();
    rig.reactor.run();
    assert_eq!(rig.states(), [Connecting, Connected]);
    assert_eq!(rig.reactor.connections(), 2);
}

#[test]
fn callers_may_do_anything_in_their_callbacks() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.service();
    // Stop as soon as it is connected, start as soon as it is stopped, three times.
    let left = Rc::new(Cell::new(3));
    let (also, turns) = (service.clone(), Rc::clone(&left));
    let subscription = service.subscribe(move |state| match state {
        Connected if turns.get() > 0 => {
            turns.set(turns.get() - 1);
            let again = also.clone();
            let stopped: Deferred<()> = also.stop().add_callback(move |()| again.start());
            drop(stopped);
        }
        _ => {}
    });
    service.start();
    rig.reactor.run();
    assert_eq!(left.get(), 0);
    let turn = [Connecting, Connected, Disconnecting, Stopped];
    let expected = [&turn[..], &turn, &turn, &[Connecting, Connected]].concat();
    assert_eq!(rig.states(), expected);
    drop(subscription);
}

#[test]
fn one_who_waits_may_stop_it_when_an_attempt_has_failed() {
    let rig = Rig::new();
    let service = rig.service();
    let also = service.clone();
    let failed: Deferred<Connection> = service.when_connected(Some(1)).add_errback(move |_| {
        assert_eq!(also.state(), waiting(1));
        also.stop().add_callback(|()| Connection::default())
    });
    service.start();
    assert!(failed.is_fired());
    rig.seconds(1000);
    assert_eq!(rig.states(), [Connecting, waiting(1), Stopped]);
}

/// Closes as soon as it is made.
struct Closing;

impl Protocol for Closing {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.lose_connection();
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

#[test]
fn a_connection_that_is_gone_when_it_is_told_of_is_a_failure_and_no_spin() {
    let rig = Rig::new();
    let _port = rig.listen();
    let service = rig.build(rig.builder_of(Rc::new(|_: &Address| Closing)));
    service.start();
    rig.seconds(7);
    let failures: Vec<_> = rig
        .states()
        .into_iter()
        .filter(|state| *state != Connecting)
        .collect();
    assert_eq!(failures, [waiting(1), waiting(2), waiting(3), waiting(4)]);
    drop(service);
}

#[test]
fn it_runs_on_when_nobody_holds_it() {
    let rig = Rig::new();
    let service = rig.service();
    service.start();
    drop(service);
    let _port = rig.listen();
    rig.seconds(10);
    assert_eq!(
        rig.states(),
        [Connecting, waiting(1), Connecting, Connected]
    );
}

#[test]
fn a_dropped_subscription_is_told_nothing_more_even_in_the_middle() {
    let rig = Rig::new();
    let service = rig.service();
    let kept: Rc<RefCell<Option<StateSubscription>>> = Rc::default();
    let (told, other) = (Rc::new(Cell::new(0)), Rc::clone(&kept));
    let first = service.subscribe(move |_| drop(other.borrow_mut().take()));
    let count = Rc::clone(&told);
    *kept.borrow_mut() = Some(service.subscribe(move |_| count.set(count.get() + 1)));
    service.start();
    assert_eq!(told.get(), 0);
    drop(first);
}
