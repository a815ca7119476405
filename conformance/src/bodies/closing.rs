//! How connections end: closed, aborted, reset by the peer.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::{Failure, Transport};

use crate::body::topic;
use crate::case::{Case, MOMENT, Over};
use crate::script::{Gathered, Script, each, once, pattern};

topic! { closing:
    lose_connection_sends_all_that_was_written,
    lose_connection_sends_all_that_was_written_over_unix [Unix],
    a_close_waits_for_a_peer_that_reads_slowly,
    nothing_is_received_after_lose_connection,
    nothing_is_written_after_lose_connection,
    what_is_written_in_the_callback_that_closed_before_is_dropped,
    lose_connection_with_tells_its_reason_and_the_peer_sees_a_clean_end,
    the_first_reason_to_close_stands,
    an_abort_is_a_reset_for_the_peer,
    an_abort_is_told_to_its_own_side_as_one,
    what_was_written_before_an_abort_in_one_callback_is_not_sent,
    an_abort_cuts_off_what_is_unsent,
    abort_with_tells_its_reason,
    the_first_reason_to_abort_stands,
    an_abort_after_lose_connection_does_not_wait_for_what_is_unsent,
    lose_connection_after_an_abort_changes_nothing,
    aborting_twice_is_one_end,
    both_may_abort_at_once,
    both_may_close_at_once,
    a_reset_is_told_to_one_who_reads,
    a_reset_is_told_to_one_whose_reading_is_paused,
    a_reset_is_told_to_one_with_much_unsent,
    a_server_that_aborts_at_once_is_told_to_the_client,
    is_closing_says_so_at_once,
    one_connection_that_ends_leaves_the_others,
    a_peer_that_closes_with_bytes_unread_ends_the_connection,
    a_connection_that_is_idle_for_long_is_still_there,
}

fn sends_all(case: &Case<'_>, over: Over) {
    let got = Gathered::default();
    let (server, client) = (case.log(), case.log());
    let over_there = server.clone();
    case.join_over(
        over,
        Script::silent()
            .gathering(&got)
            .lost(move |_| over_there.note("lost: ")),
        Script::noting(&client).made(|transport| {
            transport.write(&pattern(0, 4_000_000));
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server, &client]);
    assert!(
        *got.borrow() == pattern(0, 4_000_000),
        "{}",
        got.borrow().len()
    );
    assert_eq!(client.reason(), "done");
}

fn lose_connection_sends_all_that_was_written(case: &Case<'_>) {
    sends_all(case, Over::Tcp);
}

fn lose_connection_sends_all_that_was_written_over_unix(case: &Case<'_>) {
    sends_all(case, Over::Unix);
}

fn a_close_waits_for_a_peer_that_reads_slowly(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let (reactor, noted) = (case.reactor(), client.clone());
    let got = Gathered::default();
    case.join(
        Script::silent()
            .gathering(&got)
            .made(move |transport| {
                transport.pause_producing();
                let (handle, noted) = (transport.connection(), noted.clone());
                drop(reactor.call_later(MOMENT * 3, move || {
                    noted.note("the peer reads");
                    handle.resume_producing();
                }));
            })
            .lost({
                let server = server.clone();
                move |_| server.note("lost: ")
            }),
        Script::noting(&client).made(|transport| {
            transport.write(&pattern(0, 12_000_000));
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server, &client]);
    client.assert(&["made", "the peer reads", "lost: done"]);
    assert!(*got.borrow() == pattern(0, 12_000_000));
}

fn nothing_is_received_after_lose_connection(case: &Case<'_>) {
    let client = case.log();
    let reactor = case.reactor();
    case.join(
        Script::silent().made(move |transport| {
            transport.write(b"1");
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.write(b"2");
            }));
        }),
        Script::noting(&client).data(|transport, _| {
            // So that the connection is still there when more comes.
            transport.write(&vec![0; 8_000_000]);
            transport.lose_connection();
        }),
    );
    let seen = client.clone();
    drop(
        case.reactor()
            .call_later(MOMENT * 5, client.noting("later")),
    );
    case.until("a while has passed", move || {
        seen.has("later") && seen.count("data") > 0
    });
    assert_eq!(client.count("data "), 1);
    assert!(client.has("data 1"), "{:?}", client.events());
}

fn nothing_is_written_after_lose_connection(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let noted = client.clone();
    case.join(
        Script::noting(&server),
        Script::silent().made(move |transport| {
            transport.write(b"before");
            transport.lose_connection();
            noted.note(format!("{}", transport.connection().write(b"after")));
            let filled = transport.write_with(|buffer| buffer.extend_from_slice(b"after"));
            noted.note(format!("{filled:?}"));
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "data before", "read closed", "lost: done"]);
    client.assert(&["false", "None"]);
}

fn what_is_written_in_the_callback_that_closed_before_is_dropped(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server),
        Script::silent().made(|transport| {
            transport.lose_connection();
            transport.write(b"too late");
            transport.write_bytes(vec![b'x'; 4096].into());
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "read closed", "lost: done"]);
}

fn lose_connection_with_tells_its_reason_and_the_peer_sees_a_clean_end(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).made(|transport| {
            transport.write(b"bye");
            transport.lose_connection_with(Failure::msg("it is late"));
        }),
        Script::noting(&client),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "lost: it is late"]);
    client.assert(&["made", "data bye", "read closed", "lost: done"]);
}

fn the_first_reason_to_close_stands(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.lose_connection_with(Failure::msg("first"));
            transport.lose_connection_with(Failure::msg("second"));
            transport.lose_connection();
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "lost: first"]);
}

fn an_abort_is_a_reset_for_the_peer(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().data(|transport, _| transport.abort_connection()),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "lost: broken"]);
}

fn an_abort_is_told_to_its_own_side_as_one(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).data(|transport, _| transport.abort_connection()),
        Script::silent().saying("x"),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "data x", "lost: aborted"]);
}

fn what_was_written_before_an_abort_in_one_callback_is_not_sent(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().data(|transport, _| {
            transport.write(b"never");
            transport.abort_connection();
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&client]);
    assert_eq!(client.count("data"), 0);
}

fn an_abort_cuts_off_what_is_unsent(case: &Case<'_>) {
    let got = Gathered::default();
    let (server, client) = (case.log(), case.log());
    let (reactor, again) = (case.reactor(), case.reactor());
    let over = client.clone();
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.write(&pattern(0, 12_000_000));
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.abort_connection();
            }));
        }),
        Script::silent()
            .made(move |transport| {
                transport.pause_producing();
                let handle = transport.connection();
                drop(again.call_later(MOMENT * 3, move || {
                    handle.resume_producing();
                }));
            })
            .gathering(&got)
            .lost(move |_| over.note("lost: ")),
    );
    case.until_over(&[&server, &client]);
    assert_eq!(server.reason(), "aborted");
    assert!(got.borrow().len() < 12_000_000);
}

fn abort_with_tells_its_reason(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| transport.abort_with(Failure::msg("no"))),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "lost: no"]);
}

fn the_first_reason_to_abort_stands(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.abort_with(Failure::msg("first"));
            transport.abort_with(Failure::msg("second"));
            transport.lose_connection_with(Failure::msg("third"));
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "lost: first"]);
}

fn an_abort_after_lose_connection_does_not_wait_for_what_is_unsent(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.write(&vec![0; 12_000_000]);
            transport.lose_connection();
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.abort_connection();
            }));
        }),
        Script::silent().made(Transport::pause_producing),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "lost: aborted"]);
}

fn lose_connection_after_an_abort_changes_nothing(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.abort_connection();
            transport.write(b"x");
            transport.lose_connection();
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "lost: aborted"]);
}

fn aborting_twice_is_one_end(case: &Case<'_>) {
    let server = case.log();
    let noted = server.clone();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.abort_connection();
            transport.abort_connection();
            let (handle, noted) = (transport.connection(), noted.clone());
            drop(reactor.call_later(MOMENT, move || {
                noted.note(format!("again: {}", handle.abort_connection()));
            }));
        }),
        Script::silent(),
    );
    case.until_noted(&server, "again: false");
    server.assert(&["made", "lost: aborted", "again: false"]);
}

fn both_may_abort_at_once(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let ends = Rc::new(RefCell::new(Vec::new()));
    let keeping = |log| {
        let ends = Rc::clone(&ends);
        Script::noting(log).made(move |transport| ends.borrow_mut().push(transport.connection()))
    };
    case.join(keeping(&server), keeping(&client));
    let up = Rc::clone(&ends);
    case.when(
        move || up.borrow().len() == 2,
        move || {
            ends.borrow()
                .iter()
                .for_each(|end| assert!(end.abort_connection()));
        },
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "lost: aborted"]);
    client.assert(&["made", "lost: aborted"]);
}

fn both_may_close_at_once(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).made(|transport| transport.lose_connection()),
        Script::noting(&client).made(|transport| transport.lose_connection()),
    );
    case.until_over(&[&server, &client]);
    assert_eq!(
        (server.reason(), client.reason()),
        ("done".into(), "done".into())
    );
}

fn a_reset_is_told_to_one_who_reads(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).saying("x"),
        Script::noting(&client).data(|transport, _| transport.abort_connection()),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "lost: broken"]);
    client.assert(&["made", "data x", "lost: aborted"]);
}

fn a_reset_is_told_to_one_whose_reading_is_paused(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.pause_producing();
            transport.write(b"x");
        }),
        Script::silent().data(|transport, _| transport.abort_connection()),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "lost: broken"]);
}

fn a_reset_is_told_to_one_with_much_unsent(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(|transport| transport.write(&vec![0; 12_000_000])),
        Script::silent().made(move |transport| {
            transport.pause_producing();
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.abort_connection();
            }));
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "paused", "lost: broken"]);
}

fn a_server_that_aborts_at_once_is_told_to_the_client(case: &Case<'_>) {
    // The reset may come before the client has learnt that it is connected.
    let client = case.log();
    let (_port, endpoint) = case.serve(each(|| Script::silent().made(Transport::abort_connection)));
    drop(case.connect(&endpoint, once(Script::noting(&client)), &client));
    let told = client.clone();
    case.until("the client knows", move || {
        told.is_over() || told.count("not connected") > 0
    });
    assert!(client.has("lost: broken") || client.has("not connected: other error"));
}

fn is_closing_says_so_at_once(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.join(
        Script::silent().made(move |transport| {
            let handle = transport.connection();
            noted.note(format!(
                "{} {}",
                transport.is_closing(),
                handle.is_connected()
            ));
            transport.lose_connection();
            noted.note(format!(
                "{} {}",
                transport.is_closing(),
                handle.is_connected()
            ));
        }),
        Script::silent(),
    );
    let seen = log.clone();
    case.until("it was asked", move || seen.len() == 2);
    log.assert(&["false true", "true false"]);
}

fn one_connection_that_ends_leaves_the_others(case: &Case<'_>) {
    let (aborted, other) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(each(Script::echo));
    let ends = Script::noting(&aborted).made(|transport| transport.abort_connection());
    drop(case.connect(&endpoint, once(ends), &case.log()));
    let reactor = case.reactor();
    let stays = Script::noting(&other)
        .made(move |transport| {
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.write(b"still there!");
            }));
        })
        .data(|transport, data| {
            if data.ends_with(b"!") {
                transport.lose_connection();
            }
        });
    drop(case.connect(&endpoint, once(stays), &case.log()));
    case.until_over(&[&aborted, &other]);
    other.assert(&["made", "data still there!", "lost: done"]);
}

fn a_peer_that_closes_with_bytes_unread_ends_the_connection(case: &Case<'_>) {
    // Whether this is an end or a reset for the server, the network decides.
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).saying("unread"),
        Script::silent().made(move |transport| {
            transport.pause_producing();
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.lose_connection();
            }));
        }),
    );
    case.until_over(&[&server]);
    assert!(
        ["done", "broken"].contains(&&*server.reason()),
        "{:?}",
        server.events()
    );
}

fn a_connection_that_is_idle_for_long_is_still_there(case: &Case<'_>) {
    let client = case.log();
    let reactor = case.reactor();
    case.join(
        Script::echo(),
        Script::noting(&client)
            .made(move |transport| {
                let handle = transport.connection();
                drop(reactor.call_later(MOMENT * 20, move || {
                    handle.write(b"x");
                }));
            })
            .data(|transport, _| transport.lose_connection()),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "data x", "lost: done"]);
}
