//! When bytes go out, and what happens when they do not.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{ConnectionLimits, FileRegion, Protocol, Transport};

use crate::rig::{Rig, Script};

const SECOND: Duration = Duration::from_secs(1);

fn marks(high_water: usize, low_water: usize) -> ConnectionLimits {
    ConnectionLimits {
        high_water,
        low_water,
        ..Default::default()
    }
}

fn file(len: u64) -> FileRegion {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![b'f'; len as usize]).unwrap();
    FileRegion {
        file: Arc::new(file),
        offset: 0,
        len,
    }
}

#[test]
fn nothing_is_sent_before_the_callback_has_returned_and_then_all_at_once() {
    let script = Script::new().on("data", |transport, _| {
        for _ in 0..1000 {
            transport.write(b"abc");
        }
        assert_eq!(transport.unsent(), 3000);
    });
    let mut rig = Rig::connected(script);
    rig.receive(b"go");
    assert_eq!(rig.sends, 1);
    assert_eq!(rig.sent, b"abc".repeat(1000));
}

#[test]
fn writes_of_every_kind_go_out_in_order() {
    let script = Script::new().on("made", |transport, _| {
        transport.write(b"a");
        transport.write_bytes(Bytes::from_static(b"b"));
        transport.write_bytes(Bytes::from(vec![b'c'; 5000]));
        transport.write_with(|buffer| buffer.push(b'd'));
        transport.write_file(file(3));
        transport.write_segment(Bytes::from_static(b"e").into());
        transport.write_segment(file(1).into());
        assert_eq!(transport.unsent(), 5008);
    });
    let rig = Rig::connected(script);
    let expected = [b"ab".as_slice(), &[b'c'; 5000], b"dfffef"].concat();
    assert_eq!(rig.sent, expected);
}

#[test]
fn writes_within_write_with_come_after_it_and_none_is_lost() {
    let script = Script::new().on("made", |transport, _| {
        let handle = transport.connection();
        transport.write(b"1");
        transport.write_with(|buffer| {
            buffer.push(b'2');
            handle.write(b"4");
            handle.act(|transport| transport.write_with(|buffer| buffer.push(b'5')));
            buffer.push(b'3');
        });
        transport.write(b"6");
    });
    assert_eq!(Rig::connected(script).sent, b"123456");
}

#[test]
fn a_blocked_driver_is_asked_again_only_when_it_is_writable() {
    let mut rig = Rig::connected(Script::new().on("data", |transport, data| transport.write(data)));
    rig.room = 2;
    rig.receive(b"abcd");
    assert_eq!((rig.sends, rig.sent.as_slice()), (1, b"ab".as_slice()));
    rig.receive(b"ef");
    assert_eq!(rig.sends, 1, "it has said that it is blocked");
    rig.make_room(10);
    assert_eq!((rig.sends, rig.sent.as_slice()), (2, b"abcdef".as_slice()));
}

#[test]
fn the_protocol_is_paused_only_for_what_the_driver_did_not_take() {
    let script = Script::new().on("data", |transport, _| transport.write(&[0; 1000]));
    let mut rig = Rig::limited(script, marks(100, 10));
    rig.connect();
    rig.receive(b"x");
    assert_eq!(rig.told(), ["made", "data x"]);
    rig.room = 900;
    rig.receive(b"x");
    assert_eq!(
        rig.told(),
        ["data x"],
        "100 bytes are no more than the mark"
    );
    rig.make_room(0);
    rig.receive(b"x");
    assert_eq!(rig.told(), ["data x", "paused"]);
}

#[test]
fn write_resumed_comes_once_and_only_at_the_low_mark() {
    let script = Script::new().on("made", |transport, _| transport.write(&[0; 101]));
    let mut rig = Rig::limited(script, marks(100, 10));
    rig.room = 0;
    rig.connect();
    assert_eq!(rig.told(), ["made", "paused"]);
    rig.handle().write(&[0; 500]);
    rig.end_turn();
    assert_eq!(rig.told().len(), 0, "it is paused already");
    rig.make_room(590);
    assert_eq!(rig.told().len(), 0);
    rig.make_room(1);
    assert_eq!(rig.told(), ["resumed"]);
    rig.make_room(1000);
    assert_eq!(rig.told().len(), 0);
}

#[test]
fn a_low_mark_above_the_high_one_counts_as_the_high_one() {
    let script = Script::new().on("made", |transport, _| transport.write(&[0; 50]));
    let mut rig = Rig::limited(script, marks(10, 100));
    rig.room = 0;
    rig.connect();
    assert_eq!(rig.told(), ["made", "paused"]);
    rig.make_room(40);
    assert_eq!(rig.told(), ["resumed"]);
}

#[test]
fn await_drain_asks_for_one_write_resumed() {
    let script = Script::new().on("data", |transport, _| {
        transport.write(&[0; 50]);
        transport.await_drain();
        assert!(transport.is_write_paused());
    });
    let mut rig = Rig::limited(script, marks(100, 10));
    rig.connect();
    rig.room = 0;
    rig.receive(b"x");
    assert_eq!(rig.told(), ["made", "data x"]);
    rig.make_room(40);
    assert_eq!(rig.told(), ["resumed"]);
    rig.make_room(100);
    assert_eq!(rig.told().len(), 0);
}

#[test]
fn who_always_asks_for_more_lets_others_have_their_turn() {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    let script = Script::new()
        .on("made", |transport, _| transport.await_drain())
        .on("resumed", move |transport, _| {
            counted.set(counted.get() + 1);
            transport.await_drain();
        });
    let mut rig = Rig::connected(script);
    assert!(count.get() > 1);
    let before = count.get();
    assert!(rig.end_turn(), "it goes on in the next turn");
    assert!(count.get() > before);
}

#[test]
fn over_the_hard_limit_the_connection_is_aborted() {
    let limits = ConnectionLimits {
        write_limit: 100,
        ..Default::default()
    };
    let script = Script::new().on("data", |transport, _| {
        transport.write(&[0; 100]);
        assert!(!transport.is_closing(), "as much as is allowed");
        transport.write(&[0; 1]);
        assert!(transport.is_closing());
        assert_eq!(transport.write_with(|_| ()), None);
    });
    let mut rig = Rig::limited(script, limits);
    rig.connect();
    rig.receive(b"x");
    assert_eq!(rig.told().last().unwrap(), "lost full");
    assert_eq!(rig.sends, 0);
}

#[test]
fn files_count_for_the_marks_and_not_for_the_hard_limit() {
    let limits = ConnectionLimits {
        write_limit: 1000,
        ..marks(100, 10)
    };
    let script = Script::new().on("made", |transport, _| transport.write_file(file(5000)));
    let mut rig = Rig::limited(script, limits);
    rig.room = 0;
    rig.connect();
    assert_eq!(rig.told(), ["made", "paused"]);
    assert_eq!(rig.handle().unsent(), Some(5000));
    rig.make_room(4990);
    assert_eq!(rig.told(), ["resumed"]);
}

#[test]
fn a_file_that_cannot_be_read_ends_the_connection_with_a_reset() {
    let script = Script::new().on("made", |transport, _| {
        let region = file(10);
        region.file.set_len(5).unwrap();
        transport.write_file(region);
    });
    let rig = Rig::connected(script);
    assert_eq!(rig.told(), ["made", "lost UnexpectedEof"]);
    assert_eq!(rig.end, Some(crate::rig::End::Abort));
}

#[test]
fn the_time_for_a_stall_begins_with_the_first_unsent_byte_and_moves_with_progress() {
    let mut rig = Rig::connected(Script::new());
    rig.advance(100 * SECOND);
    assert_eq!(rig.deadline(), None);
    rig.room = 0;
    rig.handle().write(b"abcd");
    rig.end_turn();
    assert_eq!(rig.deadline(), Some(130 * SECOND));
    rig.advance(20 * SECOND);
    rig.handle().write(b"ef");
    rig.end_turn();
    assert_eq!(rig.deadline(), Some(130 * SECOND), "writing is no progress");
    rig.make_room(1);
    assert_eq!(rig.deadline(), Some(150 * SECOND));
    rig.advance(29 * SECOND);
    assert!(rig.end.is_none());
    rig.advance(SECOND);
    assert_eq!(rig.told(), ["made", "lost stalled"]);
}

#[test]
fn nothing_stalls_when_all_is_sent() {
    let mut rig = Rig::connected(Script::new().on("made", |transport, _| transport.write(b"abc")));
    assert_eq!(rig.deadline(), None);
    rig.advance(1000 * SECOND);
    assert!(rig.end.is_none());
}

#[test]
fn a_connection_that_closes_stalls_too() {
    let script = Script::new().on("made", |transport, _| {
        transport.write(b"abc");
        transport.lose_connection();
    });
    let mut rig = Rig::new(script);
    rig.room = 0;
    rig.connect();
    rig.advance(30 * SECOND);
    assert_eq!(rig.told(), ["made", "lost stalled"]);
}

/// Writes whenever it may.
struct Endless;

impl Protocol for Endless {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.write_resumed(transport);
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    fn write_resumed(&mut self, transport: &mut Transport) {
        transport.write(&[0; 70_000]);
        transport.await_drain();
    }
}

/// Reads a number of bytes, then no more.
struct Reader {
    left: usize,
}

impl Protocol for Reader {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.left = self.left.saturating_sub(data.len());
        if self.left == 0 {
            transport.pause_producing();
        }
    }
}

#[test]
fn a_producer_without_end_starves_nobody_and_buffers_little() {
    let reactor = MemoryReactor::new();
    let reader = Reader { left: 5_000_000 };
    let pair = Pair::on(reactor.clone(), Box::new(Endless), Box::new(reader));
    let echo = Script::new().on("data", |transport, data| transport.write(data));
    let asking = Script::new();
    let told = asking.log();
    let (client, _) = reactor.join(Box::new(asking), Box::new(echo));
    client.write(b"and I?");
    reactor.run();
    assert_eq!(told.take(), ["made", "data and I?"]);
    assert_eq!(pair.with_server(|reader: &mut Reader| reader.left), Some(0));
    assert!(pair.client().unsent().unwrap() <= 64 * 1024 + 70_000);
}
