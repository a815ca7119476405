//! Answers that are kept in memory, and used again.

mod lead;
mod service;
mod store;
mod stored;

pub use service::{Cache, CacheFuture};

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{
    CACHE_CONTROL, HOST, HeaderMap, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Uri};
use ropewalk_core::ReactorTime;
use tower_layer::Layer;

use self::lead::{Keeping, Lead, Shared, lock};
use self::store::{Flight, Store};
use self::stored::{Head, Now, Stored};
use super::answering::refusal;
use super::cache_control::CacheControl;
use super::entity_tag::not_modified;
use crate::files::conditional::{Validators, Verdict, judge};
use crate::{Body, OriginalUri, RequestInfo};

/// A longer body is not kept.
const LONGEST: usize = 1024 * 1024;

/// Keeps answers in memory, and answers with them again: a shared cache as RFC 9111 has it.
///
/// An answer to a GET is kept when it says for how long it is good (`Cache-Control: max-age` or
/// `s-maxage`, or `Expires`), or that it is to be asked for each time and how (`no-cache`, with an
/// `ETag` or a `Last-Modified`). It is not when it says `no-store`, `private` or `Vary: *`, sets a
/// cookie, is a part, or is longer than 1 MiB; nor, if the request had an `Authorization`, unless
/// it says `public`, `s-maxage` or `must-revalidate`. Requests are told apart by scheme, host, path
/// and query, as the client wrote them and as they came here, and by what the answer's `Vary` names.
///
/// An answer that is kept answers GET and HEAD, with its `Age`, and conditional requests with 304.
/// When it is stale, the service within is asked whether it has changed, by its entity tag or its
/// date. While an answer is fetched, others who want the same wait for it (up to 1,000; they stop
/// waiting when it turns out that it cannot be kept, and of the last 1,000 such targets nobody
/// waits again; and when it is a stream, which is kept when its client has read all of it). A request
/// may say `no-cache`, `no-store`, `max-age`, `min-fresh`, `max-stale` and `only-if-cached` (504, when
/// nothing is kept). Requests for ranges, and those with `If-Match` or
/// `If-Unmodified-Since`, go past it. A request of another method that succeeds ends what is kept
/// for its target.
///
/// What is kept takes no more than so many bytes; what was not used for longest goes first. Streams
/// that are being read take no more than as many again; of others nothing is kept. It
/// belongs to the services that one layer makes, and their clones: each loop has its own.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::middleware::CacheLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use std::time::Duration;
/// use tower_layer::Layer;
///
/// let report = handler_fn(|_: Request<Body>| {
///     let answer = Response::builder().header("cache-control", "max-age=10");
///     answer.body(Body::from("what took a while to compute")).unwrap()
/// });
/// let reactor = MemoryReactor::new();
/// let layer = CacheLayer::new(reactor.handle(), 64 * 1024 * 1024)
///     .stale_if_error(Duration::from_secs(3600));
/// let service = layer.layer(report);
/// ```
#[derive(Clone)]
pub struct CacheLayer {
    reactor: Rc<dyn ReactorTime>,
    store: Shared,
    longest: usize,
    stale_if_error: Option<Duration>,
}

impl CacheLayer {
    /// Keeps up to so many bytes, by the clocks of `reactor`.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorTime>, bytes: usize) -> Self {
        Self {
            reactor,
            store: Arc::new(Mutex::new(Store::new(bytes))),
            longest: LONGEST,
            stale_if_error: None,
        }
    }

    /// The longest body that is kept: 1 MiB unless told.
    #[must_use]
    pub fn longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// When the service within fails, or answers 500, 502, 503 or 504, an answer that has been
    /// stale for no longer than this is given in its place, where it does not say otherwise
    /// (`stale-if-error`, `must-revalidate`; RFC 5861). None unless told.
    #[must_use]
    pub fn stale_if_error(mut self, at_most: Duration) -> Self {
        self.stale_if_error = Some(at_most);
        self
    }

    /// How many bytes are kept now, by its own estimate.
    #[must_use]
    pub fn held(&self) -> usize {
        lock(&self.store).held()
    }

    fn now(&self) -> Now {
        Now {
            instant: self.reactor.now(),
            date: self.reactor.wall_clock(),
        }
    }

    /// What is to be done about `request`. `alone` if it is not to wait for anybody.
    fn decide(&self, request: &mut Request<Body>, alone: bool) -> Decision {
        let method = request.method().clone();
        let key = target(request);
        if method != Method::GET && method != Method::HEAD {
            return match method.is_safe() {
                true => Decision::Pass(After::Nothing),
                false => Decision::Pass(After::Invalidate(key)),
            };
        }
        let headers = request.headers();
        let asked = control_of(headers);
        let past = [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE];
        if past.iter().any(|name| headers.contains_key(name)) || !request.body().is_empty() {
            return Decision::Pass(After::Nothing);
        }
        let mut store = lock(&self.store);
        let kept = store.find(&key, headers);
        let now = self.reactor.now();
        if let Some(kept) = &kept
            && kept.head.is_good(&asked, now)
        {
            return Decision::Answer(answer_from(kept, request, now));
        }
        if asked.only_if_cached {
            return Decision::Answer(refusal(
                StatusCode::GATEWAY_TIMEOUT,
                "only what is kept was asked for, and nothing is",
            ));
        }
        if asked.no_store || method == Method::HEAD {
            return Decision::Pass(After::Nothing);
        }
        let alone = alone || store.is_passed(&key);
        let flight = match store.fly(&key) {
            Ok(flight) => Some(flight),
            Err(flight) if !alone => match flight.join() {
                Some(number) => return Decision::Wait(Waiter { flight, number }),
                None => None,
            },
            Err(_) => None,
        };
        drop(store);
        let lead = Lead::new(Arc::clone(&self.store), key, headers.clone(), flight);
        let conditions = take_conditions(request.headers_mut());
        if let Some(kept) = &kept {
            let [tag, modified] = kept.head.validators();
            for (name, value) in [(IF_NONE_MATCH, tag), (IF_MODIFIED_SINCE, modified)] {
                if let Some(value) = value {
                    request.headers_mut().insert(name, value.clone());
                }
            }
        }
        Decision::Pass(After::Keep(Box::new(Fetch {
            lead,
            kept,
            conditions,
        })))
    }

    /// What is answered when the service within has answered so.
    fn arrived<E>(
        &self,
        after: After,
        result: Result<Response<Body>, E>,
    ) -> Result<Response<Body>, E> {
        match after {
            After::Nothing => result,
            After::Invalidate(key) => result.inspect(|answer| {
                if answer.status().is_success() || answer.status().is_redirection() {
                    lock(&self.store).remove(&key);
                }
            }),
            After::Keep(fetch) => self.fetched(*fetch, result),
        }
    }

    fn fetched<E>(
        &self,
        fetch: Fetch,
        result: Result<Response<Body>, E>,
    ) -> Result<Response<Body>, E> {
        let Fetch {
            lead,
            kept,
            conditions,
        } = fetch;
        let now = self.now();
        let failed = match &result {
            Ok(answer) => matches!(answer.status().as_u16(), 500 | 502 | 503 | 504),
            Err(_) => true,
        };
        if failed
            && let Some(kept) = &kept
            && kept.head.is_good_in_need(self.stale_if_error, now.instant)
        {
            tracing::debug!("a stale answer is given, because there is no better one");
            lead.done();
            return Ok(judged(kept.answer(now.instant), &conditions));
        }
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                lead.done();
                return Err(error);
            }
        };
        if answer.status() == StatusCode::NOT_MODIFIED
            && let Some(kept) = kept
        {
            let Some(head) = kept.head.freshened(answer.headers(), now) else {
                lead.forget();
                return Ok(judged(kept.answer(now.instant), &conditions));
            };
            let stored = Stored {
                head: head.clone(),
                body: kept.body.clone(),
            };
            lead.keep(head, stored.body.clone());
            return Ok(judged(stored.answer(now.instant), &conditions));
        }
        Ok(self.keep(lead, answer, &conditions, now))
    }

    /// Keeps what may be kept of a new answer.
    fn keep(
        &self,
        mut lead: Lead,
        answer: Response<Body>,
        conditions: &HeaderMap,
        now: Now,
    ) -> Response<Body> {
        let Some(head) = Head::of(lead.asked(), &answer, now) else {
            match answer.status().is_server_error() {
                // What was kept may be right again.
                true => lead.done(),
                false => lead.forget(),
            }
            return judged(answer, conditions);
        };
        if let Some(bytes) = answer.body().bytes(self.longest) {
            lead.keep(head, bytes);
            return judged(answer, conditions);
        }
        if answer.body().is_there() {
            // It is too long, or in a file.
            lead.forget();
            return judged(answer, conditions);
        }
        lead.land();
        answer.map(|body| Body::new(Keeping::new(body, lead, head, self.longest)))
    }
}

/// What tells one target from another.
fn target(request: &Request<Body>) -> Arc<str> {
    let uri = request.uri();
    let secure = RequestInfo::of(request).is_some_and(|info| info.secure);
    let scheme = if secure { "https" } else { "http" };
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let host = String::from_utf8_lossy(host.unwrap_or_default());
    let host = uri
        .authority()
        .map_or(&*host, |authority| authority.as_str());
    let path = |uri: &Uri| {
        uri.path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned()
    };
    // Behind a router two targets may have one path; behind a rewrite one target may have two.
    let within = match request.extensions().get::<OriginalUri>() {
        Some(_) => format!(" {}", path(uri)),
        None => String::new(),
    };
    let path = path(OriginalUri::of(request));
    format!("{scheme}://{}{path}{within}", host.to_ascii_lowercase()).into()
}

/// The directives of a request; `Pragma: no-cache` is one where there are no others (RFC 9111,
/// section 5.4).
fn control_of(headers: &HeaderMap) -> CacheControl {
    let mut control = CacheControl::of(headers);
    if !headers.contains_key(CACHE_CONTROL) {
        let pragma = headers.get(PRAGMA).and_then(|value| value.to_str().ok());
        control.no_cache |= pragma.is_some_and(|value| value.eq_ignore_ascii_case("no-cache"));
    }
    control
}

/// Takes out what would keep the answer from being whole.
fn take_conditions(headers: &mut HeaderMap) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
        for value in headers.get_all(&name) {
            conditions.append(&name, value.clone());
        }
        headers.remove(&name);
    }
    conditions
}

/// The answer, or the news that the client has it.
fn judged(answer: Response<Body>, conditions: &HeaderMap) -> Response<Body> {
    if answer.status() != StatusCode::OK || conditions.is_empty() {
        return answer;
    }
    match judge(conditions, &Validators::of(answer.headers())) {
        Verdict::NotModified => not_modified(answer),
        Verdict::Proceed | Verdict::Failed => answer,
    }
}

fn answer_from(kept: &Stored, request: &Request<Body>, now: std::time::Instant) -> Response<Body> {
    let mut answer = judged(kept.answer(now), request.headers());
    if request.method() == Method::HEAD {
        let length = HeaderValue::from(kept.body.len());
        if answer.status() != StatusCode::NOT_MODIFIED {
            answer
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length);
        }
        *answer.body_mut() = Body::empty();
    }
    answer
}

enum Decision {
    Answer(Response<Body>),
    /// The service within is called, and then this is done.
    Pass(After),
    Wait(Waiter),
}

/// What is done with the answer of the service within.
#[derive(Debug)]
enum After {
    Nothing,
    /// What is kept of this target is not right any more.
    Invalidate(Arc<str>),
    Keep(Box<Fetch>),
}

/// An answer that is fetched to be kept.
#[derive(Debug)]
struct Fetch {
    lead: Lead,
    /// What was kept before, and is stale.
    kept: Option<Arc<Stored>>,
    /// Those of the request.
    conditions: HeaderMap,
}

/// One who waits for what somebody else fetches.
#[derive(Debug)]
struct Waiter {
    flight: Arc<Flight>,
    number: u64,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.flight.leave(self.number);
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}
