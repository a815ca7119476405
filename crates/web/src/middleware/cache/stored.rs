//! An answer that is kept: whether it may be, for whom it is right, and for how long (RFC 9111,
//! sections 3 and 4).

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{
    AGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    EXPIRES, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, SET_COOKIE,
};
use http::{Response, StatusCode};

use crate::Body;
use crate::middleware::cache_control::CacheControl;
use crate::middleware::vary;

/// What an entry costs beside its bytes: maps, and the table of its headers.
const ENTRY: usize = 1024;

/// The time, as a monotonic clock and as people have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) date: SystemTime,
}

/// What is known before the body is there.
#[derive(Clone, Debug)]
pub(super) struct Head {
    status: StatusCode,
    headers: HeaderMap,
    control: CacheControl,
    /// The fields of a request that it depends on, with what they said in the request that it
    /// answers.
    varies: Vec<(HeaderName, Option<Vec<u8>>)>,
    /// How long it is fresh, from when it was made.
    lifetime: Duration,
    /// How old it was when it came here, and when that was.
    age: Duration,
    since: Instant,
}

/// An answer that is kept.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) head: Head,
    pub(super) body: Bytes,
}

impl Head {
    /// What is to be known of `answer`, an answer to a GET with these headers, if it may be kept.
    ///
    /// Only what says itself how long it is good for is kept: nothing is guessed. What sets a
    /// cookie is one user's, though the RFC does not say so.
    pub(super) fn of<B>(asked: &HeaderMap, answer: &Response<B>, now: Now) -> Option<Self> {
        let headers = answer.headers();
        let control = CacheControl::of(headers);
        if !may_be_kept(answer.status())
            || control.no_store
            || control.private
            || headers.contains_key(SET_COOKIE)
            || headers.contains_key(CONTENT_RANGE)
            || vary::names(headers).any(|name| name == "*")
        {
            return None;
        }
        let for_all = control.public || control.must_revalidate || control.s_maxage.is_some();
        if asked.contains_key(AUTHORIZATION) && !for_all {
            return None;
        }
        let lifetime = match control.no_cache {
            true => Duration::ZERO,
            false => lifetime(headers, &control, now)?,
        };
        let can_be_validated = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
        if lifetime.is_zero() && !can_be_validated {
            return None;
        }
        let varies = vary::names(headers).map(|name| {
            let name = HeaderName::try_from(name).ok()?;
            let said = said(asked, &name);
            Some((name, said))
        });
        let varies = varies.collect::<Option<Vec<_>>>()?;
        let mut headers = headers.clone();
        let age = age_of(&headers, now);
        headers.remove(AGE);
        Some(Self {
            status: answer.status(),
            headers,
            control,
            varies,
            lifetime,
            age,
            since: now.instant,
        })
    }

    /// The same answer, as a 304 with these headers says that it is now (RFC 9111, section 4.3.4).
    /// `None` when it may not be kept any more.
    pub(super) fn freshened(&self, fresh: &HeaderMap, now: Now) -> Option<Self> {
        let mut answer = Response::new(());
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.clone_from(&self.headers);
        for name in fresh.keys() {
            if [
                CONTENT_LENGTH,
                CONTENT_ENCODING,
                CONTENT_TYPE,
                CONTENT_RANGE,
            ]
            .contains(name)
            {
                continue;
            }
            headers.remove(name);
            for value in fresh.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let head = Self::of(&HeaderMap::new(), &answer, now)?;
        Some(Self {
            varies: self.varies.clone(),
            ..head
        })
    }

    /// The length of its content, if it says so.
    pub(super) fn length(&self) -> Option<u64> {
        let length = self.headers.get(CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    }

    /// Whether it answers a request with these headers too.
    pub(super) fn suits(&self, asked: &HeaderMap) -> bool {
        let mut varies = self.varies.iter();
        varies.all(|(name, before)| said(asked, name) == *before)
    }

    pub(super) fn age_at(&self, now: Instant) -> Duration {
        self.age + now.saturating_duration_since(self.since)
    }

    /// Whether it may be used for a request that says `asked`, with nobody being asked.
    pub(super) fn is_good(&self, asked: &CacheControl, now: Instant) -> bool {
        let age = self.age_at(now);
        if asked.no_cache || asked.max_age.is_some_and(|most| age > most) {
            return false;
        }
        let needed = age.saturating_add(asked.min_fresh.unwrap_or_default());
        match self.lifetime.checked_sub(needed) {
            Some(left) if !left.is_zero() => true,
            _ => {
                let stale = needed.saturating_sub(self.lifetime);
                self.may_be_stale() && asked.max_stale.is_some_and(|most| stale <= most)
            }
        }
    }

    /// Whether it may be used, though it is stale, because there is no better one to be had
    /// (RFC 5861, section 4). `allowed` is how long it may be stale where it does not say so.
    pub(super) fn is_good_in_need(&self, allowed: Option<Duration>, now: Instant) -> bool {
        let stale = self.age_at(now).saturating_sub(self.lifetime);
        let allowed = self.control.stale_if_error.or(allowed);
        self.may_be_stale() && allowed.is_some_and(|most| stale <= most)
    }

    fn may_be_stale(&self) -> bool {
        let CacheControl {
            must_revalidate,
            proxy_revalidate,
            no_cache,
            s_maxage,
            ..
        } = &self.control;
        !must_revalidate && !proxy_revalidate && !no_cache && s_maxage.is_none()
    }

    /// The entity tag and the date by which it is asked whether it has changed.
    pub(super) fn validators(&self) -> [Option<&HeaderValue>; 2] {
        [self.headers.get(ETAG), self.headers.get(LAST_MODIFIED)]
    }

    /// How much memory it takes, with a body of so many bytes, under this key.
    pub(super) fn cost(&self, key: &str, body: usize) -> usize {
        let fields = self.headers.iter();
        let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 32);
        let varies = self.varies.iter();
        let varies = varies
            .map(|(name, value)| name.as_str().len() + value.as_ref().map_or(0, Vec::len) + 64);
        ENTRY + 2 * key.len() + fields.sum::<usize>() + varies.sum::<usize>() + body
    }
}

impl Stored {
    /// The answer, with its age.
    pub(super) fn answer(&self, now: Instant) -> Response<Body> {
        let mut answer = Response::new(Body::from(self.body.clone()));
        *answer.status_mut() = self.head.status;
        let headers = answer.headers_mut();
        headers.clone_from(&self.head.headers);
        headers.insert(AGE, HeaderValue::from(self.head.age_at(now).as_secs()));
        answer
    }

    pub(super) fn cost(&self, key: &str) -> usize {
        self.head.cost(key, self.body.len())
    }
}

/// Final answers that stand for what was asked for, and no part of it.
fn may_be_kept(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 302 | 307 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// How long it is fresh (RFC 9111, section 4.2.1). `None` when it does not say.
fn lifetime(headers: &HeaderMap, control: &CacheControl, now: Now) -> Option<Duration> {
    if let Some(age) = control.s_maxage.or(control.max_age) {
        return Some(age);
    }
    let expires = headers.get(EXPIRES)?;
    // What is no date is in the past (section 5.3); so is one of several.
    let one = headers.get_all(EXPIRES).iter().nth(1).is_none();
    let expires = date(expires).filter(|_| one);
    let made = headers.get(DATE).and_then(date).unwrap_or(now.date);
    Some(expires.map_or(Duration::ZERO, |expires| {
        expires.duration_since(made).unwrap_or_default()
    }))
}

/// How old it was when it came (RFC 9111, section 4.2.3).
fn age_of(headers: &HeaderMap, now: Now) -> Duration {
    let said = headers.get(AGE).and_then(|age| age.to_str().ok());
    let said = said.and_then(|age| age.parse::<u32>().ok()).unwrap_or(0);
    let made = headers.get(DATE).and_then(date).unwrap_or(now.date);
    let apparent = now.date.duration_since(made).unwrap_or_default();
    apparent.max(Duration::from_secs(said.into()))
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// All that the lines of this field say, as one.
fn said(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines = headers.get_all(name).iter();
    let lines: Vec<_> = lines.map(|line| line.as_bytes().trim_ascii()).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}
