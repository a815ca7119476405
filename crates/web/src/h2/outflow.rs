//! The content of a message, sent at the pace of its stream's window (RFC 9113, section 5.2).
//!
//! A piece is asked of the body only when the one before it is on its way, and is given to the
//! connection only as far as the peer has room for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use ropewalk_core::{Failure, Panicked};

use crate::body::BoxError;

/// What is left to send of a message.
pub(super) struct Outflow<B> {
    stream: SendStream<Bytes>,
    /// What was taken of the body and is not sent.
    data: Bytes,
    /// What is still to come, if anything.
    body: Option<Pin<Box<B>>>,
    trailers: Option<HeaderMap>,
    declared: Option<u64>,
    /// Bytes that were given to the connection.
    sent: u64,
    /// The peer has no room.
    is_stalled: bool,
}

/// Why a message was not sent to its end.
pub(super) enum Broken {
    /// The stream has ended.
    Gone,
    /// The body failed, or is not as long as it was said to be. It is logged.
    Body,
}

impl<B> Outflow<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// `data`, and then what comes of `body`: `declared` bytes in all, if that is said.
    pub(super) fn new(
        stream: SendStream<Bytes>,
        data: Bytes,
        body: Option<B>,
        declared: Option<u64>,
    ) -> Self {
        Self {
            stream,
            data,
            body: body.map(Box::pin),
            trailers: None,
            declared,
            sent: 0,
            is_stalled: false,
        }
    }

    /// Bytes that were given to the connection.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether it waits for the peer to make room, and for nothing else.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    pub(super) fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// Sends what can be sent. Ready when that was all.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.is_stalled = false;
        loop {
            if !self.data.is_empty() {
                match self.send_data(cx) {
                    Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(false)) => continue,
                    Poll::Ready(Err(gone)) => return Poll::Ready(Err(gone)),
                    Poll::Pending => {
                        self.is_stalled = true;
                        return Poll::Pending;
                    }
                }
            }
            let Some(body) = self.body.as_mut().filter(|_| self.trailers.is_none()) else {
                return Poll::Ready(self.end());
            };
            let poll = AssertUnwindSafe(|| body.as_mut().poll_frame(cx));
            match catch_unwind(poll) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(None)) => self.body = None,
                Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_data() {
                    Ok(data) => self.data = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Ok(Poll::Ready(Some(Err(error)))) => {
                    let failure = Failure::new(error);
                    tracing::error!(failure = &*failure.to_error(), "a body broke off");
                    return Poll::Ready(Err(Broken::Body));
                }
                Err(payload) => {
                    let panicked = Panicked::new("the body of a message", &*payload);
                    tracing::error!(panic = panicked.as_error(), "a body panicked");
                    return Poll::Ready(Err(Broken::Body));
                }
            }
        }
    }

    /// Sends as much of the data as there is room for. Whether that was all of the message.
    fn send_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        let left = self.declared.map(|declared| declared - self.sent);
        if left.is_some_and(|left| self.data.len() as u64 > left) {
            tracing::error!(
                declared = self.declared,
                "a body is longer than it was said to be"
            );
            return Poll::Ready(Err(Broken::Body));
        }
        self.stream.reserve_capacity(self.data.len());
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(Err(Broken::Gone)),
            }
        }
        let room = self.stream.capacity().min(self.data.len());
        let piece = self.data.split_to(room);
        self.sent += room as u64;
        // Trailers may follow, however long the content was said to be.
        let is_last = self.data.is_empty()
            && self.declared.is_none_or(|declared| declared == self.sent)
            && self.body.as_ref().is_none_or(|body| body.is_end_stream());
        let sent = self.stream.send_data(piece, is_last);
        Poll::Ready(sent.map(|()| is_last).map_err(|_| Broken::Gone))
    }

    /// All of the body has been sent, and its end is to be.
    fn end(&mut self) -> Result<(), Broken> {
        if self.declared.is_some_and(|declared| declared != self.sent) {
            let (sent, declared) = (self.sent, self.declared);
            tracing::error!(sent, declared, "a body is shorter than it was said to be");
            return Err(Broken::Body);
        }
        let ended = match self.trailers.take() {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        };
        ended.map_err(|_| Broken::Gone)
    }
}
