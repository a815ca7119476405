//! What is known of a request beside its bytes.

use std::any::Any;
use std::time::Instant;

use http::Request;
use ropewalk_core::Address;

use crate::Body;

/// Where a request came from, and when: see [`RequestInfo::of`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The address of the peer.
    pub peer: Address,
    /// The address that it connected to.
    pub host: Address,
    /// The time of the loop when its head was complete.
    pub received_at: Instant,
}

impl RequestInfo {
    /// For tests, and for those who call a service themselves.
    #[must_use]
    pub fn new(peer: Address, host: Address, received_at: Instant) -> Self {
        Self {
            peer,
            host,
            received_at,
        }
    }

    /// What is known of `request`. A [`Site`](crate::Site) puts it into the body, where it costs
    /// nothing; who replaces the body by one of another type, and wants those behind to know, puts
    /// it into the [extensions](Request::extensions), where it is looked for first.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use ropewalk_web::{Body, RequestInfo, Site, handler_fn};
    ///
    /// let site = Site::new(handler_fn(|request: Request<Body>| {
    ///     let peer = RequestInfo::of(&request).map(|info| info.peer.clone());
    ///     Response::new(Body::from(format!("You are {peer:?}")))
    /// }));
    /// ```
    #[must_use]
    pub fn of<B: 'static>(request: &Request<B>) -> Option<&Self> {
        let body: &dyn Any = request.body();
        let in_body = || body.downcast_ref::<Body>()?.info();
        request.extensions().get().or_else(in_body)
    }
}
