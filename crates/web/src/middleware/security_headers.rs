//! Headers by which browsers protect those who visit a site.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::answering::{Answering, Finish};
use crate::{Body, BoxError, RequestInfo};

/// Puts headers on answers that do not have them yet: what a handler says itself stays.
///
/// | header | unless told |
/// |---|---|
/// | `X-Content-Type-Options` | `nosniff`: a browser believes the type that is said |
/// | `Referrer-Policy` | `strict-origin-when-cross-origin`: other sites learn the origin, not the page |
/// | `X-Frame-Options` | `SAMEORIGIN`: no other site shows this one within a page of its own |
/// | `Content-Security-Policy` | none: what a page needs, only its author knows |
/// | `Strict-Transport-Security` | none: it cannot be taken back before its time. Only ever sent over https (RFC 6797, section 7.2) |
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::middleware::SecurityHeadersLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use std::time::Duration;
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let layer = SecurityHeadersLayer::new()
///     .content_security_policy("default-src 'self'")?
///     .strict_transport_security(Duration::from_secs(63_072_000), true);
/// let handler = handler_fn(|_: Request<Body>| Response::new(Body::from("hello")));
/// let answer = layer.layer(handler).call(Request::new(Body::empty()));
/// # let mut answer = std::pin::pin!(answer);
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # let std::task::Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else { panic!() };
/// assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
/// assert!(!answer.headers().contains_key("strict-transport-security"), "it was plain text");
/// # use std::future::Future;
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Debug)]
pub struct SecurityHeadersLayer {
    headers: Rc<Vec<(HeaderName, HeaderValue)>>,
    transport_security: Option<HeaderValue>,
}

impl SecurityHeadersLayer {
    /// The first three.
    #[must_use]
    pub fn new() -> Self {
        let headers = [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "strict-origin-when-cross-origin"),
            (X_FRAME_OPTIONS, "SAMEORIGIN"),
        ];
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        Self {
            headers: Rc::new(headers.into()),
            transport_security: None,
        }
    }

    /// Where a page may load things from, and more
    /// (<https://www.w3.org/TR/CSP3/>).
    ///
    /// # Errors
    /// When `policy` cannot stand in a header.
    pub fn content_security_policy(
        self,
        policy: &str,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        Ok(self.header(CONTENT_SECURITY_POLICY, policy.parse()?))
    }

    /// For so long a browser is to use only https for this host, and those below it
    /// if `subdomains` is true.
    #[must_use]
    pub fn strict_transport_security(mut self, age: Duration, subdomains: bool) -> Self {
        let subdomains = if subdomains {
            "; includeSubDomains"
        } else {
            ""
        };
        let value = format!("max-age={}{subdomains}", age.as_secs());
        self.transport_security = HeaderValue::try_from(value).ok();
        self
    }

    /// This header too, or in the place of the one of this name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self = self.without(&name);
        Rc::make_mut(&mut self.headers).push((name, value));
        self
    }

    /// Not this header.
    #[must_use]
    pub fn without(mut self, name: &HeaderName) -> Self {
        Rc::make_mut(&mut self.headers).retain(|(there, _)| there != name);
        self
    }
}

impl Default for SecurityHeadersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeaders<S>;

    fn layer(&self, inner: S) -> SecurityHeaders<S> {
        SecurityHeaders {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`SecurityHeadersLayer`].
#[derive(Clone, Debug)]
pub struct SecurityHeaders<S> {
    inner: S,
    layer: SecurityHeadersLayer,
}

impl<S, B> Service<Request<Body>> for SecurityHeaders<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, Protect>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let secure = RequestInfo::of(&request).is_some_and(|info| info.secure);
        let transport_security = self.layer.transport_security.clone();
        let protect = Protect {
            headers: Rc::clone(&self.layer.headers),
            transport_security: transport_security.filter(|_| secure),
        };
        Answering::within(self.inner.call(request), protect)
    }
}

/// Puts the headers on an answer.
#[derive(Debug)]
pub struct Protect {
    headers: Rc<Vec<(HeaderName, HeaderValue)>>,
    transport_security: Option<HeaderValue>,
}

impl Finish for Protect {
    fn finish(self, mut answer: Response<Body>) -> Response<Body> {
        let headers = answer.headers_mut();
        for (name, value) in &*self.headers {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if let Some(value) = self.transport_security
            && !headers.contains_key(STRICT_TRANSPORT_SECURITY)
        {
            headers.insert(STRICT_TRANSPORT_SECURITY, value);
        }
        answer
    }
}
