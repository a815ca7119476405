//! A web server: a factory of HTTP connections over a service.

use std::cell::RefCell;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use ropewalk_core::{Address, ConnectionLimits, Factory, Protocol, Transport};
use tower_service::Service;

use crate::body::{Body, BoxError};
use crate::date::DateCache;
use crate::h1::{
    Connection, HeadScan, Limits, RequestError, RequestHead, ResponseHead, encode_response_head,
    parse_request_head,
};

/// Serves HTTP with a [`tower_service::Service`], a clone of it for each request.
///
/// A service whose future is [`std::future::Ready`], as that of [`handler_fn`] and of
/// [`FileService`](crate::FileService), is answered at once, with no task and no allocation for the
/// future.
///
/// ```
/// use ropewalk_core::testing::{MemoryReactor, StringTransport};
/// use ropewalk_core::{Address, Factory};
/// use ropewalk_web::{Body, Site, handler_fn};
/// use http::{Request, Response};
///
/// let site = Site::new(handler_fn(|request: Request<Body>| {
///     Response::new(Body::from(format!("You asked for {}", request.uri())))
/// }));
/// let mut connection = site.build_protocol(&Address::Unix(None)).unwrap();
/// let mut transport = StringTransport::new();
/// connection.data_received(&mut transport, b"GET /tea HTTP/1.1\r\nHost: example.com\r\n\r\n");
/// assert!(transport.value().ends_with(b"\r\n\r\nYou asked for /tea"));
/// ```
pub struct Site<S> {
    shared: Rc<Shared<S>>,
}

/// What all connections of a site share.
pub(crate) struct Shared<S> {
    pub(crate) service: S,
    pub(crate) limits: Limits,
    date: DateCache,
    /// Where heads are copied to.
    heads: RefCell<BytesMut>,
}

/// Where a request came from, and when: found in its [extensions](Request::extensions).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The address of the peer.
    pub peer: Address,
    /// The address that it connected to.
    pub host: Address,
    /// The time of the loop when its head was complete.
    pub received_at: Instant,
}

impl RequestInfo {
    /// For tests, and for those who call a service themselves.
    #[must_use]
    pub fn new(peer: Address, host: Address, received_at: Instant) -> Self {
        Self {
            peer,
            host,
            received_at,
        }
    }
}

impl<S> Site<S> {
    /// A site with the default [`Limits`].
    #[must_use]
    pub fn new(service: S) -> Self {
        Self::with_limits(service, Limits::default())
    }

    /// A site with other limits.
    #[must_use]
    pub fn with_limits(service: S, limits: Limits) -> Self {
        Self {
            shared: Rc::new(Shared {
                service,
                limits,
                date: DateCache::default(),
                heads: RefCell::default(),
            }),
        }
    }
}

impl<S, B> Factory for Site<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Connection::new(Rc::clone(&self.shared))))
    }

    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            write_stall: self.shared.limits.write_stall,
            ..ConnectionLimits::default()
        }
    }
}

impl<S> Shared<S> {
    /// See [`parse_request_head`].
    pub(crate) fn parse_head(
        &self,
        input: &[u8],
        scan: &mut HeadScan,
    ) -> Result<Option<(RequestHead, usize)>, RequestError> {
        parse_request_head(input, &self.limits, scan, &mut self.heads.borrow_mut())
    }

    /// Writes a head, with the date of now.
    pub(crate) fn write_head(&self, transport: &mut Transport, head: ResponseHead<'_>) {
        let wall_clock = || transport.reactor().wall_clock();
        let now = transport.now();
        self.date.refresh(now, wall_clock);
        self.date.with(|date| {
            transport.write_with(|out| encode_response_head(out, &ResponseHead { date, ..head }));
        });
    }
}

/// A service of a function that answers at once.
#[must_use]
pub fn handler_fn<F, B>(handler: F) -> HandlerFn<F>
where
    F: Fn(Request<Body>) -> Response<B>,
{
    HandlerFn {
        handler: Rc::new(handler),
    }
}

/// See [`handler_fn`].
pub struct HandlerFn<F> {
    handler: Rc<F>,
}

impl<F> Clone for HandlerFn<F> {
    fn clone(&self) -> Self {
        Self {
            handler: Rc::clone(&self.handler),
        }
    }
}

impl<F, B> Service<Request<Body>> for HandlerFn<F>
where
    F: Fn(Request<Body>) -> Response<B>,
{
    type Response = Response<B>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response<B>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok((self.handler)(request)))
    }
}
