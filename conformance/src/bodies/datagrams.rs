//! Datagrams over UDP: whole, from whom, to whom, and what is told of those that are lost.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use ropewalk_core::endpoint::{
    DatagramClientEndpoint, DatagramEndpoint, Interface, UdpConnect, UdpListen,
};
use ropewalk_core::{Address, DatagramLimits, DatagramPort, DatagramTransport};

use crate::body::topic;
use crate::case::{Case, LOOPBACK, MOMENT, ms, udp_loopback};
use crate::datagram_script::DatagramScript;
use crate::log::Log;
use crate::names::listen_error;
use crate::script::{boom, pattern};

topic! { datagrams:
    a_port_is_started_before_listen_returns [Udp],
    a_free_port_is_told_by_its_number [Udp],
    a_datagram_comes_whole_and_from_its_sender [Udp],
    datagrams_of_one_sender_come_in_order [Udp],
    an_echo_answers_each_of_many_peers [Udp],
    a_datagram_of_no_bytes_comes [Udp],
    datagrams_are_not_joined [Udp],
    a_large_datagram_comes_whole [Udp],
    one_that_is_larger_than_it_may_be_is_told_and_not_given [Udp],
    one_that_no_network_takes_is_told_and_those_beside_it_go [Udp],
    what_a_callback_sends_goes_out_in_its_order [Udp],
    more_than_a_batch_from_one_callback_goes_out [Udp],
    a_port_sends_to_itself [Udp],
    a_port_that_is_taken_is_in_use [Udp],
    a_port_that_was_given_back_can_be_taken_again [Udp],
    after_stop_listening_nothing_is_told [Udp],
    stop_listening_tells_the_protocol_once_and_last [Udp],
    a_port_may_be_stopped_in_the_middle_of_what_has_come [Udp],
    a_handle_of_a_stopped_port_says_so [Udp],
    a_handle_writes_from_a_timer [Udp],
    nothing_comes_while_receiving_is_paused [Udp],
    what_came_while_receiving_was_paused_comes_later [Udp],
    a_pause_in_the_middle_of_a_batch_keeps_the_rest [Udp],
    a_panic_in_a_callback_leaves_the_port [Udp],
    a_panic_at_the_start_leaves_the_port [Udp],
    a_connected_port_talks_to_its_peer [Udp],
    a_connected_port_hears_its_peer_alone [Udp],
    a_connected_port_tells_its_peer [Udp],
    a_connected_port_is_told_that_nobody_is_there [Udp],
    a_port_may_be_connected_later [Udp],
    an_unconnected_port_that_names_nobody_fails [Udp],
    a_callback_may_open_another_port [Udp],
    a_callback_may_stop_another_port [Udp],
    fifty_ports_talk_at_once [Udp],
    a_timer_comes_while_datagrams_are_echoed_without_end [Udp],
    what_is_sent_and_received_is_counted [Udp],
    a_call_with_the_protocol_comes_when_no_callback_runs [Udp],
    a_queue_that_is_full_drops_and_tells_once [Udp],
    members_of_a_group_get_what_is_sent_to_it [Udp, Multicast],
    who_has_left_a_group_gets_no_more_of_it [Udp, Multicast],
    ipv6_datagrams_come_where_there_are_any [Udp, Ipv6],
}

fn address(port: &DatagramPort) -> Address {
    port.address().expect("the port is open")
}

/// Two ports: one that notes, and one to send from.
fn two(case: &Case<'_>) -> (Log, Address, DatagramPort) {
    let log = case.log();
    let to = address(&case.udp(DatagramScript::noting(&log)));
    (log, to, case.udp(DatagramScript::silent()))
}

/// Sends when the reactor runs.
fn send(case: &Case<'_>, from: &DatagramPort, to: &Address, data: Vec<Vec<u8>>) {
    let (from, to) = (from.clone(), to.clone());
    case.reactor().call_when_running(move || {
        for one in data {
            assert!(from.write_to(&one, &to));
        }
    });
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn a_port_is_started_before_listen_returns(case: &Case<'_>) {
    let log = case.log();
    let port = case.udp(DatagramScript::noting(&log));
    assert!(port.is_open());
    log.assert(&["started"]);
}

fn a_free_port_is_told_by_its_number(case: &Case<'_>) {
    let one = address(&case.udp(DatagramScript::silent()));
    let other = address(&case.udp(DatagramScript::silent()));
    assert!(matches!(one, Address::Udp(at) if at.ip() == LOOPBACK && at.port() != 0));
    assert_ne!(one, other);
}

fn a_datagram_comes_whole_and_from_its_sender(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let receiver = DatagramScript::noting(&log).received(move |_, _, from| {
        noted.note(from.to_string());
    });
    let to = address(&case.udp(receiver));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["hello"]));
    let sender = address(&from).to_string();
    let seen = log.clone();
    case.until("it has come", move || seen.len() == 3);
    log.assert(&["started", "got hello", &sender]);
}

fn datagrams_of_one_sender_come_in_order(case: &Case<'_>) {
    let (log, to, from) = two(case);
    send(case, &from, &to, texts(&["a", "b", "c", "d", "e"]));
    case.until_noted(&log, "got e");
    log.assert(&["started", "got a", "got b", "got c", "got d", "got e"]);
}

fn an_echo_answers_each_of_many_peers(case: &Case<'_>) {
    let log = case.log();
    let to = address(&case.udp(DatagramScript::echo()));
    for number in 0..20 {
        let noted = log.clone();
        let own = number.to_string();
        let peer = DatagramScript::silent().received(move |_, data, _| {
            noted.note(format!("{}", data == own.as_bytes()));
        });
        let peer = case.udp(peer);
        send(case, &peer, &to, texts(&[&number.to_string()]));
    }
    let seen = log.clone();
    case.until("each is answered", move || seen.len() == 20);
    assert_eq!(log.count("true"), 20);
}

fn a_datagram_of_no_bytes_comes(case: &Case<'_>) {
    let (log, to, from) = two(case);
    send(case, &from, &to, texts(&["", "x"]));
    case.until_noted(&log, "got x");
    log.assert(&["started", "got ", "got x"]);
}

fn datagrams_are_not_joined(case: &Case<'_>) {
    let (log, to, from) = two(case);
    let many: Vec<String> = (0..30).map(|number| format!("<{number}>")).collect();
    let bytes = many.iter().map(|one| one.as_bytes().to_vec()).collect();
    send(case, &from, &to, bytes);
    case.until_noted(&log, "got <29>");
    let expected: Vec<String> = many.iter().map(|one| format!("got {one}")).collect();
    assert_eq!(log.events()[1..], expected);
}

fn a_large_datagram_comes_whole(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let receiver = DatagramScript::silent().received(move |_, data, _| {
        noted.note(format!("{}", data == pattern(0, 60_000)));
    });
    let to = address(&case.udp(receiver));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, vec![pattern(0, 60_000)]);
    case.until_noted(&log, "true");
}

fn one_that_is_larger_than_it_may_be_is_told_and_not_given(case: &Case<'_>) {
    let log = case.log();
    let small: DatagramEndpoint = udp_loopback().max_size(8).into();
    let receiver = DatagramScript::noting(&log);
    let port = case.reactor().listen_datagram(&small, receiver);
    let to = address(&port.expect("opens"));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["nine byte", "8 bytes."]));
    let seen = log.clone();
    case.until("both are told", move || seen.len() == 3);
    let mut told = log.events();
    told.sort();
    assert_eq!(told, ["failed: truncated", "got 8 bytes.", "started"]);
}

fn one_that_no_network_takes_is_told_and_those_beside_it_go(case: &Case<'_>) {
    let (log, to, _) = two(case);
    let sender = case.log();
    let from = case.udp(DatagramScript::noting(&sender));
    send(
        case,
        &from,
        &to,
        vec![b"before".to_vec(), vec![0; 65_535], b"after".to_vec()],
    );
    let (seen, told) = (log.clone(), sender);
    case.until("all is told", move || {
        seen.has("got after") && told.has("failed: unsent")
    });
    log.assert(&["started", "got before", "got after"]);
}

fn what_a_callback_sends_goes_out_in_its_order(case: &Case<'_>) {
    let log = case.log();
    let answers = DatagramScript::silent().received(|transport, _, from| {
        for text in ["1", "2", "3"] {
            transport.write_to(text.as_bytes(), from);
        }
    });
    let to = address(&case.udp(answers));
    let asks = case.udp(DatagramScript::noting(&log));
    send(case, &asks, &to, texts(&["x"]));
    case.until_noted(&log, "got 3");
    log.assert(&["started", "got 1", "got 2", "got 3"]);
}

fn more_than_a_batch_from_one_callback_goes_out(case: &Case<'_>) {
    let (log, to, from) = two(case);
    let many = (0..200).map(|number: u8| vec![number]).collect();
    send(case, &from, &to, many);
    let seen = log;
    case.until("all have come", move || seen.count("got") == 200);
}

fn a_port_sends_to_itself(case: &Case<'_>) {
    let log = case.log();
    let port = case.udp(DatagramScript::noting(&log));
    let own = address(&port);
    send(case, &port, &own, texts(&["to myself"]));
    case.until_noted(&log, "got to myself");
}

/// The endpoint of an open port.
fn same(address: &Address) -> DatagramEndpoint {
    let address = address.socket_addr().expect("of UDP");
    UdpListen::new(address.port())
        .interface(address.ip())
        .into()
}

fn a_port_that_is_taken_is_in_use(case: &Case<'_>) {
    let taken = address(&case.udp(DatagramScript::silent()));
    let log = case.log();
    let again = DatagramScript::noting(&log);
    let refused = case.reactor().listen_datagram(&same(&taken), again);
    assert_eq!(listen_error(&refused.expect_err("it is taken")), "in use");
    log.assert(&[]);
}

fn a_port_that_was_given_back_can_be_taken_again(case: &Case<'_>) {
    let (log, reactor) = (case.log(), case.reactor());
    let port = case.udp(DatagramScript::silent());
    let to = address(&port);
    let noted = log.clone();
    case.reactor().call_when_running(move || {
        port.stop_listening();
        let again = reactor.clone();
        reactor.call_later(ms(1), move || {
            let script = DatagramScript::noting(&noted);
            let port = again.listen_datagram(&same(&to), script);
            let port = port.expect("it is free again");
            port.write_to(b"x", &to);
        });
    });
    case.until_noted(&log, "got x");
}

fn after_stop_listening_nothing_is_told(case: &Case<'_>) {
    let (log, reactor) = (case.log(), case.reactor());
    let port = case.udp(DatagramScript::noting(&log));
    let (to, from) = (address(&port), case.udp(DatagramScript::silent()));
    let later = log.clone();
    case.reactor().call_when_running(move || {
        from.write_to(b"too late", &to);
        port.stop_listening();
        from.write_to(b"too late", &to);
        reactor.call_later(MOMENT, later.noting("later"));
    });
    case.until_noted(&log, "later");
    log.assert(&["started", "stopped", "later"]);
}

fn stop_listening_tells_the_protocol_once_and_last(case: &Case<'_>) {
    let log = case.log();
    let stops = DatagramScript::noting(&log).received(|transport, _, _| {
        transport.stop_listening();
        transport.stop_listening();
        transport.port().stop_listening();
    });
    let to = address(&case.udp(stops));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["a", "b"]));
    case.until_noted(&log, "stopped");
    log.assert(&["started", "got a", "stopped"]);
}

fn a_port_may_be_stopped_in_the_middle_of_what_has_come(case: &Case<'_>) {
    let log = case.log();
    let count = Cell::new(0);
    let stops = DatagramScript::noting(&log).received(move |transport, _, _| {
        count.set(count.get() + 1);
        if count.get() == 3 {
            transport.stop_listening();
        }
    });
    let to = address(&case.udp(stops));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["1", "2", "3", "4", "5"]));
    let (gone, reactor, later) = (log.clone(), case.reactor(), log.clone());
    case.when(
        move || gone.has("stopped"),
        move || drop(reactor.call_later(MOMENT, later.noting("later"))),
    );
    case.until_noted(&log, "later");
    log.assert(&["started", "got 1", "got 2", "got 3", "stopped", "later"]);
}

fn a_handle_of_a_stopped_port_says_so(case: &Case<'_>) {
    let log = case.log();
    let port = case.udp(DatagramScript::noting(&log));
    let (to, stops) = (address(&port), port.clone());
    case.reactor().call_when_running(move || {
        assert!(stops.stop_listening());
    });
    case.until_noted(&log, "stopped");
    assert!(!port.is_open());
    assert!(!port.write_to(b"x", &to));
    assert!(!port.stop_listening());
    assert!(port.address().is_none());
    assert!(port.counts().is_none());
}

fn a_handle_writes_from_a_timer(case: &Case<'_>) {
    let (log, to, from) = two(case);
    case.reactor().call_later(MOMENT, move || {
        assert!(from.write_to(b"by a timer", &to));
    });
    case.until_noted(&log, "got by a timer");
}

/// A port that pauses when it is open.
fn paused(case: &Case<'_>, log: &Log) -> DatagramPort {
    case.udp(DatagramScript::noting(log).started(DatagramTransport::pause_producing))
}

fn nothing_comes_while_receiving_is_paused(case: &Case<'_>) {
    let log = case.log();
    let to = address(&paused(case, &log));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["unheard"]));
    case.reactor().call_later(MOMENT * 2, log.noting("later"));
    case.until_noted(&log, "later");
    log.assert(&["started", "later"]);
}

fn what_came_while_receiving_was_paused_comes_later(case: &Case<'_>) {
    let log = case.log();
    let port = paused(case, &log);
    let to = address(&port);
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["a", "b"]));
    let noted = log.clone();
    case.reactor().call_later(MOMENT, move || {
        noted.note("asks");
        assert!(port.resume_producing());
    });
    case.until_noted(&log, "got b");
    log.assert(&["started", "asks", "got a", "got b"]);
}

fn a_pause_in_the_middle_of_a_batch_keeps_the_rest(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    let pauses = DatagramScript::noting(&log).received(move |transport, data, _| {
        if data == b"b" {
            transport.pause_producing();
            let (port, noted) = (transport.port(), noted.clone());
            drop(reactor.call_later(MOMENT, move || {
                noted.note("asks");
                port.resume_producing();
            }));
        }
    });
    let to = address(&case.udp(pauses));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["a", "b", "c", "d"]));
    case.until_noted(&log, "got d");
    log.assert(&["started", "got a", "got b", "asks", "got c", "got d"]);
}

fn a_panic_in_a_callback_leaves_the_port(case: &Case<'_>) {
    let log = case.log();
    let panics = DatagramScript::noting(&log).received(|_, data, _| {
        if data == b"a" {
            boom();
        }
    });
    let to = address(&case.udp(panics));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["a", "b"]));
    case.until_noted(&log, "got b");
}

fn a_panic_at_the_start_leaves_the_port(case: &Case<'_>) {
    let log = case.log();
    let port = case.udp(DatagramScript::noting(&log).started(|_| boom()));
    let own = address(&port);
    send(case, &port, &own, texts(&["a"]));
    case.until_noted(&log, "got a");
}

/// A port that is connected to an address, and its log.
fn connected(case: &Case<'_>, to: &Address, script: DatagramScript) -> DatagramPort {
    let to = to.socket_addr().expect("of UDP");
    let endpoint: DatagramClientEndpoint = UdpConnect::new(to.ip(), to.port()).into();
    let port: Rc<RefCell<Option<DatagramPort>>> = Rc::default();
    let keeps = Rc::clone(&port);
    let told: ropewalk_core::Deferred<()> = case
        .reactor()
        .connect_datagram(&endpoint, script)
        .add_callback(move |port: DatagramPort| {
            keeps.replace(Some(port));
        });
    assert!(told.is_fired());
    port.take().expect("it is connected")
}

fn a_connected_port_talks_to_its_peer(case: &Case<'_>) {
    let log = case.log();
    let to = address(&case.udp(DatagramScript::echo()));
    let script = DatagramScript::noting(&log).started(|transport| {
        assert!(transport.write(b"hello"));
    });
    connected(case, &to, script);
    case.until_noted(&log, "got hello");
    log.assert(&["started", "got hello"]);
}

fn a_connected_port_hears_its_peer_alone(case: &Case<'_>) {
    let log = case.log();
    let peer = case.udp(DatagramScript::silent());
    let port = connected(case, &address(&peer), DatagramScript::noting(&log));
    let (to, stranger) = (address(&port), case.udp(DatagramScript::silent()));
    case.reactor().call_when_running(move || {
        stranger.write_to(b"from a stranger", &to);
        peer.write_to(b"from the peer", &to);
    });
    let (heard, reactor, later) = (log.clone(), case.reactor(), log.clone());
    case.when(
        move || heard.has("got from the peer"),
        move || drop(reactor.call_later(MOMENT, later.noting("later"))),
    );
    case.until_noted(&log, "later");
    log.assert(&["started", "got from the peer", "later"]);
}

fn a_connected_port_tells_its_peer(case: &Case<'_>) {
    let to = address(&case.udp(DatagramScript::silent()));
    let port = connected(case, &to, DatagramScript::silent());
    assert_eq!(port.act(|transport| transport.peer()), Some(Some(to)));
    let own = address(&port).socket_addr().expect("of UDP");
    assert!(own.ip() == LOOPBACK && own.port() != 0);
}

fn a_connected_port_is_told_that_nobody_is_there(case: &Case<'_>) {
    let log = case.log();
    let gone = case.udp(DatagramScript::silent());
    let to = address(&gone);
    gone.stop_listening();
    let (reactor, noted) = (case.reactor(), log.clone());
    // When the port is closed.
    case.when(
        move || !gone.is_open(),
        move || {
            let to = to.socket_addr().expect("of UDP");
            let endpoint: DatagramClientEndpoint = UdpConnect::new(to.ip(), to.port()).into();
            let script = DatagramScript::noting(&noted).started(|transport| {
                transport.write(b"hello?");
            });
            drop(reactor.connect_datagram(&endpoint, script));
        },
    );
    case.until_noted(&log, "refused");
    log.assert(&["started", "refused"]);
}

fn a_port_may_be_connected_later(case: &Case<'_>) {
    let (one, other) = (case.log(), case.log());
    let to_one = address(&case.udp(DatagramScript::noting(&one)));
    let to_other = address(&case.udp(DatagramScript::noting(&other)));
    let port = case.udp(DatagramScript::silent());
    case.reactor().call_when_running(move || {
        port.act(|transport| {
            transport.connect(&to_one).expect("connects");
            transport.write(b"to one");
            transport.connect(&to_other).expect("connects anew");
            transport.write(b"to the other");
        });
    });
    let (a, b) = (one.clone(), other);
    case.until("both have heard", move || {
        a.has("got to one") && b.has("got to the other")
    });
    one.assert(&["started", "got to one"]);
}

fn an_unconnected_port_that_names_nobody_fails(case: &Case<'_>) {
    let log = case.log();
    let port = case.udp(DatagramScript::noting(&log));
    case.reactor().call_when_running(move || {
        port.write(b"to whom?");
    });
    case.until_noted(&log, "failed: unsent");
}

fn a_callback_may_open_another_port(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    let opens = DatagramScript::silent().received(move |transport, _, _| {
        let script = DatagramScript::noting(&noted);
        let port = reactor.listen_datagram(&udp_loopback().into(), script);
        transport.write_to(b"to the new one", &address(&port.expect("opens")));
    });
    let to = address(&case.udp(opens));
    let from = case.udp(DatagramScript::silent());
    send(case, &from, &to, texts(&["x"]));
    case.until_noted(&log, "got to the new one");
}

fn a_callback_may_stop_another_port(case: &Case<'_>) {
    let log = case.log();
    let victim = case.udp(DatagramScript::noting(&log));
    let (to_victim, stops) = (address(&victim), victim.clone());
    let killer = DatagramScript::silent().received(move |_, _, _| {
        stops.stop_listening();
    });
    let to_killer = address(&case.udp(killer));
    let from = case.udp(DatagramScript::silent());
    case.reactor().call_when_running(move || {
        from.write_to(b"x", &to_killer);
        from.write_to(b"x", &to_victim);
    });
    case.until_noted(&log, "stopped");
    assert!(!victim.is_open());
    assert_eq!(log.count("stopped"), 1);
}

fn fifty_ports_talk_at_once(case: &Case<'_>) {
    let log = case.log();
    let ports: Vec<DatagramPort> = (0..50)
        .map(|_| case.udp(DatagramScript::noting(&log)))
        .collect();
    case.reactor().call_when_running(move || {
        for (at, port) in ports.iter().enumerate() {
            let next = &ports[(at + 1) % ports.len()];
            port.write_to(at.to_string().as_bytes(), &address(next));
        }
    });
    let seen = log.clone();
    case.until("each has heard", move || seen.count("got") == 50);
    let mut events = log.events();
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 51);
}

fn a_timer_comes_while_datagrams_are_echoed_without_end(case: &Case<'_>) {
    let log = case.log();
    let to = address(&case.udp(DatagramScript::echo()));
    let from = case.udp(DatagramScript::echo());
    send(case, &from, &to, texts(&["."; 50]));
    case.reactor().call_later(MOMENT, log.noting("later"));
    case.until_noted(&log, "later");
}

fn what_is_sent_and_received_is_counted(case: &Case<'_>) {
    let log = case.log();
    let port = case.udp(DatagramScript::noting(&log));
    let own = address(&port);
    let (counts, from) = (port.clone(), port);
    send(case, &from, &own, texts(&["a", "b", "c"]));
    let seen = log;
    let told = Rc::new(Cell::new(None));
    let counted = Rc::clone(&told);
    case.until("all have come", move || {
        counted.set(counts.counts());
        seen.has("got c")
    });
    let counts = told.get().expect("the port is open");
    assert_eq!((counts.sent, counts.received), (3, 3));
    assert_eq!((counts.dropped, counts.failed, counts.truncated), (0, 0, 0));
}

fn a_call_with_the_protocol_comes_when_no_callback_runs(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let calls = DatagramScript::noting(&log).received(move |transport, _, _| {
        let inner = noted.clone();
        transport
            .port()
            .with(move |_: &mut DatagramScript, transport| {
                inner.note("with the protocol");
                transport.stop_listening();
            });
        noted.note("returns");
    });
    let port = case.udp(calls);
    let own = address(&port);
    send(case, &port, &own, texts(&["x"]));
    case.until_noted(&log, "stopped");
    log.assert(&[
        "started",
        "got x",
        "returns",
        "with the protocol",
        "stopped",
    ]);
}

fn a_queue_that_is_full_drops_and_tells_once(case: &Case<'_>) {
    // A batch goes out as soon as it is full: what is written before waits in the queue.
    let log = case.log();
    let limits = DatagramLimits {
        queue_datagrams: 10,
        queue_bytes: 1_000_000,
    };
    let (to, _) = (address(&case.udp(DatagramScript::silent())), ());
    let port = case.udp(DatagramScript::noting(&log).within(limits));
    let written = Rc::new(Cell::new(0));
    let count = Rc::clone(&written);
    case.reactor().call_when_running(move || {
        for _ in 0..20 {
            count.set(count.get() + u32::from(port.write_to(b"x", &to)));
        }
    });
    case.until_noted(&log, "failed: queue full");
    assert_eq!(written.get(), 10);
    log.assert(&["started", "failed: queue full"]);
}

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 255, 77, 7));

/// A port of all interfaces that is a member of the group by the loopback interface.
fn member(case: &Case<'_>, port: u16, log: &Log) -> DatagramPort {
    let all = std::net::Ipv4Addr::UNSPECIFIED;
    let endpoint = UdpListen::new(port).interface(all).reuse_port(true);
    let script = DatagramScript::noting(log);
    let port = case.reactor().listen_datagram(&endpoint.into(), script);
    let port = port.expect("opens");
    let lo: Interface = "127.0.0.1".into();
    let joined = port.act(|transport| {
        transport.join_group(GROUP, &lo)?;
        transport.set_outgoing_interface(GROUP, &lo)?;
        // It does not leave this host.
        transport.set_multicast_ttl(0)
    });
    joined.expect("it is open").expect("it joins");
    port
}

fn members_of_a_group_get_what_is_sent_to_it(case: &Case<'_>) {
    let (one, other) = (case.log(), case.log());
    let first = member(case, 0, &one);
    let number = address(&first).port().unwrap_or_default();
    let _second = member(case, number, &other);
    let group = Address::Udp((GROUP, number).into());
    send(case, &first, &group, texts(&["to all"]));
    let (a, b) = (one, other);
    case.until("both have heard", move || {
        a.has("got to all") && b.has("got to all")
    });
}

fn who_has_left_a_group_gets_no_more_of_it(case: &Case<'_>) {
    let (one, other) = (case.log(), case.log());
    let first = member(case, 0, &one);
    let number = address(&first).port().unwrap_or_default();
    let second = member(case, number, &other);
    let lo: Interface = "127.0.0.1".into();
    let left = second.act(|transport| transport.leave_group(GROUP, &lo));
    left.expect("it is open").expect("it was a member");
    let again = second.act(|transport| transport.leave_group(GROUP, &lo));
    assert!(again.expect("it is open").is_err());
    let group = Address::Udp((GROUP, number).into());
    send(case, &first, &group, texts(&["to those that are left"]));
    let (heard, reactor, later) = (one.clone(), case.reactor(), one.clone());
    case.when(
        move || heard.has("got to those that are left"),
        move || drop(reactor.call_later(MOMENT, later.noting("later"))),
    );
    case.until_noted(&one, "later");
    other.assert(&["started"]);
}

fn ipv6_datagrams_come_where_there_are_any(case: &Case<'_>) {
    let log = case.log();
    let endpoint = UdpListen::new(0).interface(std::net::Ipv6Addr::LOCALHOST);
    let script = DatagramScript::noting(&log);
    let port = case.reactor().listen_datagram(&endpoint.into(), script);
    let port = port.expect("opens");
    let own = address(&port);
    send(case, &port, &own, texts(&["six"]));
    case.until_noted(&log, "got six");
}
