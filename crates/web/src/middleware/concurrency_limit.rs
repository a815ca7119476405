//! A limit on how many requests are worked on at once, and a bounded line before it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use ropewalk_core::ReactorTime;
use tower_layer::Layer;
use tower_service::Service;

use super::alarm::Alarm;
use super::answering::refusal;
use super::slots::{Asked, Place, Slot, Slots};
use crate::{Body, BoxError};

const WAIT: Duration = Duration::from_secs(5);

/// Lets so many requests be worked on at once by the services that one layer makes, and their
/// clones; others wait in line, as many as are worked on, for up to 5 s.
///
/// When the line is full, or the wait too long, the answer is 503 with `Retry-After: 1`, and the
/// service is not called. A request counts until its answer is complete: one that is all there
/// when it is given, at once; a stream, until its last piece was taken, or it was dropped.
/// (So put a stream of events, which ends when its reader leaves, under a limit of its own.)
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::middleware::ConcurrencyLimitLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use std::time::Duration;
/// use tower_layer::Layer;
///
/// let reactor = MemoryReactor::new();
/// let layer = ConcurrencyLimitLayer::new(reactor.handle(), 100)
///     .line(1000)
///     .wait(Duration::from_secs(2));
/// let service = layer.layer(handler_fn(|_: Request<Body>| Response::new(Body::from("hello"))));
/// ```
#[derive(Clone)]
pub struct ConcurrencyLimitLayer {
    reactor: Rc<dyn ReactorTime>,
    at_once: usize,
    wait: Duration,
    slots: Slots,
}

impl ConcurrencyLimitLayer {
    /// At most so many at once, and as many in line. The timers are those of `reactor`.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorTime>, at_once: usize) -> Self {
        Self {
            reactor,
            at_once,
            wait: WAIT,
            slots: Slots::new(at_once, at_once),
        }
    }

    /// How many may wait. With 0 all that are too many are refused at once.
    #[must_use]
    pub fn line(mut self, requests: usize) -> Self {
        self.slots = Slots::new(self.at_once, requests);
        self
    }

    /// How long each may wait: 5 s unless told.
    #[must_use]
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.wait = at_most;
        self
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for ConcurrencyLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimitLayer")
            .field("at_once", &self.at_once)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// See [`ConcurrencyLimitLayer`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    layer: ConcurrencyLimitLayer,
}

impl<S, B> Service<Request<Body>> for ConcurrencyLimit<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ConcurrencyLimitFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (future, slot, line) = match self.layer.slots.ask() {
            Asked::Slot(slot) => (Some(self.inner.call(request)), Some(slot), None),
            Asked::Refused => (None, None, None),
            Asked::Wait(place) => {
                // The one that was polled until it was ready is the one that will be called.
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                let line = InLine {
                    alarm: Alarm::after(&*self.layer.reactor, self.layer.wait),
                    place,
                    service,
                    request,
                };
                (None, None, Some(Box::new(line)))
            }
        };
        ConcurrencyLimitFuture { future, slot, line }
    }
}

/// A request that waits.
#[derive(Debug)]
struct InLine<S> {
    alarm: Alarm,
    place: Place,
    service: S,
    request: Request<Body>,
}

pin_project! {
    /// The future of [`ConcurrencyLimit`].
    #[derive(Debug)]
    pub struct ConcurrencyLimitFuture<S, F> {
        #[pin]
        future: Option<F>,
        // Behind the future, so that it is given back when that has been dropped.
        slot: Option<Slot>,
        line: Option<Box<InLine<S>>>,
    }
}

impl<S, B> Future for ConcurrencyLimitFuture<S, S::Future>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(mut line) = this.line.take() {
            match line.place.poll(cx) {
                Poll::Ready(slot) => {
                    *this.slot = Some(slot);
                    this.future.set(Some(line.service.call(line.request)));
                }
                Poll::Pending if line.alarm.poll(cx).is_pending() => {
                    *this.line = Some(line);
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(Ok(busy()));
        };
        let Poll::Ready(result) = future.poll(cx) else {
            return Poll::Pending;
        };
        let slot = this.slot.take();
        Poll::Ready(result.map(|answer| {
            answer.map(|body| {
                let body = Body::new(body);
                match body.is_there() {
                    true => body,
                    false => Body::new(Holding { body, slot }),
                }
            })
        }))
    }
}

fn busy() -> Response<Body> {
    let mut answer = refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "the server has too much to do; try again later",
    );
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// A body that holds a slot until it has ended.
struct Holding {
    body: Body,
    slot: Option<Slot>,
}

impl http_body::Body for Holding {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.slot = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
