//! Options of sockets: they are taken, and change nothing of the order of things.

use ropewalk_core::endpoint::{ClientEndpoint, TcpConnect};
use std::time::Duration;

use crate::body::topic;
use crate::case::{Case, LOOPBACK, loopback, socket_addr};
use crate::script::{Gathered, Script, once, pattern};
use std::rc::Rc;

topic! { options:
    options_that_are_set_in_callbacks_leave_the_connection,
    options_of_a_port_leave_its_connections,
    options_of_a_client_leave_its_connection,
    small_buffers_lose_nothing,
    an_option_that_was_asked_for_at_the_end_does_no_harm,
}

fn options_that_are_set_in_callbacks_leave_the_connection(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().data(|transport, data| {
            transport.set_no_delay(false);
            transport.set_keep_alive(Some(Duration::from_secs(60)));
            transport.write(data);
            transport.set_keep_alive(None);
            transport.set_no_delay(true);
            transport.lose_connection();
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "data x", "read closed", "lost: done"]);
}

fn options_of_a_port_leave_its_connections(case: &Case<'_>) {
    let log = case.log();
    let listen = loopback()
        .no_delay(false)
        .keep_alive(Duration::from_secs(60))
        .backlog(16);
    let factory = once(Script::noting(&log));
    let port = case.reactor().listen(&listen.into(), factory);
    let address = socket_addr(&port.expect("listens"));
    let client = once(Script::silent().saying("x"));
    drop(case.connect(&crate::case::to(address), client, &case.log()));
    case.until_noted(&log, "data x");
}

fn options_of_a_client_leave_its_connection(case: &Case<'_>) {
    let log = case.log();
    let (port, _) = case.serve(once(Script::noting(&log)));
    let endpoint: ClientEndpoint = TcpConnect::new(LOOPBACK, socket_addr(&port).port())
        .no_delay(false)
        .keep_alive(Duration::from_secs(60))
        .into();
    let client = once(Script::silent().saying("x"));
    drop(case.connect(&endpoint, client, &case.log()));
    case.until_noted(&log, "data x");
}

fn small_buffers_lose_nothing(case: &Case<'_>) {
    let got = Gathered::default();
    let listen = loopback().receive_buffer(64 * 1024).send_buffer(64 * 1024);
    let factory = once(Script::silent().gathering(&got));
    let port = case.reactor().listen(&listen.into(), factory);
    let address = socket_addr(&port.expect("listens"));
    let endpoint: ClientEndpoint = TcpConnect::new(address.ip(), address.port())
        .receive_buffer(64 * 1024)
        .send_buffer(64 * 1024)
        .into();
    let client = Script::silent().made(|transport| transport.write(&pattern(0, 3_000_000)));
    drop(case.connect(&endpoint, once(client), &case.log()));
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 3_000_000);
    assert!(*got.borrow() == pattern(0, 3_000_000));
}

fn an_option_that_was_asked_for_at_the_end_does_no_harm(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).data(|transport, _| {
            transport.abort_connection();
            transport.set_no_delay(false);
            transport.set_keep_alive(Some(Duration::from_secs(1)));
        }),
        Script::silent().saying("x"),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "data x", "lost: aborted"]);
}
