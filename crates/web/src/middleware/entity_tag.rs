//! Entity tags for answers that are all there.

use std::fmt::Write;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, TRANSFER_ENCODING,
};
use http::{Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use tower_layer::Layer;
use tower_service::Service;

use super::answering::{Answering, Finish, refusal};
use super::cache_control::CacheControl;
use crate::files::conditional::{Validators, Verdict, judge};
use crate::{Body, BoxError};

/// What is longer is not hashed: it would hold the loop.
const LONGEST: usize = 256 * 1024;

/// Gives answers a strong entity tag, and answers conditional requests by it.
///
/// It is for 200 answers to GET and HEAD whose bodies are all in memory, up to 256 KiB unless
/// [told](Self::at_most), and do not say `no-store`. Their tag is half of the SHA-256 of the body.
/// An answer that has a tag, or a `Last-Modified`, keeps it. Then the conditions of the request are
/// judged as RFC 9110 has it in section 13: a client that has this very content already gets 304
/// and no body; one whose `If-Match` names other content, 412. The handler runs in any case: what
/// is saved is the network, not the work.
///
/// Outside of it stands compression, which makes the tag weak; so it is the content that is tagged,
/// and not its coding.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use ropewalk_web::middleware::EntityTagLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let handler = handler_fn(|_: Request<Body>| Response::new(Body::from("hello")));
/// let mut service = EntityTagLayer::new().layer(handler);
/// let request = Request::get("/").header("if-none-match", "\"2cf24dba5fb0a30e26e83b2ac5b9e29e\"");
/// let answer = service.call(request.body(Body::empty())?);
/// # let mut answer = std::pin::pin!(answer);
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # let std::task::Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else { panic!() };
/// assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
/// # use std::future::Future;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EntityTagLayer {
    at_most: usize,
}

impl EntityTagLayer {
    /// Tags for what is no longer than 256 KiB.
    #[must_use]
    pub fn new() -> Self {
        Self { at_most: LONGEST }
    }

    /// Tags for what is no longer than so many bytes. To hash a MiB takes some milliseconds, or
    /// less than one with the instructions of newer processors.
    #[must_use]
    pub fn at_most(mut self, bytes: usize) -> Self {
        self.at_most = bytes;
        self
    }
}

impl Default for EntityTagLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for EntityTagLayer {
    type Service = EntityTag<S>;

    fn layer(&self, inner: S) -> EntityTag<S> {
        EntityTag {
            inner,
            at_most: self.at_most,
        }
    }
}

/// See [`EntityTagLayer`].
#[derive(Clone, Debug)]
pub struct EntityTag<S> {
    inner: S,
    at_most: usize,
}

impl<S, B> Service<Request<Body>> for EntityTag<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, Tag>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let head = request.method() == Method::HEAD;
        let conditions = (head || request.method() == Method::GET).then(|| {
            let mut conditions = HeaderMap::new();
            for name in CONDITIONS {
                for value in request.headers().get_all(&name) {
                    conditions.append(&name, value.clone());
                }
            }
            conditions
        });
        let tag = Tag {
            conditions,
            head,
            at_most: self.at_most,
        };
        Answering::within(self.inner.call(request), tag)
    }
}

const CONDITIONS: [HeaderName; 4] = [
    IF_MATCH,
    IF_UNMODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
];

/// Tags an answer, and judges by its tag.
#[derive(Debug)]
pub struct Tag {
    /// `None` where the method has no use for a tag.
    conditions: Option<HeaderMap>,
    head: bool,
    at_most: usize,
}

impl Finish for Tag {
    fn finish(self, mut answer: Response<Body>) -> Response<Body> {
        let Some(conditions) = self.conditions else {
            return answer;
        };
        if answer.status() != StatusCode::OK {
            return answer;
        }
        let headers = answer.headers();
        if !headers.contains_key(ETAG)
            && !CacheControl::of(headers).no_store
            && let Some(bytes) = answer.body().bytes(self.at_most)
            // A handler may leave out what an answer to HEAD does not send.
            && !(self.head && bytes.is_empty())
        {
            answer.headers_mut().insert(ETAG, tag_of(&bytes));
        }
        if conditions.is_empty() {
            return answer;
        }
        match judge(&conditions, &Validators::of(answer.headers())) {
            Verdict::Proceed => answer,
            Verdict::NotModified => not_modified(answer),
            Verdict::Failed => refusal(
                StatusCode::PRECONDITION_FAILED,
                "the content is not what If-Match or If-Unmodified-Since expect",
            ),
        }
    }
}

fn tag_of(bytes: &[u8]) -> HeaderValue {
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in &Sha256::digest(bytes)[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The answer without its content, and what is said of that (RFC 9110, section 15.4.5).
pub(super) fn not_modified(mut answer: Response<Body>) -> Response<Body> {
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    *answer.body_mut() = Body::empty();
    for name in [
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        TRANSFER_ENCODING,
    ] {
        answer.headers_mut().remove(name);
    }
    answer
}
