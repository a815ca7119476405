//! A session as a parameter of a handler.

use http::Request;

use super::error::SessionError;
use super::state::Handle;
use super::value::Session;
use crate::Body;
use crate::answer::Rejection;
use crate::extract::{Awaited, FromRequestHead};

/// The session of the request, loaded before the handler is called. `Option<Session>` is `None` where no
/// [`Sessions`](super::Sessions) stands around the route.
impl FromRequestHead for Session {
    type Rejection = Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
        if let Some(session) = Self::loaded(request) {
            return Ok(session);
        }
        let error = match Self::is_absent(request) {
            true => SessionError::NoLayer,
            false => SessionError::Unavailable,
        };
        Err(error.rejection().for_request(request.headers()))
    }

    fn is_absent(request: &Request<Body>) -> bool {
        request.extensions().get::<Handle>().is_none()
    }

    fn awaited(request: &Request<Body>) -> Option<Awaited> {
        let handle = request.extensions().get::<Handle>()?;
        if !handle.is_to_come() {
            return None;
        }
        let loading = Self::load(request);
        Some(Box::pin(async move {
            // Whether that went well, it says itself when it is taken.
            let _ = loading.await;
        }))
    }
}
