//! A stream of HTTP/2 that carries bytes: what CONNECT makes of one (RFC 9113, section 8.5; RFC
//! 8441).

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is asked for at once, of the room that the peer gives.
const PIECE: usize = 16 * 1024;

/// A stream of an HTTP/2 connection as a stream of bytes, at the pace of its windows both ways.
///
/// The peer's END_STREAM is the end of reading, [`AsyncWrite::poll_shutdown`] is ours; a reset is an
/// error of kind [`ConnectionReset`](ErrorKind::ConnectionReset). Dropping it before both ends are
/// said resets the stream. A [`CarriedConnection`](ropewalk_core::CarriedConnection) runs a protocol
/// over it.
pub struct H2Stream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// What was taken off the stream, and is not read.
    unread: Bytes,
    is_shut: bool,
}

impl H2Stream {
    pub(super) fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        Self {
            send,
            recv,
            unread: Bytes::new(),
            is_shut: false,
        }
    }
}

impl AsyncRead for H2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() && buffer.remaining() > 0 {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(gone("reading from", &error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        // The room that it took is the peer's again. (If that fails the stream is gone, and the
        // next read says so.)
        let _ = self.recv.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_shut {
            let message = "writing to a stream of HTTP/2: this side of it is closed";
            return Poll::Ready(Err(io::Error::new(ErrorKind::BrokenPipe, message)));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(data.len().min(PIECE));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(gone("writing to", &error))),
                None => return Poll::Ready(Err(self.reset(cx))),
            }
        }
        let count = self.send.capacity().min(data.len()).min(PIECE);
        let piece = Bytes::copy_from_slice(&data[..count]);
        let sent = self.send.send_data(piece, false);
        Poll::Ready(match sent {
            Ok(()) => Ok(count),
            Err(error) => Err(gone("writing to", &error)),
        })
    }

    /// The connection sends what was written by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_shut, true)
            && let Err(error) = self.send.send_data(Bytes::new(), true)
        {
            return Poll::Ready(Err(gone("closing", &error)));
        }
        Poll::Ready(Ok(()))
    }
}

impl H2Stream {
    /// Why nothing more can be written.
    fn reset(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => gone("writing to", &reason.into()),
            Poll::Ready(Err(error)) => gone("writing to", &error),
            Poll::Pending => ErrorKind::BrokenPipe.into(),
        }
    }
}

impl std::fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H2Stream")
            .field("id", &self.send.stream_id())
            .finish_non_exhaustive()
    }
}

fn gone(doing: &str, error: &h2::Error) -> io::Error {
    let message = format!("{doing} a stream of HTTP/2: {error}");
    io::Error::new(ErrorKind::ConnectionReset, message)
}
