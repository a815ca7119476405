//! A limit on the bodies of some requests, other than that of the site.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::answering::{Answering, Finish, refusal};
use crate::{Body, BoxError};

/// Refuses requests whose bodies are longer than so many bytes, with 413.
///
/// One that says so in its Content-Length is answered before the service is called, and so before a
/// `100 Continue`. From another one so many bytes can be read; then comes
/// [`BodyError::TooLarge`](crate::BodyError::TooLarge), which the site answers with 413 when the handler passes it on.
///
/// Every site has a limit already ([`Limits::body`](crate::h1::Limits::body)); this layer lowers or
/// raises it for the services within.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::middleware::BodyLimitLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use tower_layer::Layer;
///
/// let upload = handler_fn(|_: Request<Body>| Response::new(Body::from("thank you")));
/// let service = BodyLimitLayer::new(100 * 1024 * 1024).layer(upload);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BodyLimitLayer {
    bytes: u64,
}

impl BodyLimitLayer {
    /// At most so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }
}

impl<S> Layer<S> for BodyLimitLayer {
    type Service = BodyLimit<S>;

    fn layer(&self, inner: S) -> BodyLimit<S> {
        BodyLimit {
            inner,
            bytes: self.bytes,
        }
    }
}

/// See [`BodyLimitLayer`].
#[derive(Clone, Debug)]
pub struct BodyLimit<S> {
    inner: S,
    bytes: u64,
}

impl<S, B> Service<Request<Body>> for BodyLimit<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, AsItIs>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let declared = request.headers().get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let length = request.body().len().or(declared);
        if length.is_some_and(|length| length > self.bytes) {
            return Answering::own(refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request body is longer than is allowed here",
            ));
        }
        request.body_mut().set_limit(self.bytes);
        Answering::within(self.inner.call(request), AsItIs)
    }
}

/// Nothing is done with the answer.
#[derive(Clone, Copy, Debug)]
pub struct AsItIs;

impl Finish for AsItIs {
    fn finish(self, answer: Response<Body>) -> Response<Body> {
        answer
    }
}
