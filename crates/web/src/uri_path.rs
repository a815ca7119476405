//! The path of a request's target: brought into one form, compared, taken apart and put together.
//!
//! One form: of all ways to write the same path (RFC 3986, section 6.2.2), the one in which letters,
//! digits and `-._~` stand for themselves, all else that is escaped stays so, in upper case, and
//! what no path may have as it is, is escaped. Nothing that means something changes: `%2F` is no
//! `/`.

use std::borrow::Cow;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Request, Uri};
use percent_encoding::percent_decode_str;

/// An escape that is none, or bytes that are no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedPath;

/// The path in its one form. Most are in it, and not copied.
pub(crate) fn normalize(path: &str) -> Result<Cow<'_, str>, MalformedPath> {
    if path.bytes().all(stands_for_itself) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = String::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return Err(MalformedPath);
                };
                let (high, low) = (hex(*high)?, hex(*low)?);
                rest = after;
                match high << 4 | low {
                    byte if is_unreserved(byte) => normal.push(byte.into()),
                    byte => push_escape(&mut normal, byte),
                }
            }
            byte if stands_for_itself(byte) => normal.push(byte.into()),
            byte => push_escape(&mut normal, byte),
        }
    }
    Ok(Cow::Owned(normal))
}

fn hex(digit: u8) -> Result<u8, MalformedPath> {
    let digit = char::from(digit).to_digit(16).ok_or(MalformedPath)?;
    Ok(digit as u8)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether it may stand in a path (RFC 3986, section 3.3).
fn stands_for_itself(byte: u8) -> bool {
    is_unreserved(byte) || b"/:@!$&'()*+,;=".contains(&byte)
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)].into());
    out.push(DIGITS[usize::from(byte & 15)].into());
}

/// The text that a piece of a path in its one form stands for.
pub(crate) fn decode(piece: &str) -> Result<Cow<'_, str>, MalformedPath> {
    percent_decode_str(piece)
        .decode_utf8()
        .map_err(|_| MalformedPath)
}

/// Whether a path in its one form has a segment `.` or `..`. Clients resolve these before they ask;
/// who sends them wants something else than it says.
pub(crate) fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// `uri` with another path. `path` must begin with `/`.
pub(crate) fn with_path(uri: &Uri, path: &str) -> Result<Uri, MalformedPath> {
    let target: Result<PathAndQuery, _> = match uri.query() {
        Some(query) => format!("{path}?{query}").try_into(),
        None => path.try_into(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.map_err(|_| MalformedPath)?);
    Uri::from_parts(parts).map_err(|_| MalformedPath)
}

/// The target that a client asked for, where a [`Router`](crate::Router), a
/// [`Resource`](crate::Resource) or a [`Rewrite`](crate::Rewrite) has changed what the request says.
///
/// ```
/// use http::Request;
/// use ropewalk_web::OriginalUri;
///
/// let request = Request::get("/tea").body(()).unwrap();
/// assert_eq!(OriginalUri::of(&request).path(), "/tea");
/// ```
#[derive(Clone, Debug)]
pub struct OriginalUri(Arc<Uri>);

impl OriginalUri {
    /// What the client of `request` asked for.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> &Uri {
        let original: Option<&Self> = request.extensions().get();
        original.map_or(request.uri(), |original| &original.0)
    }

    /// What stood before the path of `request` when it was asked for: `/files` behind
    /// `nest("/files", …)`. Empty where nothing did, or the path was rewritten.
    #[must_use]
    pub fn prefix<B>(request: &Request<B>) -> &str {
        let original = Self::of(request).path();
        let path = request.uri().path();
        // `/files`, which is `/` behind `/files`.
        if path == "/" && !original.ends_with('/') {
            return original;
        }
        // What is stripped is compared in its one form, and what is left is in that form. Slashes stay.
        let rest = path.matches('/').count().checked_sub(1);
        let begin = rest.and_then(|rest| original.rmatch_indices('/').nth(rest));
        let Some((begin, _)) = begin else { return "" };
        let (prefix, rest) = original.split_at(begin);
        match (normalize(rest), normalize(path)) {
            (Ok(rest), Ok(path)) if rest == path => prefix,
            _ => "",
        }
    }

    /// As an extractor.
    pub(crate) fn taken<B>(request: &Request<B>) -> Self {
        let original: Option<&Self> = request.extensions().get();
        original
            .cloned()
            .unwrap_or_else(|| Self(Arc::new(request.uri().clone())))
    }

    /// The target itself.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Gives `request` another target, and remembers the one that it came with.
    pub(crate) fn replace<B>(request: &mut Request<B>, uri: Uri) {
        let original = std::mem::replace(request.uri_mut(), uri);
        if request.extensions().get::<Self>().is_none() {
            request.extensions_mut().insert(Self(Arc::new(original)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_ways_to_write_a_path_come_to_one() {
        for (path, normal) in [
            ("/a/b", "/a/b"),
            ("/%61%2D%2e%5F%7e", "/a-._~"),
            ("/a%2fb%3f", "/a%2Fb%3F"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/%2e%2E/x", "/../x"),
            ("/%2561", "/%2561"),
            ("/a+b", "/a+b"),
            ("/a|{b}", "/a%7C%7Bb%7D"),
        ] {
            assert_eq!(normalize(path).as_deref(), Ok(normal), "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%+1", "/%4é"] {
            assert_eq!(normalize(path), Err(MalformedPath), "{path}");
        }
    }

    #[test]
    fn a_prefix_is_what_was_stripped() {
        let mut request = Request::get("/a/b/c?d").body(()).unwrap();
        assert_eq!(OriginalUri::prefix(&request), "");
        let inner = with_path(request.uri(), "/c").unwrap();
        OriginalUri::replace(&mut request, inner);
        assert_eq!(request.uri(), "/c?d");
        assert_eq!(OriginalUri::of(&request), "/a/b/c?d");
        assert_eq!(OriginalUri::prefix(&request), "/a/b");
    }

    proptest! {
        #[test]
        fn the_one_form_is_a_fixed_point_and_means_the_same(path in "/([a%2eEfF05c./é]|\\PC){0,20}") {
            if let Ok(normal) = normalize(&path) {
                prop_assert!(normal.is_ascii());
                prop_assert_eq!(&normalize(&normal).unwrap(), &normal);
                let meant: Vec<u8> = percent_decode_str(&path).collect();
                let means: Vec<u8> = percent_decode_str(&normal).collect();
                prop_assert_eq!(meant, means);
                prop_assert_eq!(path.matches('/').count(), normal.matches('/').count());
            }
        }
    }
}
