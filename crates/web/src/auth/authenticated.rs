//! Who was authenticated.

use std::sync::Arc;

use http::{Request, StatusCode};

use crate::Body;
use crate::answer::Rejection;
use crate::extract::FromRequestHead;

/// The user of a request: it stands in the extensions of the request, for the handler, which may take it as
/// a parameter.
///
/// [`HttpAuth`](super::HttpAuth) puts it there, and the name into the access log
/// ([`AccessLogFields`](crate::AccessLogFields)). Taken as a parameter where the layer has let somebody
/// anonymous through, it answers 401 with the layer's challenges. Where something else than the layer puts
/// it there, take `Option<Authenticated>`: what is to be done without it, nobody else can know.
///
/// ```
/// use http::Request;
/// use ropewalk_web::auth::Authenticated;
///
/// let mut request = Request::new(());
/// assert!(Authenticated::of(&request).is_none());
/// request.extensions_mut().insert(Authenticated::new("ada", "form"));
/// assert_eq!(Authenticated::of(&request).unwrap().user(), "ada");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    user: Arc<str>,
    scheme: Arc<str>,
}

impl Authenticated {
    /// `user` has shown who they are by `scheme`.
    pub fn new(user: impl Into<Arc<str>>, scheme: impl Into<Arc<str>>) -> Self {
        Self {
            user: user.into(),
            scheme: scheme.into(),
        }
    }

    /// That of `request`. `None` if it is anonymous, or nobody has asked.
    pub fn of<B>(request: &Request<B>) -> Option<&Self> {
        request.extensions().get()
    }

    /// The name of the user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// How they have shown who they are: `Basic`, `Digest`, `Bearer`, or what a service calls it.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }
}

/// In the extensions of a request of which a layer has asked who sends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked;

impl FromRequestHead for Authenticated {
    type Rejection = Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
        if let Some(user) = Self::of(request) {
            return Ok(user.clone());
        }
        let rejection = if request.extensions().get::<Asked>().is_some() {
            Rejection::new(StatusCode::UNAUTHORIZED, "please log in")
        } else {
            tracing::error!(
                "a handler takes Authenticated, and nobody has asked who sends the request: put the \
                 layer `HttpAuth` around the route, or take Option<Authenticated>"
            );
            Rejection::failed()
        };
        Err(rejection.for_request(request.headers()))
    }

    fn is_absent(request: &Request<Body>) -> bool {
        Self::of(request).is_none()
    }
}
