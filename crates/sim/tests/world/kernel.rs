//! What the kernels of two hosts do to a connection, as Linux does.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Address, Factory, Failure, Protocol, Transport};
use ropewalk_reactor::Handle;
use ropewalk_sim::{Fault, Link, World};

use crate::rig::{Log, ask, echo_at, pattern};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

type Act = Rc<dyn Fn(&mut Transport)>;

/// Acts when it is connected, and when the first bytes have come, and notes all that happens.
struct Actor {
    made: Act,
    got: Act,
    received: usize,
    log: Log,
}

impl Protocol for Actor {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.log.borrow_mut().push("made".to_owned());
        (self.made)(transport);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        if self.received == 0 {
            (self.got)(transport);
        }
        self.received += data.len();
    }

    fn read_closed(&mut self, _: &mut Transport) {
        let line = format!("end after {}", self.received);
        self.log.borrow_mut().push(line);
    }

    fn connection_lost(&mut self, reason: Failure) {
        let line = format!("lost after {}: {reason}", self.received);
        self.log.borrow_mut().push(line);
    }
}

fn actor(
    log: &Log,
    made: impl Fn(&mut Transport) + 'static,
    got: impl Fn(&mut Transport) + 'static,
) -> Rc<dyn Factory> {
    let (log, made, got): (_, Act, Act) = (Rc::clone(log), Rc::new(made), Rc::new(got));
    Rc::new(move |_: &Address| Actor {
        made: Rc::clone(&made),
        got: Rc::clone(&got),
        received: 0,
        log: Rc::clone(&log),
    })
}

fn listen(reactor: &Handle, endpoint: &str, factory: Rc<dyn Factory>) {
    reactor.listen(&endpoint.parse().unwrap(), factory).unwrap();
}

fn connect(reactor: &Handle, endpoint: &str, factory: Rc<dyn Factory>) {
    drop(reactor.connect(&endpoint.parse().unwrap(), factory));
}

fn write_later(transport: &Transport, after: Duration, len: usize) {
    let connection = transport.connection();
    let write = move || assert!(connection.write(&pattern(len)));
    drop(transport.reactor().call_later(after, Box::new(write)));
}

#[test]
fn a_connection_that_was_reset_answers_what_is_under_way_with_nothing_but_resets() {
    for after in 0..30 {
        let world = World::new(1);
        let (server, client) = (world.host("server"), world.host("client"));
        world.set_default_link(&Link {
            latency: 10 * MILLI..=10 * MILLI,
            ..Link::default()
        });
        let log = Log::default();
        let noted = Rc::clone(&log);
        server.start(move |reactor| listen(reactor, "tcp:7", actor(&noted, |_| (), |_| ())));
        let noted = Rc::clone(&log);
        client.start(move |reactor| {
            let write = |transport: &mut Transport| write_later(transport, SECOND, 200_000);
            connect(reactor, "tcp:198.18.0.1:7", actor(&noted, write, |_| ()));
        });
        world.run_for(SECOND + 25 * MILLI + after * MILLI);
        server.pause(SECOND);
        client.pause(SECOND);
        world.begin(&Fault::Reset("server".into(), "client".into()));
        world.run_for(HOUR);
        let log = log.borrow();
        let lost = log.iter().filter(|line| line.contains("reset")).count();
        assert_eq!((log.len(), lost), (4, 2), "{log:?}");
    }
}

#[test]
fn what_was_written_before_a_reset_comes_before_it() {
    for seed in 0..20 {
        let world = World::new(seed);
        let (server, client) = (world.host("server"), world.host("client"));
        let (noted, log) = (Log::default(), Log::default());
        // Its answer is on its way when it closes with a request that it has not read.
        server.start(move |reactor| {
            let answer = |transport: &mut Transport| {
                transport.write(&pattern(1000));
                let connection = transport.connection();
                drop(transport.reactor().call_later(
                    Duration::ZERO,
                    Box::new(move || assert!(connection.abort_connection())),
                ));
            };
            listen(reactor, "tcp:7", actor(&noted, |_| (), answer));
        });
        let noted = Rc::clone(&log);
        client.start(move |reactor| {
            let request = |transport: &mut Transport| transport.write(b"request");
            connect(reactor, "tcp:server:7", actor(&noted, request, |_| ()));
        });
        world.run_for(SECOND);
        let log = log.borrow();
        assert!(
            log[1].starts_with("lost after 1000") && log[1].contains("reset"),
            "{log:?}"
        );
    }
}

#[test]
fn writing_to_a_peer_that_has_closed_breaks_the_pipe() {
    for to in ["tcp:7", "unix:/run/seven"] {
        let world = World::new(1);
        let host = world.host("host");
        let log = Log::default();
        let (noted, unseen) = (Rc::clone(&log), Log::default());
        host.start(move |reactor| {
            let close = |transport: &mut Transport| transport.lose_connection();
            listen(reactor, to, actor(&unseen, close, |_| ()));
            let write = |transport: &mut Transport| write_later(transport, SECOND, 10);
            let to = to.replace("tcp:", "tcp:127.0.0.1:");
            connect(reactor, &to, actor(&noted, write, |_| ()));
        });
        world.run_for(2 * SECOND);
        let log = log.borrow();
        assert_eq!(log[..2], ["made", "end after 0"]);
        assert!(log[2].contains("Broken pipe"), "{to}: {log:?}");
    }
}

#[test]
fn who_waits_to_be_accepted_is_reset_when_nobody_listens_any_more() {
    for to in ["tcp:7", "unix:/run/seven"] {
        let world = World::new(1);
        let host = world.host("host");
        host.set_descriptor_limit(100);
        let log = Log::default();
        let noted = Rc::clone(&log);
        host.start(move |reactor| {
            let unseen = actor(&Log::default(), |_| (), |_| ());
            let port = reactor.listen(&to.parse().unwrap(), unseen).unwrap();
            let to = to.replace("tcp:", "tcp:127.0.0.1:");
            connect(reactor, &to, actor(&noted, |_| (), |_| ()));
            port.stop_listening();
        });
        world.run_for(2 * SECOND);
        let log = log.borrow();
        assert!(
            !log.iter().any(|line| line.contains("end")),
            "{to}: {log:?}"
        );
    }
}

#[test]
fn darkness_is_around_a_host_and_not_within_it() {
    for to in ["tcp:7", "unix:/run/seven"] {
        let world = World::new(1);
        let host = world.host("host");
        world.begin(&Fault::Darkness("host".into()));
        let log = Log::default();
        let noted = Rc::clone(&log);
        host.start(move |reactor| {
            echo_at(reactor, to);
            let to = to.replace("tcp:", "tcp:127.0.0.1:");
            ask(reactor, &to, pattern(1000), &noted);
        });
        world.run_for(SECOND / 2);
        assert_eq!(log.borrow()[..2], ["made", "answered"], "{to}");
    }
}

#[test]
fn what_nobody_reads_is_not_kept_for_ever_when_its_writer_has_closed() {
    let world = World::new(1);
    let (server, client) = (world.host("server"), world.host("client"));
    client.set_ephemeral_ports(50_000..=50_000);
    let log = Log::default();
    let noted = Rc::clone(&log);
    server.start(move |reactor| {
        let factory = actor(&noted, |_| (), |_| ());
        listen(reactor, "tcp:7:receive_buffer=10k", factory);
    });
    let log = Log::default();
    let noted = Rc::clone(&log);
    client.start(move |reactor| {
        let write = |transport: &mut Transport| transport.write(&pattern(100_000));
        connect(reactor, "tcp:server:7", actor(&noted, write, |_| ()));
        let (again, log) = (reactor.clone(), Rc::clone(&noted));
        drop(reactor.call_later(HOUR, move || {
            connect(&again, "tcp:server:7", actor(&log, |_| (), |_| ()));
        }));
    });
    world.run_until(SECOND, || !log.borrow().is_empty());
    server.pause(10 * HOUR);
    world.run_for(SECOND);
    client.kill();
    client.restart();
    world.run_for(HOUR + HOUR / 2);
    let made = log.borrow().iter().filter(|line| *line == "made").count();
    assert_eq!(
        made,
        2,
        "its port is free: {:?} {}",
        log.borrow(),
        world.trace()
    );
}

#[test]
fn a_capture_of_what_a_host_tells_itself_can_be_read() {
    let world = World::new(1);
    let host = world.host("host");
    world.capture();
    let log = Log::default();
    let noted = Rc::clone(&log);
    host.start(move |reactor| {
        echo_at(reactor, "tcp:7");
        ask(reactor, "tcp:127.0.0.1:7", pattern(200_000), &noted);
    });
    world.run_for(SECOND);
    let file = world.take_capture();
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let total = u16::from_be_bytes(rest[18..20].try_into().unwrap());
        assert_eq!(usize::from(total), length);
        rest = &rest[16 + length..];
    }
    assert_eq!(log.borrow()[1], "answered");
}

#[test]
fn what_a_link_holds_is_captured_once() {
    let world = World::new(1);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    world.capture();
    world.inflict(&Fault::Hold("server".into(), "client".into()), SECOND / 2);
    client.start(|reactor| ask(reactor, "tcp:198.18.0.1:7", pattern(10), &Log::default()));
    world.run_for(SECOND);
    let (file, mut syns) = (world.take_capture(), 0);
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        syns += u32::from(rest[16 + 33] == 2);
        rest = &rest[16 + length..];
    }
    assert_eq!(syns, 1);
}

#[test]
fn what_was_written_to_a_unix_socket_waits_for_its_reader_as_long_as_it_takes() {
    let world = World::new(1);
    let host = world.host("host");
    let (log, unseen) = (Log::default(), Log::default());
    let noted = Rc::clone(&log);
    host.start(move |reactor| {
        let pause = |transport: &mut Transport| {
            transport.pause_producing();
            let connection = transport.connection();
            let resume = move || assert!(connection.resume_producing());
            drop(transport.reactor().call_later(HOUR, Box::new(resume)));
        };
        listen(reactor, "unix:/run/seven", actor(&noted, pause, |_| ()));
        let write = |transport: &mut Transport| {
            transport.write(&pattern(300_000));
            transport.lose_connection();
        };
        connect(reactor, "unix:/run/seven", actor(&unseen, write, |_| ()));
    });
    world.run_for(2 * HOUR);
    assert_eq!(log.borrow()[1], "end after 300000");
}
