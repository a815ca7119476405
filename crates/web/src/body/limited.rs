//! A body of which so many bytes can be read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Body, BodyError, BoxError};

/// Another body, until it is longer than so much: then comes [`BodyError::TooLarge`].
pub(super) struct Limited {
    body: Body,
    limit: u64,
    left: u64,
}

impl Limited {
    pub(super) fn new(body: Body, limit: u64) -> Self {
        Self {
            body,
            limit,
            left: limit,
        }
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    // Nothing of the rest is to be had, whoever asks again.
                    self.body = Body::empty();
                    let limit = self.limit;
                    return Poll::Ready(Some(Err(BodyError::TooLarge { limit }.into())));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
