//! How a stream ends, and what its user is told.

use std::io::{self, ErrorKind};
use std::time::Duration;

use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{
    ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionStream, Failure, TimedOut,
    WriteStalled,
};

use crate::rig::{Peer, failure, got, on, pattern, peer_lost, read_all, start, stream};

/// What reading to the end came to.
fn read(pair: &Pair, mut stream: ConnectionStream) -> (io::Result<Vec<u8>>, ConnectionStream) {
    let reading = start(pair.reactor(), async move {
        let result = read_all(&mut stream).await;
        (result, stream)
    });
    reading.get()
}

fn write(pair: &Pair, mut stream: ConnectionStream) -> (io::Result<()>, ConnectionStream) {
    let writing = start(pair.reactor(), async move {
        let result = stream.write_all(b"x").await;
        (result, stream)
    });
    writing.get()
}

#[test]
fn the_peers_half_close_is_the_end_of_reading_alone() {
    let (pair, stream) = stream();
    pair.client().write(b"last words");
    pair.client()
        .act(|transport| transport.lose_write_connection());
    pair.run();
    let (result, stream) = read(&pair, stream);
    assert_eq!(result.unwrap(), b"last words");
    let (again, stream) = read(&pair, stream);
    assert_eq!(again.unwrap(), b"");
    let (written, _stream) = write(&pair, stream);
    written.unwrap();
    assert_eq!(got(&pair), b"x");
}

#[test]
fn shutdown_is_the_end_of_writing_alone() {
    let (pair, mut stream) = stream();
    let shut = start(pair.reactor(), async move {
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        // As often as wanted, and there is nothing to flush.
        stream.shutdown().await.unwrap();
        stream.flush().await.unwrap();
        let error = stream.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        stream
    });
    let stream = shut.get();
    let closed = pair.with_client(|peer: &mut Peer| (peer.data.clone(), peer.read_closed));
    assert_eq!(closed.unwrap(), (b"bye".to_vec(), true));
    pair.client().write(b"still here");
    pair.client().lose_connection();
    pair.run();
    let (result, _stream) = read(&pair, stream);
    assert_eq!(result.unwrap(), b"still here");
}

#[test]
fn shutdown_waits_until_all_is_handed_over() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10);
    let (pair, mut stream) = on(reactor);
    pair.client().pause_producing();
    let shutting = start(pair.reactor(), async move {
        stream.write_all(b"fifteen letters").await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    });
    assert!(shutting.is_pending());
    pair.client().resume_producing();
    pair.run();
    assert!(!shutting.is_pending());
    assert_eq!(got(&pair), b"fifteen letters");
}

#[test]
fn a_reset_is_an_error_and_no_end() {
    let (pair, stream) = stream();
    pair.client().write(b"half of a mess");
    pair.run();
    pair.client().abort_connection();
    pair.run();
    let (result, stream) = read(&pair, stream);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(failure(&error).check::<ConnectionLost>().is_some());
    assert!(Failure::from(error).check::<ConnectionLost>().is_some());
    let (result, _stream) = write(&pair, stream);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn what_came_before_a_reset_can_be_read() {
    let (pair, mut stream) = stream();
    pair.client().write(b"half");
    pair.run();
    pair.client().abort_connection();
    pair.run();
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).await.unwrap();
        stream.read(&mut buffer).await.unwrap_err()
    });
    assert_eq!(reading.get().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_wakes_a_read_a_write_and_a_flush_that_wait() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10);
    for flush in [false, true] {
        let (pair, stream) = on(reactor.clone());
        pair.client().pause_producing();
        let (mut reader, mut writer) = stream.into_split();
        let reading = start(&reactor, async move { reader.read(&mut [0]).await });
        let writing = start(&reactor, async move {
            match flush {
                true => {
                    writer.write_all(&pattern(1000)).await?;
                    writer.flush().await
                }
                false => writer.write_all(&pattern(1_000_000)).await,
            }
        });
        assert!(reading.is_pending() && writing.is_pending());
        pair.client().abort_connection();
        reactor.run();
        assert_eq!(
            reading.get().unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            writing.get().unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
}

#[test]
fn an_error_says_what_was_being_done_and_why_it_failed() {
    let (pair, stream) = stream();
    pair.client().abort_connection();
    pair.run();
    let (result, _stream) = read(&pair, stream);
    let error = Failure::from(result.unwrap_err());
    assert_eq!(
        error.to_string(),
        "reading from a stream: the connection has ended: the connection was lost: connection \
         reset"
    );
}

#[test]
fn each_end_has_its_kind() {
    let (pair, stream) = stream();
    stream
        .connection()
        .act(|transport| transport.set_timeout(Some(Duration::from_secs(1))));
    pair.advance(Duration::from_secs(1));
    let (result, _stream) = read(&pair, stream);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(failure(&error).check::<TimedOut>().is_some());

    let (pair, stream) = crate::rig::stream();
    stream.connection().abort_connection();
    let (result, _stream) = read(&pair, stream);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert!(failure(&error).check::<ConnectionAborted>().is_some());

    // Closed by this side: the peer has not said that it was done.
    let (pair, stream) = crate::rig::stream();
    stream.connection().lose_connection();
    let (result, _stream) = read(&pair, stream);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(failure(&error).check::<ConnectionDone>().is_some());
}

#[test]
fn a_peer_that_takes_nothing_ends_the_write_in_bounded_time() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10);
    let (pair, mut stream) = on(reactor);
    pair.client().pause_producing();
    let writing = start(pair.reactor(), async move {
        stream.write_all(&pattern(1_000_000)).await
    });
    pair.advance(Duration::from_secs(30));
    let error = writing.get().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(failure(&error).check::<WriteStalled>().is_some());
}

#[test]
fn dropping_a_stream_sends_what_was_written_and_closes() {
    let (pair, mut stream) = stream();
    let lost = peer_lost(&pair);
    let writing = start(pair.reactor(), async move {
        stream.write_all(b"the end").await.unwrap();
    });
    writing.get();
    assert_eq!(got(&pair), b"the end");
    pair.client().lose_connection();
    pair.run();
    let lost = lost.take().unwrap();
    assert!(lost.check::<ConnectionDone>().is_some(), "{lost}");
    assert_eq!(pair.reactor().connections(), 0);
}

#[test]
fn a_stream_dropped_by_a_panic_is_a_reset() {
    let (pair, mut stream) = stream();
    let lost = peer_lost(&pair);
    start(pair.reactor(), async move {
        stream.write_all(b"half of ").await.unwrap();
        panic!("as a bug would");
    });
    let lost = lost.take().unwrap();
    assert!(lost.check::<ConnectionLost>().is_some(), "{lost}");
}

#[test]
fn dropping_the_writer_is_a_half_close_and_dropping_both_a_close() {
    let (pair, stream) = stream();
    let (mut reader, writer) = stream.into_split();
    drop(writer);
    pair.run();
    let closed = pair.with_client(|peer: &mut Peer| peer.read_closed);
    assert_eq!(closed, Some(true));
    pair.client().write(b"abc");
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 3];
        reader.read_exact(&mut buffer).await.unwrap();
        buffer
    });
    assert_eq!(&reading.get(), b"abc");
    assert_eq!(pair.reactor().connections(), 1);
}

#[test]
fn dropping_the_reader_alone_stops_reading_and_writing_goes_on() {
    let reactor = MemoryReactor::new();
    reactor.set_window(1000);
    let (pair, stream) = on(reactor);
    let (reader, mut writer) = stream.into_split();
    drop(reader);
    pair.client().write(&pattern(5000));
    pair.run();
    assert_eq!(pair.client().unsent(), Some(4000));
    let writing = start(pair.reactor(), async move {
        writer.write_all(b"on").await.unwrap();
        writer
    });
    let writer = writing.get();
    assert_eq!(got(&pair), b"on");
    drop(writer);
    pair.run();
    // Closed whole: the peer cannot send what is left.
    assert_eq!(pair.reactor().connections(), 0);
}

#[test]
fn a_stream_whose_reactor_ends_is_told() {
    let (pair, stream) = stream();
    let connection = stream.connection();
    drop(pair);
    assert!(!connection.is_connected());
    drop(stream);
}
