//! When another protocol or a layer is put in place, it gets what was not told.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::framing::{Int8Codec, LineReceiver, StringReceiver};
use ropewalk_core::{Failure, Layer, LayerIo, OutputQueue};

use crate::rig::{Bytes, Lines, Log, Rig, Strings};

#[test]
fn a_protocol_that_a_line_puts_in_place_gets_what_stands_behind_it() {
    let sent = b"one\r\nup\r\nrest\r\nof it";
    for split in 1..=sent.len() {
        let log = Log::default();
        let next = Rc::clone(&log);
        let server = Lines::new(&log, move |transport, what| {
            if what == "line up" {
                transport.exchange_protocol(Box::new(Bytes(Rc::clone(&next))), b"");
            }
        });
        let rig = Rig::split(split, &log, server);
        rig.send(sent);
        rig.pair.client().lose_connection();
        rig.pair.run();
        let told = rig.told();
        assert_eq!(told[..3], ["line one", "line up", "made"]);
        let rest: String = told
            .iter()
            .filter_map(|told| told.strip_prefix("data "))
            .collect();
        assert_eq!(rest, "rest\r\nof it", "split at {split}");
        assert_eq!(told.last().unwrap(), "read_closed");
    }
}

#[test]
fn from_outside_it_gets_what_has_come_of_a_line() {
    let log = Log::default();
    let rig = Rig::new(&log, Lines::new(&log, |_, _| ()));
    rig.send(b"one\r\ntw");
    let next = Rc::clone(&log);
    LineReceiver::with(rig.server(), move |_: &mut Lines, transport| {
        transport.exchange_protocol(Box::new(Bytes(next)), b"");
    });
    rig.pair.run();
    assert_eq!(rig.told(), ["line one", "made", "data tw"]);
}

#[test]
fn from_outside_while_reading_is_paused_it_gets_all_that_was_not_told_in_order() {
    let log = Log::default();
    let server = Lines::new(&log, |transport, what| {
        if what == "line stop" {
            transport.pause_producing();
        }
    });
    let rig = Rig::new(&log, server);
    rig.send(b"stop\r\none\r\nt");
    let next = Rc::clone(&log);
    LineReceiver::with(rig.server(), move |_: &mut Lines, transport| {
        transport.exchange_protocol(Box::new(Bytes(next)), b"more: ");
    });
    rig.send(b"wo");
    assert_eq!(
        rig.told(),
        ["line stop", "made", "data more: one\r\nt", "data wo"]
    );
}

#[test]
fn from_outside_it_gets_what_has_come_of_a_string() {
    let log = Log::default();
    let rig = Rig::new(&log, Strings::new(Int8Codec::default(), &log, |_, _| ()));
    rig.send(b"\x03one\x03tw");
    let next = Rc::clone(&log);
    StringReceiver::<Int8Codec, _>::with(rig.server(), move |_: &mut Strings, transport| {
        transport.exchange_protocol(Box::new(Bytes(next)), b"");
    });
    rig.pair.run();
    assert_eq!(rig.told(), ["string one", "made", "data \u{3}tw"]);
}

#[test]
fn a_new_receiver_tells_frames_while_someone_waits_for_what_was_written() {
    let log = Log::default();
    let next = Rc::clone(&log);
    let server = Lines::new(&log, move |transport, what| {
        if what == "line up" {
            let strings = Strings::new(Int8Codec::default(), &next, |_, _| ());
            transport.exchange_protocol(Box::new(strings), b"");
        }
    });
    let rig = Rig::new(&log, server);
    rig.pair.client().pause_producing();
    rig.server().write(&vec![0; 1024 * 1024]);
    let waits = rig.server().drained(0);
    rig.send(b"up\r\n\x03one\x03two");
    assert!(!waits.is_fired());
    assert_eq!(rig.told(), ["line up", "string one", "string two"]);
}

#[test]
fn other_callbacks_put_one_in_place_too() {
    let log = Log::default();
    let next = Rc::clone(&log);
    let server = Lines::new(&log, move |transport, what| match what {
        "line wait" => transport.set_timeout(Some(Duration::from_secs(1))),
        "timeout" => transport.exchange_protocol(Box::new(Bytes(Rc::clone(&next))), b""),
        _ => {}
    });
    let rig = Rig::new(&log, server);
    rig.send(b"wait\r\npart");
    rig.pair.advance(Duration::from_secs(1));
    assert_eq!(rig.told(), ["line wait", "timeout", "made", "data part"]);
}

#[test]
fn strings_hand_over_to_lines_and_lines_to_strings() {
    for split in 1..20 {
        let log = Log::default();
        let back = Rc::clone(&log);
        let server = Strings::new(Int8Codec::default(), &log, move |transport, what| {
            if what == "string lines" {
                let log = Rc::clone(&back);
                let lines = Lines::new(&back, move |transport, what| {
                    if what == "line strings" {
                        let strings = Strings::new(Int8Codec::default(), &log, |_, _| ());
                        transport.exchange_protocol(Box::new(strings), b"");
                    }
                });
                transport.exchange_protocol(Box::new(lines), b"");
            }
        });
        let rig = Rig::split(split, &log, server);
        rig.send(b"\x03one\x05linestwo\r\nstrings\r\n\x05three\x04fo");
        let expected = [
            "string one",
            "string lines",
            "line two",
            "line strings",
            "string three",
        ];
        assert_eq!(rig.told(), expected);
    }
}

/// Adds one to each byte that comes.
struct AddOne;

impl Layer for AddOne {
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().extend(data.iter().map(|byte| byte.wrapping_add(1)));
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().append(output);
        Ok(())
    }
}

#[test]
fn a_layer_that_a_line_puts_in_place_sees_what_stands_behind_it() {
    for split in 1..20 {
        let log = Log::default();
        let server = Lines::new(&log, |transport, what| {
            if what == "line start" {
                transport.push_layer(Box::new(AddOne));
            }
        });
        let rig = Rig::split(split, &log, server);
        rig.send(b"one\r\nstart\r\nsvn\x0c\x09qbv");
        assert_eq!(rig.told(), ["line one", "line start", "line two"]);
    }
}
