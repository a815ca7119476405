//! Whose pages may connect: RFC 6455, sections 4.2.2 and 10.2.

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, header};

use super::OriginPolicy;

impl OriginPolicy {
    /// Whether a request for `uri` with these headers may become a WebSocket.
    pub(crate) fn allows(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return true;
        };
        if origins.next().is_some() {
            return false;
        }
        match self {
            Self::Any => true,
            Self::SameHost => is_same_host(origin, uri, headers),
            Self::List(allowed) => allowed
                .iter()
                .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes())),
            Self::Check(check) => check(origin, headers),
        }
    }
}

/// Whether a page of `origin` and the request are of the same host and port.
fn is_same_host(origin: &HeaderValue, uri: &Uri, headers: &HeaderMap) -> bool {
    let origin = origin
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Uri>().ok());
    let Some(origin) = origin else {
        return false;
    };
    let port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let in_header = || headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    let asked: Option<Authority> = uri.authority().cloned().or_else(in_header);
    let (Some(origin), Some(asked)) = (origin.authority(), asked) else {
        return false;
    };
    let port_of = |authority: &Authority| authority.port_u16().unwrap_or(port);
    origin.host().eq_ignore_ascii_case(asked.host()) && port_of(origin) == port_of(&asked)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn allows(policy: &OriginPolicy, origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        policy.allows(&Uri::from_static("/chat"), &headers)
    }

    #[test]
    fn a_page_of_another_host_or_port_is_not_of_the_same_host() {
        let same = OriginPolicy::SameHost;
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("http://Example.com:80", "example.com"),
            ("https://example.com", "example.com:443"),
            ("https://example.com", "EXAMPLE.com"),
            ("http://example.com:8080", "example.com:8080"),
            ("http://[2001:db8::1]:81", "[2001:db8::1]:81"),
        ] {
            assert!(allows(&same, origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://example.net", "example.com"),
            ("http://example.com.example.net", "example.com"),
            ("http://example.com", "example.com:8080"),
            ("https://example.com:444", "example.com"),
            ("null", "example.com"),
            ("file://", "example.com"),
            ("", "example.com"),
        ] {
            assert!(!allows(&same, origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn who_sends_no_origin_is_no_browser_and_who_sends_two_is_refused() {
        let mut headers = HeaderMap::new();
        let uri = Uri::from_static("/");
        assert!(OriginPolicy::SameHost.allows(&uri, &headers));
        headers.append(
            header::ORIGIN,
            HeaderValue::from_static("http://example.com"),
        );
        headers.append(
            header::ORIGIN,
            HeaderValue::from_static("http://example.com"),
        );
        assert!(!OriginPolicy::Any.allows(&uri, &headers));
    }

    #[test]
    fn a_list_or_a_check_decides_by_the_origin() {
        let list = OriginPolicy::List(vec!["https://example.com".into()]);
        assert!(allows(&list, "https://example.com", "api.example.com"));
        assert!(!allows(&list, "https://example.net", "api.example.com"));
        let check = OriginPolicy::Check(Rc::new(|origin, _| origin.as_bytes().ends_with(b".com")));
        assert!(allows(&check, "https://example.com", "x") && !allows(&check, "null", "x"));
    }
}
