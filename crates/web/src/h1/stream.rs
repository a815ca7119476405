//! An answer that comes piece by piece, written at the pace of the peer.

use std::cell::Cell;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use ropewalk_core::{Connection, Failure};

use super::{ResponseFraming, encode_chunk_end, encode_chunk_header, encode_trailers};
use crate::body::BoxError;

/// What is queued for a peer before the next request, or the next piece of what is there, is looked at.
pub(super) const QUEUE_AHEAD: u64 = 256 * 1024;

/// What of a stream is queued before more of it is asked for. Unlike what is there already, it takes
/// memory of its own for each of very many slow readers.
const STREAM_AHEAD: u64 = 64 * 1024;

/// A long answer from memory is queued in pieces of this size.
pub(super) const PIECE: usize = 64 * 1024;

/// Holds back the stream of an answer while the peer does not read.
#[derive(Default)]
pub(super) struct Gate {
    /// Bytes of content that have passed.
    sent: Cell<u64>,
    closed: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Gate {
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    pub(super) fn open(&self) {
        self.closed.set(false);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits, and calls `waits`, if much is unsent, until little is. `false` if the connection has ended.
    async fn pass(&self, connection: &Connection, waits: impl Fn(&Context<'_>)) -> bool {
        let goes_on = connection.act(|transport| {
            if transport.unsent() > STREAM_AHEAD {
                self.closed.set(true);
                transport.await_drain();
            }
        });
        poll_fn(|cx| {
            if self.closed.get() {
                self.waker.set(Some(cx.waker().clone()));
                waits(cx);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        goes_on.is_some()
    }
}

/// Writes `body` as it comes. `waits` is called whenever it has nothing, or the peer does not read.
/// Returns the number of bytes, and whether that is the whole answer.
pub(super) async fn write_stream<B>(
    connection: &Connection,
    body: B,
    framing: ResponseFraming,
    gate: &Gate,
    waits: impl Fn(&Context<'_>),
) -> (u64, bool)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let declared = match framing {
        ResponseFraming::Length(length) => Some(length),
        _ => None,
    };
    let mut body = pin!(body);
    let mut sent = 0;
    let mut trailers = None;
    while declared != Some(sent) {
        let frame = poll_fn(|cx| {
            let frame = body.as_mut().poll_frame(cx);
            if frame.is_pending() {
                waits(cx);
            }
            frame
        });
        let mut data = match frame
            .await
            .map(|frame| frame.map(http_body::Frame::into_data))
        {
            None => break,
            Some(Err(error)) => {
                let failure = Failure::new(error);
                tracing::error!(failure = &*failure.to_error(), "an answer broke off");
                return (sent, false);
            }
            Some(Ok(Err(frame))) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
            Some(Ok(Ok(data))) => data,
        };
        if declared.is_some_and(|declared| data.len() as u64 > declared - sent) {
            tracing::error!(?framing, "an answer is longer than it was said to be");
            return (sent, false);
        }
        sent += data.len() as u64;
        gate.sent.set(sent);
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            write_piece(connection, piece, framing);
            if !gate.pass(connection, &waits).await {
                return (sent, false);
            }
        }
    }
    if declared.is_some_and(|declared| declared != sent) {
        tracing::error!(
            sent,
            ?framing,
            "an answer is shorter than it was said to be"
        );
        return (sent, false);
    }
    if framing == ResponseFraming::Chunked {
        end_chunks(connection, trailers.as_ref());
    }
    (sent, true)
}

/// Queues a piece, in its framing.
fn write_piece(connection: &Connection, data: Bytes, framing: ResponseFraming) {
    let Some(length) = NonZeroUsize::new(data.len()) else {
        return;
    };
    connection.act(|transport| {
        if framing == ResponseFraming::Chunked {
            transport.write_with(|out| encode_chunk_header(out, length));
            transport.write_bytes(data);
            transport.write_with(encode_chunk_end);
        } else {
            transport.write_bytes(data);
        }
    });
}

fn end_chunks(connection: &Connection, trailers: Option<&HeaderMap>) {
    connection.act(|transport| transport.write_with(|out| encode_trailers(out, trailers)));
}
