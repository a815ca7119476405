//! Compression of answers, on their way to those who take it.

mod body;
mod eligible;
mod encoder;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use self::body::Encoded;
use self::encoder::{Encoder, encode};
use super::answering::{Answering, Finish, refusal};
use super::permit::Permit;
use super::vary::add_vary;
use crate::content_coding::{AcceptEncoding, Chosen, ContentCoding};
use crate::{Body, BoxError};

/// What is in memory and no longer than this is coded at once, and keeps a length.
const AT_ONCE: usize = 32 * 1024;

/// A shorter answer is not worth it.
const WORTH: u64 = 256;

const STREAMS: usize = 256;

/// Compresses answers by gzip, brotli or zstd, whichever of them the client takes and likes best
/// ([`AcceptEncoding`]); of those that it likes as well, zstd, brotli, gzip, unless
/// [told](Self::codings).
///
/// What is compressed: content of a type that is worth it (text, JSON, JavaScript, XML, SVG, fonts
/// that are not compressed, WebAssembly and their like), of at least 256 bytes where the length is
/// known. What is not: what has a `Content-Encoding` already, as the files that
/// [`FileService::precompressed`](crate::FileService::precompressed) finds; parts (206,
/// `Content-Range`); what says `Cache-Control: no-transform`; answers without content. An answer
/// that could have been compressed says `Vary: Accept-Encoding`; one that was has a weak entity tag
/// (its bytes are not those that the tag was made for) and no `Content-Length` that was another's.
/// An answer to HEAD has the headers of the GET.
///
/// A stream is compressed as it comes: whenever it has nothing more for the moment, all that it
/// gave is sent, so that server-sent events and slow answers come through at once. 256 streams are
/// compressed at a time, each with 2 MiB of memory at most at the usual level; beyond that they are
/// sent as they are.
///
/// A client that takes neither the content as it is (`identity;q=0`) nor any of our codings gets
/// 406, and the service is not called. One that takes no `identity` gets short answers compressed
/// too; what may not be compressed it gets as it is nevertheless.
///
/// A page that has both a secret and text of an attacker's choice in it tells, by its compressed
/// length, how alike they are (the BREACH attack): do not put such pages behind this layer, or mask
/// the secret.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::middleware::CompressionLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let handler = handler_fn(|_: Request<Body>| {
///     let answer = Response::builder().header("content-type", "text/plain");
///     answer.body(Body::from("rope ".repeat(1000))).unwrap()
/// });
/// let mut service = CompressionLayer::new().layer(handler);
/// let request = Request::get("/").header("accept-encoding", "gzip").body(Body::empty())?;
/// let answer = service.call(request);
/// # let mut answer = std::pin::pin!(answer);
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # let std::task::Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else { panic!() };
/// assert_eq!(answer.headers()["content-encoding"], "gzip");
/// assert!(answer.body().len() < Some(100));
/// # use std::future::Future;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CompressionLayer {
    codings: Arc<[ContentCoding]>,
    level: CompressionLevel,
    worth: u64,
    streams: usize,
    at_work: Arc<AtomicUsize>,
}

/// How much time compression may take for how little is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompressionLevel {
    /// 1 for all.
    Fastest,
    /// gzip 6, brotli 4, zstd 3: for what is made for each request.
    #[default]
    Usual,
    /// gzip 9, brotli 9, zstd 12: several times slower, and with a few times the memory.
    Best,
}

impl CompressionLayer {
    /// All codings, at the usual level.
    #[must_use]
    pub fn new() -> Self {
        use ContentCoding::{Brotli, Gzip, Zstd};
        Self {
            codings: [Zstd, Brotli, Gzip].into(),
            level: CompressionLevel::default(),
            worth: WORTH,
            streams: STREAMS,
            at_work: Arc::default(),
        }
    }

    /// The codings that are used, the one that is liked best first.
    #[must_use]
    pub fn codings(mut self, codings: impl IntoIterator<Item = ContentCoding>) -> Self {
        self.codings = codings.into_iter().collect();
        self
    }

    /// How hard to try.
    #[must_use]
    pub fn level(mut self, level: CompressionLevel) -> Self {
        self.level = level;
        self
    }

    /// Leaves answers as they are that are shorter than so many bytes: 256 unless told.
    #[must_use]
    pub fn worth(mut self, bytes: u64) -> Self {
        self.worth = bytes;
        self
    }

    /// How many streams are compressed at once: 256 unless told.
    #[must_use]
    pub fn streams(mut self, at_most: usize) -> Self {
        self.streams = at_most;
        self
    }
}

impl Default for CompressionLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for CompressionLayer {
    type Service = Compression<S>;

    fn layer(&self, inner: S) -> Compression<S> {
        Compression {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`CompressionLayer`].
#[derive(Clone, Debug)]
pub struct Compression<S> {
    inner: S,
    layer: CompressionLayer,
}

impl<S, B> Service<Request<Body>> for Compression<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, Compress>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let accepted = AcceptEncoding::of(request.headers());
        let coding = match accepted.choose(&self.layer.codings) {
            Chosen::Coded(coding) => Some(coding),
            Chosen::Identity => None,
            Chosen::Nothing => {
                let mut answer = refusal(
                    StatusCode::NOT_ACCEPTABLE,
                    "the client takes content neither as it is nor in a coding of this server",
                );
                add_vary(answer.headers_mut(), "accept-encoding");
                return Answering::own(answer);
            }
        };
        let compress = Compress {
            coding,
            identity: accepted.takes_identity(),
            head: request.method() == Method::HEAD,
            layer: self.layer.clone(),
        };
        Answering::within(self.inner.call(request), compress)
    }
}

/// Compresses an answer, if it is to be.
#[derive(Debug)]
pub struct Compress {
    coding: Option<ContentCoding>,
    /// The client takes content as it is.
    identity: bool,
    head: bool,
    layer: CompressionLayer,
}

impl Finish for Compress {
    fn finish(self, mut answer: Response<Body>) -> Response<Body> {
        if answer.status() == StatusCode::NOT_MODIFIED {
            // It stands for an answer that may have been compressed.
            add_vary(answer.headers_mut(), "accept-encoding");
            if self.coding.is_some() {
                weaken_tag(answer.headers_mut());
            }
            return answer;
        }
        if eligible::is_part(&answer) {
            // As the whole would have it (RFC 9110, section 15.3.7).
            add_vary(answer.headers_mut(), "accept-encoding");
        }
        if !eligible::may_be_coded(&answer) {
            return answer;
        }
        add_vary(answer.headers_mut(), "accept-encoding");
        let worth = match self.identity {
            true => self.layer.worth,
            false => 1,
        };
        match self.coding {
            Some(coding) if eligible::is_worth(&answer, worth, self.head) => {
                self.compress(answer, coding)
            }
            _ => answer,
        }
    }
}

impl Compress {
    fn compress(&self, answer: Response<Body>, coding: ContentCoding) -> Response<Body> {
        let (mut parts, body) = answer.into_parts();
        let compressed = match body.bytes(AT_ONCE) {
            // That of an answer to HEAD, which is not sent.
            Some(bytes) if bytes.is_empty() => Ok(body),
            Some(bytes) => match encode(&bytes, coding, self.layer.level) {
                Ok(coded) if coded.len() < bytes.len() || !self.identity => Ok(Body::from(coded)),
                Ok(_) => Err(body),
                Err(error) => {
                    tracing::error!(%error, %coding, "an answer was not compressed");
                    Err(body)
                }
            },
            None => self.stream(body, coding),
        };
        let body = match compressed {
            Ok(body) => {
                mark_coded(&mut parts.headers, coding);
                body
            }
            Err(body) => body,
        };
        Response::from_parts(parts, body)
    }

    /// A body that is coded as it is sent; as it was, when too many are at work.
    fn stream(&self, body: Body, coding: ContentCoding) -> Result<Body, Body> {
        if self.head {
            return Ok(Body::empty());
        }
        let CompressionLayer {
            at_work, streams, ..
        } = &self.layer;
        let Some(permit) = Permit::take(at_work, *streams) else {
            tracing::debug!(streams, "an answer is not compressed: too many are");
            return Err(body);
        };
        match Encoder::new(coding, self.layer.level) {
            Ok(encoder) => Ok(Body::new(Encoded::new(body, encoder, permit))),
            Err(error) => {
                tracing::error!(%error, %coding, "an answer is not compressed");
                Err(body)
            }
        }
    }
}

/// Says that the content of these headers is now coded.
fn mark_coded(headers: &mut HeaderMap, coding: ContentCoding) {
    headers.insert(CONTENT_ENCODING, coding.header());
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    weaken_tag(headers);
}

/// The bytes are others, and mean the same (RFC 9110, section 8.8.1).
fn weaken_tag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG) else { return };
    if tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(ETAG, weak);
    }
}
