//! A panic of a handler becomes an answer.
//!
//! Without this layer a panic ends its connection, as that of any protocol does: the client sees no
//! answer, and an HTTP/2 connection loses its other requests too. With it the client gets 500, and
//! the connection lives on.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use pin_project_lite::pin_project;
use ropewalk_core::Panicked;
use tower_layer::Layer;
use tower_service::Service;

use super::answering::refusal;
use crate::{Body, BoxError};

/// Answers with 500 when the service within panics, in its call or in any poll of its future.
///
/// What it said is logged at ERROR, with the request's method and path; the panic hook, which Rust
/// runs first, tells the line of code. A panic in the body of an answer comes too late for a
/// status, and ends the connection as before. State that a handler shares with others may be left
/// half changed by a panic, as after one in a thread.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use ropewalk_web::middleware::CatchPanicLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let handler = handler_fn(|_: Request<Body>| -> Response<Body> { panic!("no rope left") });
/// let mut service = CatchPanicLayer::new().layer(handler);
/// let answer = service.call(Request::new(Body::empty()));
/// # let mut answer = std::pin::pin!(answer);
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # let std::task::Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else { panic!() };
/// assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// # use std::future::Future;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanicLayer {
    _private: (),
}

impl CatchPanicLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

/// See [`CatchPanicLayer`].
#[derive(Clone, Debug)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for CatchPanic<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let asked = (request.method().clone(), request.uri().clone());
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        let future = called
            .inspect_err(|panic| log(&**panic, &asked.0, &asked.1))
            .ok();
        CatchPanicFuture { future, asked }
    }
}

pin_project! {
    /// The future of [`CatchPanic`].
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        // `None` when it has panicked.
        #[pin]
        future: Option<F>,
        asked: (Method, Uri),
    }
}

impl<F, B, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match this.future.as_mut().as_pin_mut() {
            Some(future) => catch_unwind(AssertUnwindSafe(|| future.poll(cx))),
            None => return Poll::Ready(Ok(panicked())),
        };
        match polled {
            Ok(polled) => polled.map(|result| result.map(|answer| answer.map(Body::new))),
            Err(panic) => {
                log(&*panic, &this.asked.0, &this.asked.1);
                // What it drops may panic, too.
                let dropped = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
                if let Err(panic) = dropped {
                    log(&*panic, &this.asked.0, &this.asked.1);
                }
                Poll::Ready(Ok(panicked()))
            }
        }
    }
}

fn log(panic: &(dyn std::any::Any + Send), method: &Method, uri: &Uri) {
    let panic = Panicked::new("a handler", panic);
    tracing::error!(
        panic = panic.as_error(),
        %method,
        path = uri.path(),
        "a handler panicked, and its request was answered with 500"
    );
}

fn panicked() -> Response<Body> {
    refusal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the server failed to answer; its log says why",
    )
}
