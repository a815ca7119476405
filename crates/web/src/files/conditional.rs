//! Conditional requests: RFC 9110, section 13.
//!
//! The preconditions are judged in the order of section 13.2.2: `If-Match`, or else
//! `If-Unmodified-Since`; then `If-None-Match`, or else `If-Modified-Since`; then, for a range,
//! `If-Range`. A date that is malformed, or that comes on more than one line, is ignored as
//! section 13.1 asks; a malformed entity tag, and all after it on its line, match nothing.

use std::time::SystemTime;

use http::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};

/// What tells one version of a representation from another. The values are those that are sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Validators {
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) last_modified: Option<LastModified>,
    /// Whether it was at rest for long enough that its date stands for one version only.
    pub(crate) settled: bool,
}

/// A date of whole seconds, as HTTP has them.
#[derive(Clone, Debug)]
pub(crate) struct LastModified {
    pub(crate) at: SystemTime,
    pub(crate) value: HeaderValue,
}

/// What the preconditions of a GET or a HEAD come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    NotModified,
    Failed,
}

/// The preconditions of a request that changes what is there.
#[derive(Debug)]
pub(crate) struct Preconditions(HeaderMap);

/// Judges all preconditions but `If-Range`.
pub(crate) fn judge(headers: &HeaderMap, validators: &Validators) -> Verdict {
    if !is_the_version(headers, validators) {
        return Verdict::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if any_tag_matches(headers, IF_NONE_MATCH, validators, weakly_match) {
            return Verdict::NotModified;
        }
    } else if let Some(since) = date(headers, IF_MODIFIED_SINCE)
        && let Some(modified) = &validators.last_modified
        && modified.at <= since
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether it is the version that the client wants: `If-Match`, or else `If-Unmodified-Since`.
fn is_the_version(headers: &HeaderMap, validators: &Validators) -> bool {
    if headers.contains_key(IF_MATCH) {
        return any_tag_matches(headers, IF_MATCH, validators, strongly_match);
    }
    match (
        date(headers, IF_UNMODIFIED_SINCE),
        &validators.last_modified,
    ) {
        (Some(since), Some(modified)) => modified.at <= since,
        _ => true,
    }
}

impl Preconditions {
    /// Those of a request with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut own = HeaderMap::new();
        for name in [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH] {
            for value in headers.get_all(&name) {
                own.append(&name, value.clone());
            }
        }
        Self(own)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they hold for what is there, if anything is (RFC 9110, sections 13.1 and 13.2.2).
    pub(crate) fn hold(&self, current: Option<&Validators>) -> bool {
        match current {
            None => !self.0.contains_key(IF_MATCH),
            Some(current) => {
                is_the_version(&self.0, current)
                    && !any_tag_matches(&self.0, IF_NONE_MATCH, current, weakly_match)
            }
        }
    }

    /// Whether they forbid to replace anything: `If-None-Match: *`.
    pub(crate) fn forbid_to_replace(&self) -> bool {
        let mut lines = self.0.get_all(IF_NONE_MATCH).iter();
        lines.any(|line| line.as_bytes().trim_ascii() == b"*")
    }
}

/// Whether a range may be answered: there is no `If-Range`, or it names the version that we have.
///
/// The parts of two versions must never be joined, so only a strong validator counts: a strong
/// entity tag, or the exact date of a file that had come to rest.
pub(super) fn range_applies(headers: &HeaderMap, validators: &Validators) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    let Some(value) = lines.next() else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    let value = value.as_bytes();
    if let Some((theirs, rest)) = EntityTag::split(value) {
        return rest.is_empty()
            && validators
                .entity_tag()
                .is_some_and(|ours| strongly_match(theirs, ours));
    }
    validators.settled
        && validators
            .last_modified
            .as_ref()
            .is_some_and(|modified| parse_date(value) == Some(modified.at))
}

impl Validators {
    /// Those that these headers of an answer carry.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let last_modified = || {
            let value = headers.get(LAST_MODIFIED)?.clone();
            let at = parse_date(value.as_bytes())?;
            Some(LastModified { at, value })
        };
        Self {
            etag: headers.get(ETAG).cloned(),
            last_modified: last_modified(),
            settled: false,
        }
    }

    fn entity_tag(&self) -> Option<EntityTag<'_>> {
        EntityTag::split(self.etag.as_ref()?.as_bytes()).map(|(tag, _)| tag)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The entity tag that `text` begins with, and what follows it.
    fn split(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, text) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let text = text.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', text)?;
        let opaque = &text[..end];
        let legal = opaque.iter().all(|&byte| byte > b' ' && byte != 0x7f);
        legal.then_some((Self { weak, opaque }, &text[end + 1..]))
    }
}

/// RFC 9110, section 8.8.3.2.
fn strongly_match(one: EntityTag<'_>, other: EntityTag<'_>) -> bool {
    one == other && !one.weak
}

fn weakly_match(one: EntityTag<'_>, other: EntityTag<'_>) -> bool {
    one.opaque == other.opaque
}

fn any_tag_matches(
    headers: &HeaderMap,
    name: HeaderName,
    validators: &Validators,
    matches: fn(EntityTag<'_>, EntityTag<'_>) -> bool,
) -> bool {
    let ours = validators.entity_tag();
    headers.get_all(name).iter().any(|line| {
        let mut rest = line.as_bytes().trim_ascii();
        // It matches whatever there is, and there is something.
        if rest == b"*" {
            return true;
        }
        let Some(ours) = ours else { return false };
        loop {
            while let [b' ' | b'\t' | b',', after @ ..] = rest {
                rest = after;
            }
            match EntityTag::split(rest) {
                Some((theirs, _)) if matches(theirs, ours) => return true,
                Some((_, after @ ([] | [b' ' | b'\t' | b',', ..]))) => rest = after,
                _ => return false,
            }
        }
    })
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let value = lines.next()?;
    match lines.next() {
        None => parse_date(value.as_bytes()),
        Some(_) => None,
    }
}

fn parse_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(str::from_utf8(value).ok()?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const BEFORE: &str = "Sat, 29 Oct 1994 19:43:30 GMT";
    const DATE: &str = "Sat, 29 Oct 1994 19:43:31 GMT";
    const AFTER: &str = "Sat, 29 Oct 1994 19:43:32 GMT";

    fn validators(etag: &'static str) -> Validators {
        Validators {
            etag: Some(HeaderValue::from_static(etag)),
            last_modified: Some(LastModified {
                at: SystemTime::UNIX_EPOCH + Duration::from_secs(783_459_811),
                value: HeaderValue::from_static(DATE),
            }),
            settled: true,
        }
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn preconditions_have_the_precedence_of_rfc_9110() {
        use Verdict::{Failed, NotModified, Proceed};
        let strong = validators("\"xyzzy\"");
        for (lines, verdict) in [
            (&[][..], Proceed),
            (&[(IF_MATCH, "\"xyzzy\"")], Proceed),
            (&[(IF_MATCH, "\"other\"")], Failed),
            (&[(IF_MATCH, "*")], Proceed),
            (&[(IF_MATCH, "\"a\", \"xyzzy\" , \"b\"")], Proceed),
            (&[(IF_MATCH, "\"a,\\\", \"xyzzy\"")], Proceed),
            (&[(IF_MATCH, "\"a\""), (IF_MATCH, "\"xyzzy\"")], Proceed),
            // Strong comparison.
            (&[(IF_MATCH, "W/\"xyzzy\"")], Failed),
            // Malformed.
            (&[(IF_MATCH, "xyzzy")], Failed),
            (&[(IF_MATCH, "")], Failed),
            (&[(IF_MATCH, "\"a\"\"xyzzy\"")], Failed),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (&[(IF_UNMODIFIED_SINCE, DATE)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, AFTER)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Proceed),
            (
                &[(IF_UNMODIFIED_SINCE, BEFORE), (IF_UNMODIFIED_SINCE, BEFORE)],
                Proceed,
            ),
            // If-Match rules out If-Unmodified-Since.
            (
                &[(IF_MATCH, "\"xyzzy\""), (IF_UNMODIFIED_SINCE, BEFORE)],
                Proceed,
            ),
            (
                &[(IF_MATCH, "\"other\""), (IF_UNMODIFIED_SINCE, AFTER)],
                Failed,
            ),
            (&[(IF_NONE_MATCH, "\"xyzzy\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"other\"")], Proceed),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"a\", W/\"xyzzy\"")], NotModified),
            (&[(IF_NONE_MATCH, ", ,\"xyzzy\"")], NotModified),
            (&[(IF_NONE_MATCH, "xyzzy")], Proceed),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Proceed),
            (&[(IF_MODIFIED_SINCE, DATE)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (
                &[(IF_MODIFIED_SINCE, "Saturday, 29-Oct-94 19:43:31 GMT")],
                NotModified,
            ),
            (
                &[(IF_MODIFIED_SINCE, "Sat Oct 29 19:43:31 1994")],
                NotModified,
            ),
            (&[(IF_MODIFIED_SINCE, "783459811")], Proceed),
            // If-None-Match rules out If-Modified-Since.
            (
                &[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, AFTER)],
                Proceed,
            ),
            (
                &[(IF_NONE_MATCH, "\"xyzzy\""), (IF_MODIFIED_SINCE, BEFORE)],
                NotModified,
            ),
            // A failed If-Match goes before If-None-Match.
            (
                &[(IF_NONE_MATCH, "\"xyzzy\""), (IF_MATCH, "\"other\"")],
                Failed,
            ),
            (
                &[(IF_MATCH, "\"xyzzy\""), (IF_NONE_MATCH, "\"xyzzy\"")],
                NotModified,
            ),
            (
                &[(IF_UNMODIFIED_SINCE, BEFORE), (IF_NONE_MATCH, "\"xyzzy\"")],
                Failed,
            ),
            (
                &[(IF_UNMODIFIED_SINCE, DATE), (IF_MODIFIED_SINCE, DATE)],
                NotModified,
            ),
        ] {
            assert_eq!(judge(&headers(lines), &strong), verdict, "{lines:?}");
        }
    }

    #[test]
    fn a_weak_tag_matches_weakly_only() {
        let weak = validators("W/\"xyzzy\"");
        for (name, value, verdict) in [
            (IF_MATCH, "W/\"xyzzy\"", Verdict::Failed),
            (IF_MATCH, "\"xyzzy\"", Verdict::Failed),
            (IF_MATCH, "*", Verdict::Proceed),
            (IF_NONE_MATCH, "\"xyzzy\"", Verdict::NotModified),
            (IF_NONE_MATCH, "W/\"xyzzy\"", Verdict::NotModified),
        ] {
            let headers = headers(&[(name, value)]);
            assert_eq!(judge(&headers, &weak), verdict, "{headers:?}");
        }
    }

    #[test]
    fn what_has_no_validators_ignores_dates_and_matches_no_tag() {
        let none = Validators::default();
        for (name, value, verdict) in [
            (IF_MATCH, "\"x\"", Verdict::Failed),
            (IF_MATCH, "*", Verdict::Proceed),
            (IF_NONE_MATCH, "\"x\"", Verdict::Proceed),
            (IF_NONE_MATCH, "*", Verdict::NotModified),
            (IF_UNMODIFIED_SINCE, BEFORE, Verdict::Proceed),
            (IF_MODIFIED_SINCE, AFTER, Verdict::Proceed),
        ] {
            let headers = headers(&[(name, value)]);
            assert_eq!(judge(&headers, &none), verdict, "{headers:?}");
        }
    }

    #[test]
    fn a_range_is_answered_only_for_the_version_that_the_client_has() {
        let strong = validators("\"xyzzy\"");
        let mut restless = validators("W/\"xyzzy\"");
        restless.settled = false;
        for (value, with_strong) in [
            ("\"xyzzy\"", true),
            ("\"other\"", false),
            ("W/\"xyzzy\"", false),
            ("\"xyzzy\", \"other\"", false),
            (DATE, true),
            (BEFORE, false),
            (AFTER, false),
            ("nonsense", false),
        ] {
            let headers = headers(&[(IF_RANGE, value)]);
            assert_eq!(range_applies(&headers, &strong), with_strong, "{value}");
            assert!(!range_applies(&headers, &restless), "{value}");
        }
        assert!(range_applies(&HeaderMap::new(), &restless));
        let twice = headers(&[(IF_RANGE, "\"xyzzy\""), (IF_RANGE, "\"xyzzy\"")]);
        assert!(!range_applies(&twice, &strong));
    }

    proptest! {
        #[test]
        fn no_header_value_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in [
                    IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE,
                ] {
                    let mut headers = HeaderMap::new();
                    headers.insert(name, value.clone());
                    judge(&headers, &validators("\"x\""));
                    range_applies(&headers, &validators("\"x\""));
                }
            }
        }
    }
}
