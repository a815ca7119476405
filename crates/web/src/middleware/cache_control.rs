//! `Cache-Control`: what may be kept, for how long, and for whom (RFC 9111, section 5.2).

use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderMap};

/// The directives of a request or of an answer that mean something to a shared cache.
///
/// A directive that is malformed is taken as the one that is safe: a `max-age` that is no number is
/// 0, and a field after which nothing can be told apart says `no-store`. Of two `max-age` the
/// smaller one counts. Unknown directives are passed over.
///
/// ```
/// use http::HeaderMap;
/// use ropewalk_web::middleware::CacheControl;
/// use std::time::Duration;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("cache-control", "max-age=60, private=\"set-cookie, x\"".parse()?);
/// let control = CacheControl::of(&headers);
/// assert_eq!(control.max_age, Some(Duration::from_secs(60)));
/// assert!(control.private && !control.no_store);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheControl {
    /// Nothing of it may be kept.
    pub no_store: bool,
    /// It may not be used without asking whether it is still right; with field names too, since
    /// those cannot be left out of what is kept here.
    pub no_cache: bool,
    /// Only for one user; with field names too.
    pub private: bool,
    /// For all, also if it was asked for with credentials.
    pub public: bool,
    /// Once it is stale it may never be used without asking.
    pub must_revalidate: bool,
    /// The same for caches that serve many; unlike `must-revalidate` it does not say that what was asked
    /// for with credentials is for all (section 5.2.2.8).
    pub proxy_revalidate: bool,
    /// It may not be coded otherwise, or changed.
    pub no_transform: bool,
    /// Only what is kept already is wanted.
    pub only_if_cached: bool,
    /// How old it may be.
    pub max_age: Option<Duration>,
    /// How old it may be in a cache that serves many.
    pub s_maxage: Option<Duration>,
    /// How long it must still be fresh.
    pub min_fresh: Option<Duration>,
    /// How long it may have been stale; without a value, any time.
    pub max_stale: Option<Duration>,
    /// How long it may have been stale when there is no better one to be had (RFC 5861).
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// What all lines of the field say.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            control.add_line(line.as_bytes());
        }
        control
    }

    fn add_line(&mut self, mut rest: &[u8]) {
        while let Some((name, value, after)) = directive(rest) {
            self.add(&name, value.as_deref());
            rest = after;
        }
        if rest.iter().any(|byte| !b" \t,".contains(byte)) {
            self.no_store = true;
        }
    }

    fn add(&mut self, name: &str, value: Option<&str>) {
        let seconds = || Some(value.and_then(seconds).unwrap_or(Duration::ZERO));
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "no-transform" => self.no_transform = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => self.max_age = smaller(self.max_age, seconds()),
            "s-maxage" => self.s_maxage = smaller(self.s_maxage, seconds()),
            "min-fresh" => {
                // The longer one is the safe one.
                let fresh = value.and_then(self::seconds).unwrap_or(Duration::MAX);
                self.min_fresh = self.min_fresh.max(Some(fresh));
            }
            "max-stale" if value.is_none() => {
                self.max_stale = smaller(self.max_stale, Some(Duration::MAX));
            }
            "max-stale" => self.max_stale = smaller(self.max_stale, seconds()),
            "stale-if-error" => self.stale_if_error = smaller(self.stale_if_error, seconds()),
            _ => {}
        }
    }
}

fn smaller(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// RFC 9111, section 1.2.2: what is too large to be held is taken as 2^31 seconds.
fn seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let most = 1 << 31;
    Some(Duration::from_secs(text.parse().unwrap_or(most).min(most)))
}

/// A directive: its name in lower case and its value, and what follows it. `None` at the end, and
/// where there is no directive.
fn directive(text: &[u8]) -> Option<(String, Option<String>, &[u8])> {
    let begin = text.iter().position(|byte| !b" \t,".contains(byte))?;
    let text = &text[begin..];
    let is_end = |byte: &u8| b" \t,=\"".contains(byte);
    let end = text.iter().position(is_end).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let name = str::from_utf8(name).ok()?.to_ascii_lowercase();
    let (value, rest) = match rest {
        [b'=', b'"', quoted @ ..] => {
            let (value, rest) = unquote(quoted)?;
            (Some(value), rest)
        }
        [b'=', value @ ..] => {
            let end = value.iter().position(is_end).unwrap_or(value.len());
            let (value, rest) = value.split_at(end);
            (Some(str::from_utf8(value).ok()?.to_owned()), rest)
        }
        rest => (None, rest),
    };
    let rest = rest.trim_ascii_start();
    (!name.is_empty() && matches!(rest, [] | [b',', ..])).then_some((name, value, rest))
}

/// The rest of a quoted string, and what follows.
fn unquote(text: &[u8]) -> Option<(String, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((String::from_utf8(value).ok()?, &text[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            byte => value.push(*byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn control(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, line.parse().unwrap());
        }
        CacheControl::of(&headers)
    }

    #[test]
    fn what_is_doubtful_is_read_as_what_is_safe() {
        let secs = |seconds| Some(Duration::from_secs(seconds));
        for (line, max_age) in [
            ("max-age=60", secs(60)),
            ("Max-Age=\"60\"", secs(60)),
            (" , max-age=60 ,", secs(60)),
            ("max-age=60, max-age=30", secs(30)),
            ("max-age=99999999999999999999", secs(1 << 31)),
            ("max-age=-1", secs(0)),
            ("max-age=1.5", secs(0)),
            ("max-age", secs(0)),
            ("max-age=", secs(0)),
            ("x=\"max-age=5, no-store\", max-age=7", secs(7)),
            ("x-max-age=5", None),
        ] {
            let control = control(&[line]);
            assert_eq!(control.max_age, max_age, "{line}");
            assert!(!control.no_store, "{line}");
        }
        for line in [
            "max-age=60 no-store",
            "x=\"",
            "=5",
            "\"no-store\"",
            "max-age =60",
        ] {
            assert!(control(&[line]).no_store, "{line}");
        }
        assert!(control(&["public", "no-store"]).no_store);
        assert_eq!(control(&["max-stale"]).max_stale, Some(Duration::MAX));
        assert_eq!(control(&["max-stale=x"]).max_stale, secs(0));
        assert_eq!(control(&["min-fresh=x"]).min_fresh, Some(Duration::MAX));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let _ = CacheControl::of(&HeaderMap::from_iter([(CACHE_CONTROL, value)]));
            }
        }

        #[test]
        fn no_store_is_heard_wherever_it_stands(
            before in "[ -~]{0,20}",
            after in "[ -~]{0,20}",
        ) {
            // Unless it stands within a quoted string, or as a part of another word.
            prop_assume!(!before.contains('"'));
            let line = format!("{before}, no-store, {after}");
            prop_assert!(control(&[&line]).no_store);
        }
    }
}
