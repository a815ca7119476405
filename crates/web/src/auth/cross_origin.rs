//! Requests that another site makes a user's browser send, with the user's cookies: cross-site request
//! forgery. They are refused by what browsers themselves say of a request's origin; no token is needed in forms.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode, Uri};
use tower_layer::Layer;
use tower_service::Service;

use crate::Body;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses, with 403, requests that change something and come from another origin, by a browser.
///
/// - GET, HEAD and OPTIONS go through: they are to change nothing (RFC 9110, section 9.2.1).
/// - Browsers since 2023 say where a request comes from (`Sec-Fetch-Site`): from the same origin, or by
///   the user's own hand, is good.
/// - Older ones send `Origin` with each POST: its host must be that of the request.
/// - What has neither is no browser, and has no cookies that others could use.
/// - Origins can be [trusted](Self::trust).
///
/// This is how Go's `http.CrossOriginProtection` does it. It protects what is done by cookies, and by Basic and Digest
/// authentication too, which browsers repeat by themselves. A site that changes something by GET is not
/// protected, and `SameSite=Lax` does not help it either.
///
/// ```
/// use ropewalk_web::auth::CrossOriginProtection;
///
/// let protection = CrossOriginProtection::new().trust("https://partner.example.com")?;
/// # let _ = protection;
/// assert!(CrossOriginProtection::new().trust("partner.example.com").is_err());
/// # Ok::<(), ropewalk_web::auth::OriginError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossOriginProtection {
    trusted: Rc<BTreeSet<String>>,
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginError {
    origin: String,
}

impl CrossOriginProtection {
    /// Trusts no other origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts one: a scheme, a host and, if it is not the scheme's own, a port.
    ///
    /// # Errors
    /// It is no origin.
    pub fn trust(mut self, origin: &str) -> Result<Self, OriginError> {
        let error = || OriginError {
            origin: origin.to_owned(),
        };
        let uri: Uri = origin.parse().map_err(|_| error())?;
        let is_origin =
            uri.scheme().is_some() && uri.authority().is_some() && uri.query().is_none();
        if !is_origin || origin.ends_with('/') || uri.path().len() > 1 || origin.contains('@') {
            return Err(error());
        }
        Rc::make_mut(&mut self.trusted).insert(origin.to_ascii_lowercase());
        Ok(self)
    }

    fn allows<B>(&self, request: &Request<B>) -> bool {
        if matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        ) {
            return true;
        }
        let headers = request.headers();
        let by_site = match only(headers, &SEC_FETCH_SITE) {
            Field::Absent => None,
            Field::One(site) => Some(site == "same-origin" || site == "none"),
            Field::Several => Some(false),
        };
        let is_ours = match (by_site, only(headers, &ORIGIN)) {
            (Some(true), _) | (None, Field::Absent) => return true,
            (Some(false), Field::One(origin)) => self.trusts(origin),
            (None, Field::One(origin)) => is_own(origin, request) || self.trusts(origin),
            _ => false,
        };
        if !is_ours {
            let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
            tracing::warn!(method = %request.method(), path = request.uri().path(), origin,
                "a request from another origin is refused");
        }
        is_ours
    }

    fn trusts(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().map(str::to_ascii_lowercase);
        origin.is_ok_and(|origin| self.trusted.contains(&origin))
    }
}

enum Field<'a> {
    Absent,
    One(&'a HeaderValue),
    Several,
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Field<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => Field::One(value),
        _ => Field::Several,
    }
}

/// Whether `origin` has the host, and the port, that the request is for. Its scheme is not looked at: a proxy
/// may do the TLS.
fn is_own<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let origin = origin.to_str().ok();
    let host = origin
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, host)| host);
    let asked = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let field = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    match (host, asked.or(field)) {
        (Some(host), Some(asked)) => host.eq_ignore_ascii_case(asked),
        _ => false,
    }
}

impl<S> Layer<S> for CrossOriginProtection {
    type Service = CrossOriginService<S>;

    fn layer(&self, inner: S) -> CrossOriginService<S> {
        CrossOriginService {
            protection: self.clone(),
            inner,
        }
    }
}

/// A service that other sites cannot use in a user's name: see [`CrossOriginProtection`].
#[derive(Clone, Debug)]
pub struct CrossOriginService<S> {
    protection: CrossOriginProtection,
    inner: S,
}

impl<S, B> Service<Request<B>> for CrossOriginService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.protection.allows(&request) {
            return Box::pin(self.inner.call(request));
        }
        let text = "This request comes from another site, and is refused.\n";
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = StatusCode::FORBIDDEN;
        Box::pin(async { Ok(response) })
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no origin: write a scheme and a host, as in \"https://example.com\", with no path",
            self.origin
        )
    }
}

impl Error for OriginError {}
