//! Whatever a callback asks for, of its own connection or of others, from within any callback.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::{Connection, Transport};
use ropewalk_reactor::Handle;

use crate::body::topic;
use crate::case::{Case, MOMENT, connect, loopback, ms, socket_addr, to};
use crate::log::Log;
use crate::script::{Gathered, Script, each, once, pattern};

topic! { reentrancy:
    connection_made_may_write_and_close,
    connection_made_may_pause_and_resume,
    data_received_may_write_by_its_own_handle,
    data_received_may_close_by_its_own_handle,
    data_received_may_abort_by_its_own_handle,
    data_received_may_end_the_peer_within_the_same_loop,
    data_received_may_abort_a_third_connection,
    data_received_may_write_to_a_third_connection,
    data_received_may_listen,
    data_received_may_connect,
    data_received_may_stop_the_reactor,
    data_received_may_end_the_run_at_once,
    data_received_may_ask_for_a_timer,
    read_closed_may_write_much_and_close,
    read_closed_may_abort,
    write_paused_may_abort,
    write_paused_may_close,
    write_resumed_may_write_above_the_mark_again,
    write_resumed_may_close,
    timeout_connection_may_set_another,
    timeout_connection_may_close_cleanly,
    timeout_connection_may_write,
    connection_lost_may_connect_again,
    connection_lost_may_act_on_its_own_handle_in_vain,
    connection_lost_may_abort_the_others,
    connection_lost_may_listen,
    connection_lost_may_stop_the_reactor,
    a_timer_may_abort_what_a_timer_of_its_turn_writes_to,
    a_call_with_the_protocol_waits_for_the_running_callback,
    a_call_with_the_protocol_may_ask_for_another,
    two_connections_that_write_to_each_other_leave_turns,
    a_handle_that_writes_within_the_callback_of_another_is_flushed_in_the_turn,
    closing_all_from_within_one_callback_ends_all,
    a_connection_may_be_ended_while_its_attempt_fires,
}

fn connection_made_may_write_and_close(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().made(|transport| {
            transport.write(b"hello and goodbye");
            transport.lose_connection();
        }),
        Script::noting(&client),
    );
    case.until_over(&[&client]);
    client.assert(&[
        "made",
        "data hello and goodbye",
        "read closed",
        "lost: done",
    ]);
}

fn connection_made_may_pause_and_resume(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.pause_producing();
            transport.connection().resume_producing();
        }),
        Script::silent().saying("x"),
    );
    case.until_noted(&server, "data x");
}

fn data_received_may_write_by_its_own_handle(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().data(|transport, data| {
            let handle = transport.connection();
            assert!(handle.write(b"<"));
            transport.write(data);
            assert!(handle.write(b">"));
            handle.lose_connection();
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "data <x>", "read closed", "lost: done"]);
}

fn data_received_may_close_by_its_own_handle(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).data(|transport, _| {
            transport.connection().lose_connection();
        }),
        Script::silent().made(|transport| transport.write(&[b'x'; 100])),
    );
    case.until_over(&[&server]);
    assert_eq!(server.reason(), "done");
}

fn data_received_may_abort_by_its_own_handle(case: &Case<'_>) {
    let server = case.log();
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    case.join(
        Script::noting(&server).data(move |transport, _| {
            counted.set(counted.get() + 1);
            transport.connection().abort_connection();
        }),
        Script::silent().made(|transport| transport.write(&vec![b'x'; 1_000_000])),
    );
    case.until_over(&[&server]);
    assert_eq!(server.reason(), "aborted");
    assert_eq!(calls.get(), 1);
}

/// A script that puts its handle where others find it.
fn found(script: Script, at: &Rc<RefCell<Option<Connection>>>) -> Script {
    let at = Rc::clone(at);
    script.made(move |transport| {
        at.replace(Some(transport.connection()));
    })
}

fn handle(at: &Rc<RefCell<Option<Connection>>>) -> Connection {
    at.borrow().clone().unwrap_or_default()
}

fn data_received_may_end_the_peer_within_the_same_loop(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let peer: Rc<RefCell<Option<Connection>>> = Rc::default();
    let ends = Rc::clone(&peer);
    let says = Script::noting(&client).made({
        let peer = Rc::clone(&peer);
        move |transport| {
            peer.replace(Some(transport.connection()));
            transport.write(b"x");
        }
    });
    case.join(
        Script::noting(&server).data(move |_, _| {
            handle(&ends).abort_connection();
        }),
        says,
    );
    case.until_over(&[&server, &client]);
    client.assert(&["made", "lost: aborted"]);
    assert_eq!(server.reason(), "broken");
}

/// A server that does `action` to the first connection when the second one says anything. Returns
/// what the first server's side and its client were told.
fn to_a_third(case: &Case<'_>, action: impl Fn(Connection) + 'static) -> (Log, Log) {
    let (server, client) = (case.log(), case.log());
    let first = Rc::default();
    let action = Rc::new(action);
    let built = Cell::new(0);
    let (noted, found_at) = (server.clone(), Rc::clone(&first));
    let (_port, endpoint) = case.serve(each(move || {
        built.set(built.get() + 1);
        if built.get() == 1 {
            return found(Script::noting(&noted), &found_at);
        }
        let (first, action) = (Rc::clone(&found_at), Rc::clone(&action));
        Script::silent().data(move |_, _| action(handle(&first)))
    }));
    let (reactor, again) = (case.reactor(), endpoint.clone());
    let up = server.clone();
    case.when(
        move || up.has("made"),
        move || {
            let says = once(Script::silent().saying("x"));
            drop(reactor.connect(&again, says));
        },
    );
    drop(case.connect(&endpoint, once(Script::noting(&client)), &case.log()));
    (server, client)
}

fn data_received_may_abort_a_third_connection(case: &Case<'_>) {
    let (server, client) = to_a_third(case, |third| {
        assert!(third.abort_connection());
    });
    case.until_over(&[&server, &client]);
    server.assert(&["made", "lost: aborted"]);
    client.assert(&["made", "lost: broken"]);
}

fn data_received_may_write_to_a_third_connection(case: &Case<'_>) {
    let (_, client) = to_a_third(case, |third| {
        assert!(third.write(b"from the second"));
    });
    case.until_noted(&client, "data from the second");
}

fn data_received_may_listen(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.join(
        Script::silent().data(move |_, _| {
            let port = reactor.listen(&loopback().into(), once(Script::silent()));
            noted.note(format!("listens: {}", port.is_ok()));
        }),
        Script::silent().saying("x"),
    );
    case.until_noted(&log, "listens: true");
}

fn data_received_may_connect(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    let (_port, endpoint) = case.serve(each(Script::echo));
    let (again, first) = (endpoint.clone(), Cell::new(true));
    let client = Script::silent().saying("x").data(move |_, _| {
        if first.replace(false) {
            let asks = once(Script::noting(&noted).saying("y"));
            drop(connect(&reactor, &again, asks, &noted));
        }
    });
    drop(case.connect(&endpoint, once(client), &case.log()));
    case.until_noted(&log, "data y");
}

fn data_received_may_stop_the_reactor(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).data(move |transport, _| {
            reactor.stop();
            transport.write(b"the last word");
        }),
        Script::silent().saying("x"),
    );
    case.run().expect("a clean end");
    server.assert(&["made", "data x", "drain", "lost: done"]);
}

fn data_received_may_end_the_run_at_once(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).data(move |_, _| reactor.stop_now()),
        Script::silent().saying("x"),
    );
    let ended = case.run();
    assert!(matches!(
        ended,
        Err(ropewalk_reactor::RunError::EndedAtOnce { connections: 2 })
    ));
    assert_eq!(server.count("lost"), 1);
}

fn data_received_may_ask_for_a_timer(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.join(
        Script::silent().data(move |transport, _| {
            let call = Box::new(noted.noting("later"));
            let _ = transport.reactor().call_later(ms(1), call);
        }),
        Script::silent().saying("x"),
    );
    case.until_noted(&log, "later");
}

fn read_closed_may_write_much_and_close(case: &Case<'_>) {
    let got = Gathered::default();
    case.join(
        Script::silent().read_closed(|transport| {
            transport.write(&pattern(0, 3_000_000));
            transport.lose_connection();
        }),
        Script::silent()
            .made(Transport::lose_write_connection)
            .gathering(&got),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 3_000_000);
    assert!(*got.borrow() == pattern(0, 3_000_000));
}

fn read_closed_may_abort(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).read_closed(Transport::abort_connection),
        Script::noting(&client)
            .made(Transport::lose_write_connection)
            .staying(),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "read closed", "lost: aborted"]);
    client.assert(&["made", "lost: broken"]);
}

/// More than any network takes of one who reads nothing.
const MUCH: usize = 12_000_000;

fn deaf() -> Script {
    Script::silent().made(Transport::pause_producing)
}

fn write_paused_may_abort(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(|transport| transport.write(&vec![0; MUCH]))
            .paused(Transport::abort_connection),
        deaf(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "paused", "lost: aborted"]);
}

fn write_paused_may_close(case: &Case<'_>) {
    let got = Gathered::default();
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(|transport| transport.write(&pattern(0, MUCH)))
            .paused(Transport::lose_connection),
        Script::silent().gathering(&got),
    );
    let (seen, over) = (Rc::clone(&got), server.clone());
    case.until("all has come", move || {
        seen.borrow().len() >= MUCH && over.is_over()
    });
    server.assert(&["made", "paused", "lost: done"]);
    assert!(*got.borrow() == pattern(0, MUCH));
}

fn write_resumed_may_write_above_the_mark_again(case: &Case<'_>) {
    let got = Gathered::default();
    let again = Cell::new(true);
    case.join(
        Script::silent()
            .made(|transport| transport.write(&pattern(0, MUCH)))
            .resumed(move |transport| {
                if again.replace(false) {
                    transport.write(&pattern(MUCH, MUCH));
                }
            }),
        Script::silent().gathering(&got),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 2 * MUCH);
    assert!(*got.borrow() == pattern(0, 2 * MUCH));
}

fn write_resumed_may_close(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(|transport| transport.write(&vec![0; MUCH]))
            .resumed(Transport::lose_connection),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "paused", "resumed", "lost: done"]);
}

fn timeout_connection_may_set_another(case: &Case<'_>) {
    let server = case.log();
    let rounds = Cell::new(0);
    case.join(
        Script::noting(&server)
            .made(|transport| transport.set_timeout(Some(ms(2))))
            .timeout(move |transport| {
                rounds.set(rounds.get() + 1);
                match rounds.get() {
                    3 => transport.lose_connection(),
                    _ => transport.set_timeout(Some(ms(2))),
                }
            }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "timeout", "timeout", "timeout", "lost: done"]);
}

fn timeout_connection_may_close_cleanly(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent()
            .made(|transport| transport.set_timeout(Some(ms(2))))
            .timeout(Transport::lose_connection),
        Script::noting(&client),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn timeout_connection_may_write(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent()
            .made(|transport| transport.set_timeout(Some(ms(2))))
            .timeout(|transport| transport.write(b"are you there?")),
        Script::noting(&client),
    );
    case.until_noted(&client, "data are you there?");
}

fn connection_lost_may_connect_again(case: &Case<'_>) {
    fn again(
        reactor: &Handle,
        endpoint: &ropewalk_core::endpoint::ClientEndpoint,
        left: u32,
        log: &Log,
    ) {
        log.note(left.to_string());
        if left == 0 {
            return;
        }
        let (next, to, log) = (reactor.clone(), endpoint.clone(), log.clone());
        let client = Script::silent().lost(move |_| again(&next, &to, left - 1, &log));
        drop(reactor.connect(endpoint, once(client)));
    }
    let log = case.log();
    let (_port, endpoint) = case.serve(each(|| Script::silent().made(Transport::lose_connection)));
    again(&case.reactor(), &endpoint, 5, &log);
    case.until_noted(&log, "0");
    log.assert(&["5", "4", "3", "2", "1", "0"]);
}

fn connection_lost_may_act_on_its_own_handle_in_vain(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let own = Rc::default();
    let acts = Rc::clone(&own);
    case.join(
        found(Script::silent(), &own)
            .data(|transport, _| transport.lose_connection())
            .lost(move |_| {
                let own = handle(&acts);
                let acted = [
                    own.write(b"x"),
                    own.lose_connection(),
                    own.abort_connection(),
                    own.pause_producing(),
                    own.is_connected(),
                ];
                noted.note(format!("{}", acted.iter().any(|acted| *acted)));
            }),
        Script::silent().saying("x"),
    );
    case.until_noted(&log, "false");
}

fn connection_lost_may_abort_the_others(case: &Case<'_>) {
    let others: Rc<RefCell<Vec<Connection>>> = Rc::default();
    let log = case.log();
    let (noted, all) = (log.clone(), Rc::clone(&others));
    let (_port, endpoint) = case.serve(each(move || {
        let (noted, all, aborts) = (noted.clone(), Rc::clone(&all), Rc::clone(&all));
        Script::silent()
            .made(move |transport| all.borrow_mut().push(transport.connection()))
            .lost(move |_| {
                noted.note("lost");
                let others = aborts.borrow().clone();
                others.iter().for_each(|other| {
                    other.abort_connection();
                });
            })
    }));
    for _ in 0..10 {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let up = Rc::clone(&others);
    case.when(
        move || up.borrow().len() == 10,
        move || {
            let first = others.borrow()[0].clone();
            first.abort_connection();
        },
    );
    let (seen, reactor) = (log.clone(), case.reactor());
    case.until("all are gone", move || {
        seen.len() >= 10 && reactor.connections() == 0
    });
    assert_eq!(log.len(), 10);
}

fn connection_lost_may_listen(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.join(
        Script::silent()
            .data(|transport, _| transport.abort_connection())
            .lost(move |_| {
                let factory = once(Script::noting(&noted));
                let port = reactor
                    .listen(&loopback().into(), factory)
                    .expect("listens");
                let client = once(Script::silent().saying("hello"));
                drop(connect(&reactor, &to(socket_addr(&port)), client, &noted));
            }),
        Script::silent().saying("x"),
    );
    case.until_noted(&log, "data hello");
}

fn connection_lost_may_stop_the_reactor(case: &Case<'_>) {
    let reactor = case.reactor();
    let client = case.log();
    case.join(
        Script::silent().data(|transport, _| transport.lose_connection()),
        Script::noting(&client)
            .saying("x")
            .lost(move |_| reactor.stop()),
    );
    case.run().expect("a clean end");
    client.assert(&["made", "read closed", "lost: done"]);
}

fn a_timer_may_abort_what_a_timer_of_its_turn_writes_to(case: &Case<'_>) {
    let client = case.log();
    let (reactor, noted) = (case.reactor(), client.clone());
    case.join(
        Script::silent(),
        Script::noting(&client).made(move |transport| {
            let (one, other) = (transport.connection(), transport.connection());
            let noted = noted.clone();
            drop(reactor.call_later(MOMENT, move || {
                one.abort_connection();
            }));
            drop(reactor.call_later(MOMENT, move || {
                noted.note(format!("written: {}", other.write(b"x")));
            }));
        }),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "written: false", "lost: aborted"]);
}

fn a_call_with_the_protocol_waits_for_the_running_callback(case: &Case<'_>) {
    let server = case.log();
    let noted = server.clone();
    case.join(
        Script::noting(&server).data(move |transport, _| {
            let inner = noted.clone();
            assert!(
                transport
                    .connection()
                    .with(move |_: &mut Script, transport| {
                        inner.note("with the protocol");
                        transport.lose_connection();
                    })
            );
            noted.note("the callback returns");
        }),
        Script::silent().saying("x"),
    );
    case.until_over(&[&server]);
    server.assert(&[
        "made",
        "data x",
        "the callback returns",
        "with the protocol",
        "lost: done",
    ]);
}

fn a_call_with_the_protocol_may_ask_for_another(case: &Case<'_>) {
    fn again(connection: &Connection, left: u32, log: &Log) {
        let log = log.clone();
        connection.with(move |_: &mut Script, transport| {
            log.note(left.to_string());
            match left {
                0 => transport.lose_connection(),
                _ => again(&transport.connection(), left - 1, &log),
            }
        });
    }
    let (log, server) = (case.log(), case.log());
    let noted = log.clone();
    case.join(
        Script::noting(&server).made(move |transport| again(&transport.connection(), 200, &noted)),
        Script::silent(),
    );
    case.until_over(&[&server]);
    assert_eq!(log.len(), 201);
    assert_eq!(log.events()[200], "0");
}

fn two_connections_that_write_to_each_other_leave_turns(case: &Case<'_>) {
    let log = case.log();
    let ball = || Script::echo().made(|transport| transport.write(b"."));
    case.join(ball(), ball());
    let noted = log.clone();
    case.reactor().call_later(MOMENT, noted.noting("later"));
    case.until_noted(&log, "later");
}

fn a_handle_that_writes_within_the_callback_of_another_is_flushed_in_the_turn(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let other = Rc::default();
    let (_one, to_one) = case.serve(once(found(Script::silent(), &other)));
    let (_two, to_two) = case.serve(once(Script::silent().data(move |transport, _| {
        handle(&other).write(b"to the other");
        transport.write(b"to its own");
    })));
    drop(case.connect(&to_one, once(Script::noting(&first)), &case.log()));
    let (reactor, up, noted) = (case.reactor(), first.clone(), second.clone());
    case.when(
        move || up.has("made"),
        move || {
            reactor.call_later(MOMENT, {
                let reactor = reactor.clone();
                move || {
                    let says = once(Script::noting(&noted).saying("x"));
                    drop(reactor.connect(&to_two, says));
                }
            });
        },
    );
    let (one, two) = (first, second);
    case.until("both have heard", move || {
        one.has("data to the other") && two.has("data to its own")
    });
}

fn closing_all_from_within_one_callback_ends_all(case: &Case<'_>) {
    let all: Rc<RefCell<Vec<Connection>>> = Rc::default();
    let ended = Rc::new(Cell::new(0));
    let (keeps, counted) = (Rc::clone(&all), Rc::clone(&ended));
    let (_port, endpoint) = case.serve(each(move || {
        let (keeps, closes, counted) = (Rc::clone(&keeps), Rc::clone(&keeps), Rc::clone(&counted));
        Script::silent()
            .made(move |transport| keeps.borrow_mut().push(transport.connection()))
            .data(move |_, _| {
                closes.borrow().iter().for_each(|one| {
                    one.lose_connection();
                });
            })
            .lost(move |_| counted.set(counted.get() + 1))
    }));
    let clients: Rc<RefCell<Vec<Connection>>> = Rc::default();
    for _ in 0..20 {
        let client = Rc::clone(&clients);
        let keeps = Script::silent()
            .made(move |transport| client.borrow_mut().push(transport.connection()));
        drop(case.connect(&endpoint, once(keeps), &case.log()));
    }
    let up = Rc::clone(&all);
    case.when(
        move || up.borrow().len() == 20,
        move || {
            let last = clients.borrow().last().cloned().unwrap_or_default();
            last.write(b"now");
        },
    );
    case.until("all are gone", move || ended.get() == 20);
}

fn a_connection_may_be_ended_while_its_attempt_fires(case: &Case<'_>) {
    let client = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    let connecting = case
        .reactor()
        .connect(&endpoint, once(Script::noting(&client)));
    let told: ropewalk_core::Deferred<()> = connecting.add_callback(|connection: Connection| {
        connection.abort_connection();
    });
    drop(told);
    case.until_over(&[&client]);
    client.assert(&["made", "lost: aborted"]);
}
