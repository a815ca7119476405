//! Answers that send the client somewhere else (RFC 9110, section 15.4).

use http::header::{HOST, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{IntoResponse, Rejection};
use crate::Body;

/// What cannot stand in a reference (RFC 3986) as it is. Escapes are kept.
const NOT_IN_REFERENCES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A redirection. It is an answer of a handler, and also a service that answers nothing else.
///
/// Where it leads to is for the program to say: who takes it from a request lets others use this
/// site to send people to theirs. Characters that no reference may have are escaped, so that
/// nothing can be smuggled into the header.
///
/// ```
/// use ropewalk_web::answer::{IntoResponse, Redirect};
///
/// let response = Redirect::see_other("/tea/7").into_response();
/// assert_eq!(response.status(), 303);
/// assert_eq!(response.headers()["location"], "/tea/7");
/// ```
#[derive(Clone, Debug)]
pub struct Redirect {
    status: StatusCode,
    location: Rc<str>,
}

impl Redirect {
    fn new(status: StatusCode, to: &str) -> Self {
        let location = utf8_percent_encode(to, NOT_IN_REFERENCES).to_string();
        Self {
            status,
            location: location.into(),
        }
    }

    /// 303: fetch that, with GET. For the answer to a form.
    #[must_use]
    pub fn see_other(to: &str) -> Self {
        Self::new(StatusCode::SEE_OTHER, to)
    }

    /// 307: for now, send the same request there.
    #[must_use]
    pub fn temporary(to: &str) -> Self {
        Self::new(StatusCode::TEMPORARY_REDIRECT, to)
    }

    /// 308: from now on, send the same request there. Clients remember it.
    #[must_use]
    pub fn permanent(to: &str) -> Self {
        Self::new(StatusCode::PERMANENT_REDIRECT, to)
    }

    /// 301: from now on it is there. A POST becomes a GET; clients remember it.
    #[must_use]
    pub fn moved_permanently(to: &str) -> Self {
        Self::new(StatusCode::MOVED_PERMANENTLY, to)
    }

    /// 302: for now it is there. A POST becomes a GET.
    #[must_use]
    pub fn found(to: &str) -> Self {
        Self::new(StatusCode::FOUND, to)
    }
}

impl IntoResponse for Redirect {
    fn into_response(self) -> Response<Body> {
        let mut response = self.status.into_response();
        // What was escaped is always a value.
        if let Ok(location) = HeaderValue::try_from(&*self.location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

impl<B> tower_service::Service<Request<B>> for Redirect {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(self.clone().into_response()))
    }
}

/// A service that sends clients of `http:` to the same address with `https:` (308).
///
/// The host is that of the request, unless told: who answers for hosts that are not its own should
/// put a [`VirtualHosts`](crate::VirtualHosts) before it, or name the host.
///
/// ```
/// use http::Request;
/// use ropewalk_web::answer::HttpsRedirect;
///
/// let redirect = HttpsRedirect::new();
/// let request = Request::get("/tea?hot=1").header("host", "example.com:8080").body(())?;
/// let response = redirect.respond(&request);
/// assert_eq!(response.headers()["location"], "https://example.com/tea?hot=1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct HttpsRedirect {
    host: Option<Rc<str>>,
    port: Option<u16>,
}

impl HttpsRedirect {
    /// To port 443 of the host that was asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// To this host, whichever was asked.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.into());
        self
    }

    /// To this port, instead of 443.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port).filter(|&port| port != 443);
        self
    }

    /// The answer to `request`. Without a host it is 400.
    #[must_use]
    pub fn respond<B>(&self, request: &Request<B>) -> Response<Body> {
        let asked = || {
            let header = request
                .headers()
                .get(HOST)
                .and_then(|host| host.to_str().ok());
            let authority = request.uri().authority();
            Some(without_port(
                authority.map_or(header?, |authority| authority.as_str()),
            ))
        };
        let Some(host) = self
            .host
            .as_deref()
            .or_else(asked)
            .filter(|host| !host.is_empty())
        else {
            let rejection = Rejection::bad_request("the request names no host");
            return rejection.for_request(request.headers()).into_response();
        };
        let port = self
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        let rest = request
            .uri()
            .path_and_query()
            .map_or("/", |rest| rest.as_str());
        let rest = if rest.starts_with('/') { rest } else { "/" };
        Redirect::permanent(&format!("https://{host}{port}{rest}")).into_response()
    }
}

impl<B> tower_service::Service<Request<B>> for HttpsRedirect {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.respond(&request)))
    }
}

/// `host` of `host:port`, and `[::1]` of `[::1]:port`.
pub(crate) fn without_port(authority: &str) -> &str {
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(response: &Response<Body>) -> &str {
        response.headers()[LOCATION].to_str().unwrap()
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_location() {
        let response = Redirect::found("/a b\r\nset-cookie: x=y/é%20").into_response();
        assert_eq!(
            location(&response),
            "/a%20b%0D%0Aset-cookie:%20x=y/%C3%A9%20"
        );
    }

    #[test]
    fn the_statuses_are_those_of_their_names() {
        for (redirect, status) in [
            (Redirect::see_other("/"), 303),
            (Redirect::temporary("/"), 307),
            (Redirect::permanent("/"), 308),
            (Redirect::moved_permanently("/"), 301),
            (Redirect::found("/"), 302),
        ] {
            assert_eq!(redirect.into_response().status(), status);
        }
    }

    #[test]
    fn https_is_the_same_address_at_the_host_without_its_port() {
        let redirect = HttpsRedirect::new().port(8443);
        for (host, target, expected) in [
            (
                "example.com:80",
                "/a//b?c",
                "https://example.com:8443/a//b?c",
            ),
            ("[2001:db8::1]:80", "/", "https://[2001:db8::1]:8443/"),
            ("[2001:db8::1]", "/", "https://[2001:db8::1]:8443/"),
            ("example.com", "*", "https://example.com:8443/"),
            (
                "ignored",
                "http://example.com:80/x",
                "https://example.com:8443/x",
            ),
        ] {
            let request = Request::get(target).header(HOST, host).body(()).unwrap();
            assert_eq!(location(&redirect.respond(&request)), expected);
        }
        let nobody = Request::get("/").body(()).unwrap();
        assert_eq!(redirect.respond(&nobody).status(), 400);
        let named = redirect.host("example.org").respond(&nobody);
        assert_eq!(location(&named), "https://example.org:8443/");
    }
}
