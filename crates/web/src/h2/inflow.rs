//! The content of a request, taken off its stream at the pace of its reader.
//!
//! Nothing is taken before the reader has asked, and the next piece only when it has taken the one
//! before: what has not been taken fills the window of the stream, and so slows the peer down.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use crate::body::{BodyError, BodySender};
use crate::h1::{FORBIDDEN_TRAILER, is_forbidden_trailer};

/// Of a body that nobody reads, so much is thrown away rather than taken back from the peer.
const SKIP_AT_MOST: u64 = 64 * 1024;

/// What is still to come of a request's body.
pub(super) struct Inflow {
    stream: RecvStream,
    sender: BodySender,
    taken: u64,
    /// Bytes that nobody read.
    skipped: u64,
    is_over: bool,
    /// Its reader waits for the peer.
    is_awaited: bool,
}

impl Inflow {
    pub(super) fn new(stream: RecvStream, sender: BodySender) -> Self {
        Self {
            stream,
            sender,
            taken: 0,
            skipped: 0,
            is_over: false,
            is_awaited: false,
        }
    }

    /// Whether all of it has been taken, or will never come.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes that were taken off the stream.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether somebody waits for the peer to send more of it.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Whether the reader has asked for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.sender.is_wanted()
    }

    /// Whether nobody will read what is left, and it is too long to be thrown away.
    pub(super) fn is_given_up(&self) -> bool {
        self.sender.is_dropped() && self.skipped > SKIP_AT_MOST
    }

    /// It will not come: whoever reads it is told.
    pub(super) fn fail(&mut self, error: BodyError) {
        self.is_over = true;
        self.sender.finish(Err(error));
    }

    /// Takes what the reader has room for, and wakes this task when it has more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        self.is_awaited = false;
        while !self.is_over {
            self.sender.watch(cx.waker());
            let is_dropped = self.sender.is_dropped();
            let goes_on = match is_dropped {
                true => self.skipped <= SKIP_AT_MOST,
                false => self.sender.is_hungry(),
            };
            if !goes_on {
                return;
            }
            match self.stream.poll_data(cx) {
                Poll::Pending => return self.is_awaited = true,
                Poll::Ready(Some(Ok(data))) => {
                    if is_dropped {
                        self.skipped += data.len() as u64;
                    }
                    self.take(data);
                }
                Poll::Ready(Some(Err(_))) => self.fail(BodyError::Disconnected),
                Poll::Ready(None) => match self.stream.poll_trailers(cx) {
                    Poll::Pending => return self.is_awaited = true,
                    Poll::Ready(Ok(trailers)) => self.end(trailers),
                    Poll::Ready(Err(_)) => self.fail(BodyError::Disconnected),
                },
            }
        }
    }

    /// All of it has come.
    fn end(&mut self, trailers: Option<HeaderMap>) {
        let mut names = trailers.iter().flat_map(HeaderMap::keys);
        if names.any(is_forbidden_trailer) {
            return self.fail(BodyError::Malformed(FORBIDDEN_TRAILER));
        }
        self.is_over = true;
        self.sender.finish(Ok(trailers));
    }

    fn take(&mut self, data: Bytes) {
        self.taken += data.len() as u64;
        // The room that it took is the peer's again. (If that fails the stream is gone, and the
        // next look says so.)
        let _ = self.stream.flow_control().release_capacity(data.len());
        self.sender.push_bytes(data);
    }
}
