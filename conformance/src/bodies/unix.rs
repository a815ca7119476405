//! Unix sockets: their paths, their addresses, and what they carry.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use ropewalk_core::endpoint::{UnixConnect, UnixListen};
use ropewalk_core::{Address, Protocol, Transport};

use crate::body::topic;
use crate::case::{Case, Over};
use crate::names::listen_error;
use crate::script::{Gathered, Script, each, once};

topic! { unix:
    both_ends_are_told_in_order [Unix],
    a_server_is_told_that_its_peer_has_no_path [Unix],
    a_client_is_told_the_path_of_its_peer [Unix],
    a_port_tells_its_path [Unix],
    a_path_that_is_taken_is_in_use [Unix],
    a_path_that_is_given_back_can_be_taken_again [Unix],
    after_stop_listening_nobody_gets_in [Unix],
    who_is_in_stays_after_stop_listening [Unix],
    two_paths_have_their_own_factories [Unix],
    an_abort_ends_the_peer [Unix],
    the_path_is_a_socket_for_this_user_alone [Unix, FileSystem],
    the_path_has_the_mode_that_was_asked_for [Unix, FileSystem],
    the_path_goes_when_listening_stops [Unix, FileSystem],
    the_path_goes_with_the_reactor [Unix, FileSystem],
    a_socket_that_nobody_listens_on_is_replaced [Unix, FileSystem],
    what_is_no_socket_is_not_replaced [Unix, FileSystem],
    a_path_that_another_has_taken_over_is_left_alone [Unix, FileSystem],
    a_folder_that_is_not_there_is_an_error [Unix, FileSystem],
    a_descriptor_goes_with_what_is_written_after_it [Unix, Descriptors],
    descriptors_come_in_their_order [Unix, Descriptors],
    who_asks_for_no_descriptors_gets_none [Unix, Descriptors],
    tcp_carries_no_descriptors,
}

fn both_ends_are_told_in_order(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join_over(
        Over::Unix,
        Script::noting(&server).data(|transport, data| {
            transport.write(data);
            transport.lose_connection();
        }),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "data x", "lost: done"]);
    client.assert(&["made", "data x", "read closed", "lost: done"]);
}

fn a_server_is_told_that_its_peer_has_no_path(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let server = Script::silent().made(move |transport| {
        noted.note(format!("{}", transport.peer() == Address::Unix(None)));
    });
    case.join_over(Over::Unix, server, Script::silent());
    case.until_noted(&log, "true");
}

fn a_client_is_told_the_path_of_its_peer(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let path = Address::Unix(Some(case.path("socket").into()));
    let client = Script::silent().made(move |transport| {
        noted.note(format!("{}", transport.peer() == path));
    });
    case.join_over(Over::Unix, Script::silent(), client);
    case.until_noted(&log, "true");
}

fn a_port_tells_its_path(case: &Case<'_>) {
    let (port, _) = case.serve_unix(once(Script::silent()));
    let path = Address::Unix(Some(case.path("socket").into()));
    assert_eq!(*port.address(), path);
}

fn refusal(case: &Case<'_>, endpoint: UnixListen) -> &'static str {
    let refused = case
        .reactor()
        .listen(&endpoint.into(), once(Script::silent()));
    listen_error(&refused.expect_err("the path is refused"))
}

fn a_path_that_is_taken_is_in_use(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve_unix(once(Script::silent()));
    assert_eq!(
        refusal(case, UnixListen::new(case.path("socket"))),
        "in use"
    );
    // And whoever has it still has it.
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    case.until_noted(&log, "connected");
}

fn a_path_that_is_given_back_can_be_taken_again(case: &Case<'_>) {
    let log = case.log();
    let (port, _) = case.serve_unix(once(Script::silent()));
    port.stop_listening();
    let (_again, endpoint) = case.serve_unix(once(Script::noting(&log)));
    drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    case.until_noted(&log, "made");
}

fn after_stop_listening_nobody_gets_in(case: &Case<'_>) {
    let log = case.log();
    let (port, endpoint) = case.serve_unix(once(Script::silent()));
    port.stop_listening();
    drop(case.connect(&endpoint, once(Script::silent()), &log));
    let told = log.clone();
    case.until("the attempt has ended", move || told.len() == 1);
    assert_eq!(log.count("not connected"), 1);
}

fn who_is_in_stays_after_stop_listening(case: &Case<'_>) {
    let client = case.log();
    let (port, endpoint) = case.serve_unix(each(Script::echo));
    let asks = Script::noting(&client).made(move |transport| {
        port.stop_listening();
        transport.write(b"still in");
    });
    drop(case.connect(&endpoint, once(asks), &case.log()));
    // It may have been on its way when the port was closed.
    let told = client.clone();
    case.until("the client knows", move || {
        told.has("data still in") || told.is_over()
    });
    assert!(client.has("made"));
}

fn two_paths_have_their_own_factories(case: &Case<'_>) {
    let (one, other) = (case.log(), case.log());
    for (name, log) in [("one", &one), ("other", &other)] {
        let listen = UnixListen::new(case.path(name)).into();
        let factory = once(Script::noting(log));
        case.reactor().listen(&listen, factory).expect("listens");
        let connect = UnixConnect::new(case.path(name)).into();
        let says = once(Script::silent().saying(name));
        drop(case.connect(&connect, says, &case.log()));
    }
    let (a, b) = (one, other);
    case.until("both have heard", move || {
        a.has("data one") && b.has("data other")
    });
}

fn an_abort_ends_the_peer(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    case.join_over(
        Over::Unix,
        Script::noting(&server).data(|transport, _| transport.abort_connection()),
        Script::noting(&client).saying("x"),
    );
    case.until_over(&[&server, &client]);
    assert_eq!(server.reason(), "aborted");
    assert_eq!(client.count("data"), 0);
}

fn the_path_is_a_socket_for_this_user_alone(case: &Case<'_>) {
    let (_port, _) = case.serve_unix(once(Script::silent()));
    let metadata = fs::symlink_metadata(case.path("socket")).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

fn the_path_has_the_mode_that_was_asked_for(case: &Case<'_>) {
    let endpoint = UnixListen::new(case.path("open")).mode(0o666).into();
    let port = case.reactor().listen(&endpoint, once(Script::silent()));
    let metadata = fs::symlink_metadata(case.path("open")).expect("it is there");
    assert!(port.is_ok());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o666);
}

fn the_path_goes_when_listening_stops(case: &Case<'_>) {
    let (port, _) = case.serve_unix(once(Script::silent()));
    assert!(case.path("socket").exists());
    port.stop_listening();
    assert!(!case.path("socket").exists());
}

fn the_path_goes_with_the_reactor(case: &Case<'_>) {
    let (_port, _) = case.serve_unix(once(Script::silent()));
    assert!(case.path("socket").exists());
    case.drop_reactor();
    assert!(!case.path("socket").exists());
}

fn a_socket_that_nobody_listens_on_is_replaced(case: &Case<'_>) {
    let log = case.log();
    // As a process leaves it behind that was killed.
    let path = case.path("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    assert!(path.exists());
    let (_port, endpoint) = case.serve_unix(once(Script::noting(&log)));
    drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    case.until_noted(&log, "made");
}

fn what_is_no_socket_is_not_replaced(case: &Case<'_>) {
    let path = case.path("file");
    fs::write(&path, "precious").expect("writes");
    assert_eq!(refusal(case, UnixListen::new(&path)), "in use");
    assert_eq!(fs::read_to_string(path).expect("reads"), "precious");
}

fn a_path_that_another_has_taken_over_is_left_alone(case: &Case<'_>) {
    let (port, _) = case.serve_unix(once(Script::silent()));
    let path = case.path("socket");
    fs::remove_file(&path).expect("removes");
    fs::write(&path, "another's").expect("writes");
    port.stop_listening();
    assert_eq!(fs::read_to_string(path).expect("reads"), "another's");
}

fn a_folder_that_is_not_there_is_an_error(case: &Case<'_>) {
    let path = case.path("no/such/folder");
    assert_eq!(refusal(case, UnixListen::new(path)), "other error");
}

/// Reads what comes by a descriptor that was sent.
struct Receiver {
    log: crate::log::Log,
    asks: bool,
}

impl Protocol for Receiver {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.receive_descriptors(self.asks);
        transport.write(b"ready");
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.log.note_data(data);
    }

    fn descriptor_received(&mut self, _: &mut Transport, descriptor: OwnedFd) {
        let mut text = String::new();
        let read = UnixStream::from(descriptor).read_to_string(&mut text);
        self.log.note(format!("descriptor {text} {}", read.is_ok()));
    }

    fn connection_lost(&mut self, _: ropewalk_core::Failure) {
        self.log.note("lost: ");
    }
}

/// A descriptor that `text` is read from.
fn descriptor(text: &str) -> OwnedFd {
    let (mut writes, reads) = UnixStream::pair().expect("a pair");
    writes.write_all(text.as_bytes()).expect("writes");
    reads.into()
}

/// What a receiver is told when `send` has the connection.
fn received(case: &Case<'_>, asks: bool, send: impl Fn(&mut Transport) + 'static) -> Vec<String> {
    let log = case.log();
    let receiver = log.clone();
    let factory = move |_: &Address| Receiver {
        log: receiver.clone(),
        asks,
    };
    let said = Gathered::default();
    let client = Script::silent().data(move |transport, data| {
        said.borrow_mut().extend_from_slice(data);
        if said.borrow().len() == 5 {
            send(transport);
            transport.lose_connection();
        }
    });
    case.join_factories(Over::Unix, Rc::new(factory), once(client));
    case.until_over(&[&log]);
    log.events()
}

fn a_descriptor_goes_with_what_is_written_after_it(case: &Case<'_>) {
    let told = received(case, true, |transport| {
        transport.send_descriptor(descriptor("one")).expect("goes");
        transport.write(b"here it is");
    });
    assert_eq!(told, ["descriptor one true", "data here it is", "lost: "]);
}

fn descriptors_come_in_their_order(case: &Case<'_>) {
    let told = received(case, true, |transport| {
        for text in ["one", "two", "three"] {
            transport.send_descriptor(descriptor(text)).expect("goes");
            transport.write(text.as_bytes());
        }
    });
    let descriptors: Vec<_> = told.iter().filter(|one| one.starts_with("desc")).collect();
    assert_eq!(
        descriptors,
        [
            "descriptor one true",
            "descriptor two true",
            "descriptor three true"
        ]
    );
    let data: String = told
        .iter()
        .filter_map(|one| one.strip_prefix("data "))
        .collect();
    assert_eq!(data, "onetwothree");
}

fn who_asks_for_no_descriptors_gets_none(case: &Case<'_>) {
    let told = received(case, false, |transport| {
        transport.send_descriptor(descriptor("x")).expect("goes");
        transport.write(b"bytes");
    });
    assert_eq!(told, ["data bytes", "lost: "]);
}

fn tcp_carries_no_descriptors(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.join(
        Script::silent().made(move |transport| {
            let sent = transport.send_descriptor(descriptor("x"));
            noted.note(format!("{sent:?}"));
        }),
        Script::silent(),
    );
    case.until_noted(&log, "Err(NotUnix)");
}
