//! Any service, with its types put away.
//!
//! What routes, mounts and wraps services keeps them as a [`BoxService`]: cheap to clone, and for
//! one thread, as all services of a loop are.

use std::any::Any;
use std::fmt;
use std::future::{Future, Ready, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::answering::Answering;
use crate::body::{Body, BoxError};

/// What a [`BoxService`] answers: a response, or the error of a service that failed.
pub type Answer = Result<Response<Body>, BoxError>;

/// A service of any type. A clone of it shares the service, and each request gets its own clone of
/// that.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::{Body, BoxService, handler_fn};
///
/// let hello = handler_fn(|_: Request<Body>| Response::new(Body::from("Hello")));
/// let service = BoxService::new(hello);
/// let answer = service.answer(Request::new(Body::empty())).into_ready().ok().unwrap();
/// assert_eq!(answer.unwrap().body().len(), Some(5));
/// ```
#[derive(Clone)]
pub struct BoxService(Rc<dyn Fn(Request<Body>) -> Answering<Answer>>);

impl BoxService {
    /// `service`, whatever its type, its error and the body of its answers.
    #[must_use]
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let any: &dyn Any = &service;
        if let Some(boxed) = any.downcast_ref::<Self>() {
            return boxed.clone();
        }
        Self::from_fn(move |request| call(service.clone(), request))
    }

    /// A service of a function.
    pub(crate) fn from_fn(call: impl Fn(Request<Body>) -> Answering<Answer> + 'static) -> Self {
        Self(Rc::new(call))
    }

    /// Gives `request` to the service.
    pub fn answer(&self, request: Request<Body>) -> Answering<Answer> {
        (self.0)(request)
    }

    /// Puts `layer` around the service.
    #[must_use]
    pub fn layer<L, B>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        <L::Service as Service<Request<Body>>>::Future: 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::new(layer.layer(self))
    }
}

impl fmt::Debug for BoxService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxService").finish_non_exhaustive()
    }
}

/// A body of another type becomes a [`Body`]: a layer around the service may have changed it.
impl<B> Service<Request<B>> for BoxService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answering<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Readiness is asked of the clone that gets the request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering<Answer> {
        self.answer(request.map(Body::new))
    }
}

fn call<S, B>(mut service: S, request: Request<Body>) -> Answering<Answer>
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut cx = Context::from_waker(Waker::noop());
    match service.poll_ready(&mut cx) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(error)) => return Answering::ready(Err(error.into())),
        Poll::Pending => {
            return Answering::new(async move {
                poll_fn(|cx| service.poll_ready(cx))
                    .await
                    .map_err(Into::into)?;
                into_answer(service.call(request).await)
            });
        }
    }
    let mut future = service.call(request);
    let any: &mut dyn Any = &mut future;
    if let Some(answering) = any.downcast_mut::<Answering<Answer>>() {
        return answering.take();
    }
    if let Some(ready) = any.downcast_mut::<Ready<Result<Response<B>, S::Error>>>()
        && let Poll::Ready(result) = Pin::new(ready).poll(&mut cx)
    {
        return Answering::ready(into_answer(result));
    }
    Answering::new(async move { into_answer(future.await) })
}

fn into_answer<B, E>(result: Result<Response<B>, E>) -> Answer
where
    E: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match result {
        Ok(response) => Ok(response.map(Body::new)),
        Err(error) => Err(error.into()),
    }
}
