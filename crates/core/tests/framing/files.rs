//! Files that are sent as the peer takes them, and waiting until what was written is sent.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{
    Cancelled, Connection, ConnectionDone, Deferred, Failure, FileRegion, FileSender, Protocol,
    Transport,
};

/// Keeps what it gets.
#[derive(Default)]
struct Keep(Vec<u8>);

impl Protocol for Keep {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.extend_from_slice(data);
    }
}

fn pair() -> Pair {
    Pair::new(Keep::default(), Keep::default())
}

fn kept(pair: &Pair) -> Vec<u8> {
    pair.with_client(|client: &mut Keep| client.0.clone())
        .unwrap()
}

fn region(content: &[u8]) -> FileRegion {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    FileRegion {
        file: Arc::new(file),
        offset: 0,
        len: content.len() as u64,
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 / 5) as u8).collect()
}

type Outcome<T> = Rc<RefCell<Option<Result<T, Failure>>>>;

/// What a Deferred has come to.
fn outcome<T: 'static>(deferred: Deferred<T>) -> Outcome<T> {
    let outcome = Outcome::default();
    let kept = Rc::clone(&outcome);
    drop(deferred.add_both::<(), _>(move |result| *kept.borrow_mut() = Some(result)));
    outcome
}

fn sent(outcome: &Outcome<u64>) -> u64 {
    *outcome.borrow().as_ref().unwrap().as_ref().unwrap()
}

fn failure<T>(outcome: &Outcome<T>) -> Failure {
    let result = outcome.take().expect("it has fired");
    result.err().expect("it failed")
}

#[test]
fn a_file_is_sent_whole_and_it_is_told_when_all_is_sent() {
    for len in [0, 1, 65_536, 1024 * 1024, 3 * 1024 * 1024 + 5] {
        let content = pattern(len);
        let pair = pair();
        let done = outcome(FileSender::new(region(&content)).begin_file_transfer(pair.server()));
        assert!(done.borrow().is_none());
        pair.run();
        assert_eq!(sent(&done), len as u64);
        assert!(kept(&pair) == content);
    }
}

#[test]
fn a_region_is_sent_alone_and_behind_what_was_written() {
    let pair = pair();
    let region = FileRegion {
        offset: 2,
        len: 3,
        ..region(b"0123456")
    };
    pair.server().write(b"before ");
    let done = outcome(FileSender::new(region).begin_file_transfer(pair.server()));
    pair.run();
    assert_eq!(sent(&done), 3);
    assert_eq!(kept(&pair), b"before 234");
}

#[test]
fn no_more_is_handed_over_than_a_piece_while_the_peer_takes_nothing() {
    let content = pattern(5 * 1024 * 1024);
    for transformed in [false, true] {
        let reactor = MemoryReactor::new();
        reactor.set_window(10_000);
        let pair = Pair::on(reactor, Box::<Keep>::default(), Box::<Keep>::default());
        pair.client().pause_producing();
        let read = Rc::new(Cell::new(0));
        let counted = Rc::clone(&read);
        let mut sender = FileSender::new(region(&content));
        if transformed {
            sender = sender.transform(move |piece| {
                counted.set(counted.get() + piece.len());
                piece
            });
        }
        let done = outcome(sender.begin_file_transfer(pair.server()));
        pair.run();
        let unsent = pair.server().unsent().unwrap();
        if transformed {
            assert!(read.get() <= 2 * 65_536, "{}", read.get());
            assert!(unsent <= 2 * 65_536, "{unsent}");
        } else {
            assert!(unsent <= 1024 * 1024, "{unsent}");
        }
        assert!(done.borrow().is_none());
        pair.client().resume_producing();
        pair.run();
        assert_eq!(sent(&done), content.len() as u64);
        assert!(kept(&pair) == content);
    }
}

#[test]
fn the_next_piece_follows_before_the_last_one_is_all_sent() {
    let reactor = MemoryReactor::new();
    reactor.set_window(1024 * 1024 - 1000);
    let pair = Pair::on(reactor, Box::<Keep>::default(), Box::<Keep>::default());
    pair.client().pause_producing();
    let sender = FileSender::new(region(&pattern(5 * 1024 * 1024)));
    let transfer = sender.begin_file_transfer(pair.server());
    pair.run();
    assert_eq!(pair.server().unsent(), Some(1024 * 1024 + 1000));
    assert!(!transfer.is_fired());
}

#[test]
fn a_transform_sees_each_piece_in_order_and_may_change_its_length() {
    let content = pattern(200_000);
    let pair = pair();
    let mut count = 0;
    let sender = FileSender::new(region(&content)).transform(move |piece| {
        count += 1;
        [format!("{count}:{};", piece.len()).into_bytes(), piece].concat()
    });
    let done = outcome(sender.begin_file_transfer(pair.server()));
    pair.run();
    let pieces: Vec<Vec<u8>> = content
        .chunks(65_536)
        .zip(1..)
        .map(|(piece, count)| [format!("{count}:{};", piece.len()).as_bytes(), piece].concat())
        .collect();
    assert!(kept(&pair) == pieces.concat());
    assert_eq!(sent(&done), pieces.concat().len() as u64);
}

#[test]
fn a_transform_that_leaves_nothing_comes_to_an_end_too() {
    let pair = pair();
    let sender = FileSender::new(region(&pattern(20 * 1024 * 1024))).transform(|_| Vec::new());
    let done = outcome(sender.begin_file_transfer(pair.server()));
    pair.run();
    assert_eq!(sent(&done), 0);
    assert!(kept(&pair).is_empty());
}

#[test]
fn cancelling_ends_it_after_the_piece_that_is_under_way_and_leaves_the_connection() {
    let content = pattern(5 * 1024 * 1024);
    let pair = pair();
    pair.client().pause_producing();
    let transfer = FileSender::new(region(&content)).begin_file_transfer(pair.server());
    pair.run();
    transfer.cancel();
    let done = outcome(transfer);
    assert!(failure(&done).check::<Cancelled>().is_some());
    pair.client().resume_producing();
    pair.run();
    assert!(kept(&pair) == content[..1024 * 1024]);
    assert!(pair.server().is_connected());
    pair.server().write(b"still here");
    pair.run();
    assert!(kept(&pair).ends_with(b"still here"));
}

#[test]
fn the_end_of_the_connection_is_told_with_its_reason() {
    for transformed in [false, true] {
        let pair = pair();
        pair.client().pause_producing();
        let mut sender = FileSender::new(region(&pattern(5 * 1024 * 1024)));
        if transformed {
            sender = sender.transform(|piece| piece);
        }
        let done = outcome(sender.begin_file_transfer(pair.server()));
        pair.run();
        assert!(done.borrow().is_none());
        pair.client().abort_connection();
        pair.run();
        let failure = failure(&done);
        assert!(
            failure.to_string().contains("the connection was lost"),
            "{failure}"
        );
    }
}

#[test]
fn a_connection_that_is_closing_or_gone_takes_no_file() {
    let pair = pair();
    let server = pair.server().clone();
    server.lose_connection();
    for _ in 0..2 {
        let done = outcome(FileSender::new(region(b"late")).begin_file_transfer(&server));
        let failure = failure(&done);
        assert!(failure.check::<ConnectionDone>().is_some());
        assert!(
            failure.to_string().starts_with("sending a file: "),
            "{failure}"
        );
        pair.run();
    }
}

#[test]
fn a_file_that_is_shorter_than_its_region_is_told() {
    let pair = pair();
    let short = FileRegion {
        len: 10,
        ..region(b"short")
    };
    let sender = FileSender::new(short).transform(|piece| piece);
    let done = outcome(sender.begin_file_transfer(pair.server()));
    pair.run();
    assert!(failure(&done).to_string().contains("became shorter"));
    assert_eq!(kept(&pair), b"short");
    assert!(pair.server().is_connected());
}

#[test]
fn who_waits_is_told_in_this_turn_at_the_earliest_and_each_at_their_mark() {
    let reactor = MemoryReactor::new();
    reactor.set_window(1000);
    let pair = Pair::on(reactor, Box::<Keep>::default(), Box::<Keep>::default());
    let at_once = outcome(pair.server().drained(0));
    assert!(at_once.borrow().is_none());
    pair.run();
    assert!(at_once.borrow().is_some());
    pair.client().pause_producing();
    pair.server().write(&[0; 3000]);
    let half = outcome(pair.server().drained(2000));
    let all = outcome(pair.server().drained(0));
    pair.run();
    assert!(half.borrow().is_some() && all.borrow().is_none());
    pair.client().resume_producing();
    pair.run();
    assert!(all.borrow().is_some());
}

#[test]
fn who_waits_until_all_is_sent_is_told_before_the_connection_is_closed() {
    let pair = pair();
    pair.server().write(b"the end");
    pair.server().lose_connection();
    let all = outcome(pair.server().drained(0));
    pair.run();
    assert!(matches!(*all.borrow(), Some(Ok(()))));
    assert!(!pair.server().is_connected());
}

#[test]
fn one_who_waits_again_and_again_does_not_keep_another_connection_waiting() {
    fn again(connection: &Connection, count: &Rc<Cell<u32>>) {
        count.set(count.get() + 1);
        if count.get() < 10_000 {
            let (next, count) = (connection.clone(), Rc::clone(count));
            drop(
                connection
                    .drained(0)
                    .add_callback(move |()| again(&next, &count)),
            );
        }
    }
    let pair = pair();
    let count = Rc::new(Cell::new(0));
    again(pair.server(), &count);
    let seen = Rc::clone(&count);
    let other = outcome(pair.client().drained(0).add_callback(move |()| seen.get()));
    pair.run();
    let seen = other.take().unwrap().unwrap();
    assert!((1..200).contains(&seen), "{seen}");
    assert_eq!(count.get(), 10_000);
}

#[test]
fn a_panic_in_one_who_waits_ends_the_connection_and_no_more() {
    let pair = pair();
    drop(
        pair.server()
            .drained(0)
            .add_callback(|()| panic!("on purpose")),
    );
    pair.run();
    assert!(!pair.server().is_connected());
}

#[test]
fn one_who_waits_for_ever_does_not_keep_a_closing_connection_nor_its_loop() {
    fn again(connection: &Connection, count: &Rc<Cell<u32>>) {
        count.set(count.get() + 1);
        assert!(count.get() < 10_000, "the loop would stand still");
        let (next, seen) = (connection.clone(), Rc::clone(count));
        drop(
            connection
                .drained(0)
                .add_callback(move |()| again(&next, &seen))
                .add_errback(|_| ()),
        );
    }
    let pair = pair();
    let all: Vec<_> = (0..1000)
        .map(|_| outcome(pair.server().drained(0)))
        .collect();
    let count = Rc::new(Cell::new(0));
    again(pair.server(), &count);
    pair.server().write(b"the end");
    pair.server().lose_connection();
    pair.run();
    assert!(!pair.server().is_connected());
    assert!(count.get() < 10_000, "it was closed, and not broken");
    let told = |one: &Outcome<()>| matches!(*one.borrow(), Some(Ok(())));
    assert!(all.iter().all(told), "those who waited before are told");
}
