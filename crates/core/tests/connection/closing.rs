//! Closing one way, both ways, and at once.

use ropewalk_core::testing::Pair;
use ropewalk_core::{ConnectionAborted, Failure, TimedOut};

use crate::rig::{End, Log, Rig, Script};

#[test]
fn lose_connection_sends_what_was_written_first() {
    let script = Script::new().on("data", |transport, _| {
        transport.write(b"bye");
        transport.lose_connection();
        assert!(transport.is_closing());
        transport.write(b"dropped");
    });
    let mut rig = Rig::connected(script);
    rig.room = 1;
    rig.receive(b"x");
    assert_eq!(rig.end, None);
    rig.make_room(10);
    assert_eq!(rig.end, Some(End::Close));
    assert_eq!(rig.sent, b"bye");
}

#[test]
fn no_data_comes_after_lose_connection() {
    let script = Script::new().on("data", |transport, _| {
        transport.write(b"bye");
        transport.lose_connection();
    });
    let mut rig = Rig::connected(script);
    rig.room = 0;
    rig.receive(b"1");
    assert!(!rig.wants_read());
    rig.receive(b"2");
    rig.close_read();
    assert_eq!(rig.told(), ["made", "data 1"]);
    rig.make_room(3);
    assert_eq!(rig.told(), ["lost done"]);
}

#[test]
fn abort_drops_what_is_unsent_and_tells_the_reason() {
    let reason = || Failure::msg("enough").context("counting");
    let script = Script::new().on("data", move |transport, _| {
        transport.write(b"never sent");
        transport.abort_with(reason());
        transport.abort_with(TimedOut.into());
    });
    let mut rig = Rig::connected(script);
    rig.receive(b"x");
    assert_eq!(rig.end, Some(End::Abort));
    assert_eq!(rig.sends, 0);
    assert_eq!(rig.told().last().unwrap(), "lost counting: enough");
}

#[test]
fn lose_write_connection_sends_then_shuts_and_goes_on_receiving() {
    let script = Script::new().on("made", |transport, _| {
        transport.write(b"request");
        transport.lose_write_connection();
        assert!(!transport.is_closing());
        transport.write(b"dropped");
    });
    let mut rig = Rig::new(script);
    rig.room = 3;
    rig.connect();
    assert!(!rig.write_shut);
    rig.make_room(100);
    assert!(rig.write_shut);
    assert_eq!(rig.sent, b"request");
    assert!(rig.wants_read());
    rig.receive(b"answer");
    assert_eq!(rig.told(), ["made", "data answer"]);
    rig.close_read();
    assert_eq!(rig.told(), ["read_closed", "lost done"]);
    assert_eq!(rig.end, Some(End::Close));
}

#[test]
fn with_both_sides_closed_it_ends_even_if_read_closed_does_nothing() {
    let script = Script::new()
        .on("made", |transport, _| transport.lose_write_connection())
        .on("read_closed", |_, _| ());
    let mut rig = Rig::connected(script);
    rig.close_read();
    assert_eq!(rig.told(), ["made", "read_closed", "lost done"]);
}

#[test]
fn read_closed_closes_by_default_when_all_is_sent() {
    let mut rig = Rig::connected(Script::new().on("data", |transport, data| transport.write(data)));
    rig.room = 0;
    rig.receive(b"abc");
    rig.close_read();
    assert_eq!(rig.told(), ["made", "data abc", "read_closed"]);
    assert_eq!(rig.end, None);
    rig.make_room(3);
    assert_eq!(rig.sent, b"abc");
    assert_eq!(rig.end, Some(End::Close));
}

#[test]
fn who_overrides_read_closed_may_go_on_writing() {
    let mut rig = Rig::connected(Script::new().on("read_closed", |_, _| ()));
    rig.close_read();
    assert!(!rig.wants_read());
    assert_eq!(rig.end, None);
    assert!(rig.handle().write(b"still here"));
    rig.end_turn();
    assert_eq!(rig.sent, b"still here");
    rig.handle().lose_connection();
    rig.end_turn();
    assert_eq!(rig.end, Some(End::Close));
    assert!(!rig.write_shut, "a close needs no shutdown before");
}

#[test]
fn read_closed_comes_once_and_not_while_paused() {
    let mut rig = Rig::connected(Script::new().on("read_closed", |_, _| ()));
    rig.handle().pause_producing();
    rig.close_read();
    rig.close_read();
    assert_eq!(rig.told(), ["made"]);
    rig.handle().resume_producing();
    rig.end_turn();
    rig.close_read();
    assert_eq!(rig.told(), ["read_closed"]);
}

#[test]
fn a_pause_within_data_received_holds_what_was_under_way() {
    let script = Script::new().on("data", |transport, _| transport.pause_producing());
    let mut rig = Rig::connected(script);
    rig.receive(b"1");
    assert!(!rig.wants_read());
    rig.receive(b"2");
    rig.receive(b"3");
    assert_eq!(rig.told(), ["made", "data 1"]);
    rig.handle().resume_producing();
    assert!(!rig.wants_read(), "what is held comes first");
    rig.end_turn();
    assert_eq!(rig.told(), ["data 23"]);
    rig.handle().resume_producing();
    rig.end_turn();
    assert!(rig.wants_read());
}

#[test]
fn drain_closes_by_default_and_is_told_to_nobody_who_closes_already() {
    let mut rig = Rig::connected(Script::new().on("drain", |_, _| ()));
    rig.event(|channel| channel.drain());
    assert_eq!(rig.told(), ["made", "drain"]);
    assert_eq!(rig.end, None);
    rig.room = 0;
    rig.handle().write(b"x");
    rig.handle().lose_connection();
    rig.event(|channel| channel.drain());
    assert_eq!(rig.told().len(), 0);

    let mut rig = Rig::connected(Script::new());
    rig.handle().abort_connection();
    rig.event(|channel| channel.drain());
    assert_eq!(rig.told(), ["made", "lost aborted"]);
}

#[test]
fn the_first_reason_stands() {
    let mut rig = Rig::connected(Script::new());
    rig.handle().abort_connection();
    rig.fail(std::io::ErrorKind::ConnectionReset);
    assert_eq!(rig.told(), ["made", "lost aborted"]);
    let mut rig = Rig::connected(Script::new());
    rig.event(|channel| {
        channel.failed(std::io::ErrorKind::ConnectionReset.into());
        channel.end(ConnectionAborted.into());
    });
    assert_eq!(rig.told(), ["made", "lost ConnectionReset"]);
}

#[test]
fn both_ends_of_a_clean_close_are_told_that_it_was_clean() {
    let log = Log::default();
    let pair = Pair::new(
        Script::named("client ", &log),
        Script::named("server ", &log),
    );
    pair.client().write(b"last");
    pair.client().lose_connection();
    pair.run();
    assert_eq!(
        log.take(),
        [
            "server made",
            "client made",
            "client lost done",
            "server data last",
            "server read_closed",
            "server lost done",
        ]
    );
}

#[test]
fn an_abort_is_a_reset_to_the_other_end() {
    let log = Log::default();
    let pair = Pair::new(Script::new(), Script::named("", &log));
    pair.client().write(b"lost on the way");
    pair.client().abort_connection();
    pair.run();
    assert_eq!(log.take(), ["made", "lost ConnectionReset"]);
}

#[test]
fn a_half_close_lets_the_answer_through() {
    let log = Log::default();
    let client = Script::named("", &log).on("made", |transport, _| {
        transport.write(b"question");
        transport.lose_write_connection();
    });
    let server = Script::new().on("read_closed", |transport, _| {
        transport.write(b"answer");
        transport.lose_connection();
    });
    Pair::new(client, server).run();
    assert_eq!(
        log.take(),
        ["made", "data answer", "read_closed", "lost done"]
    );
}
