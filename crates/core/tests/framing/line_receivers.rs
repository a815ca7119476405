//! Lines, and raw bytes between them.

use std::time::Duration;

use ropewalk_core::framing::{LineProtocol, LineReceiver, LineTransport};
use ropewalk_core::{ConnectionAborted, Failure};

use crate::rig::{Lines, Log, Rig};

/// "raw" begins raw mode, which a full stop ends.
fn with_raw_mode(log: &Log) -> LineReceiver<Lines> {
    Lines::new(log, |transport, what| match what {
        "line raw" => transport.set_raw_mode(),
        "line quit" => transport.lose_connection(),
        _ => {}
    })
}

#[test]
fn lines_are_told_without_what_ends_them() {
    let log = Log::default();
    let rig = Rig::new(&log, with_raw_mode(&log));
    rig.send(b"one\r\n\r\ntwo\nthree\r\nfo");
    assert_eq!(rig.told(), ["line one", "line ", "long two\nthree"]);
    rig.send(b"ur\r");
    assert!(rig.told().is_empty());
    rig.send(b"\n");
    assert_eq!(rig.told(), ["line four"]);
}

#[test]
fn whatever_the_split_lines_and_raw_bytes_are_the_same() {
    let conversation =
        b"one\r\nraw\r\nab\r\nc.two\r\nraw\r\n.raw\r\nx.\r\nlong line\r\nquit\r\nrest\r\n";
    for split in 1..conversation.len() {
        let log = Log::default();
        let rig = Rig::split(split, &log, with_raw_mode(&log));
        rig.send(conversation);
        // Raw data comes as it is split.
        let mut told: Vec<String> = Vec::new();
        for what in rig.told() {
            match (told.last_mut(), what.strip_prefix("raw ")) {
                (Some(last), Some(more)) if last.starts_with("raw ") && !last.contains('.') => {
                    last.push_str(more);
                }
                _ => told.push(what),
            }
        }
        let told: Vec<&str> = told
            .iter()
            .map(|what| match what.strip_prefix("raw ") {
                Some(raw) => raw.split_inclusive('.').next().unwrap(),
                None => what,
            })
            .collect();
        let expected = [
            "line one",
            "line raw",
            "ab\r\nc.",
            "line two",
            "line raw",
            ".",
            "line raw",
            "x.",
            "line ",
            "long long line",
            "line quit",
            "lost: the connection was closed cleanly",
        ];
        assert_eq!(told, expected, "split at {split}");
    }
}

#[test]
fn raw_mode_begins_behind_the_line_and_line_mode_with_what_is_handed_over() {
    let log = Log::default();
    let rig = Rig::new(&log, with_raw_mode(&log));
    rig.send(b"raw\r\nab\r\n.one\r\ntw");
    assert_eq!(rig.told(), ["line raw", "raw ab\r\n.one\r\ntw", "line one"]);
    rig.send(b"o\r\n");
    assert_eq!(rig.told(), ["line two"]);
}

#[test]
fn what_is_handed_over_may_be_other_bytes_than_those_given() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| match what {
        "line raw" => transport.set_raw_mode(),
        "raw x" => transport.set_line_mode(b"made up\r\nand "),
        // In line mode they come behind what is there.
        "line made up" => transport.set_line_mode(b"not "),
        _ => {}
    });
    let rig = Rig::new(&log, server);
    rig.send(b"raw\r\nx");
    rig.send(b"come\r\n");
    let expected = ["line raw", "raw x", "line made up", "long and not c"];
    assert_eq!(rig.told(), expected);
}

#[test]
fn modes_change_from_outside_too_and_what_has_come_of_a_line_is_raw_then() {
    let log = Log::default();
    let rig = Rig::new(&log, with_raw_mode(&log));
    rig.send(b"one\r\ntw");
    LineReceiver::with(rig.server(), |_: &mut Lines, transport| {
        transport.set_raw_mode();
    });
    rig.pair.run();
    assert_eq!(rig.told(), ["line one", "raw tw"]);
    rig.send(b"o\r\n");
    assert_eq!(rig.told(), ["raw o\r\n"]);
    LineReceiver::with(rig.server(), |_: &mut Lines, transport| {
        transport.set_line_mode(b"three\r\nfo");
    });
    rig.pair.run();
    assert_eq!(rig.told(), ["line three"]);
    rig.send(b"ur\r\n");
    assert_eq!(rig.told(), ["line four"]);
}

#[test]
fn what_is_handed_over_while_reading_is_paused_comes_before_what_was_not_told() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| {
        if what == "line stop" {
            transport.pause_producing();
        }
    });
    let rig = Rig::new(&log, server);
    rig.send(b"stop\r\ntwo\r\n");
    LineReceiver::with(rig.server(), |_: &mut Lines, transport| {
        transport.set_line_mode(b"one\r\n");
    });
    rig.pair.run();
    assert_eq!(rig.told(), ["line stop"]);
    rig.server().resume_producing();
    rig.pair.run();
    assert_eq!(rig.told(), ["line one", "line two"]);
}

#[test]
fn lines_are_sent_from_outside_and_what_would_be_two_is_refused() {
    let log = Log::default();
    let rig = Rig::new(&log, with_raw_mode(&log));
    assert!(LineReceiver::with(
        rig.server(),
        |_: &mut Lines, transport| {
            transport.send_line(b"hello");
            assert!(transport.try_send_line(b"one\r\ntwo").is_err());
            transport.send_line(b"bye");
        }
    ));
    rig.pair.run();
    assert_eq!(rig.answers(), "hello\r\nbye\r\n");
    LineReceiver::with(rig.server(), |_: &mut Lines, transport| {
        transport.send_line(b"last");
        transport.send_line(b"one\r\ntwo");
        transport.send_line(b"dropped");
    });
    rig.pair.run();
    assert_eq!(rig.answers(), "hello\r\nbye\r\nlast\r\n");
    let told = rig.told();
    assert!(
        told[0].starts_with("lost: cannot send a frame with its delimiter in it"),
        "{told:?}"
    );
    assert!(!LineReceiver::with(rig.server(), |_: &mut Lines, _| ()));
}

#[test]
fn a_call_from_a_lines_own_callback_runs_when_it_has_returned() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| {
        if what == "line one" {
            LineReceiver::with(&transport.connection(), |_: &mut Lines, transport| {
                transport.send_line(b"later");
            });
            transport.send_line(b"first");
        }
    });
    let rig = Rig::new(&log, server);
    rig.send(b"one\r\ntwo\r\n");
    assert_eq!(rig.told(), ["line one", "line two"]);
    assert_eq!(rig.answers(), "first\r\nlater\r\n");
}

/// What happens unless told otherwise.
struct Defaults(Log);

impl LineProtocol for Defaults {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        transport.send_line(line);
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.0.borrow_mut().push(reason.to_string());
    }
}

#[test]
fn a_line_that_is_too_long_closes_the_connection_and_says_so() {
    let log = Log::default();
    let rig = Rig::split(1000, &log, LineReceiver::new(Defaults(log.clone())));
    rig.send(b"one\r\n");
    rig.send(&[b'x'; 16384]);
    assert!(rig.told().is_empty());
    rig.send(b"\r");
    assert!(rig.told().is_empty());
    rig.send(b"\n");
    assert_eq!(rig.answers().len(), 5 + 16386);
    rig.send(&[b'x'; 16386]);
    let reason = "the peer sent a frame of more than 16384 bytes; send shorter ones, or raise the codec's max_length";
    assert_eq!(rig.told(), [reason]);
}

#[test]
fn one_that_is_left_open_skips_the_line_and_goes_on_with_the_next() {
    for split in 1..30 {
        let log = Log::default();
        let rig = Rig::split(split, &log, with_raw_mode(&log));
        rig.send(b"one\r\nmuch, much too long\r\ntwo\r\n");
        assert_eq!(rig.told(), ["line one", "long much, muc", "line two"]);
    }
}

#[test]
fn a_line_that_is_too_long_may_go_on_as_raw_data() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| {
        if what.starts_with("long") {
            transport.set_raw_mode();
        }
    });
    let rig = Rig::new(&log, server);
    rig.send(b"much, much too long.one\r\n");
    assert_eq!(
        rig.told(),
        ["long much, muc", "raw h too long.one\r\n", "line one"]
    );
}

#[test]
fn what_is_left_of_a_line_is_told_before_the_end() {
    let log = Log::default();
    let rig = Rig::new(&log, with_raw_mode(&log));
    rig.send(b"one\r\ntwo");
    rig.pair.client().lose_connection();
    rig.pair.run();
    let expected = [
        "line one",
        "unfinished two",
        "read_closed",
        "lost: the connection was closed cleanly",
    ];
    assert_eq!(rig.told(), expected);

    let rig = Rig::new(&log, with_raw_mode(&log));
    rig.send(b"one\r\ntwo");
    rig.pair.client().abort_connection();
    rig.pair.run();
    let told = rig.told();
    assert_eq!(told[..2], ["line one", "unfinished two"]);
    assert!(
        told[2].starts_with("lost: the connection was lost"),
        "{told:?}"
    );

    let rig = Rig::new(&log, with_raw_mode(&log));
    rig.send(b"one\r\n");
    rig.pair.client().lose_connection();
    rig.pair.run();
    assert_eq!(rig.told()[1], "read_closed");
}

#[test]
fn nothing_is_told_once_a_callback_has_paused_reading_until_it_is_resumed() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| match what {
        "line stop" => transport.pause_producing(),
        // It may think better of it.
        "line blink" => {
            transport.pause_producing();
            transport.resume_producing();
        }
        _ => {}
    });
    let rig = Rig::new(&log, server);
    rig.send(b"one\r\nblink\r\nstop\r\ntwo\r\nthr");
    rig.send(b"ee\r\nstop\r\nfour\r\nfi");
    rig.pair
        .client()
        .act(ropewalk_core::Transport::lose_write_connection);
    rig.pair.run();
    assert_eq!(rig.told(), ["line one", "line blink", "line stop"]);
    rig.server().resume_producing();
    rig.pair.run();
    assert_eq!(rig.told(), ["line two", "line three", "line stop"]);
    rig.server().resume_producing();
    rig.pair.run();
    assert_eq!(
        rig.told()[..3],
        ["line four", "unfinished fi", "read_closed"]
    );
}

#[test]
fn pausing_for_each_line_loses_none_and_tells_none_twice() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, _| transport.pause_producing());
    let rig = Rig::split(7, &log, server);
    let lines: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    rig.send(
        lines
            .iter()
            .map(|line| format!("{}\r\n", &line[5..]))
            .collect::<String>()
            .as_bytes(),
    );
    for line in &lines {
        assert_eq!(rig.told(), [line.as_str()]);
        rig.server().resume_producing();
        rig.pair.run();
    }
    assert!(rig.told().is_empty());
}

#[test]
fn what_came_of_a_line_before_raw_mode_is_told_as_raw_data_when_reading_is_resumed() {
    let log = Log::default();
    let rig = Rig::new(&log, Lines::new(&log, |_, _| ()));
    rig.send(b"one\r\ntwo");
    LineReceiver::with(rig.server(), |_: &mut Lines, transport| {
        transport.set_raw_mode();
        transport.pause_producing();
    });
    rig.pair.run();
    assert_eq!(rig.told(), ["line one"]);
    rig.server().resume_producing();
    rig.pair.run();
    assert_eq!(rig.told(), ["raw two"]);
}

#[test]
fn raw_data_is_not_told_while_reading_is_paused() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| {
        if what == "line raw" {
            transport.set_raw_mode();
            transport.pause_producing();
        }
    });
    let rig = Rig::new(&log, server);
    rig.send(b"raw\r\nabc");
    assert_eq!(rig.told(), ["line raw"]);
    rig.server().resume_producing();
    rig.pair.run();
    assert_eq!(rig.told(), ["raw abc"]);
}

#[test]
fn nothing_is_told_after_the_connection_was_closed_or_aborted() {
    let ends: [fn(&mut LineTransport<'_>); 3] = [
        |transport| transport.lose_connection(),
        |transport| transport.abort_connection(),
        |transport| transport.lose_connection_with(ConnectionAborted.into()),
    ];
    for end in ends {
        let log = Log::default();
        let server = Lines::new(&log, move |transport, what| {
            transport.send_line(what.as_bytes());
            end(transport);
        });
        let rig = Rig::new(&log, server);
        rig.send(b"one\r\ntwo\r\nthr");
        let told = rig.told();
        assert_eq!(told[0], "line one");
        assert!(told[1].starts_with("lost"), "{told:?}");
        assert_eq!(told.len(), 2);
    }
}

#[test]
fn a_panic_in_a_line_ends_its_connection() {
    let log = Log::default();
    let rig = Rig::new(&log, Lines::new(&log, |_, _| panic!("on purpose")));
    rig.send(b"one\r\ntwo\r\n");
    assert_eq!(
        rig.told(),
        ["line one", "lost: data_received panicked: on purpose"]
    );
}

#[test]
fn the_other_callbacks_are_a_protocols_and_may_change_modes() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| match what {
        "line wait" => transport.set_timeout(Some(Duration::from_secs(1))),
        "timeout" => {
            transport.send_line(b"waited");
            transport.set_raw_mode();
        }
        _ => {}
    });
    let rig = Rig::new(&log, server);
    rig.send(b"wait\r\npart");
    rig.pair.advance(Duration::from_secs(1));
    assert_eq!(rig.told(), ["line wait", "timeout", "raw part"]);
    assert_eq!(rig.answers(), "waited\r\n");
}
