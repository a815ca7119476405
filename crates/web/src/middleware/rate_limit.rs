//! A limit on how many requests one client may make in a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use ropewalk_core::{Address, ReactorTime};
use sha2::{Digest as _, Sha256};
use tower_layer::Layer;
use tower_service::Service;

use super::answering::{Answering, refusal};
use super::body_limit::AsItIs;
use crate::{Body, BoxError, RequestInfo};

const CLIENTS: usize = 10_000;

/// Lets each client make so many requests in a time; one more is answered with 429 and a
/// `Retry-After` (RFC 6585, section 4), and the service is not called.
///
/// A client is an IPv4 address, or an IPv6 network of 64 bits, of the [`RequestInfo`]: behind
/// proxies that is the client's own when [`TrustedProxiesLayer`](super::TrustedProxiesLayer) stands
/// outside of this layer. One without an address, as the peer of a Unix socket, is not held to any
/// rate. [`RateLimitLayer::key`] tells clients apart by something else.
///
/// Each has a token bucket that holds as many requests as the rate allows in its time, unless
/// [told otherwise](Self::burst). 10,000 clients are known at once; those whose buckets are full
/// again are forgotten, and when there is no such one, whose bucket will be full soonest.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::auth::Authenticated;
/// use ropewalk_web::middleware::RateLimitLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use std::time::Duration;
/// use tower_layer::Layer;
///
/// let reactor = MemoryReactor::new();
/// // Within an `HttpAuth`, which knows whose credentials are right; and of all others the address.
/// let by_user = RateLimitLayer::new(reactor.handle(), 60, Duration::from_secs(60))
///     .burst(10)
///     .key(|request| match Authenticated::of(request) {
///         Some(user) => Some([b"user ", user.user().as_bytes()].concat()),
///         None => RateLimitLayer::by_address(request),
///     });
/// let service = by_user.layer(handler_fn(|_: Request<Body>| Response::new(Body::from("hello"))));
/// ```
#[derive(Clone)]
pub struct RateLimitLayer {
    reactor: Rc<dyn ReactorTime>,
    key: Rc<KeyOf>,
    buckets: Rc<RefCell<Buckets>>,
}

/// What tells the client of a request from others.
type KeyOf = dyn Fn(&Request<Body>) -> Option<Vec<u8>>;

impl RateLimitLayer {
    /// So many requests (at least one) in such a time. What the time is, `reactor` knows.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorTime>, requests: u32, per: Duration) -> Self {
        let requests = requests.max(1);
        let buckets = Buckets {
            interval: per / requests,
            burst: requests,
            most: CLIENTS,
            full_at: BTreeMap::new(),
            by_time: BTreeSet::new(),
        };
        Self {
            reactor,
            key: Rc::new(Self::by_address),
            buckets: Rc::new(RefCell::new(buckets)),
        }
    }

    /// How many requests (at least one) may come at once after a rest.
    #[must_use]
    pub fn burst(self, requests: u32) -> Self {
        self.buckets.borrow_mut().burst = requests.max(1);
        self
    }

    /// How many clients (at least one) are known at once.
    #[must_use]
    pub fn clients(self, at_most: usize) -> Self {
        self.buckets.borrow_mut().most = at_most.max(1);
        self
    }

    /// The key by which clients are told apart unless told otherwise: the IPv4 address, or the network of 64
    /// bits.
    #[must_use]
    pub fn by_address(request: &Request<Body>) -> Option<Vec<u8>> {
        address_key(&RequestInfo::of(request)?.peer)
    }

    /// Tells clients apart by what `key` makes of a request. A request without a key is let
    /// through. A key that the client chooses freely, as credentials that nobody has checked, bounds
    /// nobody. Of a key a digest is kept, however long it is.
    #[must_use]
    pub fn key(mut self, key: impl Fn(&Request<Body>) -> Option<Vec<u8>> + 'static) -> Self {
        self.key = Rc::new(key);
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buckets = self.buckets.borrow();
        f.debug_struct("RateLimitLayer")
            .field("interval", &buckets.interval)
            .field("burst", &buckets.burst)
            .field("clients", &buckets.full_at.len())
            .finish_non_exhaustive()
    }
}

/// See [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl<S, B> Service<Request<Body>> for RateLimit<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, AsItIs>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let RateLimitLayer {
            reactor,
            key,
            buckets,
        } = &self.layer;
        if let Some(key) = key(&request) {
            let taken = buckets.borrow_mut().take(&key, reactor.now());
            if let Err(wait) = taken {
                return Answering::own(too_many(wait));
            }
        }
        Answering::within(self.inner.call(request), AsItIs)
    }
}

fn too_many(wait: Duration) -> Response<Body> {
    let mut answer = refusal(
        StatusCode::TOO_MANY_REQUESTS,
        "too many requests of this client; wait as long as Retry-After says",
    );
    let seconds = wait.as_nanos().div_ceil(1_000_000_000);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn address_key(peer: &Address) -> Option<Vec<u8>> {
    Some(match peer.socket_addr()?.ip().to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        // A host has a network of 64 bits, and may use any address of it.
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    })
}

/// What is kept of a key: as little of a long one as of a short one.
type Digest = [u8; 16];

fn digest(key: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&Sha256::digest(key)[..16]);
    digest
}

/// Token buckets by key. A bucket is told by the time at which it will be full; one that is full is
/// not kept.
struct Buckets {
    /// The time in which one token comes.
    interval: Duration,
    burst: u32,
    most: usize,
    full_at: BTreeMap<Digest, Instant>,
    by_time: BTreeSet<(Instant, Digest)>,
}

impl Buckets {
    /// Takes a token of `key`, or says when there will be one.
    fn take(&mut self, key: &[u8], now: Instant) -> Result<(), Duration> {
        let key = digest(key);
        let old = self.full_at.get(&key).copied();
        let full_at = old.map_or(now, |at| at.max(now));
        let filled = full_at.saturating_duration_since(now) + self.interval;
        let whole = self.interval.saturating_mul(self.burst);
        if filled > whole {
            return Err(filled - whole);
        }
        match old {
            Some(old) => {
                self.by_time.remove(&(old, key));
            }
            None => self.make_room(now),
        }
        let full_at = now + filled;
        self.by_time.insert((full_at, key));
        self.full_at.insert(key, full_at);
        Ok(())
    }

    /// Forgets those whose buckets are full, and, if that is not enough, one more.
    fn make_room(&mut self, now: Instant) {
        while let Some((full_at, _)) = self.by_time.first() {
            if *full_at > now && self.full_at.len() < self.most {
                return;
            }
            if let Some((_, key)) = self.by_time.pop_first() {
                self.full_at.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(interval: u64, burst: u32, most: usize) -> Buckets {
        Buckets {
            interval: Duration::from_millis(interval),
            burst,
            most,
            full_at: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        let key = |text: &str| address_key(&Address::Tcp(text.parse().unwrap()));
        assert_eq!(key("192.0.2.1:1"), key("192.0.2.1:2"));
        assert_eq!(key("192.0.2.1:1"), key("[::ffff:192.0.2.1]:2"));
        assert_ne!(key("192.0.2.1:1"), key("192.0.2.2:1"));
        assert_eq!(key("[2001:db8::1]:1"), key("[2001:db8::ff:1:2:3]:1"));
        assert_ne!(key("[2001:db8::1]:1"), key("[2001:db8:0:1::1]:1"));
        assert_eq!(address_key(&Address::Unix(None)), None);
    }

    #[test]
    fn whose_bucket_is_full_soonest_is_forgotten_first() {
        let (mut buckets, now) = (buckets(1000, 10, 2), Instant::now());
        for key in [b"a", b"a", b"b"] {
            buckets.take(key, now).unwrap();
        }
        buckets.take(b"c", now).unwrap();
        let known = [b"a", b"b", b"c"].map(|key| buckets.full_at.contains_key(&digest(key)));
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn a_long_key_takes_no_more_memory_than_a_short_one() {
        let now = Instant::now();
        let taken = |length: usize| {
            let mut buckets = buckets(1000, 10, 2000);
            let held = allocation_counter::measure(|| {
                for number in 0..1000_u32 {
                    let mut key = vec![b'x'; length];
                    key.extend(number.to_be_bytes());
                    buckets.take(&key, now).unwrap();
                }
            });
            assert_eq!(buckets.full_at.len(), 1000);
            held.bytes_current
        };
        let (short, long) = (taken(0), taken(10_000));
        assert!(long < 2 * short, "{short} and {long} bytes");
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_is_let_through_than_the_burst_and_the_rate(
            interval in 1..1000_u64,
            burst in 1..20_u32,
            waits in proptest::collection::vec(0..2000_u64, 1..100),
        ) {
            let (mut buckets, mut now) = (buckets(interval, burst, 10), Instant::now());
            let mut passed = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                match buckets.take(b"key", now) {
                    Ok(()) => passed.push(now),
                    Err(wait) => {
                        let (then, before) = (now + wait, now + wait - Duration::from_nanos(1));
                        let full_at = buckets.full_at[&digest(b"key")];
                        let level_at = |at| full_at.saturating_duration_since(at)
                            + buckets.interval;
                        let whole = buckets.interval * burst;
                        prop_assert!(level_at(then) <= whole && level_at(before) > whole);
                    }
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (count, until) in passed[first..].iter().enumerate() {
                    let time = (*until - *from).as_millis() as u64;
                    prop_assert!((count as u64) < u64::from(burst) + time / interval);
                }
            }
        }

        #[test]
        fn memory_is_bounded_by_the_number_of_clients(
            takes in proptest::collection::vec((0..50_u8, 0..300_u64), 0..300),
        ) {
            let (mut buckets, mut now) = (buckets(100, 3, 7), Instant::now());
            for (key, wait) in takes {
                now += Duration::from_millis(wait);
                let _ = buckets.take(&[key], now);
                prop_assert!(buckets.full_at.len() <= 7);
                prop_assert_eq!(buckets.full_at.len(), buckets.by_time.len());
            }
        }
    }
}
