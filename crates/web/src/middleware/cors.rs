//! Which pages of other origins may use this one: CORS, of the Fetch standard
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! It widens what browsers allow, and bounds nobody else: a request of an origin that is not
//! allowed is answered like any other, and the browser keeps the answer from its page.

use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName,
    HeaderValue, ORIGIN,
};
use http::{Method, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::answering::{Answering, Finish};
use super::vary::add_vary;
use crate::{Body, BoxError};

const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// Lets pages of other origins use the services within, from scripts of browsers.
///
/// A preflight (OPTIONS with `Origin` and `Access-Control-Request-Method`) is answered by the layer
/// with 204; the service within never sees it. Unless told, these are allowed: the methods GET,
/// HEAD and POST, which need no preflight; of the fields of a request, those that need none; of the
/// fields of an answer, those that any page may read; no credentials; no access from a public page
/// to a private network. What depends on the origin says `Vary: Origin`.
///
/// ```
/// use http::{Method, Request, Response};
/// use http::header::{CONTENT_TYPE, ETAG};
/// use ropewalk_web::middleware::CorsLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use std::time::Duration;
/// use tower_layer::Layer;
///
/// let layer = CorsLayer::for_origins(["https://app.example.com"])
///     .methods([Method::GET, Method::PUT])
///     .headers([CONTENT_TYPE])
///     .expose([ETAG])
///     .credentials()
///     .max_age(Duration::from_secs(3600));
/// let service = layer.layer(handler_fn(|_: Request<Body>| Response::new(Body::from("hello"))));
/// ```
#[derive(Clone)]
pub struct CorsLayer {
    rules: Rc<Rules>,
}

#[derive(Clone)]
struct Rules {
    origins: Origins,
    methods: Option<HeaderValue>,
    headers: AllowedHeaders,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
    private_network: bool,
}

#[derive(Clone)]
enum Origins {
    /// All, and so none with credentials.
    Any,
    These(Rc<dyn Fn(&str) -> bool>),
}

#[derive(Clone)]
enum AllowedHeaders {
    These(Option<HeaderValue>),
    /// Whichever the preflight asks for.
    Asked,
}

impl CorsLayer {
    /// Pages of any origin, none with credentials.
    #[must_use]
    pub fn for_any() -> Self {
        Self::new(Origins::Any)
    }

    /// Pages of these origins: scheme, host and port as browsers write them, as in
    /// `https://example.com` or `http://127.0.0.1:8080`. They are compared as they are.
    #[must_use]
    pub fn for_origins<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        let origins: Vec<_> = origins.into_iter().map(str::to_owned).collect();
        Self::for_origins_that(move |origin| origins.iter().any(|allowed| allowed == origin))
    }

    /// Pages of the origins for which `allowed` is true. A page without an origin of its own, as
    /// one in a sandbox or a file, has the origin `null`: everybody can make such pages.
    #[must_use]
    pub fn for_origins_that(allowed: impl Fn(&str) -> bool + 'static) -> Self {
        Self::new(Origins::These(Rc::new(allowed)))
    }

    fn new(origins: Origins) -> Self {
        let rules = Rules {
            origins,
            methods: None,
            headers: AllowedHeaders::These(None),
            exposed: None,
            credentials: false,
            max_age: None,
            private_network: false,
        };
        Self {
            rules: Rc::new(rules),
        }
    }

    /// The methods that may be used, beside GET, HEAD and POST.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.rules().methods = list(methods);
        self
    }

    /// The fields that a request may have, beside those that need no preflight.
    #[must_use]
    pub fn headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.rules().headers = AllowedHeaders::These(list(names));
        self
    }

    /// A request may have any fields.
    #[must_use]
    pub fn any_headers(mut self) -> Self {
        self.rules().headers = AllowedHeaders::Asked;
        self
    }

    /// The fields of an answer that pages may read, beside those that any page may.
    #[must_use]
    pub fn expose(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.rules().exposed = list(names);
        self
    }

    /// Requests may carry cookies and other credentials. The standard has no such thing for
    /// [any](Self::for_any) origin: there it changes nothing but to log a warning.
    #[must_use]
    pub fn credentials(mut self) -> Self {
        match self.rules.origins {
            Origins::Any => tracing::warn!(
                "CORS: any origin cannot be allowed credentials; list those that may have them"
            ),
            Origins::These(_) => self.rules().credentials = true,
        }
        self
    }

    /// How long a browser may remember what a preflight said: 5 s unless told, as the standard has
    /// it.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.rules().max_age = Some(HeaderValue::from(age.as_secs()));
        self
    }

    /// Pages of public networks may use this server though its network is a private one
    /// (<https://wicg.github.io/private-network-access/>).
    #[must_use]
    pub fn private_network(mut self) -> Self {
        self.rules().private_network = true;
        self
    }

    fn rules(&mut self) -> &mut Rules {
        Rc::make_mut(&mut self.rules)
    }
}

fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Option<HeaderValue> {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| name.as_ref().to_owned())
        .collect();
    let list = HeaderValue::try_from(names.join(", ")).ok()?;
    (!names.is_empty()).then_some(list)
}

impl Rules {
    /// What `Access-Control-Allow-Origin` says to this origin.
    fn allow(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::These(allowed) => {
                let origin = origin?;
                let allowed = origin.to_str().is_ok_and(|origin| allowed(origin));
                allowed.then(|| origin.clone())
            }
        }
    }

    /// What goes on each answer, whether the origin is allowed or not.
    fn depends_on_origin(&self, headers: &mut HeaderMap) {
        if matches!(self.origins, Origins::These(_)) {
            add_vary(headers, "origin");
        }
    }

    fn allow_credentials(&self, headers: &mut HeaderMap) {
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }

    /// The answer to a preflight. If something is not allowed it lacks what would say that it is.
    fn preflight(&self, asked: &HeaderMap) -> Response<Body> {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        self.depends_on_origin(headers);
        if let AllowedHeaders::Asked = self.headers {
            add_vary(headers, "access-control-request-headers");
        }
        if self.private_network {
            add_vary(headers, "access-control-request-private-network");
        }
        let Some(allowed) = self.allow(asked.get(ORIGIN)) else {
            return answer;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        self.allow_credentials(headers);
        if let Some(methods) = &self.methods {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        }
        let names = match &self.headers {
            AllowedHeaders::These(names) => names.as_ref(),
            AllowedHeaders::Asked => asked.get(ACCESS_CONTROL_REQUEST_HEADERS),
        };
        if let Some(names) = names {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        if let Some(age) = &self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        if self.private_network && asked.contains_key(REQUEST_PRIVATE_NETWORK) {
            headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        answer
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = Cors<S>;

    fn layer(&self, inner: S) -> Cors<S> {
        Cors {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for CorsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorsLayer")
            .field("any_origin", &matches!(self.rules.origins, Origins::Any))
            .field("methods", &self.rules.methods)
            .field("credentials", &self.rules.credentials)
            .finish_non_exhaustive()
    }
}

/// See [`CorsLayer`].
#[derive(Clone, Debug)]
pub struct Cors<S> {
    inner: S,
    layer: CorsLayer,
}

impl<S, B> Service<Request<Body>> for Cors<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, AllowOrigin>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rules = &self.layer.rules;
        let headers = request.headers();
        if request.method() == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        {
            return Answering::own(rules.preflight(headers));
        }
        let finish = AllowOrigin {
            // Who has no origin asks from no other one; to all others the answer is the same.
            allowed: rules.allow(headers.get(ORIGIN)),
            rules: Rc::clone(rules),
        };
        Answering::within(self.inner.call(request), finish)
    }
}

/// Says on an answer who may read it.
pub struct AllowOrigin {
    allowed: Option<HeaderValue>,
    rules: Rc<Rules>,
}

impl Finish for AllowOrigin {
    fn finish(self, mut answer: Response<Body>) -> Response<Body> {
        let headers = answer.headers_mut();
        self.rules.depends_on_origin(headers);
        if let Some(allowed) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            self.rules.allow_credentials(headers);
            if let Some(exposed) = &self.rules.exposed {
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
            }
        }
        answer
    }
}
