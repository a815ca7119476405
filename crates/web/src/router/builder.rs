//! How routes become a router.

use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::handler::{Handler, service};
use super::method_router::MethodRouter;
use super::route_error::{RouteError, RoutePlace};
use super::table::{Table, Target};
use crate::answering::Answering;
use crate::body::{Body, BoxError};
use crate::boxed_service::{Answer, BoxService};

/// A service that gives each request to the handler of its method and path: see the
/// [module](super). A clone is cheap and shares the routes.
#[derive(Clone, Debug)]
pub struct Router(BoxService);

/// Routes that will be a [`Router`].
#[derive(Default)]
#[must_use = "routes do nothing until they are built"]
pub struct RouterBuilder {
    routes: Vec<(RoutePlace, Target)>,
    fallback: Option<BoxService>,
}

impl Router {
    /// A router with no routes yet.
    pub fn builder() -> RouterBuilder {
        RouterBuilder::default()
    }

    /// Puts `layer` around all of it: what it answers by itself, such as 404, goes through the
    /// layer too.
    ///
    /// ```
    /// use http::{HeaderValue, header};
    /// use ropewalk_web::router::{Router, get};
    /// use tower_http::set_header::SetResponseHeaderLayer;
    ///
    /// let deny = SetResponseHeaderLayer::overriding(
    ///     header::X_FRAME_OPTIONS,
    ///     HeaderValue::from_static("DENY"),
    /// );
    /// let router = Router::builder().route("/", get(|| "Tea")).build()?.layer(deny);
    /// # Ok::<(), ropewalk_web::router::RouteError>(())
    /// ```
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
        Self(self.0.layer(&layer))
    }

    /// Answers `request`.
    pub fn answer(&self, request: Request<Body>) -> Answering<Answer> {
        self.0.answer(request)
    }
}

impl<B> Service<Request<B>> for Router
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answering<Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::<Request<B>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: Request<B>) -> Answering<Answer> {
        self.0.call(request)
    }
}

impl RouterBuilder {
    /// Has requests for `path` answered by `methods`. A path may be added more than once, each time
    /// with other methods.
    #[track_caller]
    pub fn route(self, path: &str, methods: MethodRouter) -> Self {
        self.add(path, Target::Methods(methods))
    }

    /// Gives `service` all requests for `path` and for what is below it. It sees the rest of the
    /// path: `/` for `path` itself, with a slash at its end or without. What it has no answer for is its
    /// own 404; the fallback of this router is not asked.
    ///
    /// ```
    /// use ropewalk_web::router::{Router, get};
    ///
    /// let teas = Router::builder().route("/{name}", get(|| "A tea")).build()?;
    /// let router = Router::builder().nest("/api/teas", teas).build()?;
    /// # Ok::<(), ropewalk_web::router::RouteError>(())
    /// ```
    #[track_caller]
    pub fn nest<S, B>(self, path: &str, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.add(path, Target::Nested(BoxService::new(service)))
    }

    /// Has all requests answered by `handler` that fit no route. Without one they are 404.
    pub fn fallback<M>(mut self, handler: impl Handler<M>) -> Self {
        self.fallback = Some(service(handler));
        self
    }

    /// Gives all requests that fit no route to a service.
    pub fn fallback_service<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.fallback = Some(BoxService::new(service));
        self
    }

    /// Makes the router.
    ///
    /// # Errors
    /// The first mistake that is found in the routes.
    pub fn build(self) -> Result<Router, RouteError> {
        let table = Rc::new(Table::new(self.routes, self.fallback)?);
        Ok(Router(BoxService::from_fn(move |request| {
            table.answer(request)
        })))
    }

    #[track_caller]
    fn add(mut self, path: &str, target: Target) -> Self {
        let place = RoutePlace {
            path: path.to_owned(),
            place: Location::caller(),
        };
        self.routes.push((place, target));
        self
    }
}

impl fmt::Debug for RouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.routes.iter().map(|(place, _)| &place.path);
        f.debug_list().entries(paths).finish()
    }
}
