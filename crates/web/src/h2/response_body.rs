//! The content of an answer, taken off its stream by whoever reads it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use super::send_error::SendError;

/// Reads from the stream when it is read; what nobody reads fills the stream's window.
pub(super) struct ResponseBody {
    stream: RecvStream,
    /// All of the data has been read.
    has_data: bool,
    is_over: bool,
    _abandon: AbandonOnDrop,
}

impl ResponseBody {
    pub(super) fn new(stream: RecvStream, abandon: AbandonOnDrop) -> Self {
        Self {
            has_data: !stream.is_end_stream(),
            is_over: stream.is_end_stream(),
            stream,
            _abandon: abandon,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        while self.has_data {
            match self.stream.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.has_data = false,
                Poll::Ready(Some(Err(error))) => {
                    (self.has_data, self.is_over) = (false, true);
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(Some(Ok(data))) => {
                    // The room that it took is the server's again. (If that fails the stream is
                    // gone, and the next look says so.)
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        self.stream.poll_trailers(cx).map(|trailers| {
            self.is_over = true;
            match trailers {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error.into())),
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_over {
            true => SizeHint::with_exact(0),
            false => SizeHint::default(),
        }
    }
}

/// Whether anybody still wants the answer of a request whose body is being sent.
#[derive(Clone, Default)]
pub(super) struct Abandoned(Arc<Mutex<(bool, Option<Waker>)>>);

impl Abandoned {
    /// What says that nobody does, by its drop.
    pub(super) fn on_drop(&self) -> AbandonOnDrop {
        AbandonOnDrop(self.clone())
    }

    /// Ready when nobody does.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// See [`Abandoned`].
pub(super) struct AbandonOnDrop(Abandoned);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
