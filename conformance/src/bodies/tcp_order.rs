//! In which order a protocol is told what happens to its connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::{Address, Factory};

use crate::body::topic;
use crate::case::{Case, MOMENT};
use crate::script::{Script, each, once};

topic! { tcp_order:
    connection_made_is_first_and_connection_lost_is_last,
    connection_made_comes_without_any_bytes,
    each_end_is_told_of_its_own_end_once,
    bytes_come_in_the_order_in_which_they_were_written,
    what_one_callback_writes_in_pieces_comes_as_one_stream,
    the_end_comes_after_all_bytes,
    what_the_client_writes_in_connection_made_comes_after_the_servers_connection_made,
    the_factory_is_asked_before_connection_made,
    the_factory_is_told_the_peer_that_the_protocol_sees,
    the_ends_see_each_other_at_the_same_addresses,
    connections_of_one_port_are_told_apart,
    a_peer_that_says_nothing_and_closes_is_told_of_without_data,
    nothing_is_told_after_connection_lost_though_timers_were_set,
    the_attempt_is_told_after_connection_made,
    the_attempt_is_told_before_the_first_bytes,
    a_server_that_closes_at_once_was_connected_to,
    a_connection_that_is_aborted_at_once_was_made,
    what_is_written_by_a_handle_comes_after_what_the_callback_wrote_before,
    a_protocol_is_dropped_when_it_is_lost,
    time_stands_still_within_a_callback,
}

fn connection_made_is_first_and_connection_lost_is_last(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).data(|transport, _| transport.lose_connection()),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "data x", "lost: done"]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn connection_made_comes_without_any_bytes(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(Script::noting(&server), Script::noting(&client));
    let (one, other) = (server.clone(), client.clone());
    case.until("both ends are up", move || {
        one.has("made") && other.has("made")
    });
    server.assert(&["made"]);
    client.assert(&["made"]);
}

fn each_end_is_told_of_its_own_end_once(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    // Both close at once, in as many ways as there are.
    let close = |transport: &mut ropewalk_core::Transport| {
        transport.lose_connection();
        transport.lose_connection();
        transport.lose_write_connection();
    };
    case.join(
        Script::noting(&server).made(close),
        Script::noting(&client).made(close),
    );
    case.until_over(&[&server, &client]);
    assert_eq!((server.count("lost"), client.count("lost")), (1, 1));
}

fn bytes_come_in_the_order_in_which_they_were_written(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server),
        Script::silent().made(|transport| {
            for number in 0..200 {
                transport.write(format!("{number},").as_bytes());
            }
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server]);
    let numbers: String = (0..200).map(|number| format!("{number},")).collect();
    server.assert(&[
        "made",
        &format!("data {numbers}"),
        "read closed",
        "lost: done",
    ]);
}

fn what_one_callback_writes_in_pieces_comes_as_one_stream(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server),
        Script::silent().made(|transport| {
            transport.write(b"a");
            transport.write_bytes(bytes::Bytes::from(vec![b'b'; 5000]));
            transport.write(b"");
            transport.write_with(|buffer| buffer.extend_from_slice(b"c"));
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server]);
    let all = format!("data a{}c", "b".repeat(5000));
    server.assert(&["made", &all, "read closed", "lost: done"]);
}

fn the_end_comes_after_all_bytes(case: &Case<'_>) {
    let server = case.log();
    let sizes = Rc::new(RefCell::new(Vec::new()));
    let (seen, at_end) = (Rc::new(Cell::new(0)), Rc::clone(&sizes));
    let counted = Rc::clone(&seen);
    case.join(
        Script::noting(&case.log())
            .data(move |_, data| counted.set(counted.get() + data.len()))
            .read_closed(move |transport| {
                at_end.borrow_mut().push(seen.get());
                transport.lose_connection();
            })
            .lost({
                let server = server.clone();
                move |_| server.note("lost: ")
            }),
        Script::silent().made(|transport| {
            transport.write(&vec![7; 300_000]);
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server]);
    assert_eq!(*sizes.borrow(), [300_000]);
}

fn what_the_client_writes_in_connection_made_comes_after_the_servers_connection_made(
    case: &Case<'_>,
) {
    // Bytes may wait in the kernel before the connection is accepted.
    let server = case.log();
    let (_port, endpoint) = case.serve(once(Script::noting(&server)));
    let client = Script::silent().made(|transport| {
        transport.write(b"early");
        transport.lose_connection();
    });
    drop(case.connect(&endpoint, once(client), &case.log()));
    case.until_over(&[&server]);
    server.assert(&["made", "data early", "read closed", "lost: done"]);
}

fn the_factory_is_asked_before_connection_made(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let factory: Rc<dyn Factory> = Rc::new(move |_: &Address| {
        noted.note("built");
        Script::noting(&noted)
    });
    case.join_factories(crate::case::Over::Tcp, factory, once(Script::silent()));
    case.until_noted(&log, "made");
    log.assert(&["built", "made"]);
}

fn the_factory_is_told_the_peer_that_the_protocol_sees(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let factory: Rc<dyn Factory> = Rc::new(move |peer: &Address| {
        noted.note(peer.to_string());
        let noted = noted.clone();
        Script::silent().made(move |transport| noted.note(transport.peer().to_string()))
    });
    case.join_factories(crate::case::Over::Tcp, factory, once(Script::silent()));
    let seen = log.clone();
    case.until("the connection is up", move || seen.len() == 2);
    assert_eq!(log.events()[0], log.events()[1]);
}

fn the_ends_see_each_other_at_the_same_addresses(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let (one, other) = (server.clone(), client.clone());
    case.join(
        Script::silent().made(move |transport| {
            one.note(transport.host().to_string());
            one.note(transport.peer().to_string());
        }),
        Script::silent().made(move |transport| {
            other.note(transport.peer().to_string());
            other.note(transport.host().to_string());
        }),
    );
    let (one, other) = (server.clone(), client.clone());
    case.until("both ends are up", move || {
        one.len() == 2 && other.len() == 2
    });
    assert_eq!(server.events(), client.events());
    assert_ne!(server.events()[0], server.events()[1]);
}

fn connections_of_one_port_are_told_apart(case: &Case<'_>) {
    let (peers, server) = (case.log(), case.log());
    let (noted, answered) = (peers.clone(), server.clone());
    let (_port, endpoint) = case.serve(each(move || {
        let (noted, answered) = (noted.clone(), answered.clone());
        Script::silent().data(move |transport, data| {
            noted.note(transport.peer().to_string());
            answered.note(String::from_utf8_lossy(data));
        })
    }));
    for text in ["a", "b", "c"] {
        let client = once(Script::silent().saying(text));
        drop(case.connect(&endpoint, client, &case.log()));
    }
    let seen = server.clone();
    case.until("all have spoken", move || seen.len() == 3);
    let (mut said, mut peers) = (server.events(), peers.events());
    said.sort();
    peers.sort();
    peers.dedup();
    assert_eq!(said, ["a", "b", "c"]);
    assert_eq!(peers.len(), 3);
}

fn a_peer_that_says_nothing_and_closes_is_told_of_without_data(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server),
        Script::silent().made(|transport| transport.lose_connection()),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "read closed", "lost: done"]);
}

fn nothing_is_told_after_connection_lost_though_timers_were_set(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    let after = server.clone();
    case.join(
        Script::noting(&server)
            .made(|transport| {
                transport.set_timeout(Some(MOMENT));
                transport.await_flush();
                transport.write(b"x");
                transport.abort_connection();
            })
            .lost(move |_| {
                drop(reactor.call_later(MOMENT * 3, after.noting("later")));
            }),
        Script::silent(),
    );
    case.until_noted(&server, "later");
    server.assert(&["made", "lost: aborted", "later"]);
}

fn the_attempt_is_told_after_connection_made(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(once(Script::silent()));
    drop(case.connect(&endpoint, once(Script::noting(&log)), &log));
    case.until_noted(&log, "connected");
    log.assert(&["made", "connected"]);
}

fn the_attempt_is_told_before_the_first_bytes(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(once(Script::silent().made(|transport| {
        transport.write(b"welcome");
        transport.lose_connection();
    })));
    drop(case.connect(&endpoint, once(Script::noting(&log)), &log));
    case.until_over(&[&log]);
    log.assert(&[
        "made",
        "connected",
        "data welcome",
        "read closed",
        "lost: done",
    ]);
}

fn a_server_that_closes_at_once_was_connected_to(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(once(
        Script::silent().made(|transport| transport.lose_connection()),
    ));
    drop(case.connect(&endpoint, once(Script::noting(&log)), &log));
    case.until_over(&[&log]);
    log.assert(&["made", "connected", "read closed", "lost: done"]);
}

fn a_connection_that_is_aborted_at_once_was_made(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(once(Script::silent()));
    let client = Script::noting(&log).made(|transport| transport.abort_connection());
    drop(case.connect(&endpoint, once(client), &log));
    case.until_over(&[&log]);
    assert_eq!(log.count("connected"), 1);
    assert_eq!(log.events()[0], "made");
    assert_eq!(log.reason(), "aborted");
}

fn what_is_written_by_a_handle_comes_after_what_the_callback_wrote_before(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server),
        Script::silent().made(|transport| {
            let handle = transport.connection();
            transport.write(b"1");
            handle.write(b"2");
            transport.write(b"3");
            handle.lose_connection();
            assert!(!handle.write(b"4"));
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "data 123", "read closed", "lost: done"]);
}

/// Says when it is dropped.
struct Dropped(Rc<Cell<bool>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

fn a_protocol_is_dropped_when_it_is_lost(case: &Case<'_>) {
    let dropped = Rc::new(Cell::new(false));
    let held = Dropped(Rc::clone(&dropped));
    let server = case.log();
    case.join(
        Script::noting(&server).data(move |transport, _| {
            let _held = &held;
            transport.lose_connection();
        }),
        Script::silent().saying("x"),
    );
    let seen = Rc::clone(&dropped);
    case.until("the protocol is dropped", move || seen.get());
    assert!(server.is_over());
}

fn time_stands_still_within_a_callback(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.join(
        Script::silent().made(move |transport| {
            let before = transport.now();
            let reactor = transport.reactor();
            for _ in 0..100_000 {
                std::hint::black_box(transport.now());
            }
            let same = transport.now() == before && reactor.now() == before;
            noted.note(format!("same: {same}"));
        }),
        Script::silent(),
    );
    case.until("it is known", {
        let log = log.clone();
        move || log.len() == 1
    });
    log.assert(&["same: true"]);
}
