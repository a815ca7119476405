//! What stands between the wire and the protocol.

use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{
    Address, ConnectionLimits, Factory, Failure, FileRegion, Layer, LayerIo, OutputQueue, Protocol,
};

use crate::layer_kit::{Faulty, Header, How, Invert, Secure, Sip, Throttle, Watch, inverted};
use crate::rig::{End, Log, Rig, Script, describe};

const SECOND: Duration = Duration::from_secs(1);

fn echo() -> Script {
    Script::new().on("data", |transport, data| transport.write(data))
}

fn boxed(layer: impl Layer) -> Vec<Box<dyn Layer>> {
    vec![Box::new(layer)]
}

#[test]
fn bytes_pass_a_layer_both_ways() {
    let mut rig = Rig::layered(echo(), boxed(Invert));
    rig.connect();
    rig.receive(&inverted(b"hello"));
    assert_eq!(rig.told(), ["made", "data hello"]);
    assert_eq!(rig.sent, inverted(b"hello"));
}

#[test]
fn the_first_layer_is_the_one_nearest_to_the_wire() {
    // What Secure says of itself is inverted below it, and not above.
    let layers: Vec<Box<dyn Layer>> = vec![Box::new(Invert), Box::new(Secure::default())];
    let mut rig = Rig::layered(echo(), layers);
    rig.connect();
    assert_eq!(rig.sent, inverted(b"HI"));
    rig.receive(&inverted(b"OK.x"));
    assert_eq!(rig.told(), ["made", "data x"]);
    assert_eq!(rig.sent, inverted(b"HI[x]"));
}

#[test]
fn a_layer_gets_all_that_a_callback_wrote_in_one_piece() {
    let log = Log::default();
    let script = Script::new().on("made", |transport, _| {
        for _ in 0..10 {
            transport.write(b"abc");
        }
        transport.connection().write(b"d");
    });
    let mut rig = Rig::layered(script, boxed(Watch(Rc::clone(&log))));
    rig.connect();
    assert_eq!(log.take(), ["send 31"]);
    assert_eq!(rig.sends, 1);
}

#[test]
fn nothing_happens_above_a_handshake_until_it_is_over() {
    let script = Script::new().on("made", |transport, _| transport.write(b"first"));
    let mut rig = Rig::layered(script, boxed(Secure::default()));
    rig.connect();
    rig.handle().write(b"early ");
    rig.end_turn();
    assert_eq!(rig.sent, b"HI");
    assert!(rig.told().is_empty());
    rig.receive(b"O");
    assert!(rig.told().is_empty());
    assert_eq!(rig.handle().unsent(), Some(6));
    rig.receive(b"K");
    assert_eq!(rig.told(), ["made"]);
    assert_eq!(rig.sent, b"HI[early first]");
    assert_eq!(rig.handle().unsent(), Some(0));
}

#[test]
fn not_even_the_marks_are_told_before_a_handshake_is_over() {
    let limits = ConnectionLimits {
        high_water: 1,
        low_water: 0,
        ..Default::default()
    };
    let mut rig = Rig::with(Script::new(), boxed(Secure::default()), limits);
    rig.connect();
    rig.handle().write(b"early");
    rig.end_turn();
    assert!(rig.told().is_empty());
    rig.room = 0;
    rig.receive(b"OK");
    assert_eq!(rig.told(), ["made", "paused"]);
}

#[test]
fn a_layer_that_has_not_started_is_given_nothing_to_send() {
    let layers: Vec<Box<dyn Layer>> = vec![Box::new(Header::default()), Box::new(Invert)];
    let mut rig = Rig::layered(Script::new(), layers);
    rig.connect();
    rig.handle().write(b"early");
    rig.end_turn();
    assert_eq!(rig.sent, b"");
    rig.receive(b"header\n");
    assert_eq!(rig.sent, inverted(b"early"));
}

#[test]
fn a_layer_is_told_once_that_the_peer_has_closed() {
    let log = Log::default();
    let script = Script::new().on("read_closed", |_, _| ());
    let mut rig = Rig::layered(script, boxed(Watch(Rc::clone(&log))));
    rig.connect();
    rig.close_read();
    rig.close_read();
    assert_eq!(log.take(), ["read_closed"]);
}

#[test]
fn a_connection_that_ends_in_its_handshake_was_never_made() {
    for (event, end) in [(b"NO".as_slice(), End::Close), (b"", End::Close)] {
        let mut rig = Rig::layered(Script::new(), boxed(Secure::default()));
        rig.connect();
        if event.is_empty() {
            rig.close_read();
        } else {
            rig.receive(event);
        }
        assert!(rig.told().is_empty());
        assert_eq!(rig.end, Some(end));
    }
}

#[test]
fn a_header_is_eaten_and_the_rest_of_the_same_read_goes_on() {
    let mut rig = Rig::layered(echo(), boxed(Header::default()));
    rig.connect();
    rig.receive(b"PROXY TCP4 192.0.2.9");
    assert!(rig.told().is_empty());
    rig.receive(b" 192.0.2.1 80 80\r\nGET /");
    assert_eq!(rig.told(), ["made", "data GET /"]);
    assert_eq!(rig.sent, b"GET /");
}

#[test]
fn a_layer_starts_when_the_one_below_is_ready() {
    let layers: Vec<Box<dyn Layer>> =
        vec![Box::new(Header::default()), Box::new(Secure::default())];
    let mut rig = Rig::layered(echo(), layers);
    rig.connect();
    assert_eq!(rig.sent, b"");
    rig.receive(b"header\nOK.x.y");
    assert_eq!(rig.told(), ["made", "data xy"]);
    assert_eq!(rig.sent, b"HI[xy]");
}

#[test]
fn a_throttle_holds_both_ways_by_its_deadline() {
    let mut rig = Rig::layered(echo(), boxed(Throttle::default()));
    rig.connect();
    assert!(rig.wants_read());
    rig.receive(b"ab");
    assert!(!rig.wants_read());
    assert_eq!(rig.deadline(), Some(SECOND));
    rig.advance(SECOND);
    assert_eq!(rig.told(), ["made", "data a"]);
    rig.close_read();
    rig.advance(SECOND);
    assert_eq!(rig.told(), ["data b", "read_closed", "lost done"]);
    assert_eq!(rig.sent, b"ab");
}

#[test]
fn what_a_layer_raises_by_itself_waits_for_a_protocol_that_has_paused() {
    let script = Script::new().on("data", |transport, _| transport.pause_producing());
    let mut rig = Rig::layered(script, boxed(Throttle::default()));
    rig.connect();
    rig.receive(b"ab");
    rig.advance(SECOND);
    rig.close_read();
    rig.advance(SECOND);
    assert_eq!(rig.told(), ["made", "data a"]);
    rig.handle().resume_producing();
    rig.end_turn();
    assert_eq!(rig.told(), ["data b"], "and it has paused again");
    rig.handle().resume_producing();
    rig.end_turn();
    assert_eq!(rig.told(), ["read_closed", "lost done"]);
}

#[test]
fn a_truncation_is_told_from_a_clean_end() {
    let mut rig = Rig::layered(Script::new(), boxed(Secure::default()));
    rig.connect();
    rig.receive(b"OK.x");
    rig.close_read();
    assert_eq!(rig.told(), ["made", "data x", "lost truncated"]);

    let mut rig = Rig::layered(Script::new(), boxed(Secure::default()));
    rig.connect();
    rig.receive(b"OK.x!");
    assert_eq!(rig.told(), ["made", "data x", "read_closed", "lost done"]);
}

#[test]
fn last_words_go_with_the_last_data_and_before_the_end() {
    for half in [false, true] {
        let script = Script::new().on("data", move |transport, _| {
            transport.write(b"answer");
            if half {
                transport.lose_write_connection();
            } else {
                transport.lose_connection();
            }
        });
        let mut rig = Rig::layered(script, boxed(Secure::default()));
        rig.connect();
        rig.receive(b"OK");
        rig.sends = 0;
        rig.room = 0;
        rig.receive(b".x");
        assert!(!rig.write_shut && rig.end.is_none());
        rig.make_room(11);
        assert_eq!(rig.sent, b"HI[answer]BYE");
        assert_eq!(rig.sends, 2, "one was refused, one took all");
        assert_eq!((rig.write_shut, rig.end.is_some()), (half, !half));
        if half {
            rig.receive(b"!");
            assert_eq!(rig.told().last().unwrap(), "lost done");
            assert_eq!(rig.sent, b"HI[answer]BYE", "said once");
        }
    }
}

#[test]
fn last_words_are_said_from_the_top_down_when_all_above_is_through() {
    // The throttle lets one byte go each second; only then may the one below it finish.
    let layers: Vec<Box<dyn Layer>> = vec![
        Box::new(Secure::default()),
        Box::new(Throttle::default()),
        Box::new(Secure::default()),
    ];
    let mut rig = Rig::layered(Script::new(), layers);
    rig.connect();
    rig.receive(b"OK.O.K");
    for _ in 0..4 {
        rig.advance(SECOND);
    }
    assert_eq!(rig.told(), ["made"]);
    rig.handle().lose_connection();
    rig.end_turn();
    assert_eq!(rig.sent, b"HI[H][I][B]", "the others wait in the throttle");
    while rig.end.is_none() {
        rig.advance(SECOND);
    }
    assert_eq!(rig.sent, b"HI[H][I][B][Y][E]BYE");
    assert_eq!(rig.end, Some(End::Close));
}

#[test]
fn who_closes_during_a_handshake_still_sends_what_was_written() {
    let mut rig = Rig::connected(Script::new().on("data", |transport, _| {
        transport.push_layer(Box::new(Secure::default()));
        transport.write(b"secret");
        transport.pause_producing();
        transport.lose_connection();
    }));
    rig.receive(b"go");
    assert!(rig.wants_read(), "the handshake has to be heard");
    assert_eq!(rig.end, None);
    rig.receive(b"OK.x");
    assert_eq!(rig.sent, b"HI[secret]BYE");
    assert_eq!(rig.told(), ["made", "data go", "lost done"], "and not x");
}

#[test]
fn a_handshake_is_heard_while_the_protocol_has_paused() {
    let mut rig = Rig::connected(Script::new().on("data", |transport, _| {
        transport.push_layer(Box::new(Secure::default()));
        transport.pause_producing();
    }));
    rig.receive(b"go");
    assert!(rig.wants_read());
    rig.receive(b"OK.x");
    assert!(!rig.wants_read());
    assert_eq!(rig.told(), ["made", "data go"]);
    rig.handle().resume_producing();
    rig.end_turn();
    assert_eq!(rig.told(), ["data x"]);
}

#[test]
fn bytes_written_before_a_push_go_past_the_layer_and_those_after_go_through() {
    let script = Script::new().on("data", |transport, _| {
        transport.write(b"go ahead");
        transport.push_layer(Box::new(Secure::default()));
        transport.write(b"one");
        transport.push_layer(Box::new(Invert));
        transport.write(b"two");
    });
    let mut rig = Rig::connected(script);
    rig.receive(b"STARTTLS");
    assert_eq!(rig.sent, b"go aheadHI");
    rig.receive(b"OK");
    let expected = [b"go aheadHI[one".as_slice(), &inverted(b"two"), b"]"].concat();
    assert_eq!(rig.sent, expected);
    assert_eq!(rig.told(), ["made", "data STARTTLS"], "it is made once");
}

#[test]
fn a_push_on_top_of_a_layer_that_holds_back_keeps_the_order() {
    let script = Script::new().on("made", |transport, _| {
        transport.write(b"ab");
        transport.push_layer(Box::new(Invert));
        transport.write(b"cd");
    });
    let mut rig = Rig::layered(script, boxed(Throttle::default()));
    rig.connect();
    assert_eq!(rig.handle().unsent(), Some(4));
    for _ in 0..4 {
        rig.advance(SECOND);
    }
    assert_eq!(rig.sent, [b"ab".as_slice(), &inverted(b"cd")].concat());
}

#[test]
fn what_rises_in_the_call_that_pushes_a_layer_goes_through_it() {
    let script = Script::new().on("made", |transport, _| {
        transport.push_layer(Box::new(Invert));
    });
    let mut rig = Rig::layered(script, boxed(Header::default()));
    rig.connect();
    let read = [b"header\n".as_slice(), &inverted(b"hello")].concat();
    rig.receive(&read);
    assert_eq!(rig.told(), ["made", "data hello"]);
}

#[test]
fn a_layer_pushed_after_the_peer_has_closed_is_told_so() {
    let script = Script::new().on("read_closed", |transport, _| {
        transport.push_layer(Box::new(Secure::default()));
    });
    let mut rig = Rig::connected(script);
    rig.close_read();
    assert_eq!(rig.told(), ["made", "read_closed", "lost truncated"]);
}

#[test]
fn what_rose_before_an_error_still_arrives_and_the_last_words_are_sent() {
    let mut rig = Rig::layered(Script::new(), boxed(Secure::default()));
    rig.connect();
    rig.receive(b"OK.x.y?");
    assert_eq!(rig.told(), ["made", "data xy", "lost a bad record"]);
    assert_eq!(rig.sent, b"HIALERT");
    assert_eq!(rig.end, Some(End::Close));
}

#[test]
fn of_two_failures_in_one_read_the_one_of_the_earlier_bytes_counts() {
    let faulty = || Faulty {
        at: "received",
        how: How::Error,
    };
    for splits in [&[b"OK.x?".as_slice()] as &[&[u8]], &[b"OK.x", b"?"]] {
        let layers: Vec<Box<dyn Layer>> = vec![Box::new(Secure::default()), Box::new(faulty())];
        let mut rig = Rig::layered(Script::new(), layers);
        rig.connect();
        for bytes in splits {
            rig.receive(bytes);
        }
        assert_eq!(rig.told(), ["made", "data x", "lost a faulty layer"]);
    }
}

#[test]
fn a_layer_that_has_failed_is_not_called_again() {
    let layer = Faulty {
        at: "received",
        how: How::Error,
    };
    let mut rig = Rig::layered(echo(), boxed(layer));
    rig.connect();
    rig.receive(b"x");
    assert_eq!(rig.told(), ["made", "data x", "lost a faulty layer"]);
    assert_eq!(rig.sent, b"", "nothing is sent through it");
}

#[test]
fn last_words_before_an_error_pass_the_layers_below() {
    let layers: Vec<Box<dyn Layer>> = vec![Box::new(Invert), Box::new(Secure::default())];
    let mut rig = Rig::layered(Script::new(), layers);
    rig.connect();
    rig.receive(&inverted(b"NO"));
    assert_eq!(rig.sent, inverted(b"HIALERT"));
}

#[test]
fn last_words_are_not_waited_for() {
    let mut rig = Rig::layered(Script::new(), boxed(Secure::default()));
    rig.room = 4;
    rig.connect();
    rig.receive(b"NO");
    assert_eq!(rig.sent, b"HIAL");
    assert_eq!(rig.end, Some(End::Close));
}

#[test]
fn an_error_in_any_call_of_a_layer_ends_the_connection_with_it() {
    for (at, end) in [
        ("start", End::Close),
        ("received", End::Close),
        ("send", End::Abort),
        ("read_closed", End::Close),
        ("finish", End::Close),
    ] {
        let how = How::Error;
        let mut rig = Rig::layered(echo(), boxed(Faulty { at, how }));
        rig.connect();
        rig.receive(b"x");
        rig.close_read();
        assert_eq!(rig.end, Some(end), "{at}");
        assert_eq!(rig.told().last().unwrap(), "lost a faulty layer", "{at}");
    }
}

/// Has a deadline that it never moves.
struct Stuck(Option<Instant>);

impl Layer for Stuck {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.0 = Some(io.now() + SECOND);
        io.ready();
        Ok(())
    }
    fn received(&mut self, _: &[u8], _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn send(&mut self, _: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().push(0);
        Ok(())
    }
    fn deadline(&self) -> Option<Instant> {
        self.0
    }
}

#[test]
fn a_layer_that_breaks_its_contract_ends_its_connection_and_not_the_loop() {
    let mut rig = Rig::layered(Script::new(), boxed(Stuck(None)));
    rig.connect();
    rig.advance(SECOND);
    assert!(rig.told()[1].contains("deadline"));
    let mut rig = Rig::layered(Script::new(), boxed(Stuck(None)));
    rig.connect();
    rig.handle().write(b"x");
    rig.end_turn();
    assert!(rig.told()[1].contains("raised bytes"));
}

#[test]
fn what_a_layer_says_by_itself_stalls_only_after_its_time() {
    let limits = ConnectionLimits {
        handshake: Duration::MAX,
        ..Default::default()
    };
    let mut rig = Rig::with(Script::new(), boxed(Secure::default()), limits);
    rig.room = 0;
    rig.advance(100 * SECOND);
    rig.connect();
    assert_eq!(rig.deadline(), Some(130 * SECOND));
    rig.advance(29 * SECOND);
    assert_eq!(rig.end, None);
    rig.advance(SECOND);
    assert_eq!(rig.end, Some(End::Abort));
}

#[test]
fn layers_count_for_the_marks_and_the_hard_limit() {
    let limits = || ConnectionLimits {
        high_water: 10,
        low_water: 5,
        write_limit: 100,
        ..Default::default()
    };
    let mut rig = Rig::with(Script::new(), boxed(Invert), limits());
    rig.room = 0;
    rig.connect();
    rig.handle().write(&[0; 11]);
    rig.end_turn();
    assert_eq!(rig.told(), ["made", "paused"]);
    rig.make_room(6);
    assert_eq!(rig.told(), ["resumed"]);
    rig.handle().write(&[0; 95]);
    rig.end_turn();
    assert_eq!(rig.told(), ["paused"]);
    rig.handle().write(&[0; 1]);
    rig.end_turn();
    assert_eq!(rig.told(), ["lost full"], "101 bytes below the layer");

    let mut rig = Rig::with(Script::new(), boxed(Sip), limits());
    rig.room = 0;
    rig.connect();
    rig.handle().write(&[0; 100]);
    rig.end_turn();
    assert_eq!(rig.end, None);
    rig.handle().write(&[0; 1]);
    rig.end_turn();
    assert_eq!(
        rig.told(),
        ["made", "paused", "lost full"],
        "60 bytes below it and 41 above"
    );
}

#[test]
fn a_large_file_goes_through_a_layer_in_bounded_memory() {
    let mut file = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..2_000_000_u32).map(|at| at as u8).collect();
    file.write_all(&content).unwrap();
    let region = FileRegion {
        file: Arc::new(file),
        offset: 0,
        len: content.len() as u64,
    };
    let script = Script::new().on("made", move |transport, _| {
        transport.write_file(region.clone());
        transport.lose_connection();
    });
    let limits = ConnectionLimits {
        write_limit: 256 * 1024,
        ..Default::default()
    };
    let mut rig = Rig::with(script, boxed(Invert), limits);
    rig.room = 1000;
    rig.connect();
    while rig.end.is_none() {
        rig.make_room(150_000);
    }
    assert_eq!(rig.told().last().unwrap(), "lost done");
    assert!(rig.sent == inverted(&content));
}

/// A layer that writes to its own connection.
struct Echoing(ropewalk_core::Connection);

impl Layer for Echoing {
    fn received(&mut self, _: &[u8], _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let is_first = output.to_vec()? == b"first";
        io.down().append(output);
        if is_first {
            self.0.write(b" second");
        }
        Ok(())
    }
}

#[test]
fn what_a_layer_writes_through_a_handle_is_not_lost() {
    let mut rig = Rig::connected(Script::new());
    let handle = rig.handle();
    let layer = Echoing(handle.clone());
    handle.act(|transport| {
        transport.push_layer(Box::new(layer));
        transport.write(b"first");
    });
    rig.end_turn();
    // It is offered to the layer with the next event, at the latest.
    rig.make_room(0);
    assert_eq!(rig.sent, b"first second");
}

/// A factory whose connections go through a layer.
struct Layered<L>(fn() -> L, Log);

impl<L: Layer> Factory for Layered<L> {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Script::named("", &self.1)))
    }
    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        boxed((self.0)())
    }
}

#[test]
fn two_ends_in_memory_talk_through_their_layers() {
    let reactor = MemoryReactor::new();
    let (server, client) = (Log::default(), Log::default());
    let factory = Rc::new(Layered(|| Invert, Rc::clone(&server)));
    reactor.listen(&"tcp:1".parse().unwrap(), factory).unwrap();
    let factory = Rc::new(Layered(|| Invert, Rc::clone(&client)));
    let made = reactor.connect(&"tcp:example.com:1".parse().unwrap(), factory);
    let _said = made.add_callback(|connection| {
        connection.write(b"hello");
        connection.lose_connection();
    });
    reactor.run();
    assert_eq!(
        server.take(),
        ["made", "data hello", "read_closed", "lost done"]
    );
    assert_eq!(client.take(), ["made", "lost done"]);
}

#[test]
fn a_layer_pushed_on_both_ends_of_a_pair_holds_to_the_end() {
    let log = Log::default();
    let server = Script::new().on("data", |transport, data| {
        if data == b"upgrade" {
            transport.write(b"ok");
            transport.push_layer(Box::new(Invert));
        } else {
            transport.write(data);
            transport.lose_connection();
        }
    });
    let client = Script::named("", &log).on("data", |transport, data| {
        if data == b"ok" {
            transport.push_layer(Box::new(Invert));
            transport.write(b"hidden");
        }
    });
    let pair = Pair::new(client, server);
    pair.client().write(b"upgrade");
    pair.run();
    assert_eq!(
        log.take(),
        ["made", "data ok", "data hidden", "read_closed", "lost done"]
    );
}

/// What a server says to `bytes`, split at `cuts`: what it was told, joined, and what it sent.
fn conversation(bytes: &[u8], cuts: &[usize], fin: bool) -> (String, Vec<u8>, Option<String>) {
    let layers: Vec<Box<dyn Layer>> =
        vec![Box::new(Header::default()), Box::new(Secure::default())];
    let script = Script::new().on("data", |transport, data| {
        if data.contains(&b'q') {
            transport.push_layer(Box::new(Invert));
        }
    });
    let mut rig = Rig::layered(script, layers);
    rig.connect();
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        if end > start {
            rig.receive(&bytes[start..end]);
            start = end;
        }
    }
    if fin {
        rig.close_read();
    }
    let mut data = String::new();
    let mut end = None;
    for what in rig.told() {
        match what.strip_prefix("data ") {
            Some(bytes) => data.push_str(bytes),
            None => end = Some(what),
        }
    }
    (data, rig.sent, end)
}

proptest! {
    #[test]
    fn it_does_not_matter_how_the_network_splits_the_bytes(
        records in "[a-p]{0,8}",
        ending in prop_oneof![Just("!"), Just("?"), Just("."), Just("")],
        fin in any::<bool>(),
        cuts in proptest::collection::btree_set(0..40_usize, 0..8),
    ) {
        let mut bytes = b"header\nOK".to_vec();
        bytes.extend(records.bytes().flat_map(|byte| [b'.', byte]));
        bytes.extend(ending.bytes());
        let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
        let each: Vec<usize> = (7..bytes.len()).collect();
        // The test's Header wants its line in one read.
        let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut >= 7).collect();
        let whole = conversation(&bytes, &[], fin);
        prop_assert_eq!(&conversation(&bytes, &each, fin), &whole);
        prop_assert_eq!(&conversation(&bytes, &cuts, fin), &whole);
    }
}

#[test]
fn the_kind_of_a_read_error_comes_through_a_layer() {
    let mut rig = Rig::layered(Script::new(), boxed(Invert));
    rig.connect();
    rig.fail(io::ErrorKind::ConnectionReset);
    assert_eq!(rig.told(), ["made", "lost ConnectionReset"]);
    assert_eq!(describe(&Failure::msg("x")), "x");
}
