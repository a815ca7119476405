//! The bare driver: sockets, pipes and other descriptors of the operating system.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use ropewalk_core::{Address, ConnectionId};
use ropewalk_reactor::driver::{ListenerId, Target, WatchId};

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::ms;

topic! { driver driver_descriptors:
    a_socket_that_listens_is_adopted [Descriptors],
    a_socket_that_does_not_listen_is_not_adopted [Descriptors],
    a_duplicate_of_a_listener_accepts_when_the_first_is_closed [Descriptors],
    a_connected_socket_is_taken_over [Descriptors],
    what_came_before_a_socket_was_taken_over_is_reported [Descriptors],
    a_connected_socket_is_opened_as_a_target [Descriptors],
    two_pipes_are_served_as_a_connection [Descriptors],
    a_pair_of_pipes_is_opened_as_a_target [Descriptors],
    the_end_of_a_pipe_is_a_read_end [Descriptors],
    a_file_that_is_always_ready_does_not_keep_a_poll [Descriptors],
    a_pipe_that_nobody_reads_any_more_is_reported [Descriptors],
    a_shut_down_pipe_is_closed_for_its_reader [Descriptors],
    a_watched_descriptor_is_reported_once_when_it_can_be_read [Descriptors],
    a_watch_that_is_given_up_is_not_reported [Descriptors],
    a_watch_may_be_made_again [Descriptors],
    an_unknown_watch_is_ignored [Descriptors],
}

fn std_listener() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn a_socket_that_listens_is_adopted(bare: &Bare<'_>) {
    let (listener, address) = std_listener();
    let adopted = bare.driver().adopt(ListenerId(0), listener.into());
    assert_eq!(adopted.expect("it listens"), Address::Tcp(address));
    let client = bare.connect(address).expect("begins");
    bare.until("it is accepted", |bare| {
        bare.accepted(ListenerId(0)).len() == 1
    });
    bare.until_event(&Event::Opened(client));
}

fn a_socket_that_does_not_listen_is_not_adopted(bare: &Bare<'_>) {
    let (one, _other) = UnixStream::pair().expect("a pair");
    assert!(bare.driver().adopt(ListenerId(0), one.into()).is_err());
    // Its number is free.
    let address = bare.listen(ListenerId(0));
    bare.connect(address).expect("begins");
    bare.until("it is accepted", |bare| {
        bare.accepted(ListenerId(0)).len() == 1
    });
}

fn a_duplicate_of_a_listener_accepts_when_the_first_is_closed(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    let shared = bare.driver().share(ListenerId(0)).expect("a duplicate");
    bare.driver().adopt(ListenerId(1), shared).expect("adopts");
    bare.driver().close_listener(ListenerId(0));
    bare.connect(address).expect("begins");
    bare.until("it is accepted", |bare| {
        bare.accepted(ListenerId(1)).len() == 1
    });
    assert!(bare.accepted(ListenerId(0)).is_empty());
}

/// A connection of the operating system: one end for the driver, one for the test.
fn connection() -> (OwnedFd, TcpStream) {
    let (listener, address) = std_listener();
    let client = TcpStream::connect(address).expect("connects");
    let (server, _) = listener.accept().expect("accepts");
    server.set_nonblocking(true).expect("does not block");
    (server.into(), client)
}

fn a_connected_socket_is_taken_over(bare: &Bare<'_>) {
    let (server, mut client) = connection();
    let id = bare.name();
    bare.driver().take_over(id, server).expect("takes it");
    client.write_all(b"hello").expect("writes");
    bare.until("it has come", |bare| bare.received(id) == b"hello");
    bare.send(id, b"and back");
    bare.driver().close(id);
    let mut got = String::new();
    client.read_to_string(&mut got).expect("reads");
    assert_eq!(got, "and back");
    assert!(!bare.has(&Event::Opened(id)));
}

fn what_came_before_a_socket_was_taken_over_is_reported(bare: &Bare<'_>) {
    let (server, mut client) = connection();
    client.write_all(b"early").expect("writes");
    drop(client);
    let id = bare.name();
    bare.driver().take_over(id, server).expect("takes it");
    bare.until_event(&Event::ReadClosed(id));
    assert_eq!(bare.received(id), b"early");
}

fn a_connected_socket_is_opened_as_a_target(bare: &Bare<'_>) {
    let (server, mut client) = connection();
    let id = bare.name();
    let target = Target::Descriptor(server.as_fd());
    bare.driver().connect(id, target).expect("begins");
    // It has a duplicate.
    drop(server);
    bare.until_event(&Event::Opened(id));
    client.write_all(b"hello").expect("writes");
    bare.until("it has come", |bare| bare.received(id) == b"hello");
}

/// A pipe whose ends do not block: to read from, and to write to.
fn pipe() -> (OwnedFd, OwnedFd) {
    // As a pair of sockets, of which one way is used: it is no matter for what is promised.
    let (reads, writes) = UnixStream::pair().expect("a pair");
    for end in [&reads, &writes] {
        end.set_nonblocking(true).expect("does not block");
    }
    (reads.into(), writes.into())
}

/// A connection over two pipes, and the other ends: what it writes comes out of the first, and what
/// is written to the second comes to it.
fn attach(bare: &Bare<'_>) -> (ConnectionId, UnixStream, UnixStream) {
    let (in_read, in_write) = pipe();
    let (out_read, out_write) = pipe();
    let id = bare.name();
    let attached = bare.driver().attach(id, Some(in_read), Some(out_write));
    attached.expect("attaches");
    (id, out_read.into(), in_write.into())
}

fn two_pipes_are_served_as_a_connection(bare: &Bare<'_>) {
    let (id, mut out, mut into) = attach(bare);
    into.write_all(b"in").expect("writes");
    bare.until("it has come", |bare| bare.received(id) == b"in");
    bare.send(id, b"out");
    let mut got = [0; 3];
    out.read_exact(&mut got).expect("reads");
    assert_eq!(&got, b"out");
    assert!(!bare.has(&Event::Opened(id)));
}

fn a_pair_of_pipes_is_opened_as_a_target(bare: &Bare<'_>) {
    let (in_read, in_write) = pipe();
    let (_out_read, out_write) = pipe();
    let id = bare.name();
    let target = Target::Pair(in_read.as_fd(), out_write.as_fd());
    bare.driver().connect(id, target).expect("begins");
    bare.until_event(&Event::Opened(id));
    let mut into = UnixStream::from(in_write);
    into.write_all(b"hello").expect("writes");
    bare.until("it has come", |bare| bare.received(id) == b"hello");
}

fn the_end_of_a_pipe_is_a_read_end(bare: &Bare<'_>) {
    let (id, _out, mut into) = attach(bare);
    into.write_all(b"the last").expect("writes");
    drop(into);
    bare.until_event(&Event::ReadClosed(id));
    assert_eq!(bare.received(id), b"the last");
}

fn a_file_that_is_always_ready_does_not_keep_a_poll(bare: &Bare<'_>) {
    const LEN: usize = 16 * 1024 * 1024;
    let file = tempfile::tempfile().expect("a temporary file");
    file.set_len(LEN as u64).expect("it has a length");
    let id = bare.name();
    let attached = bare.driver().attach(id, Some(file.into()), None);
    attached.expect("attaches");
    bare.until_event(&Event::ReadClosed(id));
    assert_eq!(bare.received_len(id), LEN);
    let mut by_poll = std::collections::BTreeMap::new();
    for (poll, event) in bare.events_by_poll() {
        if let Event::Received(_, len) = event {
            *by_poll.entry(poll).or_insert(0) += len;
        }
    }
    let most = by_poll.values().max().copied().unwrap_or_default();
    assert!(most <= 4 * 1024 * 1024, "{most} bytes in one poll");
}

fn a_pipe_that_nobody_reads_any_more_is_reported(bare: &Bare<'_>) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let id = bare.name();
    let attached = bare.driver().attach(id, None, Some(writer.into()));
    attached.expect("attaches");
    bare.poll_for(ms(2));
    drop(reader);
    bare.until("it is reported", |bare| {
        bare.count(|event| matches!(event, Event::Failed(of, _) if *of == id)) == 1
    });
}

fn a_shut_down_pipe_is_closed_for_its_reader(bare: &Bare<'_>) {
    let (id, mut out, mut into) = attach(bare);
    bare.send(id, b"all");
    bare.driver().shutdown_write(id).expect("shuts down");
    let mut got = String::new();
    out.set_nonblocking(false).expect("blocks");
    out.read_to_string(&mut got).expect("reads to the end");
    assert_eq!(got, "all");
    into.write_all(b"still read").expect("writes");
    bare.until("it has come", |bare| bare.received(id) == b"still read");
}

fn a_watched_descriptor_is_reported_once_when_it_can_be_read(bare: &Bare<'_>) {
    let (reads, writes) = pipe();
    let reads = Rc::new(reads);
    let watched = bare.driver().watch(WatchId(0), Rc::clone(&reads));
    watched.expect("watches");
    bare.poll_for(ms(5));
    assert!(!bare.has(&Event::Ready(WatchId(0))));
    let mut writes = UnixStream::from(writes);
    writes.write_all(b"x").expect("writes");
    bare.until_event(&Event::Ready(WatchId(0)));
    writes.write_all(b"x").expect("writes");
    bare.poll_for(ms(5));
    assert_eq!(bare.count(|event| *event == Event::Ready(WatchId(0))), 1);
}

fn a_watch_that_is_given_up_is_not_reported(bare: &Bare<'_>) {
    let (reads, writes) = pipe();
    bare.driver()
        .watch(WatchId(0), Rc::new(reads))
        .expect("watches");
    bare.driver().unwatch(WatchId(0));
    let mut writes = UnixStream::from(writes);
    let _ = writes.write_all(b"x");
    bare.poll_for(ms(5));
    assert!(bare.events().is_empty());
}

fn a_watch_may_be_made_again(bare: &Bare<'_>) {
    let (reads, writes) = pipe();
    let reads = Rc::new(reads);
    let mut writes = UnixStream::from(writes);
    writes.write_all(b"x").expect("writes");
    for round in 1..=3 {
        let watched = bare.driver().watch(WatchId(5), Rc::clone(&reads));
        watched.expect("watches");
        bare.until("it is ready", |bare| {
            bare.count(|event| *event == Event::Ready(WatchId(5))) == round
        });
    }
}

fn an_unknown_watch_is_ignored(bare: &Bare<'_>) {
    bare.driver().unwatch(WatchId(9));
    let (reads, writes) = pipe();
    bare.driver()
        .watch(WatchId(1), Rc::new(reads))
        .expect("watches");
    bare.driver().unwatch(WatchId(2));
    UnixStream::from(writes).write_all(b"x").expect("writes");
    bare.until_event(&Event::Ready(WatchId(1)));
}
