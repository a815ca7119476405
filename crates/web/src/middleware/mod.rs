//! Middleware: what stands between a [`Site`](crate::Site) and its handlers.
//!
//! Each is a [`tower_layer::Layer`] over any [`tower_service::Service`] from `Request<Body>` to
//! `Response`, so they go together with those of `tower` and `tower-http`, and with one another, in
//! any order that makes sense. None needs a task or a box of its own: over a handler that answers
//! at once, a stack of them answers at once. Those that need time are given a reactor, and run on
//! its clock.
//!
//! | layer | what it does |
//! |---|---|
//! | [`TrustedProxiesLayer`] | the client, scheme and host that trusted proxies tell of |
//! | [`RequestIdLayer`] | a name for each request, and a `tracing` span around its handler |
//! | [`CatchPanicLayer`] | a panic becomes 500 |
//! | [`SecurityHeadersLayer`] | headers by which browsers protect visitors |
//! | [`CorsLayer`] | which pages of other origins may use this one |
//! | [`RateLimitLayer`] | so many requests of each client in a time, then 429 |
//! | [`ConcurrencyLimitLayer`] | so many requests at once, and a bounded line, then 503 |
//! | [`TimeoutLayer`] | so long for each answer, then 503 or 504 |
//! | [`CompressionLayer`] | answers by gzip, brotli or zstd |
//! | [`CacheLayer`] | answers that are kept in memory, and given again |
//! | [`EntityTagLayer`] | entity tags, and 304 by them |
//! | [`BodyLimitLayer`] | another limit on request bodies than the site's, then 413 |
//! | [`DecompressionLayer`] | request bodies that come compressed |
//!
//! # The order
//!
//! The first layer of a
//! [`ServiceBuilder`](https://docs.rs/tower/latest/tower/struct.ServiceBuilder.html) is the
//! outermost: it sees the request first and the answer last. The order of the table is one that
//! works:
//!
//! - Who asks must be known before anything is counted or logged by it.
//! - What a layer answers by itself (a panic's 500, the 503 of a limit) gets a name, protecting
//!   headers and CORS headers when these stand outside of it.
//! - A preflight of CORS should be counted against no limit.
//! - Time in the line of the concurrency limit counts against a timeout that stands outside of it.
//! - What is compressed is kept by nobody here: the cache inside of the compression has one copy
//!   for all clients. If compressing costs more than memory does, the cache stands outside, and
//!   keeps a copy for each `Accept-Encoding`.
//! - The body limit outside of the decompression bounds what comes from the network; the
//!   decompression has a bound of its own for what that comes to.
//!
//! ```
//! use http::{Request, Response};
//! use ropewalk_core::testing::MemoryReactor;
//! use ropewalk_core::{ReactorNet, ReactorTime};
//! use ropewalk_web::middleware::{
//!     CatchPanicLayer, CompressionLayer, RateLimitLayer, RequestIdLayer, SecurityHeadersLayer,
//!     TimeoutLayer, TrustedProxiesLayer,
//! };
//! use ropewalk_web::{Body, Site, handler_fn};
//! use std::{rc::Rc, time::Duration};
//! use tower::ServiceBuilder;
//!
//! // Or a `Reactor`, and `Rc::new(reactor.handle())` for its time.
//! let reactor = MemoryReactor::new();
//! let time: Rc<dyn ReactorTime> = reactor.handle();
//! let service = ServiceBuilder::new()
//!     .layer(TrustedProxiesLayer::x_forwarded(["10.0.0.0/8".parse()?]).with_proto())
//!     .layer(RequestIdLayer::new("web1-"))
//!     .layer(CatchPanicLayer::new())
//!     .layer(SecurityHeadersLayer::new())
//!     .layer(RateLimitLayer::new(time.clone(), 100, Duration::from_secs(10)))
//!     .layer(TimeoutLayer::new(time, Duration::from_secs(30)))
//!     .layer(CompressionLayer::new())
//!     .service(handler_fn(|_: Request<Body>| Response::new(Body::from("Hello, World!"))));
//! reactor.listen(&"tcp:80".parse()?, Rc::new(Site::new(service)))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The access log
//!
//! It is the site's own, and needs no layer: it sees what was really sent, and requests that no
//! service was called for. What layers and handlers know (the client behind proxies, the user, the
//! name of the request) they put into the answer's extensions, as
//! [`AccessLogFields`](crate::AccessLogFields).
//!
//! # What is not here
//!
//! To set, add or remove a header, to map requests, to validate: `tower-http` has layers for these,
//! which work as they are. Files that lie compressed beside their originals are
//! [`FileService::precompressed`](crate::FileService::precompressed)'s.

mod alarm;
mod answering;
mod body_limit;
mod cache;
mod cache_control;
mod catch_panic;
#[cfg(feature = "compression")]
mod compression;
mod concurrency_limit;
mod cors;
#[cfg(feature = "compression")]
mod decompression;
mod entity_tag;
mod forwarded;
#[cfg(feature = "compression")]
mod permit;
mod rate_limit;
mod request_id;
mod security_headers;
mod slots;
mod timeout;
mod trusted_proxies;
mod vary;

pub use answering::{Answering, Finish};
pub use body_limit::{BodyLimit, BodyLimitLayer};
pub use cache::{Cache, CacheFuture, CacheLayer};
pub use cache_control::CacheControl;
pub use catch_panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer};
#[cfg(feature = "compression")]
pub use compression::{Compression, CompressionLayer, CompressionLevel};
pub use concurrency_limit::{ConcurrencyLimit, ConcurrencyLimitFuture, ConcurrencyLimitLayer};
pub use cors::{Cors, CorsLayer};
#[cfg(feature = "compression")]
pub use decompression::{Decompression, DecompressionLayer};
pub use entity_tag::{EntityTag, EntityTagLayer};
pub use forwarded::ForwardedElement;
pub use rate_limit::{RateLimit, RateLimitLayer};
pub use request_id::{RequestId, RequestIdLayer, SetRequestId};
pub use security_headers::{SecurityHeaders, SecurityHeadersLayer};
pub use timeout::{Timeout, TimeoutFuture, TimeoutLayer};
pub use trusted_proxies::{ThroughProxy, TrustedProxies, TrustedProxiesLayer};
