//! From callbacks to a stream and back, on a live connection.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;

use proptest::prelude::*;
use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{ConnectionStream, Failure, Protocol, Transport};

use crate::rig::{Peer, failure, got, on, pattern, read_all, start, stream};

type Seen = Rc<RefCell<Vec<u8>>>;

/// Takes its share of bytes by callbacks, then as many by a stream, and gives the rest to another
/// one of its kind.
struct Alternates {
    seen: Seen,
    shares: Vec<usize>,
    ended: Rc<Cell<bool>>,
}

impl Protocol for Alternates {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        let Some(share) = self.shares.last_mut() else {
            self.seen.borrow_mut().extend_from_slice(data);
            return;
        };
        let (mine, rest) = data.split_at(data.len().min(*share));
        self.seen.borrow_mut().extend_from_slice(mine);
        *share -= mine.len();
        if *share > 0 {
            return;
        }
        self.shares.pop();
        let seen = Rc::clone(&self.seen);
        let (mut shares, ended) = (self.shares.clone(), Rc::clone(&self.ended));
        let mut stream = transport.exchange_for_stream(rest);
        transport.reactor().spawn(Box::pin(async move {
            let mut buffer = vec![0; shares.pop().unwrap_or(0)];
            stream.read_exact(&mut buffer).await.unwrap();
            seen.borrow_mut().extend_from_slice(&buffer);
            stream.write_all(b".").await.unwrap();
            let next = Alternates {
                seen,
                shares,
                ended,
            };
            assert!(stream.into_protocol(Box::new(next)));
        }));
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.ended.set(true);
        transport.lose_connection();
    }
}

proptest! {
    #[test]
    fn every_byte_is_seen_once_and_in_order_whoever_reads_it(
        shares in proptest::collection::vec(1..40_usize, 0..8),
        rest in 0..40_usize,
        split in 1..60_usize,
        pieces in 1..30_usize,
    ) {
        let total = shares.iter().sum::<usize>() + rest;
        let data = pattern(total);
        let reactor = MemoryReactor::new();
        reactor.set_split(split);
        let (seen, ended) = (Seen::default(), Rc::new(Cell::new(false)));
        // An even number, so that callbacks have the last word.
        let mut shares = shares;
        if shares.len() % 2 == 1 {
            shares.pop();
        }
        let streams = shares.len() / 2;
        let server = Alternates { seen: Rc::clone(&seen), shares, ended: Rc::clone(&ended) };
        let pair = Pair::on(reactor, Box::new(Peer::default()), Box::new(server));
        for piece in data.chunks(pieces) {
            pair.client().write(piece);
            if split % 2 == 0 {
                pair.run();
            }
        }
        pair.client().act(|transport| transport.lose_write_connection());
        let peer = Rc::new(RefCell::new(Vec::new()));
        pair.run();
        if let Some(got) = pair.with_client(|peer: &mut Peer| peer.data.clone()) {
            peer.replace(got);
            prop_assert_eq!(peer.borrow().len(), streams);
        }
        prop_assert_eq!(&*seen.borrow(), &data);
        prop_assert!(ended.get());
    }
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Rc<RefCell<Vec<String>>>);

impl Protocol for Notes {
    fn connection_made(&mut self, _: &mut Transport) {
        self.0.borrow_mut().push("made".into());
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        let data = String::from_utf8_lossy(data);
        self.0.borrow_mut().push(format!("data {data}"));
    }

    fn read_closed(&mut self, _: &mut Transport) {
        self.0.borrow_mut().push("read_closed".into());
    }

    fn write_paused(&mut self, _: &mut Transport) {
        self.0.borrow_mut().push("write_paused".into());
    }

    fn write_resumed(&mut self, _: &mut Transport) {
        self.0.borrow_mut().push("write_resumed".into());
    }

    fn drain(&mut self, _: &mut Transport) {
        self.0.borrow_mut().push("drain".into());
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.borrow_mut().push(format!("lost {reason}"));
    }
}

/// Gives the stream's connection to notes, and returns them.
fn note(pair: &Pair, stream: ConnectionStream) -> Rc<RefCell<Vec<String>>> {
    let notes = Notes::default();
    let told = Rc::clone(&notes.0);
    assert!(stream.into_protocol(Box::new(notes)));
    pair.run();
    told
}

#[test]
fn what_was_not_read_and_the_end_of_it_go_along() {
    let (pair, mut stream) = stream();
    pair.client().write(b"one two");
    pair.client()
        .act(|transport| transport.lose_write_connection());
    pair.run();
    let reading = start(pair.reactor(), async move {
        stream.read_exact(&mut [0; 4]).await.unwrap();
        stream
    });
    let told = note(&pair, reading.get());
    assert_eq!(*told.borrow(), ["made", "data two", "read_closed"]);
    pair.server().write(b"still open");
    pair.run();
    assert_eq!(got(&pair), b"still open");
}

#[test]
fn the_end_that_was_read_is_told_again_to_the_next_one() {
    let (pair, mut stream) = stream();
    pair.client()
        .act(|transport| transport.lose_write_connection());
    let reading = start(pair.reactor(), async move {
        assert_eq!(read_all(&mut stream).await.unwrap(), b"");
        stream
    });
    let told = note(&pair, reading.get());
    assert_eq!(*told.borrow(), ["made", "read_closed"]);
}

#[test]
fn the_end_that_callbacks_have_seen_is_the_streams_too() {
    struct Late;
    impl Protocol for Late {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
        fn read_closed(&mut self, transport: &mut Transport) {
            let mut stream = transport.exchange_for_stream(b"unread");
            transport.reactor().spawn(Box::pin(async move {
                let all = read_all(&mut stream).await.unwrap();
                stream.write_all(&all).await.unwrap();
            }));
        }
    }
    let pair = Pair::new(Peer::default(), Late);
    pair.client()
        .act(|transport| transport.lose_write_connection());
    let lost = crate::rig::peer_lost(&pair);
    pair.run();
    assert!(lost.take().is_some());
}

#[test]
fn more_than_the_stream_holds_unread_is_not_lost_on_the_way() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10_000);
    let (pair, stream) = on(reactor);
    pair.client().write(&pattern(300_000));
    pair.run();
    struct Collects(Seen);
    impl Protocol for Collects {
        fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
            self.0.borrow_mut().extend_from_slice(data);
        }
    }
    let seen = Seen::default();
    assert!(stream.into_protocol(Box::new(Collects(Rc::clone(&seen)))));
    pair.run();
    assert!(*seen.borrow() == pattern(300_000));
}

#[test]
fn what_is_unsent_goes_out_first_and_holds_the_next_one_back() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10);
    let (pair, mut stream) = on(reactor);
    pair.client().pause_producing();
    let writing = start(pair.reactor(), async move {
        stream.write_all(&pattern(64 * 1024)).await.unwrap();
        stream
    });
    let stream = writing.get();
    stream.connection().write(&[b'!'; 20]);
    let told = note(&pair, stream);
    assert_eq!(*told.borrow(), ["made", "write_paused"]);
    pair.server().write(b"behind");
    pair.client().resume_producing();
    pair.run();
    assert_eq!(*told.borrow(), ["made", "write_paused", "write_resumed"]);
    let got = got(&pair);
    assert!(got.starts_with(&pattern(64 * 1024)) && got.ends_with(b"!behind"));
}

#[test]
fn a_stream_that_is_given_away_in_the_turn_that_made_it_takes_nothing_with_it() {
    struct Through(Rc<RefCell<Vec<String>>>);
    impl Protocol for Through {
        fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
            let stream = transport.exchange_for_stream(&data[1..]);
            stream.into_protocol(Box::new(Notes(Rc::clone(&self.0))));
        }
    }
    let told = Rc::default();
    let pair = Pair::new(Peer::default(), Through(Rc::clone(&told)));
    pair.client().write(b"-abc");
    pair.run();
    pair.client().write(b"def");
    pair.run();
    assert_eq!(*told.borrow(), ["made", "data abc", "data def"]);
}

#[test]
fn the_next_one_is_drained_when_the_stream_was_told_to() {
    let (pair, stream) = stream();
    pair.reactor().drain();
    pair.run();
    let told = note(&pair, stream);
    // The client, a test's double, closed when it was told to.
    assert_eq!(told.borrow()[..2], ["made", "drain"]);
}

#[test]
fn a_connection_that_has_ended_cannot_be_given_away() {
    let (pair, stream) = stream();
    pair.client().abort_connection();
    pair.run();
    assert!(!stream.into_protocol(Box::new(Peer::default())));
}

#[test]
fn a_stream_whose_connection_goes_to_another_protocol_is_told() {
    let (pair, mut stream) = stream();
    let connection = stream.connection();
    let reading = start(pair.reactor(), async move { stream.read(&mut [0]).await });
    connection.act(|transport| {
        transport.exchange_protocol(Box::new(Peer::default()), b"");
    });
    pair.run();
    let error = reading.get().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    let reason = failure(&error).to_string();
    assert!(reason.contains("another protocol"), "{reason}");
}

#[test]
fn a_stream_of_a_connection_that_ends_before_it_has_it_is_told() {
    let (pair, stream) = stream();
    let connection = stream.connection();
    let (_, next) = connection
        .act(|transport| {
            let next = transport.exchange_for_stream(b"");
            transport.abort_connection();
            ((), next)
        })
        .unwrap();
    let mut next = next;
    let reading = start(pair.reactor(), async move { next.read(&mut [0]).await });
    reading.get().unwrap_err();
    drop(stream);
}

#[test]
fn a_stream_whose_connection_went_to_another_protocol_does_not_close_it() {
    let (pair, stream) = stream();
    stream.connection().act(|transport| {
        transport.exchange_protocol(Box::new(Peer::default()), b"");
    });
    pair.run();
    drop(stream);
    pair.run();
    assert!(pair.server().is_connected());
}
