//! Pages for errors, in a site's own words.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::answer::Rejection;
use crate::body::{Body, BoxError};

/// A layer that puts pages in the place of errors.
///
/// Only answers are changed that have nothing to say: those without a body, and those that were made
/// of a [`Rejection`]. What a handler has written itself stays. A rejection that is answered as
/// `application/problem+json` stays too, since a program reads it, unless
/// [`rejections`](Self::rejections) is told to answer it. Status and headers stay.
///
/// ```
/// use http::StatusCode;
/// use ropewalk_web::ErrorPages;
/// use ropewalk_web::router::{Router, get};
///
/// let router = Router::builder().route("/", get(|| "Tea")).build()?.layer(
///     ErrorPages::new()
///         .page(StatusCode::NOT_FOUND, "<h1>No such tea</h1>")
///         .other(|status| Some(format!("<h1>{status}</h1>"))),
/// );
/// # Ok::<(), ropewalk_web::router::RouteError>(())
/// ```
#[derive(Clone, Default)]
pub struct ErrorPages(Rc<Pages>);

#[derive(Clone, Default)]
struct Pages {
    pages: BTreeMap<u16, Bytes>,
    other: Option<Rc<dyn Fn(StatusCode) -> Option<String>>>,
    rejections: Option<Rc<MapRejection>>,
}

type MapRejection = dyn Fn(&Rejection) -> Option<Response<Body>>;

impl ErrorPages {
    /// No pages yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers with the HTML `page` where the status is this one.
    #[must_use]
    pub fn page(mut self, status: StatusCode, page: impl Into<Bytes>) -> Self {
        let pages = Rc::make_mut(&mut self.0);
        pages.pages.insert(status.as_u16(), page.into());
        self
    }

    /// Has `page` make the HTML for all other errors (4xx and 5xx), or none.
    #[must_use]
    pub fn other(mut self, page: impl Fn(StatusCode) -> Option<String> + 'static) -> Self {
        Rc::make_mut(&mut self.0).other = Some(Rc::new(page));
        self
    }

    /// Has `map` answer in the place of rejections, of all forms, or leave them as they are. The
    /// headers that went with the rejection, such as `Allow`, are added where the new answer has none
    /// of that name, and so are its extensions.
    #[must_use]
    pub fn rejections(
        mut self,
        map: impl Fn(&Rejection) -> Option<Response<Body>> + 'static,
    ) -> Self {
        Rc::make_mut(&mut self.0).rejections = Some(Rc::new(map));
        self
    }
}

impl Pages {
    fn put(&self, response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let rejection = Rejection::of(&response);
        if let (Some(map), Some(rejection)) = (&self.rejections, rejection)
            && let Some(mut new) = map(rejection)
        {
            let (old, _) = response.into_parts();
            add_headers(&mut new, &old.headers);
            let mut extensions = old.extensions;
            // It is not what the new answer says.
            extensions.remove::<Rejection>();
            extensions.extend(std::mem::take(new.extensions_mut()));
            *new.extensions_mut() = extensions;
            return new;
        }
        let is_error = status.is_client_error() || status.is_server_error();
        let has_nothing_to_say = match rejection {
            Some(rejection) => !rejection.is_problem(),
            // That of HEAD says how long what it left out was.
            None => response.body().is_empty() && !response.headers().contains_key(CONTENT_LENGTH),
        };
        if !is_error || !has_nothing_to_say {
            return response;
        }
        let other = || self.other.as_ref()?(status).map(Bytes::from);
        match self.pages.get(&status.as_u16()).cloned().or_else(other) {
            Some(page) => with_page(response, page),
            None => response,
        }
    }
}

/// Adds all lines of those fields that `response` has none of, but those that tell of the content.
fn add_headers(response: &mut Response<Body>, headers: &HeaderMap) {
    let own = response.headers_mut();
    let of_content = |name: &HeaderName| name == CONTENT_TYPE || name == CONTENT_LENGTH;
    for name in headers.keys().filter(|name| !of_content(name)) {
        if own.contains_key(name) {
            continue;
        }
        for value in headers.get_all(name) {
            own.append(name, value.clone());
        }
    }
}

fn with_page(response: Response<Body>, page: Bytes) -> Response<Body> {
    let (mut parts, _) = response.into_parts();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    parts.headers.insert(CONTENT_TYPE, html);
    parts.headers.insert(CONTENT_LENGTH, page.len().into());
    Response::from_parts(parts, Body::from(page))
}

impl fmt::Debug for ErrorPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.pages.keys()).finish()
    }
}

impl<S> Layer<S> for ErrorPages {
    type Service = WithErrorPages<S>;

    fn layer(&self, inner: S) -> WithErrorPages<S> {
        WithErrorPages {
            pages: Rc::clone(&self.0),
            inner,
        }
    }
}

/// A service behind [`ErrorPages`].
#[derive(Clone)]
pub struct WithErrorPages<S> {
    pages: Rc<Pages>,
    inner: S,
}

impl<S, Q, B> Service<Request<Q>> for WithErrorPages<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = PuttingPage<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        PuttingPage {
            answering: Box::pin(self.inner.call(request)),
            pages: Rc::clone(&self.pages),
        }
    }
}

/// The answer of a service behind [`ErrorPages`].
pub struct PuttingPage<F> {
    answering: Pin<Box<F>>,
    pages: Rc<Pages>,
}

impl<F, B, E> Future for PuttingPage<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answering.as_mut().poll(cx));
        Poll::Ready(answer.map(|response| self.pages.put(response.map(Body::new))))
    }
}
