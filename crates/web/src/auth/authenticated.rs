//! Who was authenticated.

use std::sync::Arc;

use http::{Request, Response};

/// The user of a request. It stands in the extensions of the request, for the handler, and in those of
/// the answer, for the access log.
///
/// [`HttpAuth`](super::HttpAuth) puts it there. A service with a login of its own does so as well, so
/// that its users are in the log:
///
/// ```
/// use http::Response;
/// use ropewalk_web::Body;
/// use ropewalk_web::auth::Authenticated;
///
/// let mut response = Response::new(Body::from("Hello, Ada!"));
/// response.extensions_mut().insert(Authenticated::new("ada", "form"));
/// # assert_eq!(Authenticated::of_response(&response).unwrap().user(), "ada");
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

    /// That of the request which `response` answers.
    pub fn of_response<B>(response: &Response<B>) -> Option<&Self> {
        response.extensions().get()
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
