//! Datagrams over Unix sockets.

use ropewalk_core::endpoint::{
    DatagramClientEndpoint, DatagramEndpoint, UnixDatagramConnect, UnixDatagramListen,
};
use ropewalk_core::{Address, DatagramPort};

use crate::body::topic;
use crate::case::{Case, MOMENT};
use crate::datagram_script::DatagramScript;
use crate::names::{listen_error, name_of};

topic! { unix_datagrams:
    datagrams_go_by_path_and_are_answered [UnixDatagrams],
    a_datagram_of_no_bytes_comes [UnixDatagrams],
    a_path_that_is_taken_is_in_use [UnixDatagrams],
    a_path_that_is_given_back_can_be_taken_again [UnixDatagrams],
    who_is_connected_need_have_no_path [UnixDatagrams],
    a_connected_port_with_a_path_is_answered [UnixDatagrams],
    connecting_where_nothing_is_fails [UnixDatagrams],
    sending_where_nothing_is_is_told_and_the_port_goes_on [UnixDatagrams],
    the_path_goes_with_the_port [UnixDatagrams, FileSystem],
    a_receiver_that_is_full_holds_up_and_loses_nothing [UnixDatagrams],
}

#[track_caller]
fn open(case: &Case<'_>, name: &str, script: DatagramScript) -> (DatagramPort, Address) {
    let endpoint = UnixDatagramListen::new(case.path(name)).into();
    let port = case.reactor().listen_datagram(&endpoint, script);
    let port = port.expect("opens");
    let address = port.address().expect("it is open");
    (port, address)
}

fn datagrams_go_by_path_and_are_answered(case: &Case<'_>) {
    let log = case.log();
    let (_echo, to) = open(case, "echo", DatagramScript::echo());
    let (port, _) = open(case, "client", DatagramScript::noting(&log));
    case.reactor().call_when_running(move || {
        port.write_to(b"hello", &to);
    });
    case.until_noted(&log, "got hello");
}

fn a_datagram_of_no_bytes_comes(case: &Case<'_>) {
    let log = case.log();
    let (port, own) = open(case, "port", DatagramScript::noting(&log));
    case.reactor().call_when_running(move || {
        port.write_to(b"", &own);
        port.write_to(b"x", &own);
    });
    case.until_noted(&log, "got x");
    log.assert(&["started", "got ", "got x"]);
}

fn a_path_that_is_taken_is_in_use(case: &Case<'_>) {
    let (_port, _) = open(case, "port", DatagramScript::silent());
    let endpoint: DatagramEndpoint = UnixDatagramListen::new(case.path("port")).into();
    let refused = case
        .reactor()
        .listen_datagram(&endpoint, DatagramScript::silent());
    assert_eq!(listen_error(&refused.expect_err("it is taken")), "in use");
}

fn a_path_that_is_given_back_can_be_taken_again(case: &Case<'_>) {
    let log = case.log();
    let (port, own) = open(case, "port", DatagramScript::silent());
    let endpoint: DatagramEndpoint = UnixDatagramListen::new(case.path("port")).into();
    let (gone, reactor, noted) = (port.clone(), case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        port.stop_listening();
    });
    case.when(
        move || !gone.is_open(),
        move || {
            let script = DatagramScript::noting(&noted);
            let again = reactor.listen_datagram(&endpoint, script).expect("opens");
            again.write_to(b"x", &own);
        },
    );
    case.until_noted(&log, "got x");
}

fn who_is_connected_need_have_no_path(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let receiver = DatagramScript::noting(&log).received(move |transport, _, from| {
        noted.note(format!("nameless: {}", *from == Address::Unix(None)));
        transport.write_to(b"to nobody", from);
    });
    let (_port, _) = open(case, "server", receiver);
    let endpoint: DatagramClientEndpoint = UnixDatagramConnect::new(case.path("server")).into();
    let script = DatagramScript::silent().started(|transport| {
        transport.write(b"x");
    });
    drop(case.reactor().connect_datagram(&endpoint, script));
    case.until_noted(&log, "failed: unsent");
    log.assert(&["started", "got x", "nameless: true", "failed: unsent"]);
}

fn a_connected_port_with_a_path_is_answered(case: &Case<'_>) {
    let log = case.log();
    let (_port, _) = open(case, "server", DatagramScript::echo());
    let connect = UnixDatagramConnect::new(case.path("server")).bind(case.path("client"));
    let endpoint: DatagramClientEndpoint = connect.into();
    let script = DatagramScript::noting(&log).started(|transport| {
        transport.write(b"hello");
    });
    drop(case.reactor().connect_datagram(&endpoint, script));
    case.until_noted(&log, "got hello");
}

fn connecting_where_nothing_is_fails(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let endpoint: DatagramClientEndpoint = UnixDatagramConnect::new(case.path("nothing")).into();
    let connecting = case
        .reactor()
        .connect_datagram(&endpoint, DatagramScript::noting(&log));
    let told = connecting.add_both(move |result: Result<DatagramPort, _>| {
        noted.note(result.map_or_else(|failure| name_of(&failure), |_| "connected".into()));
    });
    drop::<ropewalk_core::Deferred<()>>(told);
    log.assert(&["other error"]);
}

fn sending_where_nothing_is_is_told_and_the_port_goes_on(case: &Case<'_>) {
    let log = case.log();
    let (port, own) = open(case, "port", DatagramScript::noting(&log));
    let nothing = Address::Unix(Some(case.path("nothing").into()));
    case.reactor().call_when_running(move || {
        port.write_to(b"x", &nothing);
        port.write_to(b"y", &own);
    });
    let seen = log.clone();
    case.until("both are told", move || seen.len() == 3);
    let mut events = log.events();
    events.sort();
    assert_eq!(events, ["failed: unsent", "got y", "started"]);
}

fn the_path_goes_with_the_port(case: &Case<'_>) {
    let log = case.log();
    let (port, _) = open(case, "port", DatagramScript::noting(&log));
    assert!(case.path("port").exists());
    case.reactor().call_when_running(move || {
        port.stop_listening();
    });
    case.until_noted(&log, "stopped");
    assert!(!case.path("port").exists());
}

fn a_receiver_that_is_full_holds_up_and_loses_nothing(case: &Case<'_>) {
    const ALL: usize = 100;
    let log = case.log();
    let receiver =
        DatagramScript::noting(&log).started(ropewalk_core::DatagramTransport::pause_producing);
    let (full, to) = open(case, "full", receiver);
    let (from, _) = open(case, "from", DatagramScript::silent());
    case.reactor().call_when_running(move || {
        for number in 0..ALL {
            assert!(from.write_to(number.to_string().as_bytes(), &to));
        }
    });
    case.reactor().call_later(MOMENT * 3, move || {
        full.resume_producing();
    });
    let seen = log.clone();
    case.until("all have come", move || seen.count("got") == ALL);
    let expected: Vec<String> = (0..ALL).map(|number| format!("got {number}")).collect();
    assert_eq!(log.events()[1..], expected);
}
