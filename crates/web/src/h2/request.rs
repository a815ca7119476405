//! From the fields of a HEADERS frame to a request, or why it is none (RFC 9113, section 8).
//!
//! What makes a message malformed whatever it asks for, the `h2` crate has refused already: names
//! with capitals, pseudo-fields in the wrong place, connection-specific fields. What is left is what
//! an HTTP/1.1 request would be refused for as well, so that handlers need not know the difference.
//! (But for a fragment: where `:path` has one, it is gone before anything is seen here.)

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use crate::h1::{RequestError, is_host, is_host_with_port};

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is malformed: a stream error (section 8.1.1).
    Malformed(&'static str),
    /// It is answered with a status.
    Refused(RequestError),
}

/// Checks a request, and gives it the form that handlers know: one `cookie` field, and a `host`.
pub(super) fn accept(parts: &mut Parts) -> Result<(), Flaw> {
    for value in parts.headers.values() {
        if is_padded(value.as_bytes()) {
            return Err(Flaw::Malformed("a field value begins or ends with a blank"));
        }
    }
    let is_connect = parts.method == Method::CONNECT;
    let is_extended = parts.extensions.get::<h2::ext::Protocol>().is_some();
    if !is_connect || is_extended {
        // (`Uri::path` says "/" where there is none.)
        let path = parts.uri.path_and_query();
        let path = path.map_or("", http::uri::PathAndQuery::as_str);
        let is_server = path == "*" && parts.method == Method::OPTIONS;
        if !path.starts_with('/') && !is_server {
            return Err(Flaw::Malformed("the path does not begin with a slash"));
        }
        if !path.is_ascii() {
            return Err(Flaw::Malformed(
                "the path holds a byte that is not US-ASCII",
            ));
        }
    }
    accept_host(parts, is_connect && !is_extended)?;
    join_cookies(&mut parts.headers);
    Ok(())
}

/// The authority and `host` must name the same site (section 8.3.1).
fn accept_host(parts: &mut Parts, is_tunnel: bool) -> Result<(), Flaw> {
    let bad = |reason| {
        let status = http::StatusCode::BAD_REQUEST;
        Flaw::Refused(RequestError::new(status, reason))
    };
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("there is more than one host field"));
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let is_valid = authority.is_some_and(|authority| match is_tunnel {
        true => is_host_with_port(authority.as_bytes()),
        false => is_host(authority.as_bytes()),
    });
    match (authority, host) {
        (Some(authority), None) => {
            let value = HeaderValue::from_str(authority).ok().filter(|_| is_valid);
            let value = value.ok_or_else(|| bad("the authority is no host"))?;
            parts.headers.insert(HOST, value);
            Ok(())
        }
        (Some(authority), Some(host)) => {
            if !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) {
                return Err(Flaw::Malformed("the authority and the host field differ"));
            }
            match is_valid {
                true => Ok(()),
                false => Err(bad("the authority is no host")),
            }
        }
        (None, Some(host)) if !is_tunnel && is_host(host.as_bytes()) => Ok(()),
        (None, Some(_)) => Err(bad("the host field is no host")),
        (None, None) => Err(bad("there is neither an authority nor a host field")),
    }
}

/// Whether it begins or ends with a space or a tab (section 8.2.1).
fn is_padded(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

/// The crumbs of a cookie are put together again (section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    // What was made of values is one.
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}

/// The target as it is logged.
pub(super) fn target(parts: &Parts) -> String {
    match parts.uri.path_and_query() {
        Some(path) => path.to_string(),
        None => parts.uri.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn accepted(request: http::request::Builder) -> Result<Parts, Flaw> {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        accept(&mut parts)?;
        Ok(parts)
    }

    fn is_refused(result: &Result<Parts, Flaw>) -> bool {
        matches!(result, Err(Flaw::Refused(error)) if error.status() == 400)
    }

    #[test]
    fn the_host_of_a_request_is_its_authority() {
        let parts = accepted(Request::get("https://example.com:8443/a")).unwrap();
        assert_eq!(parts.headers[HOST], "example.com:8443");
        let parts = accepted(Request::get("/a").header("host", "example.com")).unwrap();
        assert_eq!(parts.headers[HOST], "example.com");
        let same = Request::get("https://example.com/").header("host", "EXAMPLE.com");
        assert!(accepted(same).is_ok());
        let other = Request::get("https://example.com/").header("host", "example.net");
        assert!(matches!(accepted(other), Err(Flaw::Malformed(_))));
    }

    #[test]
    fn a_request_without_a_valid_host_is_refused() {
        assert!(is_refused(&accepted(Request::get("/a"))));
        assert!(is_refused(&accepted(Request::get("http://u@example.com/"))));
        assert!(is_refused(&accepted(
            Request::get("/").header("host", "a b")
        )));
        let two = Request::get("/").header("host", "a").header("host", "b");
        assert!(is_refused(&accepted(two)));
    }

    #[test]
    fn crumbs_of_cookies_are_joined_and_nothing_else_is() {
        let request = Request::get("http://example.com/")
            .header("cookie", "a=b")
            .header("accept", "x")
            .header("cookie", "c=d")
            .header("accept", "y")
            .header("cookie", "e=f");
        let parts = accepted(request).unwrap();
        let cookies: Vec<_> = parts.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=b; c=d; e=f"]);
        assert_eq!(parts.headers.get_all("accept").iter().count(), 2);
    }

    #[test]
    fn blanks_around_a_value_make_it_malformed() {
        for value in [" a", "a ", "\ta", "a\t"] {
            let request = Request::get("http://example.com/").header("x", value);
            assert!(
                matches!(accepted(request), Err(Flaw::Malformed(_))),
                "{value:?}"
            );
        }
    }

    #[test]
    fn only_options_asks_for_the_server_as_a_whole() {
        let asterisk = |method| {
            let uri = http::Uri::from_static("*");
            accepted(
                Request::builder()
                    .method(method)
                    .uri(uri)
                    .header("host", "a"),
            )
        };
        assert!(asterisk("OPTIONS").is_ok());
        assert!(matches!(asterisk("GET"), Err(Flaw::Malformed(_))));
    }
}
