//! A name for each request, and a span around its handler.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;
use tracing::instrument::{Instrument, Instrumented};

use super::answering::{Answering, Finish};
use super::trusted_proxies::ThroughProxy;
use crate::{AccessLogFields, Body, BoxError};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer name is not taken from a request.
const LONGEST: usize = 128;

/// Gives each request a name: in its extensions as [`RequestId`], in its `x-request-id` field and
/// in that of the answer, in the access log, and in a `tracing` span.
///
/// The span is called `request`, of level INFO, with the fields `id`, `method` and `path`. The
/// handler runs in it, from its call to its answer, over all its awaits; and so do the tasks and
/// timers that it begins, which inherit it.
///
/// A name is the layer's prefix and a count in hexadecimal digits, unless
/// [`made_by`](Self::made_by) makes them. Give each process (and each of its loops) a prefix of its
/// own, of the host and the time it was started, say, and names are never used twice. A name that
/// came with the request is thrown away, unless a proxy is [trusted with
/// it](Self::take_from_proxies).
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::middleware::{RequestId, RequestIdLayer};
/// use ropewalk_web::{Body, handler_fn};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let handler = handler_fn(|request: Request<Body>| {
///     let id = request.extensions().get::<RequestId>().unwrap();
///     Response::new(Body::from(format!("request {id}")))
/// });
/// let mut service = RequestIdLayer::new("web1-").layer(handler);
/// let answer = service.call(Request::new(Body::empty()));
/// # let mut answer = std::pin::pin!(answer);
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # let std::task::Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else { panic!() };
/// assert_eq!(answer.headers()["x-request-id"], "web1-0");
/// # use std::future::Future;
/// ```
#[derive(Clone)]
pub struct RequestIdLayer {
    make: Rc<dyn Fn() -> HeaderValue>,
    name: HeaderName,
    taken_from: TakenFrom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakenFrom {
    Nobody,
    Proxies,
    Anybody,
}

impl RequestIdLayer {
    /// Names of this prefix and a count. What of the prefix cannot stand in a header is left out.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let legal = prefix.chars().filter(char::is_ascii_graphic);
        let prefix: String = legal.collect();
        let count = Cell::new(0_u64);
        Self::made_by(move || {
            let number = count.replace(count.get().wrapping_add(1));
            let name = HeaderValue::try_from(format!("{prefix}{number:x}"));
            name.unwrap_or_else(|_| HeaderValue::from(number))
        })
    }

    /// Names that `make` makes. It should make no two that are the same.
    #[must_use]
    pub fn made_by(make: impl Fn() -> HeaderValue + 'static) -> Self {
        Self {
            make: Rc::new(make),
            name: X_REQUEST_ID,
            taken_from: TakenFrom::Nobody,
        }
    }

    /// The field that it stands in: `x-request-id` unless told.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.name = name;
        self
    }

    /// Keeps the name of a request that came through one of the proxies of a
    /// [`TrustedProxiesLayer`](super::TrustedProxiesLayer), which is to stand outside of this one.
    /// It must have at most 128 characters, printable ones of ASCII.
    #[must_use]
    pub fn take_from_proxies(mut self) -> Self {
        self.taken_from = TakenFrom::Proxies;
        self
    }

    /// Keeps the name of any request that has one: for servers that only trusted clients reach.
    #[must_use]
    pub fn take_from_anybody(mut self) -> Self {
        self.taken_from = TakenFrom::Anybody;
        self
    }

    fn taken(&self, request: &Request<Body>) -> Option<HeaderValue> {
        let trusted = match self.taken_from {
            TakenFrom::Nobody => false,
            TakenFrom::Proxies => request.extensions().get::<ThroughProxy>().is_some(),
            TakenFrom::Anybody => true,
        };
        let value = request.headers().get(&self.name).filter(|_| trusted)?;
        let bytes = value.as_bytes();
        let legal = (1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        legal.then(|| value.clone())
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = SetRequestId<S>;

    fn layer(&self, inner: S) -> SetRequestId<S> {
        SetRequestId {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for RequestIdLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestIdLayer")
            .field("header", &self.name)
            .field("taken_from", &self.taken_from)
            .finish_non_exhaustive()
    }
}

/// The name of a request, in its extensions. See [`RequestIdLayer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// As the value of a header.
    #[must_use]
    pub fn as_header(&self) -> &HeaderValue {
        &self.0
    }
}

/// With all that is not printable ASCII left out.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graphic = self
            .0
            .as_bytes()
            .iter()
            .filter(|byte| byte.is_ascii_graphic());
        let text: String = graphic.map(|byte| char::from(*byte)).collect();
        f.write_str(&text)
    }
}

/// See [`RequestIdLayer`].
#[derive(Clone, Debug)]
pub struct SetRequestId<S> {
    inner: S,
    layer: RequestIdLayer,
}

impl<S, B> Service<Request<Body>> for SetRequestId<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<Instrumented<S::Future>, NameAnswer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = self.layer.taken(&request);
        let id = RequestId(id.unwrap_or_else(|| (self.layer.make)()));
        let span = tracing::info_span!(
            "request",
            %id,
            method = request.method().as_str(),
            path = request.uri().path(),
        );
        let name = self.layer.name.clone();
        request.headers_mut().insert(&name, id.0.clone());
        request.extensions_mut().insert(id.clone());
        let future = span.in_scope(|| self.inner.call(request)).instrument(span);
        Answering::within(future, NameAnswer { name, id })
    }
}

/// Puts the name on the answer.
#[derive(Debug)]
pub struct NameAnswer {
    name: HeaderName,
    id: RequestId,
}

impl Finish for NameAnswer {
    fn finish(self, mut answer: Response<Body>) -> Response<Body> {
        let Self { name, id } = self;
        AccessLogFields::of(&mut answer).request_id = Some(id.to_string());
        answer.headers_mut().insert(name, id.0);
        answer
    }
}
