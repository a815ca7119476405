//! Content that never changes, as a service.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use tower_service::Service;

use crate::answer::Rejection;
use crate::body::Body;

/// Answers GET and HEAD with the same bytes, and all else with 405: Twisted's `static.Data`.
///
/// ```
/// use http::HeaderValue;
/// use ropewalk_web::Data;
/// use ropewalk_web::resource::Resource;
///
/// let robots = Data::new("User-agent: *\n", HeaderValue::from_static("text/plain"));
/// let root = Resource::new().mount("robots.txt", robots);
/// # let _ = ropewalk_web::Site::new(root);
/// ```
#[derive(Clone, Debug)]
pub struct Data {
    content: Bytes,
    content_type: HeaderValue,
}

impl Data {
    /// `content`, of this type.
    #[must_use]
    pub fn new(content: impl Into<Bytes>, content_type: HeaderValue) -> Self {
        Self {
            content: content.into(),
            content_type,
        }
    }

    /// The answer to `request`.
    #[must_use]
    pub fn respond<B>(&self, request: &Request<B>) -> Response<Body> {
        let body = match *request.method() {
            Method::GET => Body::from(self.content.clone()),
            Method::HEAD => Body::empty(),
            _ => {
                let allow = HeaderValue::from_static("GET, HEAD");
                return Rejection::of_method(request.method(), request.headers(), allow);
            }
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(CONTENT_LENGTH, self.content.len().into());
        response
    }
}

impl<B> Service<Request<B>> for Data {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.respond(&request)))
    }
}
