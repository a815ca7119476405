//! Who was authenticated.

use std::sync::Arc;

use http::Request;

/// The user of a request: it stands in the extensions of the request, for the handler.
///
/// [`HttpAuth`](super::HttpAuth) puts it there, and the name into the access log
/// ([`AccessLogFields`](crate::AccessLogFields)).
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
