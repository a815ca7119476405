//! What a request or a response carries.

mod error;
mod incoming;
mod limited;
mod segments;
mod writer;

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use ropewalk_core::{FileRegion, Segment};

pub use error::{BodyError, BoxError};
use incoming::Received;
pub(crate) use incoming::{BodySender, incoming};
use limited::Limited;
pub(crate) use segments::Segments;
use segments::next_segment;
pub use writer::{BodyDropped, BodyWriter};

use crate::request_info::RequestInfo;

/// A received body holds this many bytes before the peer is slowed down.
pub(crate) const BODY_BUFFER: usize = 64 * 1024;

/// The content of a request or a response: bytes, regions of files, or a stream.
///
/// It is a [`http_body::Body`]; a connection sends regions of files without reading them.
///
/// ```
/// use ropewalk_web::Body;
///
/// let body = Body::from("hello");
/// assert_eq!(body.len(), Some(5));
/// assert!(Body::empty().is_empty());
/// ```
#[derive(Default)]
pub struct Body {
    kind: Kind,
}

enum Kind {
    /// All of it is there.
    Segments(Segments),
    /// That of a request, if it has one, with what is known of the request.
    Received(RequestInfo, Option<Received>),
    /// What a [`BodyWriter`] writes.
    Written(Received),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// No content.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The content of any other body, sent as it comes. A `Body` stays what it is.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        let any: &mut dyn Any = &mut body;
        if let Some(own) = any.downcast_mut::<Option<Self>>() {
            return own.take().unwrap_or_default();
        }
        Self {
            kind: body.map_or_else(Kind::default, |body| {
                Kind::Stream(Box::pin(IntoBoxError(Box::pin(body))))
            }),
        }
    }

    /// Content that a program writes while the peer reads, and who writes it. A writer that has no end
    /// of its own is waited for in vain when the program shuts down: let it end when
    /// [`current_connection`](crate::current_connection) is [`draining`](ropewalk_core::Connection::draining).
    ///
    /// ```
    /// use ropewalk_core::testing::MemoryReactor;
    /// use ropewalk_web::Body;
    ///
    /// let (mut writer, body) = Body::channel();
    /// let reactor = MemoryReactor::new();
    /// reactor.spawn(Box::pin(async move {
    ///     for number in 0..1000 {
    ///         // Waits when the peer is slower, and ends when it is gone.
    ///         if writer.send(format!("{number}\n")).await.is_err() {
    ///             return;
    ///         }
    ///     }
    /// }));
    /// let reading = reactor.spawn(Box::pin(async move {
    ///     assert_eq!(body.collect().await.unwrap().len(), 3890);
    /// }));
    /// reactor.run();
    /// assert!(reading.is_finished());
    /// ```
    #[must_use]
    pub fn channel() -> (BodyWriter, Self) {
        let (sender, received) = incoming(None, u64::MAX);
        let kind = Kind::Written(received);
        (BodyWriter::new(sender), Self { kind })
    }

    /// The length in bytes, where it is known.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match &self.kind {
            Kind::Segments(segments) => Some(segments.len()),
            Kind::Received(_, None) => Some(0),
            Kind::Received(_, Some(received)) => received.remaining(),
            Kind::Written(_) => None,
            Kind::Stream(stream) => stream.size_hint().exact(),
        }
    }

    /// Whether it is known to have no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Sets how many bytes can be read; then comes [`BodyError::TooLarge`]. To be called before the body is
    /// read.
    ///
    /// Of a body that comes from the network it takes the place of
    /// [`Limits::body`](crate::h1::Limits::body), and of what was set before. Of one that a layer has put
    /// in its place, such as what it is decoded to, the smallest limit counts.
    pub fn set_limit(&mut self, bytes: u64) {
        match &self.kind {
            Kind::Received(_, None) => {}
            Kind::Received(_, Some(received)) => received.set_limit(bytes),
            _ if self.len().is_some_and(|length| length <= bytes) => {}
            _ => *self = Self::new(Limited::new(std::mem::take(self), bytes)),
        }
    }

    /// Reads all of it into memory. A received body is bounded by its limit.
    ///
    /// # Errors
    /// [`BodyError`] from a received body, otherwise what the stream gave.
    pub async fn collect(mut self) -> Result<Bytes, BoxError> {
        let mut all = Vec::new();
        loop {
            let frame =
                std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut self), cx));
            match frame.await {
                None => return Ok(all.into()),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        all.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    pub(crate) fn received(info: RequestInfo, received: Option<Received>) -> Self {
        Self {
            kind: Kind::Received(info, received),
        }
    }

    pub(crate) fn info(&self) -> Option<&RequestInfo> {
        match &self.kind {
            Kind::Received(info, _) => Some(info),
            _ => None,
        }
    }

    /// Whether all of it is there, in memory or in files.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self.kind, Kind::Segments(_) | Kind::Received(_, None))
    }

    /// All of it, if it is in memory and no longer than this.
    pub(crate) fn bytes(&self, at_most: usize) -> Option<Bytes> {
        match &self.kind {
            Kind::Segments(segments) if segments.len() <= at_most as u64 => segments.bytes(),
            Kind::Received(_, None) => Some(Bytes::new()),
            _ => None,
        }
    }

    /// Takes the content, if it is short: a piece of bytes that is no longer than this, or none.
    #[inline]
    pub(crate) fn take_short(&mut self, at_most: usize) -> Option<Bytes> {
        match &mut self.kind {
            Kind::Segments(Segments::None) | Kind::Received(_, None) => Some(Bytes::new()),
            Kind::Segments(Segments::One(Segment::Bytes(bytes))) if bytes.len() <= at_most => {
                Some(std::mem::take(bytes))
            }
            _ => None,
        }
    }

    /// Takes its segments, if all of it is there.
    pub(crate) fn take_segments(&mut self) -> Option<Segments> {
        match &mut self.kind {
            Kind::Segments(segments) => Some(std::mem::take(segments)),
            Kind::Received(_, None) => Some(Segments::default()),
            _ => None,
        }
    }
}

impl RequestInfo {
    /// What is known of `request`. A [`Site`](crate::Site) puts it into the body, where it costs
    /// nothing; who replaces the body by one of another type, and wants those behind to know, puts
    /// it into the [extensions](Request::extensions), where it is looked for first.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use ropewalk_web::{Body, RequestInfo, Site, handler_fn};
    ///
    /// let site = Site::new(handler_fn(|request: Request<Body>| {
    ///     let peer = RequestInfo::of(&request).map(|info| info.peer.clone());
    ///     Response::new(Body::from(format!("You are {peer:?}")))
    /// }));
    /// ```
    #[must_use]
    pub fn of<B: 'static>(request: &Request<B>) -> Option<&Self> {
        let body: &dyn Any = request.body();
        let in_body = || body.downcast_ref::<Body>()?.info();
        request.extensions().get().or_else(in_body)
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self::Segments(Segments::default())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Segment::Bytes(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<FileRegion> for Body {
    fn from(region: FileRegion) -> Self {
        Segment::File(region).into()
    }
}

impl From<Segment> for Body {
    fn from(segment: Segment) -> Self {
        Self {
            kind: Kind::Segments(Segments::One(segment)),
        }
    }
}

impl From<Vec<Segment>> for Body {
    fn from(segments: Vec<Segment>) -> Self {
        Self {
            kind: Kind::Segments(Segments::Many(segments.into())),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.len()).finish()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Segments(segments) => Poll::Ready(
                next_segment(segments).map(|read| read.map(Frame::data).map_err(Into::into)),
            ),
            Kind::Received(_, None) => Poll::Ready(None),
            Kind::Received(_, Some(received)) | Kind::Written(received) => received.poll_frame(cx),
            Kind::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.kind, self.len()) {
            (Kind::Stream(stream), _) => stream.size_hint(),
            (_, Some(len)) => SizeHint::with_exact(len),
            (_, None) => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::Received(_, Some(received)) | Kind::Written(received) => received.is_finished(),
            _ => self.is_empty(),
        }
    }
}

/// A body with its error boxed. (The inner box makes the pin safe to reach through.)
struct IntoBoxError<B>(Pin<Box<B>>);

impl<B> http_body::Body for IntoBoxError<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0
            .as_mut()
            .poll_frame(cx)
            .map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
