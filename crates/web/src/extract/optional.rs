//! Extractors of what need not be there, and of what went wrong.

use std::convert::Infallible;

use http::Request;

use super::{Awaited, FromRequest, FromRequestHead};
use crate::Body;

/// What is there and wrong is still answered: a misspelt value is not the same as none.
impl<T: FromRequestHead> FromRequestHead for Option<T> {
    type Rejection = T::Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, T::Rejection> {
        if T::is_absent(request) {
            return Ok(None);
        }
        T::from_request_head(request).map(Some)
    }

    fn awaited(request: &Request<Body>) -> Option<Awaited> {
        T::awaited(request)
    }
}

impl<T: FromRequest> FromRequest for Option<T> {
    type Rejection = T::Rejection;

    async fn from_request(request: Request<Body>) -> Result<Self, T::Rejection> {
        if T::is_absent(&request) {
            return Ok(None);
        }
        T::from_request(request).await.map(Some)
    }
}

impl<T: FromRequestHead> FromRequestHead for Result<T, T::Rejection> {
    type Rejection = Infallible;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Infallible> {
        Ok(T::from_request_head(request))
    }

    fn awaited(request: &Request<Body>) -> Option<Awaited> {
        T::awaited(request)
    }
}

impl<T: FromRequest> FromRequest for Result<T, T::Rejection> {
    type Rejection = Infallible;

    async fn from_request(request: Request<Body>) -> Result<Self, Infallible> {
        Ok(T::from_request(request).await)
    }
}
