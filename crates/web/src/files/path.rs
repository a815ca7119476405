//! From the path of a request to the path of a file.
//!
//! Percent-escapes are decoded exactly once. What comes out is relative, uses `/` alone, and has
//! no empty, `.` or `..` segment. That makes it a *name*: whether it leads out of the root by a
//! symbolic link is for [`Root`](super::root::Root) to see.
//!
//! | in the request                                   | answer |
//! |--------------------------------------------------|--------|
//! | not a path (`*`), bad escape (`%`, `%4`, `%zz`), NUL | 400 |
//! | `%2F`, `\`, `%5C`: no file has such a name       | 404    |
//! | a segment that begins with a dot, `..` included; but `/.well-known` (RFC 8615) is let in | 404 |
//! | `//`                                             | taken as `/`, as a file system does |

use std::borrow::Cow;

use http::StatusCode;
use memchr::{memchr, memmem};

/// A path under the root: `""`, `docs/` or `docs/page.html`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestPath<'a>(Cow<'a, [u8]>);

impl<'a> RequestPath<'a> {
    /// Takes the path of a request's target, still encoded.
    pub(crate) fn parse(encoded: &'a str) -> Result<Self, StatusCode> {
        let encoded = encoded
            .as_bytes()
            .strip_prefix(b"/")
            .ok_or(StatusCode::BAD_REQUEST)?;
        let path = match memchr(b'%', encoded) {
            None => Cow::Borrowed(encoded),
            Some(_) => Cow::Owned(decode(encoded)?),
        };
        if memchr(0, &path).is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        if memchr(b'\\', &path).is_some() {
            return Err(StatusCode::NOT_FOUND);
        }
        let path = if path.starts_with(b"/") || memmem::find(&path, b"//").is_some() {
            Cow::Owned(merge_slashes(&path))
        } else {
            path
        };
        if is_hidden(&path) {
            return Err(StatusCode::NOT_FOUND);
        }
        Ok(Self(path))
    }

    /// The path, decoded, with no `/` in front. It ends in `/` if the request's did.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a folder is asked for, as the root is, and all that ends in `/`.
    pub(crate) fn is_folder(&self) -> bool {
        self.0.is_empty() || self.0.ends_with(b"/")
    }
}

fn decode(encoded: &[u8]) -> Result<Vec<u8>, StatusCode> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(at) = memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(at);
        decoded.extend_from_slice(plain);
        let &[_, high, low, ref after @ ..] = escape else {
            return Err(StatusCode::BAD_REQUEST);
        };
        let byte = hex(high)? << 4 | hex(low)?;
        // A name cannot hold it, and once it is decoded it would part names.
        if byte == b'/' {
            return Err(StatusCode::NOT_FOUND);
        }
        decoded.push(byte);
        rest = after;
    }
    decoded.extend_from_slice(rest);
    Ok(decoded)
}

fn hex(digit: u8) -> Result<u8, StatusCode> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

fn merge_slashes(path: &[u8]) -> Vec<u8> {
    let mut merged = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || merged.last().is_some_and(|&last| last != b'/') {
            merged.push(byte);
        }
    }
    merged
}

fn is_hidden(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .enumerate()
        .any(|(depth, name)| name.starts_with(b".") && (depth > 0 || name != b".well-known"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(encoded: &str) -> Result<Vec<u8>, u16> {
        RequestPath::parse(encoded)
            .map(|path| path.as_bytes().to_vec())
            .map_err(|status| status.as_u16())
    }

    #[test]
    fn a_path_is_decoded_once_and_made_relative() {
        for (encoded, path) in [
            ("/", &b""[..]),
            ("/a", b"a"),
            ("/a/b.txt", b"a/b.txt"),
            ("/docs/", b"docs/"),
            ("/a%20b", b"a b"),
            ("/%c3%a9", "é".as_bytes()),
            ("/%C3%A9", "é".as_bytes()),
            ("/%ff", b"\xff"),
            ("/%252e%252e/x", b"%2e%2e/x"),
            ("/%252fx", b"%2fx"),
            ("/a+b", b"a+b"),
            ("/a..", b"a.."),
            ("//", b""),
            ("///a//b/", b"a/b/"),
            ("/.well-known", b".well-known"),
            ("/.well-known/acme", b".well-known/acme"),
            ("//.well-known//acme", b".well-known/acme"),
            ("/%2ewell-known/x", b".well-known/x"),
        ] {
            assert_eq!(parsed(encoded), Ok(path.to_vec()), "{encoded}");
        }
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for (encoded, status) in [
            ("", 400),
            ("*", 400),
            ("a", 400),
            ("/%", 400),
            ("/%4", 400),
            ("/%zz", 400),
            ("/%+1", 400),
            ("/a%00", 400),
            ("/a\0b", 400),
            ("/a%2fb", 404),
            ("/a%2Fb", 404),
            ("/%2f", 404),
            ("/a%5cb", 404),
            ("/a\\b", 404),
            ("/..", 404),
            ("/.", 404),
            ("/%2e", 404),
            ("/%2e%2E/x", 404),
            ("/a/../b", 404),
            ("/a/./b", 404),
            ("/...", 404),
            ("/.git/config", 404),
            ("/a/.htaccess", 404),
            ("/.well-known/.hidden", 404),
            ("/.well-known/../x", 404),
            ("/.well-known.bak", 404),
            ("/a/.well-known/x", 404),
        ] {
            assert_eq!(parsed(encoded), Err(status), "{encoded}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        let path = RequestPath::parse("/assets/site.css").unwrap();
        assert!(matches!(path.0, Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn a_path_never_climbs_nor_names_what_is_hidden(encoded in "/?([./\\\\a%2eEfF05cC]|\\PC){0,24}") {
            if let Ok(path) = RequestPath::parse(&encoded) {
                let bytes = path.as_bytes();
                prop_assert!(!bytes.contains(&0) && !bytes.contains(&b'\\'));
                let mut names: Vec<_> = bytes.split(|&byte| byte == b'/').collect();
                if path.is_folder() {
                    prop_assert_eq!(names.pop(), Some(&b""[..]));
                }
                for (depth, name) in names.into_iter().enumerate() {
                    prop_assert!(!name.is_empty());
                    prop_assert!(name[0] != b'.' || (depth == 0 && name == b".well-known"));
                }
            }
        }
    }
}
