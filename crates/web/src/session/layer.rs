//! The layer, and the service that it makes: what goes on around a handler.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::error::SessionError;
use super::sessions::Sessions;
use super::visit::{Visit, unavailable};
use crate::Body;
use crate::body::BoxError;

impl<S> Layer<S> for Sessions {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService {
            sessions: Rc::new(self.clone()),
            inner,
        }
    }
}

/// A service whose requests have sessions: see [`Sessions`].
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    sessions: Rc<Sessions>,
    inner: S,
}

impl<S, B> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready, and a new one in its place.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let visit = Visit::begin(&self.sessions, &mut request);
        Box::pin(async move {
            if visit.is_to_load_early() {
                visit.load().await;
            }
            let answered = visit.attend(inner.call(request)).await;
            match answered.map_err(Into::into) {
                Ok(response) => Ok(visit.finish(response).await),
                Err(error) if is_unavailable(&*error) => Ok(unavailable()),
                Err(error) => Err(error),
            }
        })
    }
}

/// Whether a handler has failed since the store has.
fn is_unavailable(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|error| error.downcast_ref() == Some(&SessionError::Unavailable))
}
