//! Who answers which method at one path.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::handler::{Handler, service};
use crate::answer::{IntoResponse, Rejection};
use crate::answering::Answering;
use crate::body::{Body, BoxError};
use crate::boxed_service::{Answer, BoxService};

/// The handlers and services of one route, by their methods. [`get`], [`post`] and their like begin
/// one, and its methods of the same names add to it.
///
/// ```
/// use ropewalk_web::router::{Router, get};
///
/// let route = get(|| "Tea").post(|tea: String| format!("Brewing {tea}")).body_limit(64);
/// let router = Router::builder().route("/", route).build()?;
/// # Ok::<(), ropewalk_web::router::RouteError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MethodRouter {
    services: Vec<(Method, BoxService)>,
    any: Option<BoxService>,
    /// What was given twice: an error, when the router is built.
    repeated: Option<String>,
}

macro_rules! methods {
    ($($name:ident $method:ident $also:literal;)*) => {
        $(
            #[doc = concat!("A route whose ", stringify!($method), " is answered by `handler`.", $also)]
            #[must_use]
            pub fn $name<M>(handler: impl Handler<M>) -> MethodRouter {
                MethodRouter::default().$name(handler)
            }
        )*

        impl MethodRouter {
            $(
                #[doc = concat!("Has ", stringify!($method), " answered by `handler`.", $also)]
                #[must_use]
                pub fn $name<M>(self, handler: impl Handler<M>) -> Self {
                    self.on(&Method::$method, handler)
                }
            )*
        }
    };
}

methods! {
    get GET " HEAD is answered by it, too, without the content, unless it has its own.";
    head HEAD "";
    post POST "";
    put PUT "";
    patch PATCH "";
    delete DELETE "";
    options OPTIONS " Without one, it is answered with what is allowed.";
    connect CONNECT "";
}

/// A route for WebSockets, which are asked for by GET on HTTP/1.1 (RFC 6455) and by CONNECT on HTTP/2
/// (RFC 8441): `handler` answers both, with [`websocket::upgrade`](crate::websocket::upgrade).
#[must_use]
pub fn websocket<M>(handler: impl Handler<M>) -> MethodRouter {
    let service = service(handler);
    MethodRouter::default()
        .add(&Method::GET, service.clone())
        .add(&Method::CONNECT, service)
}

/// A route whose `method` is answered by `handler`.
#[must_use]
pub fn on<M>(method: &Method, handler: impl Handler<M>) -> MethodRouter {
    MethodRouter::default().on(method, handler)
}

/// A route of which all methods are answered by `handler`.
#[must_use]
pub fn any<M>(handler: impl Handler<M>) -> MethodRouter {
    MethodRouter::default().any(handler)
}

/// A route of which all methods are answered by a service. It sees the path as it is;
/// [`RouterBuilder::nest`](super::RouterBuilder::nest) is for those that have paths of their own.
#[must_use]
pub fn any_service<S, B>(mounted: S) -> MethodRouter
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    MethodRouter::default().add_any(BoxService::new(mounted))
}

/// A route whose `method` is answered by a service.
#[must_use]
pub fn on_service<S, B>(method: &Method, mounted: S) -> MethodRouter
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    MethodRouter::default().on_service(method, mounted)
}

impl MethodRouter {
    /// Has `method` answered by `handler`.
    #[must_use]
    pub fn on<M>(self, method: &Method, handler: impl Handler<M>) -> Self {
        self.add(method, service(handler))
    }

    /// Has all methods answered by `handler` for which there is nothing else, HEAD and OPTIONS
    /// included.
    #[must_use]
    pub fn any<M>(self, handler: impl Handler<M>) -> Self {
        self.add_any(service(handler))
    }

    /// Has `method` answered by a service.
    #[must_use]
    pub fn on_service<S, B>(self, method: &Method, mounted: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.add(method, BoxService::new(mounted))
    }

    /// Sets how many bytes the body of a request may have, for what was added so far, instead of the
    /// limit of the site. A longer one is answered with 413, before a `100 Continue` if the client
    /// waits for that.
    #[must_use]
    pub fn body_limit(self, bytes: u64) -> Self {
        self.map(|service| {
            BoxService::from_fn(move |mut request| {
                request.body_mut().set_limit(bytes);
                service.answer(request)
            })
        })
    }

    /// Puts `layer` around what was added so far. Answers with 405 and to OPTIONS, which the router
    /// gives by itself, do not come from it.
    #[must_use]
    pub fn layer<L, B>(self, layer: L) -> Self
    where
        L: Layer<BoxService>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        <L::Service as Service<Request<Body>>>::Future: 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.map(|service| service.layer(&layer))
    }

    /// Has `method` answered by `handler`, in the place of what did so far.
    pub(crate) fn replace<M>(mut self, method: &Method, handler: impl Handler<M>) -> Self {
        self.services.retain(|(own, _)| own != method);
        self.on(method, handler)
    }

    /// As [`any`](Self::any), in the place of what did so far.
    pub(crate) fn replace_any<M>(mut self, handler: impl Handler<M>) -> Self {
        self.any = None;
        self.any(handler)
    }

    /// Whether it answers nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.services.is_empty() && self.any.is_none()
    }

    fn map(mut self, map: impl Fn(BoxService) -> BoxService) -> Self {
        let services = self.services.into_iter();
        self.services = services
            .map(|(method, service)| (method, map(service)))
            .collect();
        self.any = self.any.map(map);
        self
    }

    fn add(mut self, method: &Method, service: BoxService) -> Self {
        if self.services.iter().any(|(own, _)| own == method) {
            self.repeated = Some(method.to_string());
        }
        self.services.push((method.clone(), service));
        self
    }

    fn add_any(mut self, service: BoxService) -> Self {
        if self.any.is_some() {
            self.repeated = Some("`any`".to_owned());
        }
        self.any = Some(service);
        self
    }

    /// Adds those of another, for the same path.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.repeated = self.repeated.or(other.repeated);
        for (method, service) in other.services {
            self = self.add(&method, service);
        }
        match other.any {
            Some(any) => self.add_any(any),
            None => self,
        }
    }

    /// The method, if any, that two handlers were given for.
    pub(super) fn repeated(&self) -> Option<&str> {
        self.repeated.as_deref()
    }

    /// The methods that are answered, those that are answered by themselves included.
    pub(crate) fn allowed(&self) -> BTreeSet<&str> {
        let mut allowed: BTreeSet<_> = self
            .services
            .iter()
            .map(|(method, _)| method.as_str())
            .collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        allowed.insert("OPTIONS");
        allowed
    }

    /// Answers `request`, by its method.
    pub(crate) fn answer(&self, request: Request<Body>) -> Answering<Answer> {
        let method = request.method();
        if let Some(service) = self
            .of(method)
            .or_else(|| self.any.as_ref().filter(|_| !self.is_head_of_get(method)))
        {
            return service.answer(request);
        }
        if let Some(service) = self.of(&Method::GET).filter(|_| method == Method::HEAD) {
            return service
                .answer(request)
                .map(|answer| answer.map(without_content));
        }
        let allow = allow(&self.allowed());
        if method == Method::OPTIONS {
            return Answering::ready(Ok(([(ALLOW, allow)], ()).into_response()));
        }
        let response = Rejection::of_method(method, request.headers(), allow);
        Answering::ready(Ok(response))
    }

    fn of(&self, method: &Method) -> Option<&BoxService> {
        let own = self.services.iter().find(|(own, _)| own == method);
        own.map(|(_, service)| service)
    }

    fn is_head_of_get(&self, method: &Method) -> bool {
        method == Method::HEAD && self.of(&Method::GET).is_some()
    }
}

/// The value of an Allow field.
pub(crate) fn allow(methods: &BTreeSet<&str>) -> HeaderValue {
    let list = methods.iter().copied().collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).unwrap_or(const { HeaderValue::from_static("OPTIONS") })
}

/// An answer to GET, as one to HEAD: it says how long the content would have been, if that is known.
pub(crate) fn without_content(mut response: Response<Body>) -> Response<Body> {
    let body = std::mem::take(response.body_mut());
    if let Some(length) = body.len()
        && !response.headers().contains_key(CONTENT_LENGTH)
        && response.status() != StatusCode::NO_CONTENT
        && response.status() != StatusCode::NOT_MODIFIED
    {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}
