//! What a layer has put into the request.

use http::Request;

use super::FromRequestHead;
use crate::Body;
use crate::answer::Rejection;

/// A value of type `T` from the request's [extensions](http::Request::extensions).
#[derive(Clone, Copy, Debug)]
pub struct Extension<T>(pub T);

impl<T: Clone + Send + Sync + 'static> FromRequestHead for Extension<T> {
    type Rejection = Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
        request.extensions().get().cloned().map(Self).ok_or_else(|| {
            let wanted = std::any::type_name::<T>();
            tracing::error!(
                wanted,
                "a handler takes an extension that the request does not have: put the layer that \
                 brings it around the route"
            );
            Rejection::failed().for_request(request.headers())
        })
    }

    fn is_absent(request: &Request<Body>) -> bool {
        request.extensions().get::<T>().is_none()
    }
}
