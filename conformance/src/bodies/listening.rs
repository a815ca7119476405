//! Ports: where they are, who may have them, and when they are given back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::endpoint::{ServerEndpoint, TcpListen};
use ropewalk_core::{Address, Factory, Port, Protocol};

use crate::body::topic;
use crate::case::{Case, LOOPBACK, MOMENT, connect, loopback, same, socket_addr, to};
use crate::log::Log;
use crate::names::listen_error;
use crate::script::{Script, each, once};

topic! { listening:
    a_free_port_is_told_by_its_number,
    two_free_ports_are_two,
    a_port_that_is_taken_is_in_use,
    a_refusal_names_its_endpoint,
    a_port_that_is_refused_starts_no_factory,
    an_address_of_another_host_is_not_available,
    after_stop_listening_the_port_can_be_taken_again,
    after_stop_listening_nobody_gets_in,
    who_is_in_stays_after_stop_listening,
    stopping_twice_changes_nothing,
    a_port_need_not_be_kept_to_be_open,
    a_stopped_ports_handle_does_not_stop_its_successor,
    a_port_may_be_opened_within_a_callback,
    a_factory_may_stop_its_port,
    a_connection_may_stop_its_port,
    a_factory_hears_of_its_start_and_end,
    a_factory_on_two_ports_hears_of_both,
    two_ports_have_their_own_factories,
    a_port_of_all_interfaces_is_reached_by_the_loopback,
    a_connection_to_all_interfaces_tells_which_one_it_came_to,
    a_port_can_be_shared_when_all_say_so,
    a_port_can_be_taken_again_while_its_connections_live,
    a_port_listens_before_the_first_turn,
    a_port_that_was_opened_in_the_run_accepts,
    fifty_ports_are_all_reached,
    only_v6_keeps_ipv4_out [Ipv6],
}

fn refusal(case: &Case<'_>, endpoint: &ServerEndpoint) -> &'static str {
    let refused = case.reactor().listen(endpoint, once(Script::silent()));
    listen_error(&refused.expect_err("the endpoint is refused"))
}

/// Connects, and runs until it is known what came of it.
fn outcome(case: &Case<'_>, port: &Port) -> String {
    let log = case.log();
    let client = once(Script::silent());
    drop(case.connect(&to(socket_addr(port)), client, &log));
    let told = log.clone();
    case.until("the attempt has ended", move || told.len() == 1);
    log.events().remove(0)
}

fn a_free_port_is_told_by_its_number(case: &Case<'_>) {
    let (port, _) = case.serve(once(Script::silent()));
    let address = socket_addr(&port);
    assert_eq!(address.ip(), LOOPBACK);
    assert_ne!(address.port(), 0);
    assert_eq!(outcome(case, &port), "connected");
}

fn two_free_ports_are_two(case: &Case<'_>) {
    let (one, _) = case.serve(once(Script::silent()));
    let (other, _) = case.serve(once(Script::silent()));
    assert_ne!(socket_addr(&one), socket_addr(&other));
}

fn a_port_that_is_taken_is_in_use(case: &Case<'_>) {
    let (port, _) = case.serve(once(Script::silent()));
    assert_eq!(refusal(case, &same(&port)), "in use");
    assert_eq!(outcome(case, &port), "connected");
}

fn a_refusal_names_its_endpoint(case: &Case<'_>) {
    let (port, _) = case.serve(once(Script::silent()));
    let endpoint = same(&port);
    let refused = case.reactor().listen(&endpoint, once(Script::silent()));
    let text = refused.expect_err("it is taken").to_string();
    assert!(text.contains(&endpoint.to_string()), "{text}");
}

fn a_port_that_is_refused_starts_no_factory(case: &Case<'_>) {
    let (port, _) = case.serve(once(Script::silent()));
    let log = case.log();
    let refused = case.reactor().listen(&same(&port), hearing(&log));
    assert!(refused.is_err());
    log.assert(&[]);
}

fn an_address_of_another_host_is_not_available(case: &Case<'_>) {
    // RFC 5737 section 3: of nobody.
    let endpoint = TcpListen::new(0).interface([192, 0, 2, 1]).into();
    assert_eq!(refusal(case, &endpoint), "not available");
}

fn after_stop_listening_the_port_can_be_taken_again(case: &Case<'_>) {
    let log = case.log();
    let (port, _) = case.serve(once(Script::silent()));
    port.stop_listening();
    let factory = once(Script::noting(&log));
    let again = case.reactor().listen(&same(&port), factory);
    let again = again.expect("it is free again");
    assert_eq!(again.address(), port.address());
    assert_eq!(outcome(case, &again), "connected");
}

fn after_stop_listening_nobody_gets_in(case: &Case<'_>) {
    let (port, _) = case.serve(once(Script::silent()));
    port.stop_listening();
    assert_eq!(outcome(case, &port), "not connected: refused");
}

fn who_is_in_stays_after_stop_listening(case: &Case<'_>) {
    let client = case.log();
    let (port, endpoint) = case.serve(each(Script::echo));
    let asks = Script::noting(&client).made(move |transport| {
        let (handle, port) = (transport.connection(), port.clone());
        drop(transport.reactor().call_later(
            MOMENT,
            Box::new(move || {
                port.stop_listening();
                handle.write(b"still in");
            }),
        ));
    });
    drop(case.connect(&endpoint, once(asks), &case.log()));
    case.until_noted(&client, "data still in");
}

fn stopping_twice_changes_nothing(case: &Case<'_>) {
    let log = case.log();
    let port = case.reactor().listen(&loopback().into(), hearing(&log));
    let port = port.expect("listens");
    port.stop_listening();
    port.stop_listening();
    log.assert(&["started", "stopped"]);
}

fn a_port_need_not_be_kept_to_be_open(case: &Case<'_>) {
    let log = case.log();
    let (port, endpoint) = case.serve(once(Script::silent()));
    drop(port);
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    case.until_noted(&log, "connected");
}

fn a_stopped_ports_handle_does_not_stop_its_successor(case: &Case<'_>) {
    let (port, _) = case.serve(once(Script::silent()));
    port.stop_listening();
    let (next, _) = case.serve(once(Script::silent()));
    port.stop_listening();
    assert_eq!(outcome(case, &next), "connected");
}

fn a_port_may_be_opened_within_a_callback(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.join(
        Script::silent().data(move |_, _| {
            let inner = once(Script::noting(&noted));
            let port = reactor.listen(&loopback().into(), inner).expect("listens");
            let client = once(Script::silent().saying("hello"));
            drop(connect(&reactor, &to(socket_addr(&port)), client, &noted));
        }),
        Script::silent().saying("x"),
    );
    case.until_noted(&log, "data hello");
}

fn stops_its_port(case: &Case<'_>, in_factory: bool) {
    let log = case.log();
    let port: Rc<RefCell<Option<Port>>> = Rc::default();
    let own = Rc::clone(&port);
    let factory: Rc<dyn Factory> = Rc::new(move |_: &Address| {
        let own = own.take();
        if let Some(port) = own.as_ref().filter(|_| in_factory) {
            port.stop_listening();
        }
        Script::echo().made(move |_| own.iter().for_each(Port::stop_listening))
    });
    let (listens, endpoint) = case.serve(factory);
    port.replace(Some(listens));
    let (reactor, again, second) = (case.reactor(), endpoint.clone(), log.clone());
    let asks = Script::noting(&log).saying("x").data(move |_, _| {
        drop(connect(&reactor, &again, once(Script::silent()), &second));
    });
    drop(case.connect(&endpoint, once(asks), &case.log()));
    case.until_noted(&log, "not connected: refused");
    log.assert(&["made", "data x", "not connected: refused"]);
}

fn a_factory_may_stop_its_port(case: &Case<'_>) {
    stops_its_port(case, true);
}

fn a_connection_may_stop_its_port(case: &Case<'_>) {
    stops_its_port(case, false);
}

/// Notes its start and its end.
struct Hearing(Log);

impl Factory for Hearing {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Script::silent()))
    }

    fn start_factory(&self) {
        self.0.note("started");
    }

    fn stop_factory(&self) {
        self.0.note("stopped");
    }
}

fn hearing(log: &Log) -> Rc<dyn Factory> {
    Rc::new(Hearing(log.clone()))
}

fn a_factory_hears_of_its_start_and_end(case: &Case<'_>) {
    let log = case.log();
    let (port, endpoint) = case.serve(hearing(&log));
    log.assert(&["started"]);
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    case.when(
        {
            let log = log.clone();
            move || log.has("connected")
        },
        move || port.stop_listening(),
    );
    case.until_noted(&log, "stopped");
    log.assert(&["started", "connected", "stopped"]);
}

fn a_factory_on_two_ports_hears_of_both(case: &Case<'_>) {
    let log = case.log();
    let factory = hearing(&log);
    let (one, _) = case.serve(Rc::clone(&factory));
    let (other, _) = case.serve(factory);
    one.stop_listening();
    other.stop_listening();
    log.assert(&["started", "started", "stopped", "stopped"]);
}

fn two_ports_have_their_own_factories(case: &Case<'_>) {
    let (one, other) = (case.log(), case.log());
    let (_one, to_one) = case.serve(once(Script::noting(&one)));
    let (_other, to_other) = case.serve(once(Script::noting(&other)));
    let say = |text| once(Script::silent().saying(text));
    drop(case.connect(&to_one, say("to one"), &case.log()));
    drop(case.connect(&to_other, say("to the other"), &case.log()));
    let (a, b) = (one, other);
    case.until("both have heard", move || {
        a.has("data to one") && b.has("data to the other")
    });
}

fn a_port_of_all_interfaces_is_reached_by_the_loopback(case: &Case<'_>) {
    let log = case.log();
    let factory = once(Script::silent());
    let port = case.reactor().listen(&TcpListen::new(0).into(), factory);
    let number = socket_addr(&port.expect("listens")).port();
    let endpoint = to((LOOPBACK, number).into());
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    case.until_noted(&log, "connected");
}

fn a_connection_to_all_interfaces_tells_which_one_it_came_to(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let factory = once(Script::silent().made(move |transport| {
        let host = transport.host().socket_addr();
        let peer = transport.peer().socket_addr();
        noted.note(format!(
            "{:?} {:?}",
            host.map(|at| at.ip()),
            peer.map(|at| at.ip())
        ));
    }));
    let port = case.reactor().listen(&TcpListen::new(0).into(), factory);
    let number = socket_addr(&port.expect("listens")).port();
    let endpoint = to((LOOPBACK, number).into());
    drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    case.until_noted(&log, "Some(127.0.0.1) Some(127.0.0.1)");
}

fn a_port_can_be_shared_when_all_say_so(case: &Case<'_>) {
    let shared = loopback().reuse_port(true).into();
    let factory = once(Script::silent());
    let one = case.reactor().listen(&shared, factory).expect("listens");
    let number = socket_addr(&one).port();
    let again = TcpListen::new(number).interface(LOOPBACK).reuse_port(true);
    let other = case.reactor().listen(&again.into(), once(Script::silent()));
    assert!(other.is_ok());
    assert_eq!(refusal(case, &same(&one)), "in use");
}

fn a_port_can_be_taken_again_while_its_connections_live(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let (port, endpoint) = case.serve(once(Script::noting(&first)));
    drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    let (reactor, made, log) = (case.reactor(), first.clone(), second.clone());
    case.when(
        move || made.has("made"),
        move || {
            port.stop_listening();
            let next = once(Script::noting(&log));
            let again = reactor.listen(&same(&port), next);
            log.note(format!("taken: {}", again.is_ok()));
            drop(connect(&reactor, &endpoint, once(Script::silent()), &log));
        },
    );
    case.until_noted(&second, "made");
    assert!(second.has("taken: true"));
    first.assert(&["made"]);
}

fn a_port_listens_before_the_first_turn(case: &Case<'_>) {
    // The connection is there before the loop has turned once.
    let server = case.log();
    let (_port, endpoint) = case.serve(once(Script::noting(&server)));
    let client = once(Script::silent().saying("hello"));
    drop(case.connect(&endpoint, client, &case.log()));
    case.until_noted(&server, "data hello");
}

fn a_port_that_was_opened_in_the_run_accepts(case: &Case<'_>) {
    let server = case.log();
    let (reactor, log) = (case.reactor(), server.clone());
    drop(case.reactor().call_later(MOMENT, move || {
        let factory = once(Script::noting(&log));
        let port = reactor
            .listen(&loopback().into(), factory)
            .expect("listens");
        let client = once(Script::silent().saying("hello"));
        drop(connect(&reactor, &to(socket_addr(&port)), client, &log));
    }));
    case.until_noted(&server, "data hello");
}

fn fifty_ports_are_all_reached(case: &Case<'_>) {
    let reached = Rc::new(Cell::new(0_u64));
    for number in 0..50 {
        let reached = Rc::clone(&reached);
        let (_port, endpoint) = case.serve(once(
            Script::silent().made(move |_| reached.set(reached.get() | 1 << number)),
        ));
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let seen = Rc::clone(&reached);
    case.until("all were reached", move || seen.get() == (1 << 50) - 1);
}

fn only_v6_keeps_ipv4_out(case: &Case<'_>) {
    let factory = once(Script::silent());
    let endpoint = TcpListen::new(0).only_v6(true).into();
    let port = case.reactor().listen(&endpoint, factory).expect("listens");
    let number = socket_addr(&port).port();
    let log = case.log();
    let old = to((LOOPBACK, number).into());
    drop(case.connect(&old, once(Script::silent()), &log));
    case.until_noted(&log, "not connected: refused");
}
