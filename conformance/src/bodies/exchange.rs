//! Protocols that are exchanged on a live connection, and connections that are handed on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::{Address, Factory, Transport};

use crate::body::topic;
use crate::case::{Case, MOMENT};
use crate::script::{Script, once};

topic! { exchange:
    the_new_protocol_gets_connection_made_and_what_was_unread,
    the_old_protocol_gets_no_connection_lost,
    the_new_protocol_gets_what_comes_later,
    the_exchange_waits_for_the_running_callback,
    what_the_old_one_wrote_is_sent_before_what_the_new_one_writes,
    a_pause_of_the_old_protocol_does_not_hold_for_the_new_one,
    a_timeout_of_the_old_protocol_does_not_come_to_the_new_one,
    a_read_end_that_the_old_one_was_told_is_told_to_the_new_one,
    a_protocol_may_be_exchanged_again_and_again,
    an_exchange_in_connection_made_is_before_any_data,
    the_attempt_of_a_client_that_exchanges_at_once_is_fulfilled,
    a_connection_that_is_handed_on_is_of_the_other_factory,
    a_handle_from_before_a_handing_on_is_of_no_connection,
    a_factory_that_refuses_what_is_handed_to_it_closes,
}

/// Becomes `next` at the first data, of which one byte is its own.
fn becoming(first: Script, next: Script) -> Script {
    let next = Cell::new(Some(next));
    first.data(move |transport, data| {
        if let Some(next) = next.take() {
            transport.exchange_protocol(Box::new(next), &data[1..]);
        }
    })
}

fn the_new_protocol_gets_connection_made_and_what_was_unread(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    case.join(
        becoming(Script::noting(&first), Script::noting(&second)),
        Script::silent().made(|transport| {
            transport.write(b"0123456789");
            transport.lose_connection();
        }),
    );
    case.until_over(&[&second]);
    second.assert(&["made", "data 123456789", "read closed", "lost: done"]);
    assert_eq!(first.count("lost"), 0);
}

fn the_old_protocol_gets_no_connection_lost(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let ends = Script::noting(&second).made(Transport::lose_connection);
    case.join(
        becoming(Script::noting(&first), ends),
        Script::silent().saying("x"),
    );
    case.until_over(&[&second]);
    first.assert(&["made", "data x"]);
}

fn the_new_protocol_gets_what_comes_later(case: &Case<'_>) {
    let (second, client) = (case.log(), case.log());
    let answers = Script::noting(&second).made(|transport| transport.write(b"ready"));
    case.join(
        becoming(Script::silent(), answers),
        Script::noting(&client).saying("x").data(|transport, data| {
            if data.ends_with(b"y") {
                transport.write(b"for the new one");
            }
        }),
    );
    case.until_noted(&second, "data for the new one");
    second.assert(&["made", "data for the new one"]);
}

fn the_exchange_waits_for_the_running_callback(case: &Case<'_>) {
    let log = case.log();
    let (noted, inner) = (log.clone(), log.clone());
    case.join(
        Script::silent().data(move |transport, _| {
            let inner = inner.clone();
            let next = Script::silent().made(move |_| inner.note("the new one"));
            transport.exchange_protocol(Box::new(next), b"");
            noted.note("the old one returns");
        }),
        Script::silent().saying("x"),
    );
    case.until_noted(&log, "the new one");
    log.assert(&["the old one returns", "the new one"]);
}

fn what_the_old_one_wrote_is_sent_before_what_the_new_one_writes(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().data(|transport, _| {
            transport.write(b"old");
            let next = Script::silent().made(|transport| {
                transport.write(b", new");
                transport.lose_connection();
            });
            transport.exchange_protocol(Box::new(next), b"");
            transport.write(b", still old");
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&client]);
    client.assert(&[
        "made",
        "data old, still old, new",
        "read closed",
        "lost: done",
    ]);
}

fn a_pause_of_the_old_protocol_does_not_hold_for_the_new_one(case: &Case<'_>) {
    let second = case.log();
    let next = RefCell::new(Some(Script::noting(&second)));
    let reactor = case.reactor();
    case.join(
        Script::silent().made(move |transport| {
            transport.pause_producing();
            let (handle, next) = (transport.connection(), next.take());
            drop(reactor.call_later(MOMENT, move || {
                let next = Box::new(next.unwrap_or_default());
                handle.act(|transport| transport.exchange_protocol(next, b""));
            }));
        }),
        Script::silent().saying("heard"),
    );
    case.until_noted(&second, "data heard");
    second.assert(&["made", "data heard"]);
}

fn a_timeout_of_the_old_protocol_does_not_come_to_the_new_one(case: &Case<'_>) {
    let (second, log) = (case.log(), case.log());
    let (reactor, later) = (case.reactor(), log.clone());
    let next = Cell::new(Some(Script::noting(&second)));
    case.join(
        Script::silent().data(move |transport, _| {
            transport.set_timeout(Some(MOMENT));
            let next = Box::new(next.take().unwrap_or_default());
            transport.exchange_protocol(next, b"");
            drop(reactor.call_later(MOMENT * 3, later.noting("later")));
        }),
        Script::silent().saying("x"),
    );
    case.until_noted(&log, "later");
    second.assert(&["made"]);
}

fn a_read_end_that_the_old_one_was_told_is_told_to_the_new_one(case: &Case<'_>) {
    let second = case.log();
    let next = Cell::new(Some(Script::noting(&second)));
    case.join(
        Script::silent().read_closed(move |transport| {
            let next = Box::new(next.take().unwrap_or_default());
            transport.exchange_protocol(next, b"left over");
        }),
        Script::silent().made(Transport::lose_write_connection),
    );
    case.until_over(&[&second]);
    second.assert(&["made", "data left over", "read closed", "lost: done"]);
}

fn a_protocol_may_be_exchanged_again_and_again(case: &Case<'_>) {
    fn next(left: u32, log: &crate::log::Log) -> Script {
        let log = log.clone();
        Script::silent().data(move |transport, data| {
            log.note(format!("{left}: {}", String::from_utf8_lossy(&data[..1])));
            match left {
                0 => transport.lose_connection(),
                _ => transport.exchange_protocol(Box::new(next(left - 1, &log)), &data[1..]),
            }
        })
    }
    let log = case.log();
    case.join(next(3, &log), Script::silent().saying("abcd"));
    case.until_noted(&log, "0: d");
    log.assert(&["3: a", "2: b", "1: c", "0: d"]);
}

fn an_exchange_in_connection_made_is_before_any_data(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let next = Cell::new(Some(Script::noting(&second)));
    case.join(
        Script::noting(&first).made(move |transport| {
            let next = Box::new(next.take().unwrap_or_default());
            transport.exchange_protocol(next, b"");
        }),
        Script::silent().saying("x"),
    );
    case.until_noted(&second, "data x");
    first.assert(&["made"]);
    second.assert(&["made", "data x"]);
}

fn the_attempt_of_a_client_that_exchanges_at_once_is_fulfilled(case: &Case<'_>) {
    let (log, second) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(once(Script::echo()));
    let next = Cell::new(Some(Script::noting(&second).saying("y")));
    let client = Script::silent().made(move |transport| {
        let next = Box::new(next.take().unwrap_or_default());
        transport.exchange_protocol(next, b"");
    });
    drop(case.connect(&endpoint, once(client), &log));
    case.until_noted(&second, "data y");
    log.assert(&["connected"]);
}

/// Hands the connection to `factory` at the first data, of which one byte is its own.
fn handing(factory: Rc<dyn Factory>) -> Script {
    Script::silent().data(move |transport, data| {
        let peer = Address::Tcp(([192, 0, 2, 7], 1024).into());
        let host = transport.host().clone();
        transport.hand_to(Rc::clone(&factory), peer, host, &data[1..]);
    })
}

fn a_connection_that_is_handed_on_is_of_the_other_factory(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let next = Script::noting(&log).made(move |transport| {
        noted.note(transport.peer().to_string());
    });
    case.join(handing(once(next)), Script::silent().saying("xrest"));
    case.until_noted(&log, "data rest");
    log.assert(&["made", "192.0.2.7:1024", "data rest"]);
}

fn a_handle_from_before_a_handing_on_is_of_no_connection(case: &Case<'_>) {
    let (client, log) = (case.log(), case.log());
    let noted = log.clone();
    let next = once(Script::echo());
    case.join(
        Script::silent().data(move |transport, data| {
            let old = transport.connection();
            let (peer, host) = (transport.peer(), transport.host().clone());
            transport.hand_to(Rc::clone(&next), peer, host, data);
            let noted = noted.clone();
            let call = move || noted.note(format!("written: {}", old.write(b"by the old one")));
            let _ = transport.reactor().call_later(MOMENT, Box::new(call));
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_noted(&log, "written: false");
    client.assert(&["made", "data x"]);
}

fn a_factory_that_refuses_what_is_handed_to_it_closes(case: &Case<'_>) {
    let client = case.log();
    case.join(
        handing(Rc::new(crate::script::Refusing)),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&client]);
    assert_eq!(client.count("data"), 0);
}
