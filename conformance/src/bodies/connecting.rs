//! What becomes of attempts to connect.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{ClientEndpoint, TcpConnect, UnixConnect};
use ropewalk_core::{Address, ConnectError, Connection, Deferred, Factory, Failure, NameResolver};

use crate::body::topic;
use crate::case::{Case, LOOPBACK, MOMENT, connect, ms, socket_addr, to};
use crate::log::Log;
use crate::script::{Refusing, Script, each, once};

topic! { connecting:
    an_attempt_gives_a_connection_that_is_up,
    the_connection_that_it_gives_writes,
    where_nobody_listens_it_is_refused,
    a_refusal_names_its_endpoint,
    a_refused_attempt_builds_no_protocol,
    a_path_where_nothing_is_fails [Unix],
    no_answer_ends_with_the_time_of_the_endpoint [BlackHole],
    no_answer_is_not_told_before_its_time [BlackHole],
    a_cancelled_attempt_is_cancelled_at_once [BlackHole],
    a_cancelled_attempt_leaves_no_connection [BlackHole],
    an_attempt_that_is_cancelled_before_any_turn_builds_nothing,
    cancelling_after_it_was_connected_changes_nothing,
    a_factory_that_builds_nothing_refuses,
    a_factory_may_cancel_the_attempt_that_it_builds_for,
    an_attempt_may_be_begun_within_connection_made,
    an_attempt_may_be_begun_within_connection_lost,
    an_attempt_may_be_begun_by_a_failed_one,
    an_attempt_before_the_run_is_made_in_it,
    a_hundred_attempts_at_once_are_all_made,
    refused_and_made_attempts_do_not_mix,
    the_client_has_a_port_of_its_own,
    a_client_may_choose_its_address,
    the_first_address_that_answers_wins,
    an_address_that_refuses_is_followed_by_the_next,
    an_address_that_does_not_answer_has_the_next_one_beside_it [BlackHole],
    the_attempts_beside_the_winner_are_given_up [BlackHole],
    when_all_addresses_fail_each_is_told,
    a_name_that_leads_nowhere_is_not_found,
    an_installed_resolver_is_asked_for_names_only,
    an_attempt_that_waits_for_a_name_is_cancelled,
    a_name_that_is_not_answered_has_the_time_of_the_endpoint,
    no_connection_is_counted_when_an_attempt_has_failed,
    a_connection_is_counted_while_it_is_being_made [BlackHole],
    ipv6_works_where_there_is_any [Ipv6],
}

fn attempt(case: &Case<'_>, endpoint: &ClientEndpoint) -> Log {
    let log = case.log();
    drop(case.connect(endpoint, once(Script::noting(&log)), &log));
    log
}

/// Until something is in the log.
fn until_told(case: &Case<'_>, log: &Log) {
    let told = log.clone();
    case.until("the attempt has ended", move || {
        told.count("connected") + told.count("not connected") > 0
    });
}

/// Until it is told, and no end of it is there. (Whether the server has seen it come, and go, the
/// network decides.)
fn until_nothing_is_left(case: &Case<'_>, log: &Log) {
    let (told, reactor) = (log.clone(), case.reactor());
    case.until("nothing is left of it", move || {
        told.len() > 0 && reactor.connections() == 0
    });
}

/// An endpoint that gives up soon.
fn briefly(address: SocketAddr, timeout: Duration) -> ClientEndpoint {
    let connect = TcpConnect::new(address.ip(), address.port());
    connect.timeout(timeout).into()
}

fn an_attempt_gives_a_connection_that_is_up(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(once(Script::silent()));
    let noted = log.clone();
    let connecting = case.reactor().connect(&endpoint, once(Script::silent()));
    let told: Deferred<()> = connecting.add_callback(move |connection: Connection| {
        noted.note(format!("up: {}", connection.is_connected()));
    });
    drop(told);
    case.until_noted(&log, "up: true");
}

fn the_connection_that_it_gives_writes(case: &Case<'_>) {
    let server = case.log();
    let (_port, endpoint) = case.serve(once(Script::noting(&server)));
    let connecting = case.reactor().connect(&endpoint, once(Script::silent()));
    let told: Deferred<()> = connecting.add_callback(|connection: Connection| {
        connection.write(b"by its handle");
    });
    drop(told);
    case.until_noted(&server, "data by its handle");
}

fn where_nobody_listens_it_is_refused(case: &Case<'_>) {
    let place = case.nobody();
    let log = attempt(case, &to(place.address));
    until_told(case, &log);
    log.assert(&["not connected: refused"]);
}

fn a_refusal_names_its_endpoint(case: &Case<'_>) {
    let place = case.nobody();
    let log = case.log();
    let noted = log.clone();
    let endpoint = to(place.address);
    let connecting = case.reactor().connect(&endpoint, once(Script::silent()));
    let told = connecting.add_both(move |result: Result<Connection, Failure>| {
        let failure = result.expect_err("nobody is there");
        noted.note(failure.to_string());
    });
    drop::<Deferred<()>>(told);
    let seen = log.clone();
    case.until("it is told", move || seen.len() == 1);
    let text = &log.events()[0];
    assert!(text.contains(&endpoint.to_string()), "{text}");
}

fn a_refused_attempt_builds_no_protocol(case: &Case<'_>) {
    let place = case.nobody();
    let log = case.log();
    let built = log.clone();
    let factory = each(move || {
        built.note("built");
        Script::silent()
    });
    drop(case.connect(&to(place.address), factory, &log));
    until_told(case, &log);
    log.assert(&["not connected: refused"]);
}

fn a_path_where_nothing_is_fails(case: &Case<'_>) {
    let endpoint = UnixConnect::new(case.path("nothing")).into();
    let log = attempt(case, &endpoint);
    until_told(case, &log);
    assert_eq!(log.count("not connected"), 1);
}

fn no_answer_ends_with_the_time_of_the_endpoint(case: &Case<'_>) {
    let place = case.black_hole();
    let log = attempt(case, &briefly(place.address, ms(30)));
    until_told(case, &log);
    log.assert(&["not connected: no answer"]);
}

fn no_answer_is_not_told_before_its_time(case: &Case<'_>) {
    let place = case.black_hole();
    let begun = case.reactor().now();
    let log = attempt(case, &briefly(place.address, ms(40)));
    let (told, reactor, ended) = (log, case.reactor(), Rc::new(Cell::new(begun)));
    let seen = Rc::clone(&ended);
    case.until("the attempt has ended", move || {
        seen.set(reactor.now());
        told.len() > 0
    });
    assert!(ended.get() - begun >= ms(40), "{:?}", ended.get() - begun);
}

fn a_cancelled_attempt_is_cancelled_at_once(case: &Case<'_>) {
    let place = case.black_hole();
    let log = case.log();
    let endpoint = briefly(place.address, Duration::from_secs(3600));
    let connecting = case.connect(&endpoint, once(Script::noting(&log)), &log);
    let noted = log.clone();
    drop(case.reactor().call_later(MOMENT, move || {
        connecting.cancel();
        noted.note("cancelled so far");
    }));
    case.until_noted(&log, "cancelled so far");
    log.assert(&["not connected: cancelled", "cancelled so far"]);
}

fn a_cancelled_attempt_leaves_no_connection(case: &Case<'_>) {
    let place = case.black_hole();
    let log = case.log();
    let endpoint = briefly(place.address, Duration::from_secs(3600));
    let connecting = case.connect(&endpoint, once(Script::noting(&log)), &log);
    let (reactor, noted) = (case.reactor(), log.clone());
    drop(case.reactor().call_later(MOMENT, move || {
        connecting.cancel();
        noted.note(format!("connections: {}", reactor.connections()));
    }));
    case.until_noted(&log, "connections: 0");
}

fn an_attempt_that_is_cancelled_before_any_turn_builds_nothing(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    let built = log.clone();
    let factory = each(move || {
        built.note("built");
        Script::silent()
    });
    case.connect(&endpoint, factory, &log).cancel();
    drop(case.reactor().call_later(MOMENT * 2, log.noting("later")));
    case.until_noted(&log, "later");
    log.assert(&["not connected: cancelled", "later"]);
}

fn cancelling_after_it_was_connected_changes_nothing(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    let connecting = case.connect(&endpoint, once(Script::noting(&log)), &log);
    let (connected, later, reactor) = (log.clone(), log.clone(), case.reactor());
    case.when(
        move || connected.has("connected"),
        move || {
            connecting.cancel();
            drop(reactor.call_later(MOMENT, later.noting("later")));
        },
    );
    case.until_noted(&log, "later");
    log.assert(&["made", "connected", "later"]);
}

fn a_factory_that_builds_nothing_refuses(case: &Case<'_>) {
    let (log, server) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(once(Script::noting(&server)));
    drop(case.connect(&endpoint, Rc::new(Refusing), &log));
    until_nothing_is_left(case, &log);
    log.assert(&["not connected: factory refused"]);
}

fn a_factory_may_cancel_the_attempt_that_it_builds_for(case: &Case<'_>) {
    let (log, server) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(once(Script::noting(&server)));
    let attempt: Rc<RefCell<Option<Deferred<()>>>> = Rc::default();
    let (own, noted) = (Rc::clone(&attempt), log.clone());
    let factory: Rc<dyn Factory> = Rc::new(move |_: &Address| {
        if let Some(own) = own.take() {
            own.cancel();
        }
        Script::noting(&noted)
    });
    attempt.replace(Some(case.connect(&endpoint, factory, &log)));
    until_nothing_is_left(case, &log);
    log.assert(&["not connected: cancelled"]);
}

fn an_attempt_may_be_begun_within_connection_made(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(each(Script::echo));
    let (reactor, log, again) = (case.reactor(), second.clone(), endpoint.clone());
    let begins = Script::noting(&first).made(move |_| {
        let asks = once(Script::noting(&log).saying("x"));
        drop(connect(&reactor, &again, asks, &log));
    });
    drop(case.connect(&endpoint, once(begins), &first));
    case.until_noted(&second, "data x");
    first.assert(&["made", "connected"]);
}

fn an_attempt_may_be_begun_within_connection_lost(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(each(Script::echo));
    let (reactor, log, again) = (case.reactor(), second.clone(), endpoint.clone());
    let ends = Script::noting(&first)
        .made(|transport| transport.lose_connection())
        .lost(move |_| {
            let asks = once(Script::noting(&log).saying("x"));
            drop(connect(&reactor, &again, asks, &log));
        });
    drop(case.connect(&endpoint, once(ends), &case.log()));
    case.until_noted(&second, "data x");
    first.assert(&["made", "lost: done"]);
}

fn an_attempt_may_be_begun_by_a_failed_one(case: &Case<'_>) {
    let place = case.nobody();
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    let (reactor, again) = (case.reactor(), log.clone());
    let failing = case
        .reactor()
        .connect(&to(place.address), once(Script::silent()));
    let told: Deferred<()> = failing.add_both(move |result: Result<Connection, Failure>| {
        again.note(format!("failed: {}", result.is_err()));
        drop(connect(&reactor, &endpoint, once(Script::silent()), &again));
    });
    drop(told);
    case.until_noted(&log, "connected");
    log.assert(&["failed: true", "connected"]);
}

fn an_attempt_before_the_run_is_made_in_it(case: &Case<'_>) {
    let (_port, endpoint) = case.serve(each(Script::silent));
    let log = attempt(case, &endpoint);
    log.assert(&[]);
    until_told(case, &log);
    log.assert(&["made", "connected"]);
}

fn a_hundred_attempts_at_once_are_all_made(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::silent));
    for _ in 0..100 {
        drop(case.connect(&endpoint, once(Script::silent()), &log));
    }
    let (seen, reactor) = (log.clone(), case.reactor());
    case.until("all are connected, at both ends", move || {
        seen.count("connected") == 100 && reactor.connections() == 200
    });
    assert_eq!(log.len(), 100);
}

fn refused_and_made_attempts_do_not_mix(case: &Case<'_>) {
    let place = case.nobody();
    let (refused, made) = (case.log(), case.log());
    let (_port, endpoint) = case.serve(each(Script::silent));
    for _ in 0..20 {
        drop(case.connect(&endpoint, once(Script::silent()), &made));
        let nowhere = to(place.address);
        drop(case.connect(&nowhere, once(Script::silent()), &refused));
    }
    let (one, other) = (refused.clone(), made.clone());
    case.until("all are told", move || one.len() == 20 && other.len() == 20);
    assert_eq!(refused.count("not connected: refused"), 20);
    assert_eq!(made.count("connected"), 20);
}

fn the_client_has_a_port_of_its_own(case: &Case<'_>) {
    let log = case.log();
    let (port, endpoint) = case.serve(each(Script::silent));
    for _ in 0..3 {
        let noted = log.clone();
        let client = Script::silent().made(move |transport| {
            let port = transport.host().port().unwrap_or_default();
            noted.note(port.to_string());
        });
        drop(case.connect(&endpoint, once(client), &case.log()));
    }
    let seen = log.clone();
    case.until("all are up", move || seen.len() == 3);
    let mut ports = log.events();
    ports.push(socket_addr(&port).port().to_string());
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 4);
    assert!(!ports.contains(&"0".to_owned()));
}

fn a_client_may_choose_its_address(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let (port, _) = case.serve(once(Script::silent().made(move |transport| {
        let peer = transport.peer().socket_addr();
        noted.note(peer.map_or_else(String::new, |peer| peer.ip().to_string()));
    })));
    let address = socket_addr(&port);
    let connect = TcpConnect::new(address.ip(), address.port()).bind(LOOPBACK);
    drop(case.connect(&connect.into(), once(Script::silent()), &case.log()));
    case.until_noted(&log, "127.0.0.1");
}

/// Leads every name to the same addresses, and notes who asks.
struct To(Vec<SocketAddr>, Log);

impl NameResolver for To {
    fn resolve_host_name(&self, name: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
        self.1.note(name);
        Deferred::succeed(self.0.clone())
    }
}

/// Where a name leads to `addresses`.
fn lead(case: &Case<'_>, addresses: Vec<SocketAddr>) -> (ClientEndpoint, Log) {
    let asked = case.log();
    let resolver = Rc::new(To(addresses, asked.clone()));
    drop(case.reactor().install_name_resolver(resolver));
    (TcpConnect::new("host.example", 7).into(), asked)
}

fn the_first_address_that_answers_wins(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let (one, _) = case.serve(once(Script::noting(&first)));
    let (other, _) = case.serve(once(Script::noting(&second)));
    let (endpoint, _) = lead(case, vec![socket_addr(&one), socket_addr(&other)]);
    let log = attempt(case, &endpoint);
    let (seen, later) = (log.clone(), log.clone());
    let reactor = case.reactor();
    case.when(
        move || seen.has("connected"),
        move || drop(reactor.call_later(MOMENT, later.noting("later"))),
    );
    case.until_noted(&log, "later");
    first.assert(&["made"]);
    second.assert(&[]);
}

fn an_address_that_refuses_is_followed_by_the_next(case: &Case<'_>) {
    let place = case.nobody();
    let server = case.log();
    let (port, _) = case.serve(once(Script::noting(&server)));
    let (endpoint, _) = lead(case, vec![place.address, socket_addr(&port)]);
    let log = attempt(case, &endpoint);
    until_told(case, &log);
    log.assert(&["made", "connected"]);
}

fn an_address_that_does_not_answer_has_the_next_one_beside_it(case: &Case<'_>) {
    let place = case.black_hole();
    let (port, _) = case.serve(once(Script::silent()));
    let (endpoint, _) = lead(case, vec![place.address, socket_addr(&port)]);
    let begun = case.reactor().now();
    let log = attempt(case, &endpoint);
    let (reactor, ended) = (case.reactor(), Rc::new(Cell::new(begun)));
    let (seen, told) = (Rc::clone(&ended), log);
    case.until("it is connected", move || {
        seen.set(reactor.now());
        told.has("connected")
    });
    // RFC 8305 section 5: 250 ms.
    assert!(ended.get() - begun >= ms(250), "{:?}", ended.get() - begun);
}

fn the_attempts_beside_the_winner_are_given_up(case: &Case<'_>) {
    let place = case.black_hole();
    let (port, _) = case.serve(once(Script::silent()));
    let (endpoint, _) = lead(case, vec![place.address, socket_addr(&port)]);
    let log = attempt(case, &endpoint);
    let (told, reactor) = (log, case.reactor());
    case.until("the two ends of the winner are all there is", move || {
        told.has("connected") && reactor.connections() == 2
    });
}

fn when_all_addresses_fail_each_is_told(case: &Case<'_>) {
    let (one, other) = (case.nobody(), case.nobody());
    let (endpoint, _) = lead(case, vec![one.address, other.address]);
    let log = case.log();
    let noted = log.clone();
    let connecting = case.reactor().connect(&endpoint, once(Script::silent()));
    let told = connecting.add_both(move |result: Result<Connection, Failure>| {
        let failure = result.expect_err("nobody is there");
        if let Some(ConnectError::AllFailed { attempts, .. }) = failure.check() {
            attempts
                .iter()
                .for_each(|(to, _)| noted.note(to.to_string()));
        }
        noted.note("failed");
    });
    drop::<Deferred<()>>(told);
    case.until_noted(&log, "failed");
    let expected = [one.address.to_string(), other.address.to_string()];
    assert_eq!(log.events()[..2], expected);
}

fn a_name_that_leads_nowhere_is_not_found(case: &Case<'_>) {
    let names = ropewalk_core::FixedNames::new();
    drop(case.reactor().install_name_resolver(Rc::new(names)));
    let log = attempt(case, &TcpConnect::new("host.example", 7).into());
    until_told(case, &log);
    log.assert(&["not connected: name not found"]);
}

fn an_installed_resolver_is_asked_for_names_only(case: &Case<'_>) {
    let (port, direct) = case.serve(each(Script::silent));
    let (endpoint, asked) = lead(case, vec![socket_addr(&port)]);
    let one = attempt(case, &direct);
    let other = attempt(case, &endpoint);
    let (a, b) = (one, other);
    case.until("both are connected", move || {
        a.has("connected") && b.has("connected")
    });
    asked.assert(&["host.example"]);
}

/// Never answers, and notes when it need not any more.
struct Silent(Log);

impl NameResolver for Silent {
    fn resolve_host_name(&self, _: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
        let log = self.0.clone();
        let (resolver, deferred) = Deferred::with_canceller(move || log.note("given up"));
        // Kept for as long as the process lives: it is never fired.
        std::mem::forget(resolver);
        deferred
    }
}

fn an_attempt_that_waits_for_a_name_is_cancelled(case: &Case<'_>) {
    let log = case.log();
    let silent = Rc::new(Silent(log.clone()));
    drop(case.reactor().install_name_resolver(silent));
    let endpoint = TcpConnect::new("host.example", 7).into();
    let connecting = case.connect(&endpoint, once(Script::silent()), &log);
    drop(
        case.reactor()
            .call_later(MOMENT, move || connecting.cancel()),
    );
    until_told(case, &log);
    log.assert(&["given up", "not connected: cancelled"]);
}

fn a_name_that_is_not_answered_has_the_time_of_the_endpoint(case: &Case<'_>) {
    let log = case.log();
    let silent = Rc::new(Silent(case.log()));
    drop(case.reactor().install_name_resolver(silent));
    let endpoint = TcpConnect::new("host.example", 7).timeout(ms(20)).into();
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    until_told(case, &log);
    log.assert(&["not connected: no answer"]);
}

fn no_connection_is_counted_when_an_attempt_has_failed(case: &Case<'_>) {
    let place = case.nobody();
    let log = attempt(case, &to(place.address));
    let (told, reactor) = (log, case.reactor());
    case.until("nothing is left of it", move || {
        told.len() == 1 && reactor.connections() == 0
    });
}

fn a_connection_is_counted_while_it_is_being_made(case: &Case<'_>) {
    let place = case.black_hole();
    let log = attempt(case, &briefly(place.address, ms(30)));
    assert_eq!(case.reactor().connections(), 1);
    let (told, reactor) = (log, case.reactor());
    case.until("nothing is left of it", move || {
        told.len() == 1 && reactor.connections() == 0
    });
}

fn ipv6_works_where_there_is_any(case: &Case<'_>) {
    let server = case.log();
    let endpoint = "tcp6:0:interface=[::1]".parse().expect("an endpoint");
    let factory = once(Script::noting(&server));
    let port = case.reactor().listen(&endpoint, factory).expect("listens");
    let client = once(Script::silent().saying("hello"));
    drop(case.connect(&to(socket_addr(&port)), client, &case.log()));
    case.until_noted(&server, "data hello");
}
