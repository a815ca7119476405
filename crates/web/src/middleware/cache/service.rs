//! The service: a request is answered by what is kept, waits for what somebody else fetches, or
//! is passed on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::store::Outcome;
use super::{After, CacheLayer, Decision, Waiter};
use crate::{Body, BoxError};

/// See [`CacheLayer`].
#[derive(Clone, Debug)]
pub struct Cache<S> {
    pub(super) inner: S,
    pub(super) layer: CacheLayer,
}

impl<S, B> Service<Request<Body>> for Cache<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = CacheFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut future = CacheFuture {
            future: None,
            own: None,
            after: None,
            waiting: None,
            layer: self.layer.clone(),
        };
        match self.layer.decide(&mut request, false) {
            Decision::Answer(answer) => future.own = Some(answer),
            Decision::Pass(after) => {
                future.after = Some(after);
                future.future = Some(self.inner.call(request));
            }
            Decision::Wait(waiter) => {
                // The one that was polled until it was ready is the one that may be called.
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                future.waiting = Some(Box::new(Waiting {
                    waiter,
                    service,
                    request,
                }));
            }
        }
        future
    }
}

/// A request that waits.
#[derive(Debug)]
struct Waiting<S> {
    waiter: Waiter,
    service: S,
    request: Request<Body>,
}

pin_project! {
    /// The future of [`Cache`].
    #[derive(Debug)]
    pub struct CacheFuture<S, F> {
        #[pin]
        future: Option<F>,
        own: Option<Response<Body>>,
        after: Option<After>,
        waiting: Option<Box<Waiting<S>>>,
        layer: CacheLayer,
    }
}

impl<S, B> Future for CacheFuture<S, S::Future>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        while let Some(mut waiting) = this.waiting.take() {
            let Waiter { flight, number } = &waiting.waiter;
            let Poll::Ready(outcome) = flight.poll(*number, cx) else {
                *this.waiting = Some(waiting);
                return Poll::Pending;
            };
            // Who has led is gone: one of those who waited does, and the others wait for it.
            let alone = outcome == Outcome::Done;
            match this.layer.decide(&mut waiting.request, alone) {
                Decision::Answer(answer) => *this.own = Some(answer),
                Decision::Wait(waiter) => {
                    waiting.waiter = waiter;
                    *this.waiting = Some(waiting);
                }
                Decision::Pass(after) => {
                    *this.after = Some(after);
                    let future = waiting.service.call(waiting.request);
                    this.future.set(Some(future));
                }
            }
        }
        if let Some(answer) = this.own.take() {
            return Poll::Ready(Ok(answer));
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let Poll::Ready(result) = future.poll(cx) else {
            return Poll::Pending;
        };
        let result = result.map(|answer| answer.map(Body::new));
        Poll::Ready(match this.after.take() {
            Some(after) => this.layer.arrived(after, result),
            None => result,
        })
    }
}
