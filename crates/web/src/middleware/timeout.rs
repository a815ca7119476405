//! A time within which a handler must answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use ropewalk_core::ReactorTime;
use tower_layer::Layer;
use tower_service::Service;

use super::alarm::Alarm;
use super::answering::refusal;
use crate::{Body, BoxError};

/// Answers with 503 when the service within has not answered in time, and drops its future.
///
/// The time begins when the service is called, and ends with the head of the answer: a body may
/// take longer, at the pace of its reader. A service that answers at once costs no timer.
///
/// ```
/// use http::{Request, StatusCode};
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::middleware::TimeoutLayer;
/// use ropewalk_web::{Body, FileService};
/// use std::time::Duration;
/// use tower_layer::Layer;
///
/// let reactor = MemoryReactor::new();
/// let layer = TimeoutLayer::new(reactor.handle(), Duration::from_secs(30))
///     .status(StatusCode::GATEWAY_TIMEOUT);
/// let service = layer.layer(FileService::new(".")?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct TimeoutLayer {
    reactor: Rc<dyn ReactorTime>,
    after: Duration,
    status: StatusCode,
}

impl TimeoutLayer {
    /// Lets the service take so long, by the timers of `reactor`.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorTime>, after: Duration) -> Self {
        Self {
            reactor,
            after,
            status: StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The status of the answer then: 503 unless told; 504 says that a server behind was too slow.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for TimeoutLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("after", &self.after)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// See [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    layer: TimeoutLayer,
}

impl<S, B> Service<Request<Body>> for Timeout<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        TimeoutFuture {
            future: Some(self.inner.call(request)),
            alarm: None,
            layer: self.layer.clone(),
        }
    }
}

pin_project! {
    /// The future of [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        // `None` when its time is over.
        #[pin]
        future: Option<F>,
        // Set when the service has to be waited for.
        alarm: Option<Alarm>,
        layer: TimeoutLayer,
    }
}

impl<F, B, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        if let Poll::Ready(result) = future.poll(cx) {
            *this.alarm = None;
            return Poll::Ready(result.map(|answer| answer.map(Body::new)));
        }
        let TimeoutLayer {
            reactor,
            after,
            status,
        } = this.layer;
        let alarm = this
            .alarm
            .get_or_insert_with(|| Alarm::after(&**reactor, *after));
        if alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.future.set(None);
        tracing::warn!(?after, "a handler took too long, and was dropped");
        Poll::Ready(Ok(refusal(
            *status,
            "the server took too long to answer; try again later",
        )))
    }
}
