//! The host that was asked.

use http::Request;
use http::header::HOST;

use super::FromRequestHead;
use crate::Body;
use crate::answer::{Rejection, without_port};

/// The host that the request is for, in lower case, without its port: the authority of the target
/// (`:authority` in HTTP/2), otherwise the Host field (RFC 9112, section 3.2.2).
///
/// It is what the client says. Compare it with what is yours before you build addresses of it.
///
/// ```
/// use http::Request;
/// use ropewalk_web::extract::Host;
///
/// let request = Request::get("/").header("host", "Example.COM:8080").body(())?;
/// assert_eq!(Host::of(&request).unwrap().0, "example.com");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(pub String);

impl Host {
    /// The host that `request` is for, if it names one.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let authority = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => request.headers().get(HOST)?.to_str().ok()?,
        };
        let host = without_port(authority);
        // The root of all names need not be said (RFC 3986, section 3.2.2).
        let host = host.strip_suffix('.').unwrap_or(host);
        (!host.is_empty()).then(|| Self(host.to_ascii_lowercase()))
    }
}

impl FromRequestHead for Host {
    type Rejection = Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
        Self::of(request).ok_or_else(|| {
            Rejection::bad_request("the request names no host").for_request(request.headers())
        })
    }

    fn is_absent(request: &Request<Body>) -> bool {
        Self::of(request).is_none()
    }
}
