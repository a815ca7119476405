//! No descriptor is left: what fails says so, what is there goes on, and nothing turns in vain.

use std::cell::RefCell;

use crate::body::topic;
use crate::case::{Case, MOMENT, connect, loopback, ms, socket_addr, to};
use crate::script::{Script, each, once};

topic! { descriptor_limit:
    connections_that_cannot_be_accepted_are_no_busy_loop [DescriptorLimit],
    when_there_are_descriptors_again_connections_are_accepted [DescriptorLimit],
    connections_that_are_there_go_on [DescriptorLimit],
    an_attempt_fails_and_says_so [DescriptorLimit],
    a_port_cannot_be_opened_and_the_reactor_goes_on [DescriptorLimit],
}

fn connections_that_cannot_be_accepted_are_no_busy_loop(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    for _ in 0..5 {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let limit = case.subject().leave_descriptors(0).expect("a limit");
    case.reactor().call_later(ms(50), log.noting("later"));
    case.until_noted(&log, "later");
    drop(limit);
    assert!(case.polls() < 200, "{} polls", case.polls());
}

fn when_there_are_descriptors_again_connections_are_accepted(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(each(Script::echo));
    drop(case.connect(&endpoint, once(Script::silent().saying("x")), &first));
    let limit = case.subject().leave_descriptors(0).expect("a limit");
    let limit = RefCell::new(Some(limit));
    let (reactor, noted) = (case.reactor(), second.clone());
    case.reactor().call_later(MOMENT, move || {
        drop(limit.take());
        let asks = once(Script::noting(&noted).saying("y"));
        drop(connect(&reactor, &endpoint, asks, &noted));
    });
    case.until_noted(&second, "data y");
}

fn connections_that_are_there_go_on(case: &Case<'_>) {
    let (client, refused) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(each(Script::echo));
    let (reactor, again, noted) = (case.reactor(), endpoint.clone(), refused.clone());
    let mut got = 0;
    let asks = Script::noting(&client)
        .saying("x")
        .data(move |transport, data| {
            got += data.len();
            if got == 1 {
                drop(connect(&reactor, &again, once(Script::silent()), &noted));
                transport.write(b"y");
            }
        });
    drop(case.connect(&endpoint, once(asks), &case.log()));
    // One, for the other end of this connection.
    let limit = case.subject().leave_descriptors(1).expect("a limit");
    let (answered, told) = (client, refused.clone());
    case.until("it is answered, and another is refused", move || {
        answered.has("data xy") && told.len() == 1
    });
    drop(limit);
    refused.assert(&["not connected: other error"]);
}

fn an_attempt_fails_and_says_so(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    let limit = case.subject().leave_descriptors(0).expect("a limit");
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    let told = log.clone();
    case.until("the attempt has ended", move || told.len() == 1);
    drop(limit);
    log.assert(&["not connected: other error"]);
}

fn a_port_cannot_be_opened_and_the_reactor_goes_on(case: &Case<'_>) {
    let log = case.log();
    let limit = case.subject().leave_descriptors(0).expect("a limit");
    let refused = case
        .reactor()
        .listen(&loopback().into(), once(Script::silent()));
    drop(limit);
    assert!(refused.is_err());
    let port = case
        .reactor()
        .listen(&loopback().into(), each(Script::echo));
    let address = socket_addr(&port.expect("there are descriptors again"));
    let asks = once(Script::noting(&log).saying("x"));
    drop(case.connect(&to(address), asks, &log));
    case.until_noted(&log, "data x");
}
