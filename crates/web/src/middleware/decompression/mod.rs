//! Request bodies that come compressed.

mod decoder;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, RETRY_AFTER,
};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use tower_layer::Layer;
use tower_service::Service;

use self::decoder::{Decoded, Decoder};
use super::answering::{Answering, refusal};
use super::body_limit::AsItIs;
use super::permit::Permit;
use crate::content_coding::ContentCoding;
use crate::h1::RequestError;
use crate::{Body, BodyError, BoxError, RequestInfo};

/// So much is decoded at a time.
const STEP: usize = 32 * 1024;

/// After so many steps in a row others get their turn.
const STEPS: u32 = 8;

const BODIES: usize = 64;

/// Decodes request bodies that come with `Content-Encoding: gzip`, `br` or `zstd`, for handlers
/// that expect none.
///
/// What a body decodes to is bounded, in bytes: a few of them can stand for gigabytes. One that is
/// longer gives [`BodyError::TooLarge`], which the site answers with 413 when the handler passes it
/// on; one that is malformed or cut off, [`BodyError::Malformed`], with 400. How much may come from
/// the network is the site's own limit still. At most 64 bodies are decoded at once, each with up
/// to 16 MiB of memory (brotli; 8 MiB for zstd); one more is answered with 503 and `Retry-After`.
///
/// A coding that is not known, and more than one at a time, are answered with 415 and an
/// `Accept-Encoding` that names the known ones (RFC 9110, section 15.5.16). The request that the
/// service within sees has neither `Content-Encoding` nor `Content-Length`.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::middleware::DecompressionLayer;
/// use ropewalk_web::{Body, handler_fn};
/// use tower_layer::Layer;
///
/// let upload = handler_fn(|_: Request<Body>| Response::new(Body::from("thank you")));
/// let service = DecompressionLayer::new(10 * 1024 * 1024).layer(upload);
/// ```
#[derive(Clone, Debug)]
pub struct DecompressionLayer {
    limit: u64,
    bodies: usize,
    at_work: Arc<AtomicUsize>,
}

impl DecompressionLayer {
    /// Bodies that decode to so many bytes at most.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self {
            limit: bytes,
            bodies: BODIES,
            at_work: Arc::default(),
        }
    }

    /// How many bodies may be decoded at once: 64 unless told.
    #[must_use]
    pub fn bodies(mut self, at_most: usize) -> Self {
        self.bodies = at_most;
        self
    }

    /// Makes the body of `request` one that is decoded as it is read.
    fn decode(&self, mut request: Request<Body>) -> Result<Request<Body>, Refused> {
        let coding = match coding(request.headers()) {
            None => return Ok(request),
            Some(Err(refused)) => return Err(refused),
            Some(Ok(coding)) => coding,
        };
        let Some(permit) = Permit::take(&self.at_work, self.bodies) else {
            return Err(Refused::Busy);
        };
        let decoder = Decoder::new(coding).map_err(|error| {
            tracing::error!(%error, %coding, "a request body cannot be decoded");
            Refused::Busy
        })?;
        request.headers_mut().remove(CONTENT_ENCODING);
        request.headers_mut().remove(CONTENT_LENGTH);
        let limit = self.limit;
        Ok(replace_body(request, |body| {
            Body::new(Decoding {
                body,
                decoder: Some((decoder, permit)),
                limit,
                left: limit,
                steps: 0,
                trailers: None,
            })
        }))
    }
}

/// Puts another body into `request`, which keeps what is known of it.
fn replace_body(mut request: Request<Body>, wrap: impl FnOnce(Body) -> Body) -> Request<Body> {
    if let Some(info) = RequestInfo::of(&request).cloned() {
        request.extensions_mut().insert(info);
    }
    request.map(wrap)
}

/// Why a request is not let through.
enum Refused {
    /// Its coding is not known, or it has several.
    Unknown,
    /// Too many bodies are decoded.
    Busy,
}

/// The coding of the body, if it has one.
fn coding(headers: &HeaderMap) -> Option<Result<ContentCoding, Refused>> {
    let lines = headers.get_all(CONTENT_ENCODING).iter();
    let names = lines.flat_map(|line| line.to_str().unwrap_or("?").split(','));
    let mut names = names
        .map(|name| name.trim_matches([' ', '\t']))
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    let coding = ContentCoding::from_name(names.next()?);
    Some(match (coding, names.next()) {
        (Some(coding), None) => Ok(coding),
        _ => Err(Refused::Unknown),
    })
}

fn unknown_coding() -> Response<Body> {
    let mut answer = refusal(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the coding of the request body is none of those in Accept-Encoding, or more than one",
    );
    let known = HeaderValue::from_static("gzip, br, zstd");
    answer.headers_mut().insert(ACCEPT_ENCODING, known);
    answer
}

fn busy() -> Response<Body> {
    let mut answer = refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many request bodies are being decoded; try again later, or send it uncoded",
    );
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

impl<S> Layer<S> for DecompressionLayer {
    type Service = Decompression<S>;

    fn layer(&self, inner: S) -> Decompression<S> {
        Decompression {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`DecompressionLayer`].
#[derive(Clone, Debug)]
pub struct Decompression<S> {
    inner: S,
    layer: DecompressionLayer,
}

impl<S, B> Service<Request<Body>> for Decompression<S>
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
        match self.layer.decode(request) {
            Ok(request) => Answering::within(self.inner.call(request), AsItIs),
            Err(Refused::Unknown) => Answering::own(unknown_coding()),
            Err(Refused::Busy) => Answering::own(busy()),
        }
    }
}

/// A body that is decoded as it is read.
struct Decoding {
    body: Body,
    /// `None` when it has come to its end.
    decoder: Option<(Decoder, Permit)>,
    limit: u64,
    left: u64,
    steps: u32,
    trailers: Option<HeaderMap>,
}

impl Decoding {
    /// Decodes a piece of what has come. `None` if more has to come first, or nothing more will.
    fn step(&mut self) -> Option<Result<Bytes, BodyError>> {
        let (decoder, _) = self.decoder.as_mut()?;
        let mut out = vec![0; STEP];
        match decoder.decode(&mut out) {
            Ok(Decoded::NeedsMore) => None,
            Ok(Decoded::End) => {
                self.decoder = None;
                None
            }
            Ok(Decoded::Bytes(count)) => {
                let Some(left) = self.left.checked_sub(count as u64) else {
                    let limit = self.limit;
                    return Some(Err(BodyError::TooLarge { limit }));
                };
                self.left = left;
                out.truncate(count);
                Some(Ok(out.into()))
            }
            Err(error) => {
                tracing::debug!(%error, "a request body is malformed");
                Some(Err(BodyError::Malformed(MALFORMED)))
            }
        }
    }

    /// Reads more of the coded body, and takes it to the decoder. `true` at the end.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        let frame = match ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx)) {
            Some(frame) => frame?,
            None => {
                let Some((decoder, _)) = &mut self.decoder else {
                    return Poll::Ready(Ok(true));
                };
                decoder.end();
                return Poll::Ready(Ok(false));
            }
        };
        match (frame.into_data(), &mut self.decoder) {
            (Ok(data), Some((decoder, _))) => decoder.feed(data),
            (Ok(data), None) if data.is_empty() => {}
            // Something follows the end.
            (Ok(_), None) => return Poll::Ready(Err(BodyError::Malformed(MALFORMED).into())),
            (Err(frame), _) => self.trailers = frame.into_trailers().ok(),
        }
        Poll::Ready(Ok(false))
    }

    /// Nothing more of it is to be had, whoever asks again.
    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.decoder = None;
        self.body = Body::empty();
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for Decoding {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if this.steps == STEPS {
                this.steps = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.steps += 1;
            match this.step() {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(error)) => return this.fail(error.into()),
                None => {}
            }
            match this.read(cx) {
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Ok(true)) => {
                    let trailers = this.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Poll::Ready(Err(error)) => return this.fail(error),
                Poll::Pending => {
                    this.steps = 0;
                    return Poll::Pending;
                }
            }
        }
    }
}

const MALFORMED: RequestError = RequestError::new(
    StatusCode::BAD_REQUEST,
    "the request body is not in the coding that Content-Encoding says",
);
