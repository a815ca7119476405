//! Bytes in and out, within bounds.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use proptest::prelude::*;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{ConnectionStream, StreamWriter};

use crate::rig::{got, on, pattern, read_all, start, stream};

proptest! {
    #[test]
    fn whatever_the_splits_all_bytes_come_in_order(
        data in proptest::collection::vec(any::<u8>(), 0..2000),
        split in 1..2000_usize,
        read in 1..2000_usize,
        window in 1..3000_usize,
    ) {
        let reactor = MemoryReactor::new();
        reactor.set_split(split);
        reactor.set_window(window);
        let (pair, mut stream) = on(reactor);
        pair.client().write(&data);
        pair.client().act(|transport| transport.lose_write_connection());
        let echo = start(pair.reactor(), async move {
            let mut buffer = vec![0; read];
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => return stream.shutdown().await.unwrap(),
                    count => stream.write_all(&buffer[..count]).await.unwrap(),
                }
            }
        });
        let all = pair.with_client(|peer: &mut crate::rig::Peer| peer.data.clone());
        echo.get();
        // Both sides are closed, so the peer may be gone; then it had all before.
        if let Some(all) = all {
            prop_assert_eq!(all, data);
        }
    }
}

#[test]
fn a_read_waits_and_gives_what_there_is() {
    let (pair, mut stream) = stream();
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 10];
        let count = stream.read(&mut buffer).await.unwrap();
        (buffer[..count].to_vec(), stream)
    });
    assert!(reading.is_pending());
    pair.client().write(b"abc");
    pair.run();
    let (read, _stream) = reading.get();
    assert_eq!(read, b"abc");
}

#[test]
fn a_read_into_nothing_gives_nothing_at_once() {
    let (pair, mut stream) = stream();
    let reading = start(pair.reactor(), async move { stream.read(&mut []).await });
    assert_eq!(reading.get().unwrap(), 0);
}

#[test]
fn read_exact_waits_for_all_and_says_what_it_lacks() {
    let (pair, mut stream) = stream();
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"abcd");
        stream.read_exact(&mut buffer).await.unwrap_err()
    });
    for piece in [&b"ab"[..], b"cde"] {
        pair.client().write(piece);
        pair.run();
    }
    pair.client()
        .act(|transport| transport.lose_write_connection());
    pair.run();
    let error = reading.get();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("after 1 of 4 bytes"), "{error}");
}

#[test]
fn what_nobody_reads_stops_the_peer_within_the_bound_and_comes_when_it_is_read() {
    const SENT: usize = 1_000_000;
    let reactor = MemoryReactor::new();
    reactor.set_window(10_000);
    let (pair, mut stream) = on(reactor);
    pair.client().write(&pattern(SENT));
    pair.run();
    let taken = SENT as u64 - pair.client().unsent().unwrap();
    // Unread in the stream, and in the window of the connection.
    assert!((64 * 1024..150_000).contains(&taken), "{taken}");
    pair.client()
        .act(|transport| transport.lose_write_connection());
    let reading = start(pair.reactor(), async move {
        let all = read_all(&mut stream).await.unwrap();
        (all, stream)
    });
    assert!(reading.get().0 == pattern(SENT));
}

#[test]
fn a_write_waits_for_a_peer_that_does_not_read_and_never_holds_more_than_the_mark() {
    const LEN: usize = 1_000_000;
    let reactor = MemoryReactor::new();
    reactor.set_window(10_000);
    let (pair, mut stream) = on(reactor);
    pair.client().pause_producing();
    let connection = stream.connection();
    let writing = start(pair.reactor(), async move {
        stream.write_all(&pattern(LEN)).await.unwrap();
        stream
    });
    assert!(writing.is_pending());
    assert_eq!(connection.unsent(), Some(64 * 1024 - 10_000));
    pair.client().resume_producing();
    pair.run();
    assert!(!writing.is_pending());
    assert!(got(&pair) == pattern(LEN));
}

#[test]
fn one_turn_writes_no_more_than_the_mark_even_with_no_wait_between() {
    let (pair, mut stream) = stream();
    let connection = stream.connection();
    let most = Rc::new(Cell::new(0));
    let seen = Rc::clone(&most);
    let writing = start(pair.reactor(), async move {
        for _ in 0..100 {
            stream.write_all(&[7; 10_000]).await.unwrap();
            seen.set(seen.get().max(connection.unsent().unwrap()));
        }
        stream
    });
    assert!(!writing.is_pending());
    assert!((60_000..=64 * 1024).contains(&most.get()), "{}", most.get());
    assert_eq!(got(&pair).len(), 1_000_000);
}

#[test]
fn flush_waits_until_all_is_handed_over() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10);
    let (pair, mut stream) = on(reactor);
    pair.client().pause_producing();
    let flushing = start(pair.reactor(), async move {
        stream.write_all(b"fifteen letters").await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    assert!(flushing.is_pending());
    pair.client().resume_producing();
    pair.run();
    assert!(!flushing.is_pending());
    assert_eq!(got(&pair), b"fifteen letters");
}

#[test]
fn a_write_after_a_flush_that_was_given_up_is_held_back_as_ever() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10);
    let (pair, mut stream) = on(reactor);
    pair.client().pause_producing();
    let writing = start(pair.reactor(), async move {
        stream.write_all(&pattern(60_000)).await.unwrap();
        poll_once(stream.flush()).await;
        stream.write_all(&pattern(10_000)).await.unwrap();
        // It went on at the low mark, and not as late as when nothing is left.
        let unsent = stream.connection().unsent().unwrap();
        (unsent, stream)
    });
    assert!(writing.is_pending());
    pair.client().resume_producing();
    pair.run();
    let (unsent, _stream) = writing.get();
    assert!(unsent > 16 * 1024, "{unsent}");
}

#[test]
fn a_read_that_was_given_up_has_taken_nothing() {
    let (pair, mut stream) = stream();
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 8];
        poll_once(stream.read(&mut buffer)).await;
        poll_once(stream.fill_buf()).await;
        // The waker of the read that was given up is gone with it, or woke for nothing.
        let count = stream.read(&mut buffer).await.unwrap();
        (buffer[..count].to_vec(), stream)
    });
    pair.client().write(b"whole");
    pair.run();
    assert_eq!(reading.get().0, b"whole");
}

#[test]
fn fill_buf_shows_the_same_bytes_until_they_are_consumed() {
    let (pair, mut stream) = stream();
    pair.client().write(b"abcdef");
    pair.run();
    let reading = start(pair.reactor(), async move {
        assert_eq!(stream.fill_buf().await.unwrap(), b"abcdef");
        stream.consume(2);
        assert_eq!(stream.fill_buf().await.unwrap(), b"cdef");
        // More than there is takes what there is.
        stream.consume(100);
        stream
    });
    let stream = reading.get();
    pair.client().write(b"gh");
    pair.run();
    let reading = start(pair.reactor(), async move {
        let mut stream = stream;
        stream.fill_buf().await.unwrap().to_vec()
    });
    assert_eq!(reading.get(), b"gh");
}

#[test]
fn the_halves_work_in_two_tasks() {
    let reactor = MemoryReactor::new();
    reactor.set_window(1000);
    let (pair, stream) = on(reactor);
    let (mut reader, mut writer) = stream.into_split();
    pair.client().pause_producing();
    let writing = start(pair.reactor(), async move {
        writer.write_all(&pattern(100_000)).await.unwrap();
        writer
    });
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 5];
        reader.read_exact(&mut buffer).await.unwrap();
        (buffer, reader)
    });
    // The one reads while the other waits.
    pair.client().write(b"hello");
    pair.run();
    assert!(writing.is_pending());
    let (read, reader) = reading.get();
    assert_eq!(&read, b"hello");
    pair.client().resume_producing();
    pair.run();
    let writer: StreamWriter = writing.get();
    assert!(got(&pair) == pattern(100_000));
    assert!(ConnectionStream::unsplit(reader, writer).is_ok());
}

#[test]
fn halves_of_two_streams_make_no_stream() {
    let ((_one, first), (_two, second)) = (stream(), stream());
    let (reader, _writer) = first.into_split();
    let (_reader, writer) = second.into_split();
    assert!(ConnectionStream::unsplit(reader, writer).is_err());
}

/// Polls a future once, and drops it; it must not be ready.
async fn poll_once<T>(future: impl Future<Output = T>) {
    let mut future = pin!(future);
    let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await;
    assert!(polled, "it was ready");
}
