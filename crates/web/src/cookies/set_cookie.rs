//! A cookie that an answer sets: what browsers would refuse is refused here, with the reason.

use std::error::Error;
use std::fmt;

use cookie::Cookie;
use cookie::time::{Duration, OffsetDateTime};
use http::{HeaderMap, HeaderValue, header};

/// Browsers take no more of the name and the value together (RFC 6265bis, section 5.6), and no
/// longer attribute than the second.
const NAME_AND_VALUE: usize = 4096;
const ATTRIBUTE: usize = 1024;

/// Why a cookie cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieError {
    /// The name is empty, or has a character that is not allowed in a token.
    Name(String),
    /// The value of this cookie has a character that is not allowed: a control, a space, a comma, a
    /// semicolon, a quote, a backslash, or one that is not ASCII.
    Value(String),
    /// The path or the domain of this cookie is malformed.
    Attribute(String),
    /// The name and the value of this cookie are longer than browsers take.
    TooLong(String),
    /// The name of this cookie begins with `__Secure-` or `__Host-`, and it has not what that promises.
    Prefix(String),
    /// This cookie is to go to other sites (`SameSite=None`, `Partitioned`), and is not `Secure`.
    Insecure(String),
}

/// Adds `cookie` to the fields of an answer, in the place of one with the same name, path and domain.
pub(crate) fn append(headers: &mut HeaderMap, cookie: &Cookie<'_>) -> Result<(), CookieError> {
    check(cookie)?;
    let field = HeaderValue::try_from(cookie.to_string());
    let field = field.map_err(|_| CookieError::Attribute(cookie.name().to_owned()))?;
    let is_other = |set: &HeaderValue| {
        let set = set.to_str().ok().and_then(|set| Cookie::parse(set).ok());
        set.is_none_or(|set| {
            (set.name(), set.path(), set.domain())
                != (cookie.name(), cookie.path(), cookie.domain())
        })
    };
    if let header::Entry::Occupied(fields) = headers.entry(header::SET_COOKIE) {
        let (_, fields) = fields.remove_entry_mult();
        let others: Vec<HeaderValue> = fields.filter(is_other).collect();
        for other in others {
            headers.append(header::SET_COOKIE, other);
        }
    }
    headers.append(header::SET_COOKIE, field);
    Ok(())
}

/// What removes `cookie`: it is empty, and its time is over.
pub(crate) fn removal(mut cookie: Cookie<'static>) -> Cookie<'static> {
    cookie.set_value("");
    cookie.set_max_age(Duration::ZERO);
    cookie.set_expires(OffsetDateTime::UNIX_EPOCH);
    cookie
}

fn check(cookie: &Cookie<'_>) -> Result<(), CookieError> {
    let name = cookie.name();
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(CookieError::Name(name.to_owned()));
    }
    if !cookie.value().bytes().all(is_cookie_octet) {
        return Err(CookieError::Value(name.to_owned()));
    }
    if name.len() + cookie.value().len() > NAME_AND_VALUE {
        return Err(CookieError::TooLong(name.to_owned()));
    }
    let is_attribute = |text: &str| {
        text.len() <= ATTRIBUTE
            && text
                .bytes()
                .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b';')
    };
    let path = cookie.path().unwrap_or("/");
    let domain = cookie.domain();
    if !path.starts_with('/') || !is_attribute(path) || !domain.is_none_or(is_attribute) {
        return Err(CookieError::Attribute(name.to_owned()));
    }
    check_promises(cookie)
}

/// RFC 6265bis, section 4.1.3, in any case of the letters, as browsers compare them.
fn check_promises(cookie: &Cookie<'_>) -> Result<(), CookieError> {
    let name = cookie.name();
    let begins = |prefix: &str| {
        let start = name.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let secure = cookie.secure() == Some(true);
    let of_host = cookie.domain().is_none() && cookie.path() == Some("/");
    if begins("__Secure-") && !secure || begins("__Host-") && !(secure && of_host) {
        return Err(CookieError::Prefix(name.to_owned()));
    }
    let to_others = cookie.same_site() == Some(cookie::SameSite::None);
    if (to_others || cookie.partitioned() == Some(true)) && !secure {
        return Err(CookieError::Insecure(name.to_owned()));
    }
    Ok(())
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 6265, section 4.1.1.
fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "a cookie cannot be called {name:?}: take letters, digits, `-` and `_`"
            ),
            Self::Value(name) => write!(
                f,
                "the value of the cookie {name} has a character that is not allowed: encode it, as \
                 Base64 or by percent-encoding"
            ),
            Self::Attribute(name) => write!(
                f,
                "the path of the cookie {name} does not begin with `/`, or its path or domain is too \
                 long or has a character that is not allowed"
            ),
            Self::TooLong(name) => write!(
                f,
                "the cookie {name} is longer than the {NAME_AND_VALUE} bytes that browsers take: keep \
                 what it says on the server"
            ),
            Self::Prefix(name) => write!(
                f,
                "the cookie {name} breaks what its name promises: `__Secure-` is to be Secure, \
                 `__Host-` also without a domain and for the path `/`"
            ),
            Self::Insecure(name) => write!(
                f,
                "the cookie {name} is for other sites, and so must be Secure"
            ),
        }
    }
}

impl Error for CookieError {}

#[cfg(test)]
mod tests {
    use super::*;
    use cookie::SameSite;

    fn set(cookie: impl Into<Cookie<'static>>) -> Result<String, CookieError> {
        let mut headers = HeaderMap::new();
        append(&mut headers, &cookie.into())?;
        Ok(headers["set-cookie"].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_value_cannot_add_attributes_or_fields() {
        for value in [
            "a; Domain=example.com",
            "a\r\nX: y",
            "a b",
            "a,b",
            "\"",
            "\\",
            "ä",
        ] {
            assert_eq!(
                set(Cookie::new("n", value)),
                Err(CookieError::Value("n".into())),
                "{value}"
            );
        }
        for name in ["", "a b", "a=b", "a;b", "ä"] {
            assert_eq!(
                set(Cookie::new(name, "")),
                Err(CookieError::Name(name.into()))
            );
        }
        for path in ["a", "/;Secure", "/\n"] {
            let cookie = Cookie::build(("n", "")).path(path);
            assert_eq!(
                set(cookie),
                Err(CookieError::Attribute("n".into())),
                "{path}"
            );
        }
        let cookie = Cookie::build(("n", "")).domain("example.com; Path=/");
        assert_eq!(set(cookie), Err(CookieError::Attribute("n".into())));
    }

    #[test]
    fn a_prefix_is_kept_to_in_any_case_of_its_letters() {
        for name in ["__Host-id", "__host-id", "__Secure-id", "__SECURE-id"] {
            let refused = Err(CookieError::Prefix(name.into()));
            assert_eq!(set(Cookie::build((name, "")).path("/")), refused);
            let secure = Cookie::build((name, "")).path("/").secure(true);
            assert!(set(secure.clone()).is_ok());
            if name.len() == "__Host-id".len() {
                assert_eq!(set(secure.clone().domain("example.com")), refused);
                assert_eq!(set(secure.path("/a")), refused);
            }
        }
    }

    #[test]
    fn what_goes_to_other_sites_is_secure() {
        let cookie = Cookie::build(("n", "")).same_site(SameSite::None);
        assert_eq!(set(cookie.clone()), Err(CookieError::Insecure("n".into())));
        assert!(set(cookie.secure(true)).is_ok());
    }

    #[test]
    fn a_cookie_is_set_once() {
        let mut headers = HeaderMap::new();
        for value in ["1", "2"] {
            append(&mut headers, &Cookie::new("a", value)).unwrap();
            append(
                &mut headers,
                &Cookie::build(("a", value)).path("/x").build(),
            )
            .unwrap();
        }
        let all: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(all, ["a=2", "a=2; Path=/x"]);
    }

    #[test]
    fn a_cookie_that_browsers_would_drop_is_refused() {
        assert!(set(Cookie::new("n", "x".repeat(4095))).is_ok());
        assert_eq!(
            set(Cookie::new("n", "x".repeat(4096))),
            Err(CookieError::TooLong("n".into()))
        );
    }

    #[test]
    fn a_removal_is_over_by_both_clocks() {
        let text = set(removal(Cookie::new("n", "v"))).unwrap();
        assert_eq!(text, "n=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
