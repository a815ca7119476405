//! Byte ranges: RFC 9110, section 14.
//!
//! A `Range` that is malformed or in another unit is ignored, as section 14.2 asks. It also lets
//! a server protect itself from ranges that cost more than they say, so more than
//! [`MOST_RANGES`] are ignored too, and ranges that overlap or nearly touch become one. No
//! answer is therefore ever much longer than the file.

use std::ops::Range;

/// How many ranges one request may ask for. Of more, the whole file is the answer.
pub(super) const MOST_RANGES: usize = 16;

/// A gap that is cheaper to send than the header of another part.
const SMALL_GAP: u64 = 80;

/// What to send of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Whole,
    One(Range<u64>),
    /// Two or more, that neither overlap nor touch.
    Many(Vec<Range<u64>>),
    /// Nothing: each range lies beyond the end.
    Unsatisfiable,
}

/// Reads the value of a `Range` for a representation of `len` bytes.
pub(super) fn select(value: &[u8], len: u64) -> Selection {
    let Some(mut ranges) = parse(value, len) else {
        return Selection::Whole;
    };
    if ranges.len() > 1 {
        coalesce(&mut ranges);
    }
    match &mut *ranges {
        [] => Selection::Unsatisfiable,
        // A suffix of nothing can be satisfied, but not be written as a Content-Range.
        [range] if range.is_empty() => Selection::Whole,
        [range] => Selection::One(range.clone()),
        _ => Selection::Many(ranges),
    }
}

/// The ranges that can be satisfied, or `None` where the header is to be ignored.
fn parse(value: &[u8], len: u64) -> Option<Vec<Range<u64>>> {
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut ranges = Vec::new();
    let mut count = 0;
    for spec in set.split(|&byte| byte == b',') {
        let spec = spec.trim_ascii();
        if spec.is_empty() {
            continue;
        }
        count += 1;
        if count > MOST_RANGES {
            return None;
        }
        let dash = memchr::memchr(b'-', spec)?;
        let (first, last) = (number(&spec[..dash])?, number(&spec[dash + 1..])?);
        let range = match (first, last) {
            (None, None) => return None,
            (Some(first), Some(last)) if last < first => return None,
            (None, Some(suffix)) if suffix > 0 => len.saturating_sub(suffix)..len,
            (Some(first), last) if first < len => {
                first..last.map_or(len, |last| len.min(last.saturating_add(1)))
            }
            _ => continue,
        };
        ranges.push(range);
    }
    (count > 0).then_some(ranges)
}

/// A number, or nothing where there are no digits. One that is too big for us is beyond the end
/// of any file, as the biggest is.
fn number(digits: &[u8]) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    let mut number = 0_u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'));
    }
    Some(Some(number))
}

/// Joins what overlaps or nearly touches. Where nothing does, the order that was asked for stays.
fn coalesce(ranges: &mut Vec<Range<u64>>) {
    let mut sorted = ranges.clone();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.dedup_by(|next, range| {
        let near = next.start <= range.end.saturating_add(SMALL_GAP);
        if near {
            range.end = range.end.max(next.end);
        }
        near
    });
    if sorted.len() < ranges.len() {
        *ranges = sorted;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Selection::{Many, One, Unsatisfiable, Whole};
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        let most = |separator: &str, count: usize| {
            let specs: Vec<_> = (0..count).map(|n| format!("{0}-{0}", n * 500)).collect();
            format!("bytes={}", specs.join(separator))
        };
        for (value, selection) in [
            // The examples of section 14.1.2, on 10,000 bytes.
            ("bytes=0-499", One(0..500)),
            ("bytes=500-999", One(500..1000)),
            ("bytes=-500", One(9500..10000)),
            ("bytes=9500-", One(9500..10000)),
            ("bytes=0-0,-1", Many(vec![0..1, 9999..10000])),
            (
                "bytes= 0-0, 4500-4999 , -1",
                Many(vec![0..1, 4500..5000, 9999..10000]),
            ),
            ("bytes=500-600,601-999", One(500..1000)),
            ("bytes=500-700,601-999", One(500..1000)),
            // Ends that lie beyond the file's.
            ("bytes=0-", One(0..10000)),
            ("bytes=9999-10000", One(9999..10000)),
            ("bytes=0-99999999999999999999999999", One(0..10000)),
            ("bytes=0-18446744073709551615", One(0..10000)),
            ("bytes=-20000", One(0..10000)),
            ("bytes=10000-", Unsatisfiable),
            ("bytes=10000-10001,20000-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=99999999999999999999999999-", Unsatisfiable),
            ("bytes=10000-,0-0", One(0..1)),
            ("bytes=-0,0-0", One(0..1)),
            // Order is kept, except where ranges join.
            ("bytes=5000-5001,0-1", Many(vec![5000..5002, 0..2])),
            ("bytes=5000-5001,0-1,1-2", Many(vec![0..3, 5000..5002])),
            ("bytes=0-0,81-81", One(0..82)),
            ("bytes=0-0,82-82", Many(vec![0..1, 82..83])),
            ("bytes=0-,0-,0-,0-", One(0..10000)),
            // The unit has no case; a list may have empty elements.
            ("BYTES=0-0", One(0..1)),
            ("bytes=,0-0,,", One(0..1)),
            // What is malformed is ignored as a whole.
            ("bytes=1-0", Whole),
            ("bytes=0-0,1-0", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=0x0-1", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1--2", Whole),
            ("bytes=0 - 1", Whole),
            ("bytes =0-1", Whole),
            ("bytes 0-1", Whole),
            ("bytes=1", Whole),
            ("items=0-1", Whole),
            ("byte", Whole),
            ("", Whole),
            (&most(",", MOST_RANGES + 1), Whole),
            (&most(",,", MOST_RANGES + 1), Whole),
        ] {
            assert_eq!(select(value.as_bytes(), 10_000), selection, "{value}");
        }
        assert!(matches!(
            select(most(", ,", MOST_RANGES).as_bytes(), 10_000),
            Many(ranges) if ranges.len() == MOST_RANGES
        ));
    }

    #[test]
    fn an_empty_file_has_no_range_but_its_suffix_is_whole() {
        assert_eq!(select(b"bytes=0-", 0), Unsatisfiable);
        assert_eq!(select(b"bytes=0-0", 0), Unsatisfiable);
        assert_eq!(select(b"bytes=-0", 0), Unsatisfiable);
        assert_eq!(select(b"bytes=-5", 0), Whole);
        assert_eq!(select(b"bytes=-5,-7", 0), Whole);
    }

    proptest! {
        #[test]
        fn selected_ranges_are_inside_apart_and_few(
            value in "(bytes=)?([0-9]{0,3}-[0-9]{0,3},? ?){0,20}|bytes=\\PC{0,20}",
            len in 0..600_u64,
        ) {
            let ranges = match select(value.as_bytes(), len) {
                Whole | Unsatisfiable => vec![],
                One(range) => vec![range],
                Many(ranges) => {
                    prop_assert!(ranges.len() > 1);
                    ranges
                }
            };
            prop_assert!(ranges.len() <= MOST_RANGES);
            for (at, range) in ranges.iter().enumerate() {
                prop_assert!(range.start < range.end && range.end <= len);
                for other in &ranges[..at] {
                    prop_assert!(range.end < other.start || other.end < range.start);
                }
            }
        }

        #[test]
        fn every_byte_that_was_asked_for_is_selected(
            asked in proptest::collection::vec((0..1000_u64, 0..50_u64), 1..=MOST_RANGES),
        ) {
            let specs: Vec<_> = asked
                .iter()
                .map(|(first, more)| format!("{first}-{}", first + more))
                .collect();
            let selected = match select(format!("bytes={}", specs.join(",")).as_bytes(), 1050) {
                One(range) => vec![range],
                Many(ranges) => ranges,
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            for (first, more) in asked {
                prop_assert!(
                    selected.iter().any(|r| r.start <= first && first + more < r.end)
                );
            }
        }
    }
}
