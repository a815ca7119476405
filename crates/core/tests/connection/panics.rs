//! A panic ends the connection that it happened on, and nothing else.

use std::time::Duration;

use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{ConnectionLimits, Layer};

use crate::layer_kit::{Faulty, How};
use crate::rig::{End, Log, Rig, Script};

fn boom(script: Script, event: &'static str) -> Script {
    script.on(event, |_, _| panic!("on purpose"))
}

/// Makes each callback of a connection happen.
fn live(script: Script, layers: Vec<Box<dyn Layer>>) -> Rig {
    let limits = ConnectionLimits {
        high_water: 1,
        low_water: 0,
        ..Default::default()
    };
    let mut rig = Rig::with(script, layers, limits);
    rig.connect();
    rig.receive(b"x");
    rig.event(|channel| {
        channel
            .connection()
            .act(|transport| transport.set_timeout(Some(Duration::from_secs(1))));
    });
    rig.room = 0;
    if rig.channel.is_some() {
        rig.handle().write(b"yy");
        rig.end_turn();
    }
    rig.make_room(2);
    rig.advance(Duration::from_secs(1));
    rig.close_read();
    rig.event(|channel| channel.drain());
    rig
}

fn tolerant() -> Script {
    Script::new()
        .on("timeout", |_, _| ())
        .on("read_closed", |_, _| ())
}

#[test]
fn a_panic_in_any_callback_ends_the_connection_and_is_the_reason() {
    for (event, callback) in [
        ("made", "connection_made"),
        ("data", "data_received"),
        ("read_closed", "read_closed"),
        ("paused", "write_paused"),
        ("resumed", "write_resumed"),
        ("timeout", "timeout_connection"),
        ("drain", "drain"),
    ] {
        // The first hook for an event counts.
        let mut script = boom(Script::new(), event);
        for other in ["timeout", "read_closed"] {
            script = script.on(other, |_, _| ());
        }
        let rig = live(script, Vec::new());
        let told = rig.told();
        let before = told.len() - 2;
        assert!(told[before].starts_with(event), "{told:?}");
        assert_eq!(told[before + 1], format!("lost panic in {callback}"));
        assert_eq!(rig.end, Some(End::Abort));
    }
}

#[test]
fn a_panic_in_connection_lost_stays_there() {
    let mut rig = live(boom(tolerant(), "lost"), Vec::new());
    rig.fail(std::io::ErrorKind::ConnectionReset);
    assert_eq!(rig.told().last().unwrap(), "lost done");
}

#[test]
fn a_panic_in_any_call_of_a_layer_ends_the_connection_and_the_protocol_hears_of_it() {
    for (at, callback) in [
        ("start", "Layer::start"),
        ("received", "Layer::received"),
        ("send", "Layer::send"),
        ("read_closed", "Layer::read_closed"),
        ("finish", "Layer::finish"),
    ] {
        let how = How::Panic;
        let rig = live(tolerant(), vec![Box::new(Faulty { at, how })]);
        let reason = format!("lost panic in {callback}");
        assert_eq!(rig.told().last(), Some(&reason));
    }
    for (at, callback) in [
        ("deadline", "Layer::deadline"),
        ("wants_read", "Layer::wants_read"),
    ] {
        let how = How::Panic;
        let mut rig = Rig::layered(Script::new(), vec![Box::new(Faulty { at, how })]);
        rig.connect();
        let _ = (rig.deadline(), rig.wants_read());
        assert!(rig.end_turn(), "the loop is to hear of it");
        assert_eq!(
            rig.told(),
            ["made".to_owned(), format!("lost panic in {callback}")]
        );
    }
}

#[test]
fn a_panic_in_a_call_through_a_handle_ends_the_connection() {
    let mut rig = Rig::connected(Script::new());
    rig.handle().with(|_: &mut Script, _| panic!("on purpose"));
    rig.end_turn();
    assert_eq!(
        rig.told(),
        ["made", "lost panic in a call through Connection::with"]
    );
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_in_a_destructor_stays_there_too() {
    // Of a call that never ran.
    let mut rig = Rig::connected(Script::new());
    let bomb = Bomb;
    rig.handle().with(move |_: &mut Script, _| drop(bomb));
    rig.fail(std::io::ErrorKind::ConnectionReset);
    assert_eq!(rig.told(), ["made", "lost ConnectionReset"]);

    // Of the protocol.
    let bomb = Bomb;
    let script = Script::new().on("data", move |_, _| {
        let _ = &bomb;
    });
    let mut rig = Rig::connected(script);
    rig.fail(std::io::ErrorKind::ConnectionReset);
    assert_eq!(rig.told(), ["made", "lost ConnectionReset"]);

    // Of one that was exchanged: the new one is made, and hears of it.
    let bomb = Bomb;
    let script = Script::new().on("data", move |_, _| {
        let _ = &bomb;
    });
    let log = Log::default();
    let new = Script::named("new ", &log);
    let mut rig = Rig::connected(script);
    rig.handle()
        .act(|transport| transport.exchange_protocol(Box::new(new), b""));
    rig.end_turn();
    assert_eq!(
        log.take(),
        [
            "new made",
            "new lost panic in dropping an exchanged protocol"
        ]
    );
}

#[test]
fn a_panic_while_another_connection_is_written_to_ends_both() {
    let reactor = MemoryReactor::new();
    let log = Log::default();
    let victim = Pair::on(
        reactor.clone(),
        Box::new(Script::named("victim ", &log)),
        Box::new(Script::new()),
    );
    let handle = victim.client().clone();
    let culprit = Script::named("culprit ", &log).on("data", move |_, _| {
        handle.act(|transport| {
            transport.write_with(|buffer| {
                buffer.extend(b"half a mess");
                panic!("on purpose");
            })
        });
    });
    let other = Pair::on(reactor.clone(), Box::new(culprit), Box::new(Script::new()));
    log.take();
    other.server().write(b"x");
    reactor.run();
    assert_eq!(
        log.take(),
        [
            "culprit data x",
            "culprit lost panic in data_received",
            "victim lost panic in what write_with was given",
        ]
    );
}

#[test]
fn other_connections_go_on() {
    let reactor = MemoryReactor::new();
    let bad = Pair::on(
        reactor.clone(),
        Box::new(Script::new()),
        Box::new(boom(Script::new(), "data")),
    );
    let log = Log::default();
    let good = Pair::on(
        reactor.clone(),
        Box::new(Script::new()),
        Box::new(Script::named("", &log)),
    );
    bad.client().write(b"x");
    good.client().write(b"y");
    reactor.run();
    assert!(!bad.server().is_connected());
    assert!(good.server().is_connected());
    assert_eq!(log.take(), ["made", "data y"]);
}
