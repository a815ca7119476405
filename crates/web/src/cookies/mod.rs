//! Cookies (RFC 6265, and 6265bis where browsers follow it): those of a request, and those that an
//! answer sets.
//!
//! What is read is bounded; pairs that are no cookies are passed over, as browsers' neighbours send
//! them. What is set is checked first: a value can neither end its field nor add an attribute, and a
//! cookie that browsers would throw away is an error here.

mod keys;
mod set_cookie;

use std::convert::Infallible;

use http::{HeaderMap, Request, Response, header};

pub use cookie::{Cookie, CookieBuilder, SameSite};
pub use keys::{CookieKeys, KeyError, SealedCookies};
pub use set_cookie::CookieError;
pub(crate) use set_cookie::{append, removal};

use crate::extract::FromRequestHead;
use crate::{Body, RequestInfo};
use keys::Seal;

/// The cookies of a request, in the order in which they came.
///
/// At most 128 are read, out of the first 16 KiB of `Cookie` fields; what comes after is passed over
/// ([`with_limits`](Self::with_limits) has other bounds). Values are as they were sent: not unquoted
/// and not decoded.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::Body;
/// use ropewalk_web::cookies::{Cookie, Cookies};
///
/// let request = Request::get("/").header("cookie", "theme=dark; lang=eo").body(Body::empty())?;
/// let cookies = Cookies::of(&request);
/// assert_eq!(cookies.get("theme"), Some("dark"));
///
/// let mut response = Response::new(Body::empty());
/// cookies.set(&mut response, Cookie::new("theme", "light"))?;
/// assert_eq!(response.headers()["set-cookie"], "theme=light; HttpOnly; SameSite=Lax; Path=/");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cookies {
    pairs: Vec<(Box<str>, Box<str>)>,
    is_https: bool,
}

/// How much of the cookies of a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieLimits {
    /// So many cookies: 128.
    pub count: usize,
    /// Out of so many bytes of `Cookie` fields: 16 KiB.
    pub bytes: usize,
}

impl Default for CookieLimits {
    fn default() -> Self {
        Self {
            count: 128,
            bytes: 16 * 1024,
        }
    }
}

impl Cookies {
    /// Those of `request`.
    #[must_use]
    pub fn of<B: 'static>(request: &Request<B>) -> Self {
        Self::with_limits(request, CookieLimits::default())
    }

    /// Those of `request`, within other bounds.
    #[must_use]
    pub fn with_limits<B: 'static>(request: &Request<B>, limits: CookieLimits) -> Self {
        Self {
            pairs: parse(request.headers(), limits),
            is_https: is_https(request),
        }
    }

    /// Those of a map of fields, for a connection that is or is not `https`.
    #[must_use]
    pub fn parse(headers: &HeaderMap, is_https: bool) -> Self {
        Self {
            pairs: parse(headers, CookieLimits::default()),
            is_https,
        }
    }

    /// The value of the first one with this name: browsers send the one with the longest path first.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.iter();
        all.find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    /// The values of all with this name.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(move |(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Has `response` set `cookie`, in the place of one that it sets already with the same name, path
    /// and domain. What `cookie` does not say is: for the path `/`, not to be seen by scripts
    /// (`HttpOnly`), not sent along from other sites (`SameSite=Lax`), and `Secure` if the request came
    /// over HTTPS. It ends with the browser's session unless it has `Max-Age` or `Expires`.
    ///
    /// # Errors
    /// It is no cookie that a browser would take.
    pub fn set<B>(
        &self,
        response: &mut Response<B>,
        cookie: impl Into<Cookie<'static>>,
    ) -> Result<(), CookieError> {
        append(response.headers_mut(), &self.with_defaults(cookie.into()))
    }

    /// Has `response` remove a cookie: a name, or a [`Cookie`] with the path and the domain that it
    /// was set with.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn remove<B>(
        &self,
        response: &mut Response<B>,
        cookie: impl Into<Cookie<'static>>,
    ) -> Result<(), CookieError> {
        let cookie = removal(cookie.into());
        append(response.headers_mut(), &self.with_defaults(cookie))
    }

    /// Those whose values are signed with `keys`: the client can read them, and not change them.
    #[must_use]
    pub fn signed<'a>(&'a self, keys: &'a CookieKeys) -> SealedCookies<'a> {
        SealedCookies::new(self, keys, Seal::Signed)
    }

    /// Those whose values are encrypted with `keys`: the client can neither read nor change them.
    #[must_use]
    pub fn private<'a>(&'a self, keys: &'a CookieKeys) -> SealedCookies<'a> {
        SealedCookies::new(self, keys, Seal::Private)
    }

    fn with_defaults(&self, mut cookie: Cookie<'static>) -> Cookie<'static> {
        if cookie.same_site().is_none() {
            cookie.set_same_site(SameSite::Lax);
        }
        if cookie.http_only().is_none() {
            cookie.set_http_only(true);
        }
        if cookie.secure().is_none() && self.is_https {
            cookie.set_secure(true);
        }
        if cookie.path().is_none() {
            cookie.set_path("/");
        }
        cookie
    }
}

impl FromRequestHead for Cookies {
    type Rejection = Infallible;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Infallible> {
        Ok(Self::of(request))
    }
}

/// Whether `request` came over HTTPS, as far as this server, or a trusted proxy, knows.
pub(crate) fn is_https<B: 'static>(request: &Request<B>) -> bool {
    RequestInfo::of(request).is_some_and(|info| info.secure)
}

fn parse(headers: &HeaderMap, limits: CookieLimits) -> Vec<(Box<str>, Box<str>)> {
    // HTTP/2 may bring each in a field of its own (RFC 9113, section 8.2.3).
    let fields = headers.get_all(header::COOKIE).iter();
    let mut left = limits.bytes;
    let mut pairs = Vec::new();
    for field in fields {
        let bytes = field.as_bytes();
        // A pair that the bound cuts through is none.
        let whole = bytes.len() <= left;
        let bytes = &bytes[..bytes.len().min(left)];
        left -= bytes.len();
        let mut pieces = bytes.split(|byte| *byte == b';').peekable();
        while let Some(piece) = pieces.next() {
            if pairs.len() == limits.count || !whole && pieces.peek().is_none() {
                return pairs;
            }
            let parsed = std::str::from_utf8(piece).ok().map(Cookie::parse);
            if let Some(Ok(cookie)) = parsed {
                pairs.push((cookie.name().into(), cookie.value().into()));
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn read(fields: &[&[u8]], limits: CookieLimits) -> Vec<(Box<str>, Box<str>)> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("cookie", HeaderValue::from_bytes(field).unwrap());
        }
        parse(&headers, limits)
    }

    fn names(fields: &[&[u8]], limits: CookieLimits) -> Vec<String> {
        let pairs = read(fields, limits);
        pairs.into_iter().map(|(name, _)| name.into()).collect()
    }

    #[test]
    fn what_is_no_pair_is_passed_over() {
        let fields: &[&[u8]] = &[b"a=1; ;b; =c; d=\xff; e=\"x y\";;f=2", b"g=3=4"];
        assert_eq!(names(fields, CookieLimits::default()), ["a", "e", "f", "g"]);
        assert_eq!(&*read(fields, CookieLimits::default())[3].1, "3=4");
    }

    #[test]
    fn a_request_with_too_many_is_read_as_far_as_the_bounds_go() {
        let limits = CookieLimits {
            count: 2,
            bytes: 100,
        };
        assert_eq!(names(&[b"a=1; b=2; c=3"], limits), ["a", "b"]);
        let limits = CookieLimits { count: 9, bytes: 7 };
        assert_eq!(names(&[b"a=1; bc=2; d=3"], limits), ["a"]);
        assert_eq!(names(&[b"a=1", b"b=2", b"c=3"], limits), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn any_field_is_read_within_its_bounds(
            fields in proptest::collection::vec("[ -~\\x80-\\xff]{0,60}", 0..4),
            count in 0_usize..5,
            bytes in 0_usize..100,
        ) {
            let fields: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
            let pairs = read(&fields, CookieLimits { count, bytes });
            prop_assert!(pairs.len() <= count);
            let kept: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
            prop_assert!(kept <= bytes);
        }

        #[test]
        fn what_is_set_is_read_back(name in "[a-z]{1,8}", value in "[!#-+\\--:<-\\[\\]-~]{0,40}") {
            let mut headers = HeaderMap::new();
            append(&mut headers, &Cookie::new(name.clone(), value.clone())).unwrap();
            let set = headers["set-cookie"].to_str().unwrap();
            let read = read(&[set.split(';').next().unwrap().as_bytes()], CookieLimits::default());
            prop_assert_eq!(read, [(name.into(), value.into())]);
        }
    }
}
