//! Extractors of whole bodies, as they are.

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderMap};

use super::FromRequest;
use crate::answer::Rejection;
use crate::body::{Body, BodyError, BoxError};

/// Reads the whole body, up to its limit.
pub(crate) async fn collect(body: Body) -> Result<Bytes, Rejection> {
    body.collect().await.map_err(unreadable)
}

/// Why a body could not be read, as an answer.
pub(crate) fn unreadable(error: BoxError) -> Rejection {
    match error.downcast::<BodyError>() {
        Ok(error) => Rejection::from(*error),
        // A layer's own kind of body.
        Err(error) => {
            tracing::debug!(%error, "a request body broke off");
            Rejection::bad_request("the request body could not be read to its end")
        }
    }
}

/// Whether the `Content-Type` is `essence` (in lower case), or has `suffix` (RFC 6839).
pub(crate) fn content_type_is(headers: &HeaderMap, essence: &str, suffix: Option<&str>) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let Some(value) = value else { return false };
    let said = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    said == essence || suffix.is_some_and(|suffix| said.ends_with(suffix))
}

/// The `Content-Type` is another one: 415, with the one that is taken.
pub(crate) fn other_type(headers: &HeaderMap, wanted: &'static str) -> Rejection {
    let said = headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let said = said.map_or_else(|| "none".to_owned(), |said| format!("`{said}`"));
    let detail = format!("the body must be sent with the Content-Type `{wanted}`; it has {said}");
    Rejection::of_type(wanted, detail).for_request(headers)
}

impl FromRequest for Bytes {
    type Rejection = Rejection;

    async fn from_request(request: Request<Body>) -> Result<Self, Rejection> {
        let (parts, body) = request.into_parts();
        collect(body)
            .await
            .map_err(|rejection| rejection.for_request(&parts.headers))
    }
}

impl FromRequest for String {
    type Rejection = Rejection;

    async fn from_request(request: Request<Body>) -> Result<Self, Rejection> {
        let (parts, body) = request.into_parts();
        let text = async {
            let bytes = collect(body).await?;
            Self::from_utf8(bytes.into()).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                Rejection::bad_request(format!("the body is not UTF-8 from byte {at} on"))
            })
        };
        text.await
            .map_err(|rejection| rejection.for_request(&parts.headers))
    }
}

impl FromRequest for Body {
    type Rejection = Infallible;

    async fn from_request(request: Request<Body>) -> Result<Self, Infallible> {
        Ok(request.into_body())
    }
}

impl FromRequest for Request<Body> {
    type Rejection = Infallible;

    async fn from_request(request: Request<Body>) -> Result<Self, Infallible> {
        Ok(request)
    }
}
