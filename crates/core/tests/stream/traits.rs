//! Other people's code on our streams: the utilities of `futures-util`, `tokio` and `tokio-util`.

use std::io::ErrorKind;
use std::rc::Rc;

use proptest::prelude::*;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{ConnectionStream, StreamFactory};
use tokio_util::codec::{Framed, LengthDelimitedCodec, LinesCodec};

use crate::rig::{got, on, pattern, start, stream};

/// Sends `data` to a server that runs `serve`, and returns what it answers.
fn answer<F, T>(data: Vec<u8>, split: usize, window: usize, serve: F) -> Vec<u8>
where
    F: Fn(ConnectionStream) -> T + 'static,
    T: Future<Output = std::io::Result<()>> + 'static,
{
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    reactor.set_window(window);
    let listen = "tcp:7".parse().unwrap();
    reactor
        .listen(&listen, Rc::new(StreamFactory::new(serve)))
        .unwrap();
    let connecting = ConnectionStream::connect(&*reactor, &"tcp:example.com:7".parse().unwrap());
    let asking = start(&reactor, async move {
        let (mut reader, mut writer) = connecting.await.unwrap().into_split();
        let mut answer = Vec::new();
        let write = async {
            writer.write_all(&data).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let read = futures_util::AsyncReadExt::read_to_end(&mut reader, &mut answer);
        futures_util::future::join(write, read).await.1.unwrap();
        answer
    });
    asking.get()
}

async fn futures_echo(stream: ConnectionStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    futures_util::io::copy(reader, &mut writer).await?;
    futures_util::AsyncWriteExt::close(&mut writer).await
}

async fn futures_buffered_echo(stream: ConnectionStream) -> std::io::Result<()> {
    let (reader, mut writer) = futures_util::AsyncReadExt::split(stream);
    let reader = futures_util::io::BufReader::with_capacity(7, reader);
    futures_util::io::copy_buf(reader, &mut writer).await?;
    futures_util::AsyncWriteExt::close(&mut writer).await
}

async fn tokio_echo(stream: ConnectionStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await?;
    tokio::io::AsyncWriteExt::shutdown(&mut writer).await
}

async fn tokio_buffered_echo(stream: ConnectionStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    tokio::io::copy_buf(&mut reader, &mut writer).await?;
    tokio::io::AsyncWriteExt::shutdown(&mut writer).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn their_copies_are_an_echo_at_every_split(
        len in 0..200_000_usize,
        split in prop_oneof![500..3000_usize, Just(64 * 1024)],
        window in 500..100_000_usize,
    ) {
        let data = pattern(len);
        prop_assert!(answer(data.clone(), split, window, futures_echo) == data);
        prop_assert!(answer(data.clone(), split, window, futures_buffered_echo) == data);
        prop_assert!(answer(data.clone(), split, window, tokio_echo) == data);
        prop_assert!(answer(data.clone(), split, window, tokio_buffered_echo) == data);
    }

    #[test]
    fn their_codecs_find_every_frame_at_every_split(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        split in 1..400_usize,
    ) {
        let mut data = Vec::new();
        for frame in &frames {
            data.extend((frame.len() as u32).to_be_bytes());
            data.extend(frame);
        }
        let echoed = answer(data.clone(), split, 1000, |stream| async move {
            use futures_util::{SinkExt as _, StreamExt as _};
            let mut framed = Framed::new(stream, LengthDelimitedCodec::new());
            while let Some(frame) = framed.next().await {
                framed.send(frame?.freeze()).await?;
            }
            Ok(())
        });
        prop_assert_eq!(echoed, data);
    }
}

#[test]
fn lines_of_both_worlds() {
    let (pair, mut stream) = stream();
    pair.client().write(b"one\ntwo\nthree\n");
    pair.run();
    let reading = start(pair.reactor(), async move {
        use futures_util::StreamExt as _;
        let mut first = String::new();
        futures_util::AsyncBufReadExt::read_line(&mut stream, &mut first)
            .await
            .unwrap();
        let mut second = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut second)
            .await
            .unwrap();
        let mut framed = Framed::new(stream, LinesCodec::new());
        let third = framed.next().await.unwrap().unwrap();
        (first + &second + &third, framed)
    });
    assert_eq!(reading.get().0, "one\ntwo\nthree");
}

#[test]
fn a_copy_of_both_directions_ends_when_both_have_ended() {
    let (left, near) = stream();
    // Both pairs on one reactor.
    let (right, far) = on(left.reactor().clone());
    let copying = start(left.reactor(), async move {
        let (mut near, mut far) = (near, far);
        tokio::io::copy_bidirectional(&mut near, &mut far)
            .await
            .unwrap()
    });
    left.client().write(b"question");
    left.client()
        .act(|transport| transport.lose_write_connection());
    right.client().write(b"answer");
    left.run();
    assert_eq!(got(&right), b"question");
    assert_eq!(got(&left), b"answer");
    assert!(copying.is_pending());
    right
        .client()
        .act(|transport| transport.lose_write_connection());
    right.run();
    assert_eq!(copying.get(), (8, 6));
}

#[test]
fn several_slices_are_one_write() {
    let (pair, mut stream) = stream();
    let writing = start(pair.reactor(), async move {
        use std::io::IoSlice;
        let slices = [IoSlice::new(b"a"), IoSlice::new(b""), IoSlice::new(b"bc")];
        assert!(tokio::io::AsyncWrite::is_write_vectored(&stream));
        let tokio = tokio::io::AsyncWriteExt::write_vectored(&mut stream, &slices)
            .await
            .unwrap();
        let futures = futures_util::AsyncWriteExt::write_vectored(&mut stream, &slices)
            .await
            .unwrap();
        (tokio, futures, stream)
    });
    let (tokio, futures, _stream) = writing.get();
    assert_eq!((tokio, futures), (3, 3));
    assert_eq!(got(&pair), b"abcabc");
}

#[test]
fn a_reset_is_their_error_too() {
    let (pair, mut stream) = stream();
    pair.client().abort_connection();
    pair.run();
    let reading = start(pair.reactor(), async move {
        let mut all = Vec::new();
        let futures = futures_util::AsyncReadExt::read_to_end(&mut stream, &mut all).await;
        let tokio = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut all).await;
        (futures.unwrap_err().kind(), tokio.unwrap_err().kind())
    });
    let reset = ErrorKind::ConnectionReset;
    assert_eq!(reading.get(), (reset, reset));
}
