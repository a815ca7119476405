//! A body that is coded as it is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::encoder::Encoder;
use crate::middleware::permit::Permit;
use crate::{Body, BoxError};

/// So much is coded at a time.
const STEP: usize = 16 * 1024;

/// After so many steps in a row others get their turn.
const STEPS: u32 = 8;

/// A body whose data goes through an encoder.
///
/// Whenever the body has nothing for the moment, all that it gave so far comes out: so an event, or
/// a line of a slow stream, is not held back.
pub(super) struct Encoded {
    body: Body,
    /// Data of the body that was not coded yet.
    rest: Bytes,
    /// `None` when it has come to its end.
    encoder: Option<Encoder>,
    /// Something was written that may not have come out.
    unflushed: bool,
    steps: u32,
    trailers: Option<HeaderMap>,
    _permit: Permit,
}

impl Encoded {
    pub(super) fn new(body: Body, encoder: Encoder, permit: Permit) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            encoder: Some(encoder),
            unflushed: false,
            steps: 0,
            trailers: None,
            _permit: permit,
        }
    }

    /// Ends the stream of the encoder.
    fn finish(&mut self) -> Result<Bytes, BoxError> {
        match self.encoder.take() {
            Some(encoder) => Ok(encoder.finish()?),
            None => Ok(Bytes::new()),
        }
    }
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else {
                let trailers = this.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            };
            if this.rest.is_empty() {
                match Pin::new(&mut this.body).poll_frame(cx) {
                    Poll::Pending if this.unflushed => {
                        this.unflushed = false;
                        encoder.flush()?;
                    }
                    Poll::Pending => {
                        this.steps = 0;
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => this.rest = data,
                        Err(frame) => this.trailers = frame.into_trailers().ok(),
                    },
                    Poll::Ready(Some(Err(error))) => {
                        this.encoder = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                    Poll::Ready(None) => {
                        let last = this.finish()?;
                        return Poll::Ready(Some(Ok(Frame::data(last))));
                    }
                }
            } else if this.steps == STEPS {
                this.steps = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            } else {
                this.steps += 1;
                let step = this.rest.split_to(this.rest.len().min(STEP));
                encoder.write(&step)?;
                this.unflushed = true;
            }
            let out = encoder.take();
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }
}
