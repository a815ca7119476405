//! Timeouts that a protocol sets.

use std::time::Duration;

use ropewalk_core::testing::Pair;

use crate::rig::{End, Log, Rig, Script};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn timed(after: Duration) -> Script {
    Script::new().on("made", move |transport, _| {
        transport.set_timeout(Some(after));
    })
}

#[test]
fn a_timeout_aborts_by_default() {
    let mut rig = Rig::connected(timed(5 * SECOND));
    rig.advance(5 * SECOND - MILLI);
    assert_eq!(rig.told(), ["made"]);
    rig.advance(MILLI);
    assert_eq!(rig.told(), ["timeout", "lost timed out"]);
    assert_eq!(rig.end, Some(End::Abort));
}

#[test]
fn a_timeout_comes_once_and_can_be_set_again_from_within() {
    let script = timed(SECOND).on("timeout", |transport, _| transport.write(b"."));
    let mut rig = Rig::connected(script);
    rig.advance(SECOND);
    rig.advance(100 * SECOND);
    assert_eq!(rig.told(), ["made", "timeout"]);
    assert_eq!(rig.deadline(), None);

    let script = timed(SECOND).on("timeout", |transport, _| transport.reset_timeout());
    let mut rig = Rig::connected(script);
    for _ in 0..3 {
        rig.advance(SECOND);
    }
    assert_eq!(rig.told(), ["made", "timeout", "timeout", "timeout"]);
}

#[test]
fn reset_starts_the_time_anew_and_none_ends_it() {
    let script = timed(5 * SECOND).on("data", |transport, data| match data {
        b"reset" => transport.reset_timeout(),
        b"none" => transport.set_timeout(None),
        _ => (),
    });
    let mut rig = Rig::connected(script);
    rig.advance(4 * SECOND);
    rig.receive(b"x");
    assert_eq!(
        rig.deadline(),
        Some(5 * SECOND),
        "data alone changes nothing"
    );
    rig.receive(b"reset");
    assert_eq!(rig.deadline(), Some(9 * SECOND));
    rig.receive(b"none");
    assert_eq!(rig.deadline(), None);
    rig.receive(b"reset");
    assert_eq!(rig.deadline(), None, "there is nothing to reset");
}

#[test]
fn a_handle_that_sets_a_timeout_wakes_the_loop() {
    let mut rig = Rig::connected(Script::new());
    let handle = rig.handle();
    handle.act(|transport| transport.set_timeout(Some(SECOND)));
    assert!(rig.end_turn());
    assert_eq!(rig.deadline(), Some(SECOND));
}

#[test]
fn a_timeout_is_never_early_and_at_least_a_millisecond() {
    for (after, expected) in [
        (Duration::ZERO, MILLI),
        (Duration::from_nanos(1), MILLI),
        (Duration::from_micros(1500), 2 * MILLI),
        (7 * MILLI, 7 * MILLI),
    ] {
        let rig = Rig::connected(timed(after));
        assert_eq!(rig.deadline(), Some(expected));
    }
}

#[test]
fn a_timeout_too_far_to_count_is_49_days() {
    let rig = Rig::connected(timed(Duration::MAX));
    let deadline = rig.deadline().unwrap();
    assert_eq!(deadline, u32::MAX * MILLI);
    assert_eq!(deadline.as_secs() / 86_400, 49);
}

#[test]
fn a_timeout_counts_while_the_connection_closes() {
    let script = Script::new().on("made", |transport, _| {
        transport.set_timeout(Some(SECOND));
        transport.write(b"slow");
        transport.lose_connection();
    });
    let mut rig = Rig::new(script);
    rig.room = 0;
    rig.connect();
    rig.advance(SECOND);
    assert_eq!(rig.told(), ["made", "timeout", "lost timed out"]);
}

#[test]
fn after_an_abort_no_timeout_comes() {
    let mut rig = Rig::connected(timed(SECOND));
    rig.handle().abort_connection();
    rig.advance(SECOND);
    assert_eq!(rig.told(), ["made", "lost aborted"]);
}

#[test]
fn the_earliest_deadline_counts() {
    let script = timed(40 * SECOND).on("timeout", |_, _| ());
    let mut rig = Rig::connected(script);
    rig.room = 0;
    rig.handle().write(b"x");
    rig.end_turn();
    assert_eq!(rig.deadline(), Some(30 * SECOND), "the stall");
    rig.make_room(1);
    assert_eq!(rig.deadline(), Some(40 * SECOND));
}

#[test]
fn in_memory_timeouts_come_at_their_times_in_one_advance() {
    let log = Log::default();
    let ping = |name, after: Duration| {
        Script::named(name, &log)
            .on("made", move |transport, _| {
                transport.set_timeout(Some(after));
            })
            .on("timeout", move |transport, _| {
                transport.write(b"!");
                transport.reset_timeout();
            })
    };
    let pair = Pair::new(ping("a ", 2 * SECOND), ping("b ", 3 * SECOND));
    log.take();
    pair.advance(6 * SECOND);
    assert_eq!(
        log.take(),
        [
            "a timeout",
            "b data !",
            "b timeout",
            "a data !",
            "a timeout",
            "b data !",
            "a timeout",
            "b timeout",
            "a data !",
            "b data !",
        ]
    );
}
