//! One side closes for writing, and the other one goes on.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::{Connection, Transport};

use crate::body::topic;
use crate::case::{Case, MOMENT, Over};
use crate::script::{Gathered, Script, each, once, pattern};

topic! { half_close:
    the_peer_of_lose_write_connection_is_told_after_all_bytes,
    who_has_closed_its_side_still_receives,
    who_has_closed_its_side_still_receives_over_unix [Unix],
    a_server_may_close_its_side_first,
    when_both_sides_are_closed_the_connection_is_done,
    when_both_sides_are_closed_the_connection_is_done_over_unix [Unix],
    both_may_close_their_sides_at_once,
    nothing_is_written_after_lose_write_connection,
    lose_write_connection_sends_all_that_was_written_first,
    closing_a_side_twice_is_one_end,
    unless_told_otherwise_a_read_end_closes_when_all_is_sent,
    a_read_end_waits_while_reading_is_paused,
    a_read_end_comes_to_a_side_that_is_closed,
    lose_connection_after_lose_write_connection_waits_for_nobody,
    an_abort_after_lose_write_connection_is_one,
    a_reset_after_the_read_end_is_told,
    an_echo_gives_back_all_to_one_who_has_closed_its_side,
    the_read_end_is_told_though_much_is_unsent,
    a_side_that_is_closed_for_long_goes_on_receiving,
    half_closed_connections_of_one_port_do_not_mix,
}

fn close_side(transport: &mut Transport) {
    transport.lose_write_connection();
}

fn the_peer_of_lose_write_connection_is_told_after_all_bytes(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).staying(),
        Script::silent().made(|transport| {
            transport.write(b"all of this");
            transport.lose_write_connection();
        }),
    );
    case.until_noted(&server, "read closed");
    server.assert(&["made", "data all of this", "read closed"]);
}

fn receives_after_closing(case: &Case<'_>, over: Over) {
    let client = case.log();
    case.join_over(
        over,
        Script::silent().read_closed(|transport| {
            transport.write(b"an answer to the end");
            transport.lose_connection();
        }),
        Script::noting(&client).made(close_side),
    );
    case.until_over(&[&client]);
    let told = [
        "made",
        "data an answer to the end",
        "read closed",
        "lost: done",
    ];
    client.assert(&told);
}

fn who_has_closed_its_side_still_receives(case: &Case<'_>) {
    receives_after_closing(case, Over::Tcp);
}

fn who_has_closed_its_side_still_receives_over_unix(case: &Case<'_>) {
    receives_after_closing(case, Over::Unix);
}

fn a_server_may_close_its_side_first(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).made(close_side),
        Script::noting(&client).read_closed(|transport| {
            transport.write(b"so I talk alone");
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "data so I talk alone", "read closed", "lost: done"]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn both_close_in_turn(case: &Case<'_>, over: Over) {
    let (server, client) = (case.log(), case.log());
    case.join_over(
        over,
        Script::noting(&server).read_closed(close_side),
        Script::noting(&client).made(close_side).staying(),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "read closed", "lost: done"]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn when_both_sides_are_closed_the_connection_is_done(case: &Case<'_>) {
    both_close_in_turn(case, Over::Tcp);
}

fn when_both_sides_are_closed_the_connection_is_done_over_unix(case: &Case<'_>) {
    both_close_in_turn(case, Over::Unix);
}

fn both_may_close_their_sides_at_once(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let both = |log| Script::noting(log).made(close_side).staying();
    case.join(both(&server), both(&client));
    case.until_over(&[&server, &client]);
    server.assert(&["made", "read closed", "lost: done"]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn nothing_is_written_after_lose_write_connection(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let noted = client.clone();
    case.join(
        Script::noting(&server),
        Script::silent().made(move |transport| {
            transport.write(b"before");
            transport.lose_write_connection();
            transport.write(b", after");
            let by_handle = transport.connection().write(b", after");
            noted.note(format!("written: {by_handle}"));
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "data before", "read closed", "lost: done"]);
    client.assert(&["written: false"]);
}

fn lose_write_connection_sends_all_that_was_written_first(case: &Case<'_>) {
    let got = Gathered::default();
    let server = case.log();
    let ended = server.clone();
    case.join(
        Script::silent()
            .gathering(&got)
            .read_closed(move |transport| {
                ended.note("end");
                transport.lose_connection();
            }),
        Script::silent().made(|transport| {
            transport.write(&pattern(0, 3_000_000));
            transport.lose_write_connection();
        }),
    );
    case.until_noted(&server, "end");
    assert!(*got.borrow() == pattern(0, 3_000_000));
}

fn closing_a_side_twice_is_one_end(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).read_closed(|_| ()),
        Script::noting(&client).made(move |transport| {
            transport.lose_write_connection();
            transport.lose_write_connection();
            let again = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                again.act(Transport::lose_write_connection);
            }));
            let close = transport.connection();
            drop(reactor.call_later(MOMENT * 3, move || {
                close.lose_connection();
            }));
        }),
    );
    case.until_over(&[&client]);
    server.assert(&["made", "read closed"]);
}

fn unless_told_otherwise_a_read_end_closes_when_all_is_sent(case: &Case<'_>) {
    let got = Gathered::default();
    let (server, client) = (case.log(), case.log());
    let over = client.clone();
    case.join(
        Script::noting(&server).made(|transport| transport.write(&pattern(0, 2_000_000))),
        Script::silent()
            .gathering(&got)
            .made(close_side)
            .lost(move |_| over.note("lost: ")),
    );
    case.until_over(&[&server, &client]);
    assert!(*got.borrow() == pattern(0, 2_000_000));
    assert_eq!(server.reason(), "done");
}

fn a_read_end_waits_while_reading_is_paused(case: &Case<'_>) {
    let server = case.log();
    let (reactor, resumed) = (case.reactor(), server.clone());
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.pause_producing();
            let handle = transport.connection();
            let resumed = resumed.clone();
            drop(reactor.call_later(MOMENT, move || {
                resumed.note("asks for more");
                handle.resume_producing();
            }));
        }),
        Script::silent().made(|transport| {
            transport.write(b"last");
            transport.lose_write_connection();
        }),
    );
    case.until_over(&[&server]);
    server.assert(&[
        "made",
        "asks for more",
        "data last",
        "read closed",
        "lost: done",
    ]);
}

fn a_read_end_comes_to_a_side_that_is_closed(case: &Case<'_>) {
    let client = case.log();
    let reactor = case.reactor();
    case.join(
        Script::silent().staying().made(move |transport| {
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.act(Transport::lose_write_connection);
            }));
        }),
        Script::noting(&client).made(close_side).staying(),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn lose_connection_after_lose_write_connection_waits_for_nobody(case: &Case<'_>) {
    let client = case.log();
    case.join(
        // It stays, and never closes.
        Script::silent().staying(),
        Script::noting(&client).made(|transport| {
            transport.write(b"x");
            transport.lose_write_connection();
            transport.lose_connection();
        }),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "lost: done"]);
}

fn an_abort_after_lose_write_connection_is_one(case: &Case<'_>) {
    let client = case.log();
    let reactor = case.reactor();
    case.join(
        Script::silent().staying(),
        Script::noting(&client).made(move |transport| {
            transport.lose_write_connection();
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.abort_connection();
            }));
        }),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "lost: aborted"]);
}

fn a_reset_after_the_read_end_is_told(case: &Case<'_>) {
    let server = case.log();
    let client: Rc<RefCell<Connection>> = Rc::default();
    let keeps = Rc::clone(&client);
    case.join(
        Script::noting(&server).staying(),
        Script::silent().made(move |transport| {
            keeps.replace(transport.connection());
            transport.lose_write_connection();
        }),
    );
    let told = server.clone();
    case.when(
        move || told.has("read closed"),
        move || {
            client.borrow().abort_connection();
        },
    );
    case.until_over(&[&server]);
    server.assert(&["made", "read closed", "lost: broken"]);
}

fn an_echo_gives_back_all_to_one_who_has_closed_its_side(case: &Case<'_>) {
    let got = Gathered::default();
    let client = case.log();
    let over = client.clone();
    case.join(
        Script::echo(),
        Script::silent()
            .made(|transport| {
                transport.write(&pattern(0, 1_000_000));
                transport.lose_write_connection();
            })
            .gathering(&got)
            .lost(move |_| over.note("lost: ")),
    );
    case.until_over(&[&client]);
    assert!(*got.borrow() == pattern(0, 1_000_000));
}

fn the_read_end_is_told_though_much_is_unsent(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server)
            .made(|transport| transport.write(&vec![1; 8_000_000]))
            .staying(),
        // It reads nothing.
        Script::silent().made(move |transport| {
            transport.pause_producing();
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.act(Transport::lose_write_connection);
            }));
        }),
    );
    case.until_noted(&server, "read closed");
    server.assert(&["made", "paused", "read closed"]);
}

fn a_side_that_is_closed_for_long_goes_on_receiving(case: &Case<'_>) {
    let client = case.log();
    let reactor = case.reactor();
    case.join(
        Script::silent().read_closed(move |transport| {
            for (number, word) in ["one ", "two ", "three"].into_iter().enumerate() {
                let handle = transport.connection();
                drop(reactor.call_later(MOMENT * number as u32, move || {
                    handle.write(word.as_bytes());
                    if word == "three" {
                        handle.lose_connection();
                    }
                }));
            }
        }),
        Script::noting(&client).made(close_side),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "data one two three", "read closed", "lost: done"]);
}

fn half_closed_connections_of_one_port_do_not_mix(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(each(|| {
        let said = Gathered::default();
        let answer = Rc::clone(&said);
        Script::silent()
            .gathering(&said)
            .read_closed(move |transport| {
                transport.write(&answer.borrow());
                transport.lose_connection();
            })
    }));
    for (log, text) in [(&first, "first"), (&second, "second")] {
        let client = Script::noting(log).made(move |transport| {
            transport.write(text.as_bytes());
            transport.lose_write_connection();
        });
        drop(case.connect(&endpoint, once(client), &case.log()));
    }
    case.until_over(&[&first, &second]);
    first.assert(&["made", "data first", "read closed", "lost: done"]);
    second.assert(&["made", "data second", "read closed", "lost: done"]);
}
