//! The future of a layer that answers by itself, or changes the answer of the service within.
//!
//! It holds the inner future in place: nothing is boxed, and what is ready at once stays so.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use pin_project_lite::pin_project;

use crate::{Body, BoxError};

/// What a layer does with the answer of the service within it.
pub trait Finish {
    /// Changes `answer`, or puts another in its place.
    fn finish(self, answer: Response<Body>) -> Response<Body>;
}

pin_project! {
    /// The future of most layers.
    #[derive(Debug)]
    pub struct Answering<F, L> {
        #[pin]
        stage: Stage<F, L>,
    }
}

pin_project! {
    #[project = StageProjection]
    #[derive(Debug)]
    enum Stage<F, L> {
        // The layer's own answer; `None` once it was given.
        Own {
            answer: Option<Response<Body>>,
        },
        // The service within answers; what is then done is `None` once it was done.
        Within {
            #[pin]
            future: F,
            finish: Option<L>,
        },
    }
}

impl<F, L> Answering<F, L> {
    pub(super) fn own(answer: Response<Body>) -> Self {
        let answer = Some(answer);
        Self {
            stage: Stage::Own { answer },
        }
    }

    pub(super) fn within(future: F, finish: L) -> Self {
        let finish = Some(finish);
        Self {
            stage: Stage::Within { future, finish },
        }
    }
}

impl<F, L, B, E> Future for Answering<F, L>
where
    F: Future<Output = Result<Response<B>, E>>,
    L: Finish,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StageProjection::Own { answer } => answer
                .take()
                .map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer))),
            StageProjection::Within { future, finish } => {
                let answer = ready!(future.poll(cx))?.map(Body::new);
                Poll::Ready(Ok(match finish.take() {
                    Some(finish) => finish.finish(answer),
                    None => answer,
                }))
            }
        }
    }
}

/// An answer of a layer's own: a status, and a sentence that says why.
pub(super) fn refusal(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{status}: {why}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}
