//! The bare driver: what it reports of connections, and in which order.

use std::io;

use ropewalk_core::{Address, ConnectionId};
use ropewalk_reactor::driver::ListenerId;

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::ms;
use crate::script::pattern;

topic! { driver driver_order:
    both_ends_are_opened_once,
    an_end_is_opened_before_it_receives,
    bytes_are_reported_in_their_order,
    the_read_end_is_reported_once_and_after_all_bytes,
    a_refusal_is_reported_once_and_is_all,
    a_reset_is_reported_once_and_last,
    a_close_is_a_read_end_for_the_peer_and_no_failure,
    after_a_read_end_it_still_sends,
    both_sides_may_be_shut_down,
    a_read_end_is_not_reported_again_when_this_side_is_shut_down,
    a_shut_down_side_still_receives,
    hosts_are_told,
    what_comes_before_the_accept_is_reported_after_it,
    a_refused_connection_is_never_opened,
    connections_over_unix_are_reported_in_the_same_order [Unix],
    a_path_where_nothing_is_fails_once [Unix],
}

const LISTENER: ListenerId = ListenerId(0);

fn both_ends_are_opened_once(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.poll_for(ms(5));
    let opened = |id| bare.count(|event| *event == Event::Opened(id));
    assert_eq!((opened(client), opened(server)), (1, 1));
    assert_ne!(client, server);
}

fn an_end_is_opened_before_it_receives(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.send(client, b"x");
    bare.until("it has come", |bare| bare.received_len(server) == 1);
    let events = bare.events();
    let at = |event| events.iter().position(|one| *one == event);
    assert!(at(Event::Opened(server)) < at(Event::Received(server, 1)));
}

fn bytes_are_reported_in_their_order(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    let mut from = 0;
    while from < 500_000 {
        bare.send(client, &pattern(from, 10_000));
        from += 10_000;
        bare.until("it has come", |bare| bare.received_len(server) == from);
    }
    assert!(bare.received(server) == pattern(0, 500_000));
}

fn the_read_end_is_reported_once_and_after_all_bytes(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.send(client, &pattern(0, 100_000));
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.until_event(&Event::ReadClosed(server));
    assert!(bare.received(server) == pattern(0, 100_000));
    bare.poll_for(ms(5));
    assert_eq!(bare.count(|event| *event == Event::ReadClosed(server)), 1);
}

/// What became of an attempt to connect where it fails.
fn failure(bare: &Bare<'_>, begun: &io::Result<ConnectionId>) -> usize {
    let Ok(id) = *begun else {
        // It is known at once, and nothing is reported then.
        bare.poll_for(ms(5));
        return bare.events().len();
    };
    bare.until("it has failed", |bare| {
        bare.count(|event| matches!(event, Event::ConnectFailed(of, _) if *of == id)) > 0
    });
    bare.poll_for(ms(5));
    bare.events().len() - 1
}

fn a_refusal_is_reported_once_and_is_all(bare: &Bare<'_>) {
    let place = bare.subject().nobody().expect("a place with nobody");
    let begun = bare.connect(place.address);
    assert_eq!(failure(bare, &begun), 0, "{:?}", bare.events());
}

fn a_reset_is_reported_once_and_last(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.send(client, b"x");
    bare.until("it has come", |bare| bare.received_len(server) == 1);
    bare.driver().abort(client);
    bare.until("the reset is reported", |bare| {
        bare.count(|event| matches!(event, Event::Failed(of, _) if *of == server)) == 1
    });
    bare.poll_for(ms(5));
    assert_eq!(
        bare.events().last(),
        Some(&Event::Failed(server, io::ErrorKind::ConnectionReset))
    );
}

fn a_close_is_a_read_end_for_the_peer_and_no_failure(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().close(client);
    bare.until_event(&Event::ReadClosed(server));
    bare.poll_for(ms(5));
    assert_eq!(bare.events().last(), Some(&Event::ReadClosed(server)));
}

fn after_a_read_end_it_still_sends(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.until_event(&Event::ReadClosed(server));
    bare.send(server, b"an answer");
    bare.until("it has come", |bare| bare.received(client) == b"an answer");
}

fn both_sides_may_be_shut_down(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.driver().shutdown_write(server).expect("shuts down");
    bare.until("both have ended", |bare| {
        bare.has(&Event::ReadClosed(client)) && bare.has(&Event::ReadClosed(server))
    });
    bare.poll_for(ms(5));
    let failed = bare.count(|event| matches!(event, Event::Failed(..)));
    assert_eq!(failed, 0, "{:?}", bare.events());
}

fn a_read_end_is_not_reported_again_when_this_side_is_shut_down(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.until_event(&Event::ReadClosed(server));
    bare.driver().shutdown_write(server).expect("shuts down");
    bare.until_event(&Event::ReadClosed(client));
    bare.driver().close(client);
    bare.poll_for(ms(5));
    assert_eq!(bare.count(|event| *event == Event::ReadClosed(server)), 1);
}

fn a_shut_down_side_still_receives(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().shutdown_write(client).expect("shuts down");
    for text in [&b"one"[..], b"two"] {
        bare.send(server, text);
        bare.poll_for(ms(2));
    }
    bare.until("it has come", |bare| bare.received(client) == b"onetwo");
}

fn hosts_are_told(bare: &Bare<'_>) {
    let address = bare.listen(LISTENER);
    let client = bare.connect(address).expect("begins");
    bare.until("both are up", |bare| {
        bare.count(|event| matches!(event, Event::Opened(_))) == 2
    });
    let server = bare.accepted(LISTENER)[0];
    assert_eq!(bare.host(server), Some(Address::Tcp(address)));
    let own = bare.host(client).and_then(|host| host.socket_addr());
    let own = own.expect("the client's own address");
    assert!(own.ip() == address.ip() && own.port() != 0 && own != address);
}

fn what_comes_before_the_accept_is_reported_after_it(bare: &Bare<'_>) {
    let address = bare.listen(LISTENER);
    let client = bare.connect(address).expect("begins");
    bare.react(move |driver, event| {
        // In the same moment in which it learns that it is up.
        if *event == Event::Opened(client) {
            let mut output = ropewalk_core::OutputQueue::default();
            output.write(b"!");
            driver.send(client, &mut output).expect("sends");
            driver.shutdown_write(client).expect("shuts down");
        }
    });
    bare.until("it has come", |bare| {
        let server = bare.accepted(LISTENER).first().copied();
        server.is_some_and(|server| bare.has(&Event::ReadClosed(server)))
    });
    let server = bare.accepted(LISTENER)[0];
    assert_eq!(bare.received(server), b"!");
}

fn a_refused_connection_is_never_opened(bare: &Bare<'_>) {
    let address = bare.listen(LISTENER);
    bare.refuse(true);
    let client = bare.connect(address).expect("begins");
    bare.until("the client sees the end", |bare| {
        bare.count(
            |event| matches!(event, Event::ReadClosed(of) | Event::Failed(of, _) if *of == client),
        ) > 0
    });
    let opened = bare.count(|event| matches!(event, Event::Opened(_)));
    assert_eq!(opened, 1, "{:?}", bare.events());
}

fn connections_over_unix_are_reported_in_the_same_order(bare: &Bare<'_>) {
    let path = bare.path("socket");
    let endpoint = ropewalk_core::endpoint::UnixListen::new(&path).into();
    bare.driver().listen(LISTENER, &endpoint).expect("listens");
    let client = bare.connect_unix(&path).expect("begins");
    bare.until("both are up", |bare| {
        bare.count(|event| matches!(event, Event::Opened(_))) == 2
    });
    let server = bare.accepted(LISTENER)[0];
    bare.send(client, b"over a path");
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.until_event(&Event::ReadClosed(server));
    assert_eq!(bare.received(server), b"over a path");
    bare.send(server, b"and back");
    bare.driver().close(server);
    bare.until_event(&Event::ReadClosed(client));
    assert_eq!(bare.received(client), b"and back");
}

fn a_path_where_nothing_is_fails_once(bare: &Bare<'_>) {
    let begun = bare.connect_unix(&bare.path("nothing"));
    assert_eq!(failure(bare, &begun), 0, "{:?}", bare.events());
}
