//! What proxies say about the requests that they pass on: `Forwarded` (RFC 7239), and the fields
//! that came before it.
//!
//! The parsers only read. Whom to believe is [`TrustedProxiesLayer`](super::TrustedProxiesLayer)'s
//! matter.

use std::net::{IpAddr, SocketAddr};

use http::header::{HeaderMap, HeaderName};

/// What one proxy says about who asked it (RFC 7239, section 4): an element of `Forwarded`.
///
/// ```
/// use ropewalk_web::middleware::ForwardedElement;
///
/// let elements = ForwardedElement::parse(b"for=\"[2001:db8::1]:4711\";proto=https, for=_hidden");
/// let elements = elements.unwrap();
/// assert_eq!(elements[0].client.unwrap().port(), 4711);
/// assert_eq!(elements[0].proto.as_deref(), Some("https"));
/// assert_eq!(elements[1].client, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedElement {
    /// Who asked the proxy (`for`), if that is an address and not hidden; with port 0 where the
    /// proxy does not tell it.
    pub client: Option<SocketAddr>,
    /// The `Host` that the proxy was asked for.
    pub host: Option<String>,
    /// The scheme that it was asked by, in lower case.
    pub proto: Option<String>,
}

impl ForwardedElement {
    /// The elements of one field, or of several that were joined by commas, in order. `None` when
    /// any of it is malformed: who is meant by the rest can then not be told.
    ///
    /// Parameters may come in any order, and each once in an element (section 4).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Vec<Self>> {
        let mut elements = Vec::new();
        let mut rest = trim(value);
        while !rest.is_empty() {
            if let [b',', after @ ..] = rest {
                rest = trim(after);
                continue;
            }
            let element;
            (element, rest) = Self::parse_one(rest)?;
            elements.push(element);
        }
        Some(elements)
    }

    /// One element, and the comma after it with what follows.
    fn parse_one(mut rest: &[u8]) -> Option<(Self, &[u8])> {
        let mut element = Self::default();
        let mut seen: Vec<String> = Vec::new();
        loop {
            // `;` may stand alone, as commas may.
            if !matches!(rest, [] | [b',' | b';', ..]) {
                let (name, value, after) = pair(rest)?;
                if seen.contains(&name) {
                    return None;
                }
                match &name[..] {
                    "for" => element.client = node(&value)?,
                    "host" => element.host = Some(value),
                    "proto" => element.proto = Some(value.to_ascii_lowercase()),
                    // `by`, and what is not known.
                    _ => {}
                }
                seen.push(name);
                rest = trim_start(after);
            }
            match rest {
                [b';', after @ ..] => rest = trim_start(after),
                [] | [b',', ..] => return Some((element, rest)),
                _ => return None,
            }
        }
    }
}

/// `name=value` with the name in lower case, and what follows.
fn pair(text: &[u8]) -> Option<(String, String, &[u8])> {
    let (name, rest) = token(text)?;
    let rest = rest.strip_prefix(b"=")?;
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted)?,
        None => {
            let (value, rest) = token(rest)?;
            (value.to_owned(), rest)
        }
    };
    Some((name.to_ascii_lowercase(), value, rest))
}

/// RFC 9110, section 5.6.2.
fn token(text: &[u8]) -> Option<(&str, &[u8])> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_token(byte));
    let (token, rest) = text.split_at(end.unwrap_or(text.len()));
    let token = str::from_utf8(token).ok()?;
    (!token.is_empty()).then_some((token, rest))
}

/// The rest of a quoted string, and what follows (RFC 9110, section 5.6.4). Only ASCII means
/// anything here.
fn unquote(text: &[u8]) -> Option<(String, &[u8])> {
    let mut value = String::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let byte = match byte {
            b'"' => return Some((value, &text[at + 1..])),
            b'\\' => bytes.next()?.1,
            byte => byte,
        };
        if !matches!(byte, b'\t' | b' '..=b'~') {
            return None;
        }
        value.push(char::from(*byte));
    }
    None
}

/// A node (RFC 7239, section 6): the outer `None` is malformed, the inner one hidden or unknown.
fn node(text: &str) -> Option<Option<SocketAddr>> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':')?),
            };
            (Some(IpAddr::V6(address)), port)
        }
        None => {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let hidden = name.eq_ignore_ascii_case("unknown") || is_obfuscated(name);
            match hidden {
                true => (None, port),
                false => (Some(IpAddr::V4(name.parse().ok()?)), port),
            }
        }
    };
    let port = match port {
        None => 0,
        Some(hidden) if is_obfuscated(hidden) => 0,
        Some(port) if (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().ok()?
        }
        Some(_) => return None,
    };
    Some(name.map(|name| SocketAddr::new(name, port)))
}

fn is_obfuscated(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() > 1 && name.starts_with('_') && name.bytes().all(legal)
}

/// The members of a list without quotes, as in `X-Forwarded-For`: of all its lines, in order.
pub(super) fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter();
    let members = lines.flat_map(|line| line.to_str().unwrap_or("?").split(','));
    members
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .collect()
}

/// An address in one of the ways in which it is found in `X-Forwarded-For`: with and without a
/// port, IPv6 in brackets or bare.
pub(super) fn loose_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok()?;
    Some(SocketAddr::new(address, 0))
}

fn trim(text: &[u8]) -> &[u8] {
    trim_start(text).trim_ascii_end()
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.iter().position(|byte| !blank(byte));
    &text[begin.unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(client: &str, host: &str, proto: &str) -> ForwardedElement {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ForwardedElement {
            client: client.parse().ok(),
            host: text(host),
            proto: text(proto),
        }
    }

    #[test]
    fn the_examples_of_rfc_7239_are_understood() {
        for (value, expected) in [
            ("for=\"_gazonk\"", vec![element("", "", "")]),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                vec![element("[2001:db8:cafe::17]:4711", "", "")],
            ),
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                vec![element("192.0.2.60:0", "", "http")],
            ),
            (
                "for=192.0.2.43, for=198.51.100.17",
                vec![
                    element("192.0.2.43:0", "", ""),
                    element("198.51.100.17:0", "", ""),
                ],
            ),
            (
                "for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown",
                vec![
                    element("192.0.2.43:0", "", ""),
                    element("[2001:db8:cafe::17]:0", "", ""),
                    element("", "", ""),
                ],
            ),
            (
                "for=192.0.2.43, for=\"[2001:db8:cafe::17]\";proto=HTTPS;host=\"a.example:81\"",
                vec![
                    element("192.0.2.43:0", "", ""),
                    element("[2001:db8:cafe::17]:0", "a.example:81", "https"),
                ],
            ),
            ("", vec![]),
            (" , ,", vec![]),
            (
                "for=\"192.0.2.1:_port\";",
                vec![element("192.0.2.1:0", "", "")],
            ),
            ("host=\"a\\\"b, c\"", vec![element("", "a\"b, c", "")]),
        ] {
            let parsed = ForwardedElement::parse(value.as_bytes());
            assert_eq!(parsed, Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_is_nothing_at_all() {
        for value in [
            "for",
            "for=",
            "=x",
            "for=192.0.2.1 proto=http",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"192.0.2.1",
            "for=[2001:db8::1]",
            "for=\"2001:db8::1\"",
            "for=\"[2001:db8::1\"",
            "for=\"192.0.2.1:65536\"",
            "for=\"192.0.2.1:\"",
            "for=192.0.2.256",
            "for=nobody",
            "for=_",
            "for = 192.0.2.1",
            "host=\"a\u{e9}\"",
        ] {
            assert_eq!(ForwardedElement::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn addresses_are_found_in_all_ways_in_which_proxies_write_them() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("192.0.2.1:80", Some("192.0.2.1:80")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:80", Some("[2001:db8::1]:80")),
            ("unknown", None),
            ("", None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(loose_address(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = ForwardedElement::parse(&value);
        }

        #[test]
        fn what_looks_like_the_field_makes_no_panic(
            value in "(for|host|by|=|;|,|\"|\\\\|\\[|\\]|:|1|_| ){0,20}",
        ) {
            let _ = ForwardedElement::parse(value.as_bytes());
        }

        #[test]
        fn what_a_proxy_quotes_is_what_is_read(
            host in "[ -~]{0,20}",
            port in 1..=u16::MAX,
            bits in any::<u128>(),
        ) {
            let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
            let address = SocketAddr::new(std::net::Ipv6Addr::from(bits).into(), port);
            let value = format!("by=_me; host=\"{quoted}\" ;for=\"{address}\"");
            let expected = ForwardedElement {
                client: Some(address),
                host: Some(host),
                proto: None,
            };
            prop_assert_eq!(ForwardedElement::parse(value.as_bytes()), Some(vec![expected]));
        }
    }
}
