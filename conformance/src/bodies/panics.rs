//! A panic in a callback ends its connection, and nothing else.

use std::cell::Cell;

use ropewalk_core::{Connection, Deferred, Transport};

use crate::body::topic;
use crate::case::{Case, MOMENT, connect, ms};
use crate::script::{Script, boom, each, once};

topic! { panics:
    a_panic_in_connection_made_ends_the_connection,
    a_panic_in_data_received_ends_the_connection_with_a_reset,
    a_panic_in_read_closed_ends_the_connection,
    a_panic_in_write_paused_ends_the_connection,
    a_panic_in_write_resumed_ends_the_connection,
    a_panic_in_timeout_connection_ends_the_connection,
    a_panic_in_drain_does_not_keep_the_shutdown,
    a_panic_in_connection_lost_ends_nothing_else,
    a_panic_in_a_call_with_the_protocol_ends_the_connection,
    a_panic_in_write_with_ends_the_connection,
    a_panic_when_a_protocol_is_dropped_ends_nothing_else,
    a_panic_in_the_factory_of_a_client_fails_the_attempt,
    a_panic_in_a_callback_of_an_attempt_leaves_the_connection,
    a_panic_in_a_callback_of_drained_ends_the_connection,
    after_a_panic_the_port_accepts_others,
    what_was_written_before_a_panic_is_not_sent,
}

fn a_panic_in_connection_made_ends_the_connection(case: &Case<'_>) {
    let server = case.log();
    case.join(Script::noting(&server).made(|_| boom()), Script::silent());
    case.until_over(&[&server]);
    server.assert(&["made", "lost: panic in connection_made"]);
}

fn a_panic_in_data_received_ends_the_connection_with_a_reset(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).data(|_, _| boom()),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "data x", "lost: panic in data_received"]);
    client.assert(&["made", "lost: broken"]);
}

fn a_panic_in_read_closed_ends_the_connection(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).read_closed(|_| boom()),
        Script::silent().made(Transport::lose_write_connection),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "read closed", "lost: panic in read_closed"]);
}

const MUCH: usize = 12_000_000;

fn a_panic_in_write_paused_ends_the_connection(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(|transport| transport.write(&vec![0; MUCH]))
            .paused(|_| boom()),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "paused", "lost: panic in write_paused"]);
}

fn a_panic_in_write_resumed_ends_the_connection(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(|transport| transport.await_flush())
            .resumed(|_| boom()),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "resumed", "lost: panic in write_resumed"]);
}

fn a_panic_in_timeout_connection_ends_the_connection(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(|transport| transport.set_timeout(Some(ms(2))))
            .timeout(|_| boom()),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "timeout", "lost: panic in timeout_connection"]);
}

fn a_panic_in_drain_does_not_keep_the_shutdown(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server)
            .data(move |_, _| reactor.stop())
            .drain(|_| boom()),
        Script::silent().saying("x"),
    );
    case.run().expect("a clean end");
    server.assert(&["made", "data x", "drain", "lost: panic in drain"]);
}

/// Whether another connection is served when the first one is gone.
fn goes_on(case: &Case<'_>, first: Script) {
    let (gone, answered) = (case.log(), case.log());
    let first = Cell::new(Some(first));
    let (_port, endpoint) = case.serve(each(move || first.take().unwrap_or_else(Script::echo)));
    let (reactor, again, noted) = (case.reactor(), endpoint.clone(), answered.clone());
    let client = Script::noting(&gone).saying("x").lost(move |_| {
        let asks = once(Script::noting(&noted).saying("y"));
        drop(connect(&reactor, &again, asks, &noted));
    });
    drop(case.connect(&endpoint, once(client), &case.log()));
    case.until_noted(&answered, "data y");
}

fn a_panic_in_connection_lost_ends_nothing_else(case: &Case<'_>) {
    let panics = Script::silent()
        .data(|transport, _| transport.lose_connection())
        .lost(|_| boom());
    goes_on(case, panics);
}

fn a_panic_in_a_call_with_the_protocol_ends_the_connection(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(move |transport| {
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.with(|_: &mut Script, _| boom());
            }));
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    assert!(
        server.reason().starts_with("panic in"),
        "{:?}",
        server.events()
    );
}

fn a_panic_in_write_with_ends_the_connection(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).data(|transport, _| {
            transport.write_with(|buffer| {
                buffer.extend_from_slice(b"half a mess");
                boom()
            });
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&server, &client]);
    assert!(
        server.reason().starts_with("panic in"),
        "{:?}",
        server.events()
    );
    client.assert(&["made", "lost: broken"]);
}

/// Panics when it is dropped, unless there is a panic already.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            boom();
        }
    }
}

fn a_panic_when_a_protocol_is_dropped_ends_nothing_else(case: &Case<'_>) {
    let bomb = Bomb;
    let drops = Script::silent().data(move |transport, _| {
        let _bomb = &bomb;
        transport.lose_connection();
    });
    goes_on(case, drops);
}

fn a_panic_in_the_factory_of_a_client_fails_the_attempt(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    drop(case.connect(&endpoint, each(|| boom()), &log));
    case.until_noted(&log, "not connected: factory refused");
}

fn a_panic_in_a_callback_of_an_attempt_leaves_the_connection(case: &Case<'_>) {
    let client = case.log();
    let (_port, endpoint) = case.serve(each(Script::echo));
    let says = Script::noting(&client).saying("x");
    let connecting = case.reactor().connect(&endpoint, once(says));
    let told: Deferred<()> = connecting.add_callback(|_: Connection| -> () { boom() });
    drop(told.add_errback(|_| ()));
    case.until_noted(&client, "data x");
}

fn a_panic_in_a_callback_of_drained_ends_the_connection(case: &Case<'_>) {
    let (server, other) = (case.log(), case.log());
    case.join(
        Script::noting(&server).made(|transport| {
            transport.write(b"x");
            let told: Deferred<()> = transport
                .connection()
                .drained(0)
                .add_callback(|()| -> () { boom() });
            drop(told.add_errback(|_| ()));
        }),
        Script::silent(),
    );
    case.join(Script::echo(), Script::noting(&other).saying("y"));
    case.until_noted(&other, "data y");
}

fn after_a_panic_the_port_accepts_others(case: &Case<'_>) {
    goes_on(case, Script::silent().data(|_, _| boom()));
}

fn what_was_written_before_a_panic_is_not_sent(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join(
        Script::noting(&server).data(|transport, _| {
            transport.write(b"half an answer");
            boom()
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&server, &client]);
    client.assert(&["made", "lost: broken"]);
}
