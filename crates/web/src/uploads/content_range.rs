//! Which piece of a file a request carries.

use http::HeaderMap;
use http::header::CONTENT_RANGE;

/// `bytes first-last/total` of a request (RFC 9110, sections 14.4 and 14.5).
///
/// ```
/// use ropewalk_web::uploads::ContentRange;
///
/// let range = ContentRange::parse(b"bytes 1000-1999/5000").unwrap();
/// assert_eq!((range.first, range.len(), range.total), (1000, 1000, 5000));
/// assert!(ContentRange::parse(b"bytes 5-4/9").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Where the piece begins.
    pub first: u64,
    /// Its last byte.
    pub last: u64,
    /// The length of the whole.
    pub total: u64,
}

impl ContentRange {
    /// Reads a value; `None` if it says no piece of a whole whose length is known.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let (unit, range) = value.trim().split_once(' ')?;
        let (range, total) = range.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self {
            first: number(first)?,
            last: number(last)?,
            total: number(total)?,
        };
        let is_range = range.first <= range.last && range.last < range.total;
        (unit.eq_ignore_ascii_case("bytes") && is_range).then_some(range)
    }

    /// That of a request, if it has one: `Some(None)` if it is malformed.
    pub(super) fn of(headers: &HeaderMap) -> Option<Option<Self>> {
        let mut values = headers.get_all(CONTENT_RANGE).iter();
        let first = values.next()?;
        Some(Self::parse(first.as_bytes()).filter(|_| values.next().is_none()))
    }

    /// Its length in bytes: never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Digits, and nothing else.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_piece_of_a_known_whole_is_none() {
        for value in [
            "",
            "bytes",
            "bytes 0-1",
            "bytes 0-1/*",
            "bytes */5",
            "bytes 0-5/5",
            "bytes 2-1/5",
            "bytes +0-1/5",
            "bytes 0--1/5",
            "lines 0-1/5",
            "bytes=0-1/5",
            "bytes 0-1/5/6",
            "bytes 0-1/99999999999999999999",
            "bytes 0 - 1/5",
        ] {
            assert_eq!(ContentRange::parse(value.as_bytes()), None, "{value}");
        }
        assert!(ContentRange::parse(b" Bytes  0-0/1 ").is_some());
        let all = format!("bytes 0-{}/{}", u64::MAX - 1, u64::MAX);
        assert_eq!(
            ContentRange::parse(all.as_bytes()).map(|all| all.len()),
            Some(u64::MAX)
        );
    }

    proptest! {
        #[test]
        fn a_piece_lies_within_its_whole(value in "bytes [0-9]{0,20}-[0-9]{0,20}/[0-9]{0,20}|\\PC{0,30}") {
            if let Some(range) = ContentRange::parse(value.as_bytes()) {
                prop_assert!(range.first <= range.last && range.last < range.total);
                prop_assert!(range.len() <= range.total);
            }
        }
    }
}
