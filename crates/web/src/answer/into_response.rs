//! How values become responses.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Response, StatusCode};
use ropewalk_core::Failure;

use super::Rejection;
use crate::body::{Body, BodyError, BoxError};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What can be answered with. See the [module](super) for what is.
///
/// ```
/// use http::{Response, StatusCode};
/// use ropewalk_web::Body;
/// use ropewalk_web::answer::IntoResponse;
///
/// struct Teapot;
///
/// impl IntoResponse for Teapot {
///     fn into_response(self) -> Response<Body> {
///         (StatusCode::IM_A_TEAPOT, "short and stout").into_response()
///     }
/// }
/// assert_eq!(Teapot.into_response().status(), 418);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer",
    note = "answers are text, bytes, `Json`, `Html`, a `Response`, a `Result` of them, …: see \
            `ropewalk_web::answer`"
)]
pub trait IntoResponse {
    /// Makes the response.
    fn into_response(self) -> Response<Body>;
}

/// Headers that stand before a body in a tuple.
pub trait IntoHeaders {
    /// Puts them into `parts`, in the place of those of the same names.
    ///
    /// # Errors
    /// One of them is no header: the answer is a 500, and the log says which.
    fn into_headers(self, parts: &mut Parts) -> Result<(), BoxError>;
}

impl<B> IntoResponse for Response<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn into_response(self) -> Response<Body> {
        self.map(Body::new)
    }
}

fn typed(content_type: HeaderValue, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

impl IntoResponse for Body {
    fn into_response(self) -> Response<Body> {
        Response::new(self)
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response<Body> {
        typed(TEXT, self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response<Body> {
        typed(TEXT, self)
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response<Body> {
        typed(OCTETS, self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response<Body> {
        typed(OCTETS, self)
    }
}

/// Nothing to say, and nothing wrong: 204.
impl IntoResponse for () {
    fn into_response(self) -> Response<Body> {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self;
        response
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response<Body> {
        match self {}
    }
}

/// What is not there is 404.
impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response<Body> {
        match self {
            Some(answer) => answer.into_response(),
            None => Rejection::not_found().into_response(),
        }
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response<Body> {
        match self {
            Ok(answer) => answer.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// Says no more than the status to the peer, and all to the log.
impl IntoResponse for BoxError {
    fn into_response(self) -> Response<Body> {
        match self.downcast::<Rejection>() {
            Ok(rejection) => rejection.into_response(),
            Err(error) => Failure::new(error).into_response(),
        }
    }
}

/// As that of a [`BoxError`].
impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        if let Some(rejection) = self.check::<Rejection>() {
            return rejection.clone().into_response();
        }
        if let Some(error) = self.check::<BodyError>() {
            return Rejection::from(*error).into_response();
        }
        tracing::error!(failure = &*self.to_error(), "a handler failed");
        Rejection::failed().into_response()
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response<Body> {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

impl<H: IntoHeaders, T: IntoResponse> IntoResponse for (H, T) {
    fn into_response(self) -> Response<Body> {
        let (mut parts, body) = self.1.into_response().into_parts();
        match self.0.into_headers(&mut parts) {
            Ok(()) => Response::from_parts(parts, body),
            Err(error) => error.into_response(),
        }
    }
}

impl<H: IntoHeaders, T: IntoResponse> IntoResponse for (StatusCode, H, T) {
    fn into_response(self) -> Response<Body> {
        let (mut parts, body) = (self.0, self.2).into_response().into_parts();
        match self.1.into_headers(&mut parts) {
            Ok(()) => Response::from_parts(parts, body),
            Err(error) => error.into_response(),
        }
    }
}

impl IntoHeaders for HeaderMap {
    fn into_headers(self, parts: &mut Parts) -> Result<(), BoxError> {
        let mut last = None;
        for (name, value) in self {
            match (name, &last) {
                (Some(name), _) => {
                    parts.headers.insert(&name, value);
                    last = Some(name);
                }
                (None, Some(name)) => {
                    parts.headers.append(name, value);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }
}

impl<K, V, const N: usize> IntoHeaders for [(K, V); N]
where
    K: TryInto<HeaderName>,
    K::Error: Into<BoxError>,
    V: TryInto<HeaderValue>,
    V::Error: Into<BoxError>,
{
    fn into_headers(self, parts: &mut Parts) -> Result<(), BoxError> {
        for (name, value) in self {
            let name = name.try_into().map_err(Into::into)?;
            let value = value.try_into().map_err(Into::into)?;
            parts.headers.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_a_tuple_take_the_place_of_those_of_the_body() {
        let response = ([("content-type", "text/css")], "p{}").into_response();
        assert_eq!(response.headers()["content-type"], "text/css");
        assert_eq!(response.headers().len(), 1);
    }

    #[test]
    fn a_header_that_is_none_is_our_error_and_not_sent() {
        let evil = format!("/{}", "\r\nset-cookie: a=b");
        let response = (StatusCode::CREATED, [("location", evil)], "x").into_response();
        assert_eq!(response.status(), 500);
        assert!(response.headers().get("location").is_none());
    }

    #[test]
    fn an_error_of_the_program_is_not_told_to_the_peer() {
        let error: BoxError = "the password is swordfish".into();
        let response = error.into_response();
        assert_eq!(response.status(), 500);
        assert!(!format!("{response:?}").contains("swordfish"));
    }

    #[test]
    fn nothing_is_no_content_and_what_is_not_there_is_not_found() {
        assert_eq!(().into_response().status(), 204);
        assert_eq!(None::<String>.into_response().status(), 404);
    }

    #[test]
    fn a_rejection_within_any_error_is_answered_as_it_is() {
        let error: BoxError = Box::new(Rejection::not_found());
        assert_eq!(error.into_response().status(), 404);
        let error: BoxError = Box::new(BodyError::TooLarge { limit: 5 });
        assert_eq!(error.into_response().status(), 413);
    }
}
