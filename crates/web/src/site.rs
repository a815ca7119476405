//! A web server: a factory of HTTP connections over a service.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use ipnet::IpNet;
use ropewalk_core::{Address, ConnectionLimits, Factory, Protocol};
use tower_service::Service;

use crate::body::{Body, BoxError};
use crate::h1::{Connection, Limits, Shared};
use crate::h2;

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
            shared: Rc::new(Shared::new(service, limits)),
        }
    }

    /// Sets the bounds of HTTP/2, or that it is not spoken (`None`). By default it is, where TLS has
    /// agreed on it and where a connection begins with its preface, with the default
    /// [`h2::Limits`](crate::h2::Limits). For connections that are made from now on.
    #[must_use]
    pub fn http2(self, limits: Option<h2::Limits>) -> Self {
        self.shared.http2.replace(limits.map(Rc::new));
        self
    }

    /// Lets those who connect from these networks ask for `https` URLs over plain text: proxies that end
    /// TLS before this server, and send it the whole URL, as HTTP/2 always does. From others it is
    /// answered with 421 (RFC 9110, section 7.4). Such a request counts as
    /// [secure](crate::RequestInfo::secure). None, unless told.
    ///
    /// What such a proxy says in `Forwarded` or `X-Forwarded-Proto` is for
    /// [`TrustedProxiesLayer`](crate::middleware::TrustedProxiesLayer).
    #[must_use]
    pub fn trusted_gateways(self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.shared.gateways.replace(networks.into_iter().collect());
        self
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

    fn application_protocols(&self) -> Vec<String> {
        let has_http2 = self.shared.http2.borrow().is_some();
        let http2 = has_http2.then(|| "h2".to_owned());
        http2.into_iter().chain(["http/1.1".to_owned()]).collect()
    }

    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            write_stall: self.shared.limits.write_stall,
            ..ConnectionLimits::default()
        }
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
