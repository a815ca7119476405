//! Handles to connections: what they do from outside, and that they keep nothing alive.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::{Connection, Deferred, Protocol, Transport};

use crate::body::topic;
use crate::case::{Case, MOMENT, Over};
use crate::log::Log;
use crate::names::name_of;
use crate::script::{Script, each, once};

topic! { handles:
    a_handle_writes_from_a_timer,
    a_handle_closes_from_a_timer,
    a_handle_aborts_from_a_timer,
    a_handle_of_a_connection_that_ended_does_nothing_and_says_so,
    a_handle_keeps_no_connection_open,
    a_handle_of_the_default_is_of_no_connection,
    is_connected_is_true_from_connection_made_to_the_close,
    a_handle_does_not_act_on_the_connection_in_its_place,
    with_reaches_the_protocol,
    with_is_refused_after_the_end,
    with_of_another_type_is_dropped,
    what_with_holds_is_dropped_when_the_connection_ends_before,
    act_is_done_at_once,
    unsent_is_none_after_the_end,
    drained_of_an_ended_connection_fails,
    a_handle_survives_the_reactor,
    handles_of_one_connection_are_of_one,
    the_name_of_a_connection_is_its_own,
}

/// A connection whose server side's handle is kept, and does `action` after a moment.
fn later(case: &Case<'_>, log: &Log, client: &Log, action: impl FnOnce(&Connection) + 'static) {
    let reactor = case.reactor();
    let action = RefCell::new(Some(action));
    case.join(
        Script::noting(log).made(move |transport| {
            let (handle, action) = (transport.connection(), action.take());
            drop(reactor.call_later(MOMENT, move || {
                if let Some(action) = action {
                    action(&handle);
                }
            }));
        }),
        Script::noting(client),
    );
}

fn a_handle_writes_from_a_timer(case: &Case<'_>) {
    let client = case.log();
    later(case, &case.log(), &client, |handle| {
        assert!(handle.write(b"by a "));
        assert!(handle.write_bytes(bytes::Bytes::from_static(b"handle")));
    });
    case.until_noted(&client, "data by a handle");
}

fn a_handle_closes_from_a_timer(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    later(case, &server, &client, |handle| {
        assert!(handle.lose_connection());
    });
    case.until_over(&[&server, &client]);
    server.assert(&["made", "lost: done"]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn a_handle_aborts_from_a_timer(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    later(case, &server, &client, |handle| {
        assert!(handle.abort_connection());
    });
    case.until_over(&[&server, &client]);
    server.assert(&["made", "lost: aborted"]);
    client.assert(&["made", "lost: broken"]);
}

fn a_handle_of_a_connection_that_ended_does_nothing_and_says_so(case: &Case<'_>) {
    let server = case.log();
    let handle: Rc<RefCell<Connection>> = Rc::default();
    let keeps = Rc::clone(&handle);
    case.join(
        Script::noting(&server).made(move |transport| {
            keeps.replace(transport.connection());
            transport.abort_connection();
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    let handle = handle.borrow();
    assert!(!handle.write(b"x"));
    assert!(!handle.lose_connection());
    assert!(!handle.abort_connection());
    assert!(!handle.pause_producing());
    assert!(!handle.resume_producing());
    assert!(!handle.is_connected());
    assert!(handle.act(|_| ()).is_none());
}

fn a_handle_keeps_no_connection_open(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let kept: Rc<RefCell<Vec<Connection>>> = Rc::default();
    let keeps = Rc::clone(&kept);
    case.join(
        Script::noting(&server).made(move |transport| {
            (0..100).for_each(|_| keeps.borrow_mut().push(transport.connection()));
        }),
        Script::noting(&client).made(Transport::lose_connection),
    );
    case.until_over(&[&server, &client]);
    assert_eq!(kept.borrow().len(), 100);
}

fn a_handle_of_the_default_is_of_no_connection(_: &Case<'_>) {
    let none = Connection::default();
    assert!(!none.write(b"x") && !none.is_connected());
    assert_eq!(none.unsent(), None);
}

fn is_connected_is_true_from_connection_made_to_the_close(case: &Case<'_>) {
    let log = case.log();
    let (first, second) = (log.clone(), log.clone());
    let handle: Rc<RefCell<Connection>> = Rc::default();
    let (keeps, looks) = (Rc::clone(&handle), Rc::clone(&handle));
    case.join(
        Script::silent()
            .made(move |transport| {
                keeps.replace(transport.connection());
                first.note(keeps.borrow().is_connected().to_string());
            })
            .data(move |transport, _| {
                second.note(looks.borrow().is_connected().to_string());
                transport.lose_connection();
                second.note(looks.borrow().is_connected().to_string());
            }),
        Script::silent().saying("x"),
    );
    let seen = log.clone();
    case.until("it was asked", move || seen.len() == 3);
    log.assert(&["true", "true", "false"]);
}

fn a_handle_does_not_act_on_the_connection_in_its_place(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let old: Rc<RefCell<Connection>> = Rc::default();
    let (keeps, writes) = (Rc::clone(&old), Rc::clone(&old));
    let (_port, endpoint) = case.serve(each(Script::echo));
    let ends = Script::noting(&first).made(move |transport| {
        keeps.replace(transport.connection());
        transport.lose_connection();
    });
    let (reactor, again, noted) = (case.reactor(), endpoint.clone(), second.clone());
    let gone = first;
    let all = case.reactor();
    // When both ends are gone, the next connection gets their places.
    case.when(
        move || gone.is_over() && all.connections() == 0,
        move || {
            let says = Script::noting(&noted).made(move |transport| {
                assert!(!writes.borrow().write(b"by the old handle"));
                transport.write(b"by its own");
            });
            drop(reactor.connect(&again, once(says)));
        },
    );
    drop(case.connect(&endpoint, once(ends), &case.log()));
    case.until_noted(&second, "data by its own");
    second.assert(&["made", "data by its own"]);
}

fn with_reaches_the_protocol(case: &Case<'_>) {
    let client = case.log();
    later(case, &case.log(), &client, |handle| {
        assert!(handle.with(|_: &mut Script, transport| transport.write(b"with it")));
    });
    case.until_noted(&client, "data with it");
}

fn with_is_refused_after_the_end(case: &Case<'_>) {
    let (server, log) = (case.log(), case.log());
    let noted = log.clone();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(move |transport| {
            let (handle, noted) = (transport.connection(), noted.clone());
            transport.abort_connection();
            drop(reactor.call_later(MOMENT, move || {
                let asked = handle.with(|_: &mut Script, _| unreachable!("it has ended"));
                noted.note(format!("asked: {asked}"));
            }));
        }),
        Script::silent(),
    );
    case.until_noted(&log, "asked: false");
}

/// Another one.
struct Other;

impl Protocol for Other {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

fn with_of_another_type_is_dropped(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let noted = server.clone();
    later(case, &server, &client, move |handle| {
        handle.with(move |_: &mut Other, _| noted.note("called"));
        handle.with(|_: &mut Script, transport| transport.lose_connection());
    });
    case.until_over(&[&server]);
    server.assert(&["made", "lost: done"]);
}

fn what_with_holds_is_dropped_when_the_connection_ends_before(case: &Case<'_>) {
    let server = case.log();
    let held = Rc::new(());
    let holds = RefCell::new(Some(Rc::clone(&held)));
    case.join(
        Script::noting(&server).made(move |transport| {
            let holds = holds.take();
            transport.connection().with(move |_: &mut Script, _| {
                drop(holds);
                unreachable!("the connection ended before");
            });
            transport.abort_connection();
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    assert_eq!(Rc::strong_count(&held), 1);
}

fn act_is_done_at_once(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.join(
        Script::silent().made(move |transport| {
            let handle = transport.connection();
            let unsent = handle.act(|transport| {
                transport.write(b"12345");
                transport.unsent()
            });
            noted.note(format!("{unsent:?}"));
        }),
        Script::silent(),
    );
    case.until_noted(&log, "Some(5)");
}

fn unsent_is_none_after_the_end(case: &Case<'_>) {
    let server = case.log();
    let handle: Rc<RefCell<Connection>> = Rc::default();
    let keeps = Rc::clone(&handle);
    case.join(
        Script::noting(&server).made(move |transport| {
            keeps.replace(transport.connection());
            transport.write(b"x");
            transport.abort_connection();
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    assert_eq!(handle.borrow().unsent(), None);
}

fn drained_of_an_ended_connection_fails(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.join(
        Script::silent().made(move |transport| {
            let noted = noted.clone();
            let handle = transport.connection();
            transport.abort_connection();
            let told: Deferred<()> = handle.drained(0).add_errback(move |failure| {
                noted.note(format!("failed: {}", name_of(&failure)));
            });
            drop(told);
        }),
        Script::silent(),
    );
    let seen = log;
    case.until("it is told", move || seen.count("failed") == 1);
}

fn a_handle_survives_the_reactor(case: &Case<'_>) {
    let server = case.log();
    let handle: Rc<RefCell<Connection>> = Rc::default();
    let keeps = Rc::clone(&handle);
    case.join_factories(
        Over::Tcp,
        once(Script::noting(&server).made(move |transport| {
            keeps.replace(transport.connection());
        })),
        once(Script::silent()),
    );
    case.until_noted(&server, "made");
    case.drop_reactor();
    assert!(!handle.borrow().write(b"x"));
    assert!(!handle.borrow().abort_connection());
}

fn handles_of_one_connection_are_of_one(case: &Case<'_>) {
    let client = case.log();
    later(case, &case.log(), &client, |handle| {
        let other = handle.clone();
        handle.write(b"1");
        other.write(b"2");
        handle.write(b"3");
        assert_eq!(handle.unsent(), other.unsent());
        other.lose_connection();
        assert!(!handle.write(b"4"));
    });
    case.until_over(&[&client]);
    client.assert(&["made", "data 123", "read closed", "lost: done"]);
}

fn the_name_of_a_connection_is_its_own(case: &Case<'_>) {
    let names = case.log();
    let noted = names.clone();
    let (_port, endpoint) = case.serve(each(move || {
        let noted = noted.clone();
        Script::silent().made(move |transport| noted.note(transport.id().to_string()))
    }));
    for _ in 0..10 {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let seen = names.clone();
    case.until("all are up", move || seen.len() == 10);
    let mut names = names.events();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 10);
}
