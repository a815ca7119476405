//! Calling a site's service.

use std::any::Any;
use std::future::{Future, Ready, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use tower_service::Service;

use crate::body::Body;

/// A handler's future.
pub(crate) type Answering<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>>>>;

/// What calling a handler gave.
pub(crate) enum Called<B, E> {
    Answered(Result<Response<B>, E>),
    Answering(Answering<B, E>),
}

/// Calls a clone of `service`. A future that is ready at once is neither boxed nor spawned.
pub(crate) fn call<S, B>(service: &S, request: Request<Body>) -> Called<B, S::Error>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: 'static,
    B: 'static,
{
    let mut service = service.clone();
    let mut cx = Context::from_waker(Waker::noop());
    match service.poll_ready(&mut cx) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(error)) => return Called::Answered(Err(error)),
        Poll::Pending => {
            return Called::Answering(Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            }));
        }
    }
    let mut future = service.call(request);
    let any: &mut dyn Any = &mut future;
    if let Some(ready) = any.downcast_mut::<Ready<Result<Response<B>, S::Error>>>()
        && let Poll::Ready(result) = Pin::new(ready).poll(&mut cx)
    {
        return Called::Answered(result);
    }
    let mut future = match any.downcast_mut::<crate::Answering<Result<Response<B>, S::Error>>>() {
        Some(answering) => match answering.take().into_ready() {
            Ok(result) => return Called::Answered(result),
            Err(boxed) => boxed,
        },
        None => Box::pin(future) as Answering<B, S::Error>,
    };
    match future.as_mut().poll(&mut cx) {
        Poll::Ready(result) => Called::Answered(result),
        Poll::Pending => Called::Answering(future),
    }
}
