//! The end of a body that a program writes into while the peer reads.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;

use super::error::BodyError;
use super::incoming::BodySender;

/// Writes what its [`Body`](super::Body) carries, at the pace of the peer: made by
/// [`Body::channel`](super::Body::channel).
///
/// Dropping it ends the body, with no more to come; within a panic, and by [`abort`](Self::abort), the
/// body breaks off, so that nobody takes half of it for the whole.
pub struct BodyWriter {
    /// `None` when the end was said.
    sender: Option<BodySender>,
}

/// Nobody reads the body any more: the peer is gone, or it was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDropped;

impl BodyWriter {
    pub(super) fn new(sender: BodySender) -> Self {
        Self {
            sender: Some(sender),
        }
    }

    /// Writes a piece, and waits until there is room for more: no more than 64 KiB, and one piece
    /// above that, wait for the peer. When this future is dropped, the piece is written.
    ///
    /// # Errors
    /// Nobody reads the body any more.
    pub async fn send(&mut self, data: impl Into<Bytes>) -> Result<(), BodyDropped> {
        self.sender().push_bytes(data.into());
        self.ready().await
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// Nobody reads the body any more.
    pub async fn ready(&mut self) -> Result<(), BodyDropped> {
        poll_fn(|cx| {
            let sender = self.sender();
            sender.watch(cx.waker());
            match sender.is_full() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
        match self.sender().is_dropped() {
            true => Err(BodyDropped),
            false => Ok(()),
        }
    }

    /// Whether nobody reads the body any more.
    pub(crate) fn is_dropped(&self) -> bool {
        self.sender().is_dropped()
    }

    /// Waits until nobody reads the body any more.
    pub async fn dropped(&mut self) {
        poll_fn(|cx| {
            let sender = self.sender();
            sender.watch(cx.waker());
            match sender.is_dropped() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Writes a piece if there is room, and gives it back if there is none.
    ///
    /// # Errors
    /// The piece, when the peer has to read first or is gone.
    pub fn try_send(&mut self, data: Bytes) -> Result<(), Bytes> {
        let sender = self.sender();
        if sender.is_full() || sender.is_dropped() {
            return Err(data);
        }
        sender.push_bytes(data);
        Ok(())
    }

    /// Ends the body, with trailers. (HTTP/1.1 has a place for them where the length of the body was not
    /// said beforehand, and HTTP/1.0 has none.)
    pub fn finish(mut self, trailers: HeaderMap) {
        self.end(Ok(Some(trailers).filter(|trailers| !trailers.is_empty())));
    }

    /// Breaks the body off: whoever reads it gets an error.
    pub fn abort(mut self) {
        self.end(Err(BodyError::Abandoned));
    }

    fn end(&mut self, end: Result<Option<HeaderMap>, BodyError>) {
        if let Some(sender) = self.sender.take() {
            sender.finish(end);
        }
    }

    fn sender(&self) -> &BodySender {
        let sender = self.sender.as_ref();
        sender.expect("who has said the end has consumed the writer")
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        self.end(match std::thread::panicking() {
            true => Err(BodyError::Abandoned),
            false => Ok(None),
        });
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").finish_non_exhaustive()
    }
}

impl fmt::Display for BodyDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the body any more")
    }
}

impl std::error::Error for BodyDropped {}
