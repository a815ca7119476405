//! The end of a run: its phases, who is told in which, and who may not keep it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Deferred, Resolver, Transport};
use ropewalk_reactor::{Phase, RunError};

use crate::body::topic;
use crate::case::{Case, MOMENT, connect, ms};
use crate::datagram_script::DatagramScript;
use crate::log::Log;
use crate::names::listen_error;
use crate::script::{Script, boom, each, once};

topic! { shutdown:
    a_stop_before_the_run_ends_it_in_order,
    stopping_twice_is_one_shutdown,
    the_phases_come_in_order,
    a_phase_waits_for_its_deferreds,
    a_trigger_that_fails_does_not_stop_the_shutdown,
    a_trigger_that_panics_does_not_stop_the_shutdown,
    a_trigger_may_add_one_to_its_phase,
    a_trigger_that_is_added_too_late_is_not_run,
    an_accepted_connection_is_drained_in_the_first_phase,
    a_made_connection_is_told_nothing_while_accepted_ones_are_left,
    the_first_phase_waits_for_accepted_connections,
    the_second_phase_waits_for_made_connections,
    a_drained_connection_sends_all_that_was_written,
    a_protocol_may_finish_what_it_does,
    ports_are_closed_when_it_begins,
    who_connects_in_the_first_phase_is_refused,
    an_attempt_that_is_under_way_is_given_up [BlackHole],
    after_the_second_phases_triggers_nobody_connects_any_more,
    who_connects_again_and_again_does_not_keep_it,
    datagram_ports_live_until_the_second_phase_ends [Udp],
    timers_and_tasks_go_on_in_it,
    a_timer_may_end_what_it_waits_for,
    it_is_cut_short_at_its_deadline,
    stop_now_ends_it_in_its_midst,
    a_connection_that_is_aborted_in_it_is_not_waited_for,
    an_idle_reactor_ends_at_once,
    a_shutdown_tells_a_connection_that_is_being_closed_nothing,
    a_connection_that_is_made_in_the_second_phase_is_drained_too,
}

/// Stops when the reactor runs.
fn stop(case: &Case<'_>) {
    let reactor = case.reactor();
    case.reactor().call_when_running(move || reactor.stop());
}

/// Stops when `event` is in `log`.
fn stop_when(case: &Case<'_>, log: &Log, event: &'static str) {
    let (reactor, log) = (case.reactor(), log.clone());
    case.when(move || log.has(event), move || reactor.stop());
}

/// Stops when both ends of the one connection are up.
fn stop_when_both(case: &Case<'_>, log: &Log) {
    let (reactor, counts, log) = (case.reactor(), case.reactor(), log.clone());
    case.when(
        move || log.has("made") && counts.connections() == 2,
        move || reactor.stop(),
    );
}

/// Notes the beginning of each phase.
fn note_phases(case: &Case<'_>, log: &Log) {
    for (phase, name) in [
        (Phase::After, "after"),
        (Phase::During, "during"),
        (Phase::Before, "before"),
    ] {
        let note = log.noting(name);
        case.reactor().add_system_event_trigger(phase, note);
    }
}

fn a_stop_before_the_run_ends_it_in_order(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    case.reactor().call_when_running(log.noting("runs"));
    case.reactor().stop();
    case.run().expect("a clean end");
    log.assert(&["runs", "before", "during", "after"]);
}

fn stopping_twice_is_one_shutdown(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    stop(case);
    stop(case);
    let reactor = case.reactor();
    let again = move || reactor.stop();
    case.reactor()
        .add_system_event_trigger(Phase::Before, again);
    case.run().expect("a clean end");
    log.assert(&["before", "during", "after"]);
}

fn the_phases_come_in_order(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    note_phases(case, &log);
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["before", "before", "during", "during", "after", "after"]);
}

/// A trigger whose Deferred fires after a while.
fn slow(case: &Case<'_>, phase: Phase, log: &Log, name: &'static str) {
    let (reactor, log) = (case.reactor(), log.clone());
    case.reactor().add_system_event_trigger(phase, move || {
        log.note(format!("{name} begins"));
        let (resolver, deferred) = Deferred::<()>::pair();
        let ended = log.clone();
        reactor.call_later(MOMENT, move || {
            ended.note(format!("{name} ends"));
            resolver.callback(());
        });
        deferred
    });
}

fn a_phase_waits_for_its_deferreds(case: &Case<'_>) {
    let log = case.log();
    slow(case, Phase::Before, &log, "before");
    slow(case, Phase::During, &log, "during");
    slow(case, Phase::After, &log, "after");
    stop(case);
    case.run().expect("a clean end");
    log.assert(&[
        "before begins",
        "before ends",
        "during begins",
        "during ends",
        "after begins",
        "after ends",
    ]);
}

fn a_trigger_that_fails_does_not_stop_the_shutdown(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    case.reactor().add_system_event_trigger(Phase::Before, || {
        Deferred::<()>::fail(std::io::Error::other("it cannot be saved"))
    });
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["before", "during", "after"]);
}

fn a_trigger_that_panics_does_not_stop_the_shutdown(case: &Case<'_>) {
    let log = case.log();
    case.reactor()
        .add_system_event_trigger(Phase::Before, || -> () { boom() });
    note_phases(case, &log);
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["before", "during", "after"]);
}

fn a_trigger_may_add_one_to_its_phase(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor()
        .add_system_event_trigger(Phase::During, move || {
            reactor.add_system_event_trigger(Phase::During, noted.noting("added"));
            noted.note("adds");
        });
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["adds", "added"]);
}

fn a_trigger_that_is_added_too_late_is_not_run(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor()
        .add_system_event_trigger(Phase::After, move || {
            reactor.add_system_event_trigger(Phase::Before, noted.noting("too late"));
        });
    stop(case);
    case.run().expect("a clean end");
    case.reactor().stop();
    case.run().expect("a clean end");
    log.assert(&[]);
}

fn an_accepted_connection_is_drained_in_the_first_phase(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    // Its client is not told, and stays until its peer closes.
    let client = Script::silent().drain(|_| ());
    case.join(Script::noting(&log), client);
    stop_when(case, &log, "made");
    case.run().expect("a clean end");
    log.assert(&["made", "drain", "lost: done", "before", "during", "after"]);
}

fn a_made_connection_is_told_nothing_while_accepted_ones_are_left(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    let staying = Script::silent().drain(|_| ());
    let (_port, endpoint) = case.serve(once(staying));
    drop(case.connect(&endpoint, once(Script::noting(&log)), &case.log()));
    stop_when_both(case, &log);
    case.reactor().set_shutdown_deadline(ms(50));
    let ended = case.run();
    assert!(matches!(ended, Err(RunError::ShutdownTimedOut { .. })));
    assert_eq!(log.count("drain"), 0);
    assert_eq!(log.events()[..2], ["made", "before"]);
}

fn the_first_phase_waits_for_accepted_connections(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    let reactor = case.reactor();
    let slow = Script::noting(&log).drain(move |transport| {
        let handle = transport.connection();
        drop(reactor.call_later(MOMENT * 2, move || {
            handle.lose_connection();
        }));
    });
    case.join(slow, Script::silent());
    stop_when(case, &log, "made");
    case.run().expect("a clean end");
    log.assert(&["made", "drain", "before", "lost: done", "during", "after"]);
}

fn the_second_phase_waits_for_made_connections(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    // The server goes as soon as it is told; its client stays a while.
    let reactor = case.reactor();
    let client = Script::noting(&log).staying().drain(move |transport| {
        let handle = transport.connection();
        drop(reactor.call_later(MOMENT * 2, move || {
            handle.lose_connection();
        }));
    });
    case.join(Script::silent(), client);
    stop_when_both(case, &log);
    case.run().expect("a clean end");
    // When its peer's end comes, the network decides.
    let mut events = log.events();
    events.retain(|event| event != "read closed");
    assert_eq!(
        events,
        ["made", "before", "drain", "during", "lost: done", "after"]
    );
}

fn a_drained_connection_sends_all_that_was_written(case: &Case<'_>) {
    use crate::script::{Gathered, pattern};
    let got = Gathered::default();
    let log = case.log();
    let server = Script::noting(&log).made(|transport| transport.write(&pattern(0, 5_000_000)));
    case.join(server, Script::silent().gathering(&got).drain(|_| ()));
    stop_when(case, &log, "made");
    case.run().expect("a clean end");
    assert!(
        *got.borrow() == pattern(0, 5_000_000),
        "{}",
        got.borrow().len()
    );
}

fn a_protocol_may_finish_what_it_does(case: &Case<'_>) {
    use crate::script::Gathered;
    let server = case.log();
    let got = Gathered::default();
    let reactor = case.reactor();
    let works = Script::noting(&server)
        .data(move |transport, _| {
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.write(b"the result");
                handle.lose_connection();
            }));
        })
        .drain(|_| ());
    let asks = Script::silent().saying("?").gathering(&got);
    case.join(works, asks.drain(|_| ()));
    stop_when(case, &server, "data ?");
    case.run().expect("a clean end");
    assert_eq!(*got.borrow(), b"the result");
}

fn ports_are_closed_when_it_begins(case: &Case<'_>) {
    let log = case.log();
    let (port, _) = case.serve(once(Script::silent()));
    let (reactor, noted) = (case.reactor(), log.clone());
    let endpoint = crate::case::same(&port);
    case.reactor()
        .add_system_event_trigger(Phase::Before, move || {
            let again = reactor.listen(&endpoint, once(Script::silent()));
            noted.note(again.map_or_else(|error| listen_error(&error), |_| "free again"));
        });
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["free again"]);
}

fn who_connects_in_the_first_phase_is_refused(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor()
        .add_system_event_trigger(Phase::Before, move || {
            connect(&reactor, &endpoint, once(Script::silent()), &noted)
        });
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["not connected: refused"]);
}

fn an_attempt_that_is_under_way_is_given_up(case: &Case<'_>) {
    let log = case.log();
    let place = case.black_hole();
    let endpoint = crate::case::to(place.address);
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    note_phases(case, &log);
    stop(case);
    case.run().expect("a clean end");
    log.assert(&[
        "before",
        "not connected: reactor stopped",
        "during",
        "after",
    ]);
}

fn after_the_second_phases_triggers_nobody_connects_any_more(case: &Case<'_>) {
    let log = case.log();
    let place = case.nobody();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor()
        .add_system_event_trigger(Phase::After, move || {
            let endpoint = crate::case::to(place.address);
            connect(&reactor, &endpoint, once(Script::silent()), &noted)
        });
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["not connected: reactor stopped"]);
}

fn who_connects_again_and_again_does_not_keep_it(case: &Case<'_>) {
    fn again(
        reactor: &ropewalk_reactor::Handle,
        endpoint: &ropewalk_core::endpoint::ClientEndpoint,
    ) {
        let (next, to) = (reactor.clone(), endpoint.clone());
        let told: Deferred<()> =
            reactor
                .connect(endpoint, once(Script::silent()))
                .add_both(move |_| {
                    let again_later = next.clone();
                    next.call_later(ms(1), move || again(&again_later, &to));
                });
        drop(told);
    }
    let place = case.nobody();
    again(&case.reactor(), &crate::case::to(place.address));
    let reactor = case.reactor();
    case.reactor().call_later(MOMENT, move || reactor.stop());
    case.run().expect("a clean end");
}

fn datagram_ports_live_until_the_second_phase_ends(case: &Case<'_>) {
    let log = case.log();
    note_phases(case, &log);
    case.udp(DatagramScript::noting(&log));
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["started", "before", "during", "stopped", "after"]);
}

fn timers_and_tasks_go_on_in_it(case: &Case<'_>) {
    let log = case.log();
    let waiting: Rc<RefCell<Option<Resolver<()>>>> = Rc::default();
    let keeps = Rc::clone(&waiting);
    case.reactor()
        .add_system_event_trigger(Phase::Before, move || {
            let (resolver, deferred) = Deferred::pair();
            keeps.replace(Some(resolver));
            deferred
        });
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_later(MOMENT, move || {
        noted.note("timer");
        reactor.spawn(async move {
            noted.note("task");
            let waiting = waiting.take();
            waiting.expect("the phase has begun").callback(());
        });
    });
    stop(case);
    case.run().expect("a clean end");
    log.assert(&["timer", "task"]);
}

fn a_timer_may_end_what_it_waits_for(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    let stays = Script::noting(&server)
        .made(move |transport| {
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT * 2, move || {
                handle.abort_connection();
            }));
        })
        .drain(|_| ());
    case.join(stays, Script::silent().drain(|_| ()));
    stop_when(case, &server, "made");
    case.run().expect("a clean end");
    server.assert(&["made", "drain", "lost: aborted"]);
}

fn it_is_cut_short_at_its_deadline(case: &Case<'_>) {
    let server = case.log();
    case.join(Script::noting(&server).drain(|_| ()), Script::silent());
    case.reactor().set_shutdown_deadline(MOMENT);
    stop_when(case, &server, "made");
    let ended = case.run();
    assert!(
        matches!(ended, Err(RunError::ShutdownTimedOut { after, connections: 2, .. }) if after == MOMENT),
        "{ended:?}"
    );
    assert_eq!(server.count("lost"), 1);
}

fn stop_now_ends_it_in_its_midst(case: &Case<'_>) {
    let log = case.log();
    slow(case, Phase::Before, &log, "before");
    let (reactor, begun) = (case.reactor(), log.clone());
    stop(case);
    case.when(
        move || begun.has("before begins"),
        move || reactor.stop_now(),
    );
    let ended = case.run();
    assert!(matches!(ended, Err(RunError::EndedAtOnce { .. })));
    log.assert(&["before begins"]);
}

fn a_connection_that_is_aborted_in_it_is_not_waited_for(case: &Case<'_>) {
    let server = case.log();
    let aborts = Script::noting(&server).drain(Transport::abort_connection);
    case.join(aborts, Script::silent());
    case.reactor()
        .set_shutdown_deadline(Duration::from_secs(3600));
    stop_when(case, &server, "made");
    case.run().expect("a clean end");
    server.assert(&["made", "drain", "lost: aborted"]);
}

fn an_idle_reactor_ends_at_once(case: &Case<'_>) {
    let begun = case.reactor().now();
    stop(case);
    case.run().expect("a clean end");
    // It waits for nothing, not for its deadline either.
    assert!(case.reactor().now() - begun < Duration::from_secs(10));
}

fn a_shutdown_tells_a_connection_that_is_being_closed_nothing(case: &Case<'_>) {
    let server = case.log();
    let closing = Script::noting(&server).made(|transport| {
        transport.write(&vec![0; 12_000_000]);
        transport.lose_connection();
    });
    let reactor = case.reactor();
    let slow = Script::silent().made(move |transport| {
        transport.pause_producing();
        let handle = transport.connection();
        drop(reactor.call_later(MOMENT, move || {
            handle.resume_producing();
        }));
    });
    case.join(closing, slow.drain(|_| ()));
    stop_when(case, &server, "made");
    case.run().expect("a clean end");
    server.assert(&["made", "lost: done"]);
}

fn a_connection_that_is_made_in_the_second_phase_is_drained_too(case: &Case<'_>) {
    // Another reactor on the same host would be its peer; here it is a port of the phase itself.
    let (server, client) = (case.log(), case.log());
    let (reactor, log, peer) = (case.reactor(), client.clone(), server.clone());
    case.reactor()
        .add_system_event_trigger(Phase::During, move || {
            let factory = once(Script::noting(&peer));
            let port = reactor.listen(&crate::case::loopback().into(), factory);
            let address = crate::case::socket_addr(&port.expect("listens"));
            let script = Script::noting(&log);
            connect(&reactor, &crate::case::to(address), once(script), &log)
        });
    stop(case);
    case.run().expect("a clean end");
    assert!(client.has("connected"), "{:?}", client.events());
    assert!(client.has("drain") || server.has("drain") || client.has("read closed"));
    assert_eq!(client.count("lost: done"), 1);
}
