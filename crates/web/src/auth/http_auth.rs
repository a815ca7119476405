//! The layer: from `Authorization` to a user, or to the answer that asks for one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode, Uri};
use ropewalk_core::Address;
use tower_layer::Layer;
use tower_service::Service;

use super::authenticated::Asked;
use super::authorization::{MalformedAuthorization, split_scheme};
use super::{AuthParameters, Authenticated};
use crate::AccessLogFields;
use crate::body::BoxError;
use crate::credentials::{AvatarId, Credentials, CredentialsChecker, LoginError};
use crate::{Body, OriginalUri, RequestInfo};

/// Lets those requests through whose credentials a [checker](CredentialsChecker) takes: Twisted's
/// `HTTPAuthSessionWrapper`.
///
/// Schemes are offered in the order in which they were added. A request without credentials is anonymous, and the
/// checker is asked whether that is enough. What is refused is answered:
///
/// | status | when |
/// |---|---|
/// | 401 | there are no credentials, or wrong ones, or the handler says so; with a challenge of each scheme |
/// | 400 | the field is malformed, or there are two; with a challenge of each scheme |
/// | 403 | the credentials are right, and not enough |
/// | 429 | too many have failed; with `Retry-After` |
/// | 503 | they could not be checked; with `Retry-After` |
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::auth::{Authenticated, BasicCredentialFactory, HttpAuth};
/// use ropewalk_web::credentials::{LoginLimit, MemoryChecker};
/// use ropewalk_web::{Body, Site, handler_fn};
/// use http::{Request, Response};
/// use tower_layer::Layer;
///
/// let reactor = MemoryReactor::new();
/// let checker = LoginLimit::new(reactor.handle(), MemoryChecker::new().user("ada", "lovelace"));
/// let auth = HttpAuth::new(checker).scheme(BasicCredentialFactory::new("the engine"));
/// let site = Site::new(auth.layer(handler_fn(|request: Request<Body>| {
///     let user = Authenticated::of(&request).map(|user| user.user().to_owned());
///     Response::new(Body::from(format!("Hello, {user:?}")))
/// })));
/// # let _ = site;
/// ```
#[derive(Clone)]
pub struct HttpAuth {
    checker: Rc<dyn CredentialsChecker>,
    schemes: Vec<Rc<dyn CredentialFactory>>,
}

/// A scheme of HTTP authentication: Twisted's `ICredentialFactory`.
pub trait CredentialFactory: 'static {
    /// Its name, as it stands in `Authorization`.
    fn scheme(&self) -> &'static str;

    /// What goes into `WWW-Authenticate` when a request is refused for this reason.
    fn challenges(&self, refusal: &Refusal) -> Vec<String>;

    /// The credentials in what follows the name of the scheme.
    ///
    /// # Errors
    /// It has none, or they are too old.
    fn decode(&self, text: &str, request: &RequestLine<'_>) -> Result<Credentials, DecodeError>;
}

/// What of a request credentials may depend on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestLine<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target, as the client has sent it: see [`OriginalUri`].
    pub uri: &'a Uri,
}

/// Why there are no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are not as the scheme has them: answered with 400.
    Malformed(&'static str),
    /// They are wrong, whatever the password: answered with 401.
    Wrong,
    /// They were right for another time: answered with 401, and the client may try again with the
    /// same password.
    Stale,
}

/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no credentials.
    Missing,
    /// They are malformed: why.
    Malformed(&'static str),
    /// They are wrong.
    Wrong,
    /// They are right, and not enough: what would be.
    Insufficient(String),
    /// They are of another time.
    Stale,
}

impl HttpAuth {
    /// Takes no scheme yet.
    #[must_use]
    pub fn new(checker: impl CredentialsChecker) -> Self {
        Self {
            checker: Rc::new(checker),
            schemes: Vec::new(),
        }
    }

    /// Takes one more scheme.
    #[must_use]
    pub fn scheme(mut self, factory: impl CredentialFactory) -> Self {
        self.schemes.push(Rc::new(factory));
        self
    }

    /// What the request shows, and by which scheme.
    fn decode<B>(&self, request: &Request<B>) -> Result<(Credentials, &'static str), Refusal> {
        let mut fields = request.headers().get_all(AUTHORIZATION).iter();
        let Some(field) = fields.next() else {
            return Ok((Credentials::Anonymous, ""));
        };
        if fields.next().is_some() {
            return Err(Refusal::Malformed("there are two fields Authorization"));
        }
        let text = std::str::from_utf8(field.as_bytes());
        let text = text.map_err(|_| Refusal::Malformed("the field Authorization is no UTF-8"))?;
        let (name, rest) = split_scheme(text);
        let mut schemes = self.schemes.iter();
        let Some(scheme) = schemes.find(|scheme| scheme.scheme().eq_ignore_ascii_case(name)) else {
            return Err(Refusal::Wrong);
        };
        let line = RequestLine {
            method: request.method(),
            uri: OriginalUri::of(request),
        };
        match scheme.decode(rest, &line) {
            Ok(credentials) => Ok((credentials, scheme.scheme())),
            Err(DecodeError::Malformed(why)) => Err(Refusal::Malformed(why)),
            Err(DecodeError::Wrong) => Err(Refusal::Wrong),
            Err(DecodeError::Stale) => Err(Refusal::Stale),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        let (status, text) = match refusal {
            Refusal::Malformed(why) => {
                let text = format!("The credentials cannot be read: {why}.\n");
                (StatusCode::BAD_REQUEST, text)
            }
            Refusal::Insufficient(_) => {
                (StatusCode::FORBIDDEN, "You may not do this.\n".to_owned())
            }
            _ => (StatusCode::UNAUTHORIZED, "Please log in.\n".to_owned()),
        };
        let mut response = page(status, text);
        // A 400 has them too (RFC 6750, section 3).
        self.challenge(refusal, &mut response);
        response
    }

    fn challenge(&self, refusal: &Refusal, response: &mut Response<Body>) {
        let challenges = self
            .schemes
            .iter()
            .flat_map(|scheme| scheme.challenges(refusal));
        for challenge in challenges {
            match HeaderValue::from_bytes(challenge.as_bytes()) {
                Ok(challenge) => {
                    response.headers_mut().append(WWW_AUTHENTICATE, challenge);
                }
                Err(_) => tracing::error!(challenge, "a challenge is no value of a field"),
            }
        }
    }

    /// A handler that sends somebody away to log in need not know how that is done here
    /// (RFC 9110, section 15.5.2: a 401 has a challenge).
    fn complete(&self, response: &mut Response<Body>) {
        let is_bare = !response.headers().contains_key(WWW_AUTHENTICATE);
        if response.status() == StatusCode::UNAUTHORIZED && is_bare {
            self.challenge(&Refusal::Missing, response);
        }
    }

    fn refuse_login(&self, error: LoginError, credentials: &Credentials) -> Response<Body> {
        match error {
            LoginError::Insufficient(needed) => self.refuse(&Refusal::Insufficient(needed)),
            LoginError::TooManyTries { retry_after } => {
                tracing::warn!(?credentials, "too many logins have failed");
                let text = "Too many logins have failed. Please wait.\n".to_owned();
                let mut response = page(StatusCode::TOO_MANY_REQUESTS, text);
                let seconds = retry_after.as_nanos().div_ceil(1_000_000_000) as u64;
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            LoginError::Unavailable(failure) => {
                tracing::error!(failure = &*failure.to_error(), "a login cannot be checked");
                let text = "Logins cannot be checked at the moment. Please try again.\n".to_owned();
                let mut response = page(StatusCode::SERVICE_UNAVAILABLE, text);
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
            _ => match credentials {
                Credentials::Anonymous => self.refuse(&Refusal::Missing),
                _ => self.refuse(&Refusal::Wrong),
            },
        }
    }
}

fn page(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for HttpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes = self.schemes.iter().map(|scheme| scheme.scheme());
        f.debug_list().entries(schemes).finish()
    }
}

impl<S> Layer<S> for HttpAuth {
    type Service = HttpAuthService<S>;

    fn layer(&self, inner: S) -> HttpAuthService<S> {
        HttpAuthService {
            auth: Rc::new(self.clone()),
            inner,
        }
    }
}

/// A service for those alone who are let through: see [`HttpAuth`].
#[derive(Clone, Debug)]
pub struct HttpAuthService<S> {
    auth: Rc<HttpAuth>,
    inner: S,
}

impl<S, B> Service<Request<B>> for HttpAuthService<S>
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
        let auth = Rc::clone(&self.auth);
        Box::pin(async move {
            let (credentials, scheme) = match auth.decode(&request) {
                Ok(decoded) => decoded,
                Err(refusal) => return Ok(auth.refuse(&refusal)),
            };
            let from =
                RequestInfo::of(&request).map_or(Address::Unix(None), |info| info.peer.clone());
            let user = match auth.checker.request_avatar_id(&credentials, &from).await {
                Ok(AvatarId::User(user)) => Some(Authenticated::new(user, Arc::from(scheme))),
                Ok(AvatarId::Anonymous) => None,
                Err(error) => return Ok(auth.refuse_login(error, &credentials)),
            };
            request.extensions_mut().insert(Asked);
            let Some(user) = user else {
                let mut response = inner.call(request).await.map_err(Into::into)?;
                auth.complete(&mut response);
                return Ok(response);
            };
            request.extensions_mut().insert(user.clone());
            let mut response = inner.call(request).await.map_err(Into::into)?;
            auth.complete(&mut response);
            // A service may know the user by a better name.
            let logged = &mut AccessLogFields::of(&mut response).user;
            logged.get_or_insert_with(|| user.user().to_owned());
            Ok(response)
        })
    }
}

impl From<MalformedAuthorization> for DecodeError {
    fn from(error: MalformedAuthorization) -> Self {
        Self::Malformed(error.0)
    }
}

impl AuthParameters {
    /// The parameter `name`, which the scheme wants.
    pub(super) fn required(&self, name: &str) -> Result<&str, DecodeError> {
        self.get(name)
            .ok_or(DecodeError::Malformed("a parameter is missing"))
    }
}
