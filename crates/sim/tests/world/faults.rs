//! What goes wrong with connections, and what their two ends learn of it.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Address, ConnectionLimits, Factory, Failure, Protocol, Transport};
use ropewalk_sim::{Fault, Link, World};

use crate::rig::{Log, ask, echo_at, pattern};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Notes what happens; writes what it is told at first, and is silent then.
struct Silent {
    name: &'static str,
    first: usize,
    later: Duration,
    log: Log,
}

impl Silent {
    fn note(&self, what: impl std::fmt::Display) {
        self.log.borrow_mut().push(format!("{}: {what}", self.name));
    }
}

impl Protocol for Silent {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.note("made");
        let (connection, bytes) = (transport.connection(), pattern(self.first));
        if !bytes.is_empty() {
            let write = move || assert!(connection.write(&bytes));
            drop(transport.reactor().call_later(self.later, Box::new(write)));
        }
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        if data.contains(&b'?') {
            transport.write(&pattern(100));
        }
    }

    fn read_closed(&mut self, _: &mut Transport) {
        self.note("end");
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.note(reason);
    }
}

/// Without deadlines of its own.
struct Patient(Box<dyn Fn() -> Silent>);

impl Factory for Patient {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new((self.0)()))
    }

    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            write_stall: 24 * HOUR,
            ..ConnectionLimits::default()
        }
    }
}

/// A connection of two that are silent, with what each of them has learned.
fn joined(options: &'static str) -> (World, Log) {
    joined_after(options, 0, Duration::ZERO)
}

/// As `joined`; the client writes so many bytes after a while.
fn joined_after(options: &'static str, first: usize, later: Duration) -> (World, Log) {
    let world = World::new(9);
    let (server, client) = (world.host("server"), world.host("client"));
    let log = Log::default();
    let noted = Rc::clone(&log);
    server.start(move |reactor| {
        let log = Rc::clone(&noted);
        let make = move || Silent {
            name: "server",
            first: 0,
            later,
            log: Rc::clone(&log),
        };
        let factory: Rc<dyn Factory> = Rc::new(Patient(Box::new(make)));
        reactor.listen(&"tcp:7".parse().unwrap(), factory).unwrap();
    });
    let noted = Rc::clone(&log);
    client.start(move |reactor| {
        let log = Rc::clone(&noted);
        let make = move || Silent {
            name: "client",
            first,
            later,
            log: Rc::clone(&log),
        };
        let endpoint = format!("tcp:server:7{options}").parse().unwrap();
        drop(reactor.connect(&endpoint, Rc::new(Patient(Box::new(make)))));
    });
    world.run_for(SECOND);
    assert_eq!(log.take().len(), 2, "{}", world.trace());
    (world, log)
}

#[test]
fn a_peer_whose_power_failed_is_half_open_until_something_is_sent() {
    let (world, log) = joined("");
    let (server, client) = (world.find("server").unwrap(), world.find("client").unwrap());
    server.crash();
    log.take();
    world.run_for(10 * HOUR);
    assert!(log.borrow().is_empty(), "{:?}", log.borrow());
    assert_eq!(client.descriptors(), 1);
    server.restart();
    world.run_for(HOUR);
    assert!(log.borrow().is_empty());
}

#[test]
fn keep_alive_finds_a_peer_that_is_gone_and_one_that_knows_nothing_of_it() {
    let (world, log) = joined(":keep_alive=1h");
    let server = world.find("server").unwrap();
    server.crash();
    log.take();
    world.run_for(HOUR + 9 * 75 * SECOND - SECOND);
    assert!(log.borrow().is_empty(), "{:?}", log.borrow());
    world.run_for(2 * SECOND);
    assert!(log.borrow()[0].contains("timed out"), "{:?}", log.borrow());
    let (world, log) = joined(":keep_alive=1h");
    let server = world.find("server").unwrap();
    server.crash();
    log.take();
    server.restart();
    world.run_for(HOUR + SECOND);
    assert!(log.borrow()[0].contains("reset"), "{:?}", log.borrow());
}

#[test]
fn what_is_under_way_is_given_up_after_a_quarter_of_an_hour() {
    // The client writes in a moment, when nothing gets to the server any more.
    let (world, log) = joined_after("", 100, 2 * SECOND);
    world.begin(&Fault::PartitionOneWay("client".into(), "server".into()));
    world.run_for(900 * SECOND);
    assert!(log.borrow().is_empty(), "{:?}", log.borrow());
    world.run_for(120 * SECOND);
    assert_eq!(log.borrow().len(), 1);
    assert!(log.borrow()[0].contains("timed out"), "{:?}", log.borrow());
}

#[test]
fn a_peer_that_is_killed_ends_its_side_and_resets_what_it_had_not_read() {
    let (world, log) = joined("");
    world.find("server").unwrap().kill();
    log.take();
    world.run_for(SECOND);
    assert_eq!(*log.borrow(), ["client: end"]);
    let (world, log) = joined("");
    world.find("server").unwrap().pause(HOUR);
    world.find("client").unwrap().kill();
    log.take();
    world.run_for(2 * HOUR);
    assert_eq!(*log.borrow(), ["server: end"], "when it goes on");
}

#[test]
fn a_reset_is_told_to_both() {
    let (world, log) = joined("");
    world.begin(&Fault::Reset("client".into(), "server".into()));
    world.run_for(SECOND);
    let mut log = log.take();
    log.sort();
    assert_eq!(log.len(), 2);
    assert!(
        log[0].starts_with("client: ") && log[0].contains("reset"),
        "{log:?}"
    );
    assert!(
        log[1].starts_with("server: ") && log[1].contains("reset"),
        "{log:?}"
    );
}

/// How long a megabyte takes there and back under a fault.
fn takes(fault: Option<&Fault>, size: usize) -> Duration {
    let world = World::new(4);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    world.run_for(SECOND);
    if let Some(fault) = fault {
        world.begin(fault);
    }
    let log = Log::default();
    let noted = Rc::clone(&log);
    let begun = world.now();
    client.start(move |reactor| ask(reactor, "tcp:server:7", pattern(size), &noted));
    let done = || log.borrow().iter().any(|line| line == "answered");
    assert!(
        world.run_until(HOUR, done),
        "{:?} {}",
        log.borrow(),
        world.trace()
    );
    world.now() - begun
}

#[test]
fn slow_readers_slow_writers_and_bad_links_only_take_longer() {
    let mega = 1 << 20;
    let well = takes(None, mega);
    assert!(well < SECOND, "{well:?}");
    let slow = takes(Some(&Fault::SlowReading("server".into(), 100_000)), mega);
    assert!(slow > 9 * SECOND && slow < 30 * SECOND, "{slow:?}");
    let loris = takes(Some(&Fault::SlowWriting("client".into(), 4100)), 1000);
    assert!(loris > 9 * SECOND, "{loris:?}");
    let link = Link {
        bandwidth: Some(100_000),
        ..Link::default()
    };
    let narrow = Fault::Degradation("client".into(), "server".into(), link);
    let narrow = takes(Some(&narrow), mega);
    assert!(narrow > 10 * SECOND && narrow < 60 * SECOND, "{narrow:?}");
}

#[test]
fn what_is_held_comes_when_it_is_let_go() {
    let (world, log) = joined("");
    let hold = Fault::Hold("client".into(), "server".into());
    world.inflict(&hold, 10 * SECOND);
    world.find("server").unwrap().kill();
    log.take();
    world.run_for(9 * SECOND);
    assert!(log.borrow().is_empty());
    world.run_for(2 * SECOND);
    assert_eq!(*log.borrow(), ["client: end"]);
}

#[test]
fn without_ports_or_descriptors_connecting_fails_and_listening_rests() {
    let world = World::new(2);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    client.set_ephemeral_ports(50_000..=50_001);
    world.run_for(SECOND);
    server.pause(10 * SECOND);
    let log = Log::default();
    let noted = Rc::clone(&log);
    client.start(move |reactor| {
        for _ in 0..3 {
            ask(reactor, "tcp:server:7", pattern(10), &noted);
        }
    });
    world.run_for(SECOND);
    let failed = |log: &Log| {
        let log = log.borrow();
        let failed = log.iter().filter(|line| line.starts_with("failed"));
        failed.cloned().collect::<Vec<_>>()
    };
    assert_eq!(failed(&log).len(), 1, "{:?}", log.borrow());
    assert!(
        failed(&log)[0].contains("assign requested address"),
        "{:?}",
        log.borrow()
    );

    client.stop();
    world.run_for(120 * SECOND);
    server.set_descriptor_limit(2);
    let log = Log::default();
    let noted = Rc::clone(&log);
    let many = world.host("many");
    many.start(move |reactor| {
        for _ in 0..20 {
            ask(reactor, "tcp:server:7", pattern(10), &noted);
        }
    });
    world.run_for(10 * SECOND);
    let made = log.borrow().iter().filter(|line| *line == "made").count();
    let over = log
        .borrow()
        .iter()
        .filter(|line| line.starts_with("lost"))
        .count();
    assert_eq!((made, over), (20, 20), "{:?}", log.borrow());
    assert!(log.borrow().iter().any(|line| line == "answered"));
    assert_eq!(server.descriptors(), 1);
}

#[test]
fn a_backlog_that_is_full_makes_clients_ask_again() {
    let world = World::new(2);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7:backlog=4"));
    world.run_for(SECOND);
    server.pause(10 * SECOND);
    let log = Log::default();
    let noted = Rc::clone(&log);
    client.start(move |reactor| {
        for _ in 0..20 {
            ask(reactor, "tcp:server:7:timeout=1h", pattern(10), &noted);
        }
    });
    let made = || log.borrow().iter().filter(|line| *line == "made").count();
    world.run_for(9 * SECOND);
    assert_eq!(made(), 5);
    world.run_for(200 * SECOND);
    assert_eq!(made(), 20);
    let answered = log
        .borrow()
        .iter()
        .filter(|line| *line == "answered")
        .count();
    assert_eq!(answered, 20);
}

/// Found by chaos, seed 23: what came for a connection after its reset, and before its paused program
/// had heard of that, was taken for news.
#[test]
fn what_comes_for_a_connection_that_is_broken_changes_nothing_though_its_program_stands_still() {
    for after in 1..20 {
        let world = World::new(after);
        let (server, client) = (world.host("server"), world.host("client"));
        server.start(|reactor| echo_at(reactor, "tcp:7"));
        world.run_for(SECOND);
        let log = Log::default();
        let noted = Rc::clone(&log);
        client.start(move |reactor| ask(reactor, "tcp:server:7", pattern(1 << 20), &noted));
        world.run_for(Duration::from_millis(2 * after));
        server.pause(SECOND);
        client.pause(SECOND);
        world.begin(&Fault::Reset("server".into(), "client".into()));
        world.run_for(SECOND * 10);
        let told = log.borrow().last().cloned().unwrap_or_default();
        assert!(told.contains("lost"), "{told}");
        assert_eq!((server.descriptors(), client.descriptors()), (1, 0));
    }
}

/// A server that takes its time for each answer, and ends when all that it owes is answered.
struct Slow(u64);

impl Protocol for Slow {
    fn data_received(&mut self, transport: &mut Transport, _: &[u8]) {
        let connection = transport.connection();
        let answer = move || {
            connection.write(b"!");
            connection.lose_connection();
        };
        let takes = Duration::from_secs(self.0);
        drop(transport.reactor().call_later(takes, Box::new(answer)));
    }

    fn drain(&mut self, _: &mut Transport) {}
}

#[test]
fn a_program_that_is_stopped_finishes_what_it_is_at_and_is_started_again_when_it_has_ended() {
    for (takes, back_after) in [(1, 5), (20, 20)] {
        let world = World::new(takes);
        let (server, client) = (world.host("server"), world.host("client"));
        server.start(move |reactor| {
            let factory: Rc<dyn Factory> = Rc::new(move |_: &Address| Slow(takes));
            let endpoint = "tcp:7".parse().unwrap();
            reactor.listen(&endpoint, factory).unwrap();
        });
        world.run_for(SECOND);
        let log = Log::default();
        let noted = Rc::clone(&log);
        client.start(move |reactor| ask(reactor, "tcp:server:7", b"!".to_vec(), &noted));
        world.run_for(SECOND / 10);
        world.inflict(&Fault::Stop("server".into()), 5 * SECOND);
        world.run_for(SECOND / 2);
        assert!(server.is_running());
        let listening = server.descriptors();
        assert_eq!(listening, 1, "the port is closed, the connection is not");
        world.run_for(SECOND * back_after as u32 - SECOND);
        assert!(log.borrow().contains(&"answered".to_owned()) == (takes < back_after));
        assert_eq!(server.is_running(), takes >= back_after);
        world.run_for(SECOND * 2);
        assert_eq!(log.borrow()[1], "answered", "{:?}", log.borrow());
        assert!(server.is_running());
        assert_eq!(server.descriptors(), 1, "it listens again");
    }
}

#[test]
fn a_program_that_was_killed_while_it_was_stopping_is_started_again_once() {
    let world = World::new(1);
    let server = world.host("server");
    let starts = Rc::new(std::cell::Cell::new(0));
    let counted = Rc::clone(&starts);
    server.start(move |_| counted.set(counted.get() + 1));
    world.run_for(SECOND);
    world.inflict(&Fault::Stop("server".into()), 3 * SECOND);
    world.inflict(&Fault::Kill("server".into()), SECOND);
    world.inflict(&Fault::Stop("server".into()), SECOND * 10);
    world.run_for(SECOND * 20);
    assert_eq!(starts.get(), 2);
    assert!(server.is_running());
}
