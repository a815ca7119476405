//! Names of hosts, looked up by the driver.

use std::net::SocketAddr;

use ropewalk_core::endpoint::{ClientEndpoint, TcpConnect};
use ropewalk_core::{Deferred, Failure, NameResolver};
use std::rc::Rc;

use crate::body::topic;
use crate::case::{Case, MOMENT, socket_addr};
use crate::names::name_of;
use crate::script::{Script, each, once};

topic! { lookups:
    a_name_is_looked_up_and_connected_to [Names],
    a_name_that_nobody_has_is_not_found [Names],
    an_address_needs_no_look_up,
    many_look_ups_of_one_name_are_all_answered [Names],
    each_look_up_gets_the_port_that_it_asked_for [Names],
    a_look_up_that_is_cancelled_is_not_heard_of [Names],
    a_look_up_does_not_hold_up_the_loop [Names],
    a_look_up_in_the_shutdown_fails [Names],
    an_installed_resolver_takes_the_place_of_the_drivers,
    what_was_installed_before_is_given_back [Names],
}

fn look_up(case: &Case<'_>, name: &str, port: u16, log: &crate::log::Log) -> Deferred<()> {
    let noted = log.clone();
    let found = case.reactor().name_resolver().resolve_host_name(name, port);
    found.add_both(move |found: Result<Vec<SocketAddr>, Failure>| match found {
        Ok(found) => found.iter().for_each(|one| noted.note(one.to_string())),
        Err(failure) if name_of(&failure) == "cancelled" => noted.note("cancelled"),
        Err(_) => noted.note("not found"),
    })
}

fn a_name_is_looked_up_and_connected_to(case: &Case<'_>) {
    let log = case.log();
    let (port, _) = case.serve(each(Script::silent));
    let (name, _) = case.subject().known_name();
    let endpoint = TcpConnect::new(name, socket_addr(&port).port()).into();
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    case.until_noted(&log, "connected");
}

fn a_name_that_nobody_has_is_not_found(case: &Case<'_>) {
    let log = case.log();
    let name = case.subject().unknown_name();
    let endpoint: ClientEndpoint = TcpConnect::new(name, 80).into();
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    case.until_noted(&log, "not connected: name not found");
}

fn an_address_needs_no_look_up(case: &Case<'_>) {
    let log = case.log();
    let found = look_up(case, "127.0.0.1", 7, &log);
    assert!(found.is_fired());
    log.assert(&["127.0.0.1:7"]);
}

fn many_look_ups_of_one_name_are_all_answered(case: &Case<'_>) {
    let (name, address) = case.subject().known_name();
    let expected = SocketAddr::new(address, 7).to_string();
    let log = case.log();
    for _ in 0..50 {
        drop(look_up(case, name, 7, &log));
    }
    let seen = log.clone();
    let own = expected;
    case.until("each is answered", move || seen.count(&own) == 50);
    assert_eq!(log.count("not found"), 0);
}

fn each_look_up_gets_the_port_that_it_asked_for(case: &Case<'_>) {
    let (name, address) = case.subject().known_name();
    let log = case.log();
    for port in [1, 2, 3] {
        drop(look_up(case, name, port, &log));
    }
    let expected: Vec<String> = [1, 2, 3]
        .map(|port| SocketAddr::new(address, port).to_string())
        .to_vec();
    let seen = log;
    case.until("each is answered", move || {
        expected.iter().all(|one| seen.has(one))
    });
}

fn a_look_up_that_is_cancelled_is_not_heard_of(case: &Case<'_>) {
    let (name, _) = case.subject().known_name();
    let log = case.log();
    let found = look_up(case, name, 7, &log);
    found.cancel();
    log.assert(&["cancelled"]);
    case.reactor().call_later(MOMENT, log.noting("later"));
    case.until_noted(&log, "later");
    log.assert(&["cancelled", "later"]);
}

fn a_look_up_does_not_hold_up_the_loop(case: &Case<'_>) {
    let (name, _) = case.subject().known_name();
    let client = case.log();
    let lookups = case.log();
    for number in 0..100 {
        let other = format!("{name}-{number}.invalid");
        drop(look_up(case, &other, 7, &lookups));
    }
    case.join(Script::echo(), Script::noting(&client).saying("x"));
    case.until_noted(&client, "data x");
}

fn a_look_up_in_the_shutdown_fails(case: &Case<'_>) {
    let (name, _) = case.subject().known_name();
    let log = case.log();
    let endpoint: ClientEndpoint = TcpConnect::new(name, 7).into();
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    case.reactor().stop();
    case.run().expect("a clean end");
    // It may have been found, and refused, before the shutdown came so far.
    assert_eq!(log.count("not connected"), 1);
}

/// Finds nothing.
struct Nothing;

impl NameResolver for Nothing {
    fn resolve_host_name(&self, _: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
        Deferred::fail(std::io::Error::other("there is nothing"))
    }
}

fn an_installed_resolver_takes_the_place_of_the_drivers(case: &Case<'_>) {
    let log = case.log();
    drop(case.reactor().install_name_resolver(Rc::new(Nothing)));
    let (name, _) = case.subject().known_name();
    drop(look_up(case, name, 7, &log));
    log.assert(&["not found"]);
}

fn what_was_installed_before_is_given_back(case: &Case<'_>) {
    let log = case.log();
    let own = case.reactor().install_name_resolver(Rc::new(Nothing));
    drop(case.reactor().install_name_resolver(own));
    let (name, address) = case.subject().known_name();
    drop(look_up(case, name, 7, &log));
    let expected = SocketAddr::new(address, 7).to_string();
    let seen = log;
    case.until("it is found", move || seen.has(&expected));
}
