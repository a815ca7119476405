//! Reactors are run, run again, ended at once, and dropped with whatever is on them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Deferred, Transport};
use ropewalk_reactor::{Phase, RunError};

use crate::body::topic;
use crate::case::{Case, MOMENT, connect, loopback, ms, socket_addr, to, udp_loopback};
use crate::datagram_script::DatagramScript;
use crate::names::listen_error;
use crate::script::{Script, each, once};

topic! { lifecycle:
    a_reactor_can_be_run_again,
    a_second_run_serves_new_connections,
    ports_of_a_run_are_closed_after_it,
    triggers_of_a_run_are_not_those_of_the_next,
    a_stop_at_the_very_end_is_not_for_the_next_run,
    a_reactor_cannot_be_run_by_what_it_runs,
    stop_now_ends_the_run_in_its_turn,
    stop_now_tells_how_many_connections_were_cut,
    stop_now_tells_connections_and_their_peers,
    after_stop_now_it_runs_again,
    what_ends_with_a_run_may_ask_for_more_and_does_not_get_it,
    dropping_a_reactor_fails_its_attempts [BlackHole],
    dropping_a_reactor_drops_timers_tasks_and_calls,
    dropping_a_reactor_gives_its_ports_back,
    dropping_a_reactor_tells_its_datagram_ports [Udp],
    dropping_a_reactor_that_never_ran_is_no_trouble,
    a_handle_of_a_dropped_reactor_refuses,
    a_connection_that_is_lost_with_the_reactor_may_not_open_another,
    two_reactors_of_one_thread_take_turns,
    time_of_a_reactor_that_does_not_run_moves_on,
    a_connection_may_drop_the_last_handle,
}

fn run_and_stop(case: &Case<'_>) {
    case.reactor().stop();
    case.run().expect("a clean end");
}

fn a_reactor_can_be_run_again(case: &Case<'_>) {
    let log = case.log();
    for word in ["first", "second", "third"] {
        case.reactor().call_when_running(log.noting(word));
        run_and_stop(case);
    }
    log.assert(&["first", "second", "third"]);
}

fn a_second_run_serves_new_connections(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    for log in [&first, &second] {
        let reactor = case.reactor();
        case.join(
            Script::echo(),
            Script::noting(log)
                .saying("x")
                .data(move |_, _| reactor.stop()),
        );
        case.run().expect("a clean end");
    }
    for log in [first, second] {
        assert_eq!(log.events()[..2], ["made", "data x"]);
    }
}

fn ports_of_a_run_are_closed_after_it(case: &Case<'_>) {
    let log = case.log();
    let (port, endpoint) = case.serve(each(Script::silent));
    run_and_stop(case);
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    let told = log.clone();
    case.until("the attempt has ended", move || told.len() == 1);
    log.assert(&["not connected: refused"]);
    port.stop_listening();
}

fn triggers_of_a_run_are_not_those_of_the_next(case: &Case<'_>) {
    let log = case.log();
    let note = log.noting("saved");
    case.reactor().add_system_event_trigger(Phase::Before, note);
    run_and_stop(case);
    run_and_stop(case);
    log.assert(&["saved"]);
}

fn a_stop_at_the_very_end_is_not_for_the_next_run(case: &Case<'_>) {
    let log = case.log();
    let (ends, stops) = (case.reactor(), case.reactor());
    // It is told of the end when the run is being cleared away.
    case.join(
        Script::silent()
            .data(move |_, _| ends.stop_now())
            .lost(move |_| stops.stop()),
        Script::silent().saying("x"),
    );
    assert!(case.run().is_err());
    case.reactor().call_later(MOMENT, log.noting("runs"));
    case.until_noted(&log, "runs");
}

fn a_reactor_cannot_be_run_by_what_it_runs(case: &Case<'_>) {
    // A reactor of its own, since a case does not lend its own one.
    let driver = case.subject().driver().expect("another driver");
    let reactor = Rc::new(ropewalk_reactor::Reactor::with_driver(driver));
    let refused = Rc::new(Cell::new(false));
    let (inner, told) = (Rc::downgrade(&reactor), Rc::clone(&refused));
    reactor.call_when_running(move || {
        let inner = inner.upgrade().expect("it runs");
        told.set(matches!(inner.run(), Err(RunError::AlreadyRunning)));
        inner.stop();
    });
    reactor.run().expect("a clean end");
    assert!(refused.get());
}

fn stop_now_ends_the_run_in_its_turn(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    let never = log.noting("before");
    case.reactor()
        .add_system_event_trigger(Phase::Before, never);
    case.reactor().call_later(ms(1), move || {
        reactor.stop_now();
        reactor.call_later(Duration::ZERO, noted.noting("too late"));
    });
    let ended = case.run();
    assert!(matches!(
        ended,
        Err(RunError::EndedAtOnce { connections: 0 })
    ));
    log.assert(&[]);
}

fn stop_now_tells_how_many_connections_were_cut(case: &Case<'_>) {
    let (_port, endpoint) = case.serve(each(Script::silent));
    for _ in 0..5 {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let (reactor, counts) = (case.reactor(), case.reactor());
    let up = Rc::new(Cell::new(0));
    let seen = Rc::clone(&up);
    case.when(
        move || {
            seen.set(seen.get() + 1);
            counts.connections() == 10
        },
        move || reactor.stop_now(),
    );
    let ended = case.run();
    assert!(
        matches!(ended, Err(RunError::EndedAtOnce { connections: 10 })),
        "{ended:?}"
    );
}

fn stop_now_tells_connections_and_their_peers(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).data(move |_, _| reactor.stop_now()),
        Script::noting(&client).saying("x"),
    );
    let ended = case.run();
    assert!(matches!(ended, Err(RunError::EndedAtOnce { .. })));
    assert_eq!((server.count("lost"), client.count("lost")), (1, 1));
    assert_eq!(case.reactor().connections(), 0);
}

fn after_stop_now_it_runs_again(case: &Case<'_>) {
    let client = case.log();
    let reactor = case.reactor();
    case.reactor().call_later(ms(1), move || reactor.stop_now());
    assert!(case.run().is_err());
    case.join(Script::echo(), Script::noting(&client).saying("x"));
    case.until_noted(&client, "data x");
}

fn what_ends_with_a_run_may_ask_for_more_and_does_not_get_it(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    let (stops, server) = (case.reactor(), case.log());
    let (port, endpoint) = case.serve(once(
        Script::noting(&server)
            .data(move |_, _| stops.stop_now())
            .lost(move |_| {
                reactor.call_later(Duration::ZERO, noted.noting("timer"));
                let task = noted.clone();
                reactor.spawn(async move { task.note("task") });
                let port = reactor.listen(&loopback().into(), once(Script::silent()));
                drop(port.map(|port| {
                    let address = socket_addr(&port);
                    connect(&reactor, &to(address), once(Script::silent()), &noted)
                }));
            }),
    ));
    let says = once(Script::silent().saying("x"));
    drop(case.connect(&endpoint, says, &case.log()));
    assert!(case.run().is_err());
    drop(port);
    assert_eq!(case.reactor().connections(), 0);
    run_and_stop(case);
    assert_eq!(
        log.count("timer") + log.count("task"),
        0,
        "{:?}",
        log.events()
    );
    assert_eq!(log.count("connected"), 0);
}

fn dropping_a_reactor_fails_its_attempts(case: &Case<'_>) {
    let log = case.log();
    let place = case.black_hole();
    drop(case.connect(&to(place.address), once(Script::silent()), &log));
    case.drop_reactor();
    log.assert(&["not connected: reactor stopped"]);
}

fn dropping_a_reactor_drops_timers_tasks_and_calls(case: &Case<'_>) {
    let held = Rc::new(());
    let (one, two, three) = (Rc::clone(&held), Rc::clone(&held), Rc::clone(&held));
    case.reactor().call_later(ms(1), move || drop(one));
    case.reactor().spawn(async move { drop(two) });
    case.reactor().call_when_running(move || drop(three));
    assert_eq!(Rc::strong_count(&held), 4);
    case.drop_reactor();
    assert_eq!(Rc::strong_count(&held), 1);
}

fn dropping_a_reactor_gives_its_ports_back(case: &Case<'_>) {
    // On one host, so that another driver may have the port.
    let stopped = Rc::new(RefCell::new(Vec::new()));
    struct Hears(Rc<RefCell<Vec<&'static str>>>);
    impl ropewalk_core::Factory for Hears {
        fn build_protocol(
            &self,
            _: &ropewalk_core::Address,
        ) -> Option<Box<dyn ropewalk_core::Protocol>> {
            None
        }
        fn stop_factory(&self) {
            self.0.borrow_mut().push("stopped");
        }
    }
    let (_port, _) = case.serve(Rc::new(Hears(Rc::clone(&stopped))));
    case.drop_reactor();
    assert_eq!(*stopped.borrow(), ["stopped"]);
}

fn dropping_a_reactor_tells_its_datagram_ports(case: &Case<'_>) {
    let log = case.log();
    let port = case.udp(DatagramScript::noting(&log));
    case.drop_reactor();
    log.assert(&["started", "stopped"]);
    assert!(!port.is_open());
}

fn dropping_a_reactor_that_never_ran_is_no_trouble(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    drop(case.connect(&endpoint, once(Script::noting(&log)), &log));
    case.reactor().call_later(ms(1), log.noting("never"));
    case.drop_reactor();
    log.assert(&["not connected: reactor stopped"]);
}

fn a_handle_of_a_dropped_reactor_refuses(case: &Case<'_>) {
    let (log, reactor) = (case.log(), case.reactor());
    case.drop_reactor();
    let refused = reactor.listen(&loopback().into(), once(Script::silent()));
    assert_eq!(
        listen_error(&refused.expect_err("it is gone")),
        "reactor stopped"
    );
    let address = ([127, 0, 0, 1], 7).into();
    drop(connect(
        &reactor,
        &to(address),
        once(Script::silent()),
        &log,
    ));
    log.assert(&["not connected: reactor stopped"]);
    let script = DatagramScript::silent();
    assert!(
        reactor
            .listen_datagram(&udp_loopback().into(), script)
            .is_err()
    );
    assert!(!reactor.call_later(ms(1), || ()).is_active());
    assert!(reactor.spawn(async {}).is_finished());
}

fn a_connection_that_is_lost_with_the_reactor_may_not_open_another(case: &Case<'_>) {
    let log = case.log();
    let (port, endpoint) = case.serve(each(Script::silent));
    let (reactor, again, noted) = (case.reactor(), endpoint.clone(), log.clone());
    let told: Deferred<()> = case
        .reactor()
        .connect(&endpoint, once(Script::silent()))
        .add_both(move |_| {
            drop(connect(&reactor, &again, once(Script::silent()), &noted));
        });
    drop((told, port));
    case.drop_reactor();
    log.assert(&["not connected: reactor stopped"]);
}

fn two_reactors_of_one_thread_take_turns(case: &Case<'_>) {
    let log = case.log();
    let other = case.subject().driver().expect("another driver");
    let other = ropewalk_reactor::Reactor::with_driver(other);
    for word in ["one", "two"] {
        case.reactor().call_when_running(log.noting(word));
        run_and_stop(case);
        let (stop, noted) = (other.handle(), log.noting("the other"));
        other.call_later(ms(1), move || {
            noted();
            stop.stop();
        });
        other.run().expect("a clean end");
    }
    log.assert(&["one", "the other", "two", "the other"]);
}

fn time_of_a_reactor_that_does_not_run_moves_on(case: &Case<'_>) {
    let before = case.reactor().now();
    let log = case.log();
    case.reactor().call_later(MOMENT, log.noting("later"));
    case.until_noted(&log, "later");
    assert!(case.reactor().now() >= before + MOMENT);
}

fn a_connection_may_drop_the_last_handle(case: &Case<'_>) {
    let client = case.log();
    let handle = RefCell::new(Some(case.reactor()));
    case.join(
        Script::silent().data(move |transport, _| {
            let handle = handle.take();
            drop(handle);
            transport.lose_connection();
        }),
        Script::noting(&client)
            .saying("x")
            .staying()
            .read_closed(Transport::lose_connection),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "read closed", "lost: done"]);
}
