//! Extractors of what stands in the head as it is.

use std::convert::Infallible;

use http::{HeaderMap, Method, Request, Uri, Version};

use super::FromRequestHead;
use crate::answer::Rejection;
use crate::{Body, OriginalUri, RequestInfo};

macro_rules! copied {
    ($($type:ty: $get:expr;)*) => {$(
        impl FromRequestHead for $type {
            type Rejection = Infallible;

            fn from_request_head(request: &mut Request<Body>) -> Result<Self, Infallible> {
                let get: fn(&Request<Body>) -> Self = $get;
                Ok(get(request))
            }
        }
    )*};
}

copied! {
    Method: |request| request.method().clone();
    Uri: |request| request.uri().clone();
    Version: |request| request.version();
    HeaderMap: |request| request.headers().clone();
    OriginalUri: Self::taken;
}

/// Known of all requests that come through a [`Site`](crate::Site).
impl FromRequestHead for RequestInfo {
    type Rejection = Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
        Self::of(request).cloned().ok_or_else(|| {
            tracing::error!(
                "a handler takes RequestInfo, which this request does not have: a layer has \
                 replaced its body without putting RequestInfo into the extensions"
            );
            Rejection::failed().for_request(request.headers())
        })
    }

    fn is_absent(request: &Request<Body>) -> bool {
        Self::of(request).is_none()
    }
}
