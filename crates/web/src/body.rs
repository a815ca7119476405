//! What a request or a response carries.

use std::any::Any;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Frame, SizeHint};
use ropewalk_core::{FileRegion, Segment};

use crate::h1::RequestError;
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
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
}

/// Segments in order. A single one takes no allocation.
#[derive(Default)]
pub(crate) enum Segments {
    #[default]
    None,
    One(Segment),
    Many(VecDeque<Segment>),
}

/// Any error, as the `tower` ecosystem passes it on.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a received body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// It is longer than the limit. Answered with 413 if the handler passes the error on.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The peer went away, or was too slow.
    Disconnected,
    /// Its coding is malformed.
    Malformed(RequestError),
}

impl Body {
    /// No content.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The content of any other body, sent as it comes.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            kind: Kind::Stream(Box::pin(IntoBoxError(Box::pin(body)))),
        }
    }

    /// The length in bytes, where it is known.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match &self.kind {
            Kind::Segments(segments) => Some(segments.len()),
            Kind::Received(_, None) => Some(0),
            Kind::Received(_, Some(received)) => received.lock().remaining(),
            Kind::Stream(stream) => stream.size_hint().exact(),
        }
    }

    /// Whether it is known to have no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Sets how many bytes of a received body may come, instead of
    /// [`Limits::body`](crate::h1::Limits::body). To be called before the body is read.
    pub fn set_limit(&mut self, bytes: u64) {
        if let Kind::Received(_, Some(received)) = &self.kind {
            received.lock().limit = bytes;
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

impl Segments {
    /// Bytes in all.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::One(segment) => segment.len(),
            Self::Many(segments) => segments.iter().map(Segment::len).sum(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(segments) => segments.is_empty(),
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<Segment> {
        match self {
            Self::Many(segments) => segments.pop_front(),
            _ => match std::mem::take(self) {
                Self::One(segment) => Some(segment),
                _ => None,
            },
        }
    }

    pub(crate) fn push_front(&mut self, segment: Segment) {
        match self {
            Self::None => *self = Self::One(segment),
            Self::Many(segments) => segments.push_front(segment),
            Self::One(_) => {
                if let Self::One(second) = std::mem::take(self) {
                    *self = Self::Many([segment, second].into());
                }
            }
        }
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
            Kind::Received(_, Some(received)) => received.poll_frame(cx),
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
            Kind::Received(_, Some(received)) => received.lock().is_finished(),
            _ => self.is_empty(),
        }
    }
}

/// For those who read a body of segments as a stream: a region of a file is read in pieces.
fn next_segment(segments: &mut Segments) -> Option<std::io::Result<Bytes>> {
    use std::os::unix::fs::FileExt;
    let next = std::iter::from_fn(|| segments.pop_front()).find(|segment| !segment.is_empty())?;
    match next {
        Segment::Bytes(bytes) => Some(Ok(bytes)),
        Segment::File(mut region) => {
            let mut piece = vec![0; region.len.min(BODY_BUFFER as u64) as usize];
            if let Err(error) = region.file.read_exact_at(&mut piece, region.offset) {
                *segments = Segments::default();
                return Some(Err(error));
            }
            region.offset += piece.len() as u64;
            region.len -= piece.len() as u64;
            if region.len > 0 {
                segments.push_front(Segment::File(region));
            }
            Some(Ok(piece.into()))
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

/// The end of a received body that its reader holds.
pub(crate) struct Received {
    shared: Arc<Mutex<Incoming>>,
}

/// The end of a received body that the connection holds.
pub(crate) struct BodySender {
    shared: Arc<Mutex<Incoming>>,
}

struct Incoming {
    chunks: VecDeque<Bytes>,
    buffered: usize,
    trailers: Option<HeaderMap>,
    /// How it ended; `None` while more may come.
    end: Option<Result<(), BodyError>>,
    /// The length that the head declared, if it did, and what has come of it.
    declared: Option<u64>,
    received: u64,
    /// Bytes that the reader has taken.
    taken: u64,
    limit: u64,
    /// The reader has asked for it at least once.
    wanted: bool,
    /// The reader has dropped it.
    dropped: bool,
    reader: Option<Waker>,
    /// Whoever tells the connection that there is room again.
    watcher: Option<Waker>,
}

/// A received body: the end for its reader, and the end for the connection.
pub(crate) fn incoming(declared: Option<u64>, limit: u64) -> (BodySender, Received) {
    let shared = Arc::new(Mutex::new(Incoming {
        chunks: VecDeque::new(),
        buffered: 0,
        trailers: None,
        end: None,
        declared,
        received: 0,
        taken: 0,
        limit,
        wanted: false,
        dropped: false,
        reader: None,
        watcher: None,
    }));
    let reader = Arc::clone(&shared);
    (BodySender { shared }, Received { shared: reader })
}

impl Incoming {
    fn remaining(&self) -> Option<u64> {
        self.declared
            .map(|declared| declared.saturating_sub(self.taken))
    }

    fn is_finished(&self) -> bool {
        self.chunks.is_empty() && self.end == Some(Ok(())) && self.trailers.is_none()
    }

    fn over_limit(&self) -> bool {
        self.received > self.limit || self.declared.is_some_and(|length| length > self.limit)
    }
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, Incoming> {
        lock(&self.shared)
    }

    fn poll_frame(&self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut incoming = self.lock();
        if incoming.over_limit() {
            let limit = incoming.limit;
            incoming.chunks.clear();
            incoming.buffered = 0;
            incoming.end = Some(Err(BodyError::TooLarge { limit }));
        }
        let mut watcher = None;
        if !incoming.wanted {
            incoming.wanted = true;
            watcher = incoming.watcher.take();
        }
        let mut old = None;
        let frame = if let Some(chunk) = incoming.chunks.pop_front() {
            incoming.buffered -= chunk.len();
            incoming.taken += chunk.len() as u64;
            if incoming.chunks.is_empty() {
                watcher = watcher.or_else(|| incoming.watcher.take());
            }
            Poll::Ready(Some(Ok(Frame::data(chunk))))
        } else {
            match incoming.end {
                Some(Ok(())) => {
                    let trailers = incoming.trailers.take();
                    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
                None => {
                    old = incoming.reader.replace(cx.waker().clone());
                    Poll::Pending
                }
            }
        };
        drop(incoming);
        wake(watcher);
        drop(old);
        frame
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let mut incoming = self.lock();
        incoming.dropped = true;
        incoming.chunks.clear();
        incoming.buffered = 0;
        let watcher = incoming.watcher.take();
        drop(incoming);
        wake(watcher);
    }
}

impl BodySender {
    pub(crate) fn another(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Incoming> {
        lock(&self.shared)
    }

    /// More of it has come.
    pub(crate) fn push(&self, data: &[u8]) {
        let mut incoming = self.lock();
        incoming.received += data.len() as u64;
        if !incoming.dropped && !incoming.over_limit() {
            incoming.chunks.push_back(Bytes::copy_from_slice(data));
            incoming.buffered += data.len();
        }
        let reader = incoming.reader.take();
        drop(incoming);
        wake(reader);
    }

    /// It is complete, or will never be.
    pub(crate) fn finish(&self, end: Result<Option<HeaderMap>, BodyError>) {
        let mut incoming = self.lock();
        if incoming.end.is_none() {
            incoming.end = Some(end.map(|trailers| incoming.trailers = trailers));
        }
        let reader = incoming.reader.take();
        drop(incoming);
        wake(reader);
    }

    /// Whether the peer is to be slowed down.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().buffered >= BODY_BUFFER
    }

    /// Whether the reader has asked for it, and it may come.
    pub(crate) fn is_wanted(&self) -> bool {
        let incoming = self.lock();
        incoming.wanted && !incoming.dropped && incoming.end.is_none()
    }

    /// Whether more of it may come now: its reader has asked for it and there is room, or has
    /// dropped it.
    pub(crate) fn calls_for_more(&self) -> bool {
        let incoming = self.lock();
        let called = incoming.dropped || incoming.wanted && incoming.buffered < BODY_BUFFER;
        called && incoming.end.is_none()
    }

    /// Whether nobody will read what is still to come.
    pub(crate) fn is_dropped(&self) -> bool {
        self.lock().dropped
    }

    /// Wakes `watcher` once, when the reader asks for the body, has emptied it, or drops it.
    pub(crate) fn watch(&self, watcher: &Waker) {
        let old = self.lock().watcher.replace(watcher.clone());
        drop(old);
    }
}

fn lock(shared: &Mutex<Incoming>) -> MutexGuard<'_, Incoming> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To be called without the lock: a waker may run whatever it likes.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the request body is longer than the {limit} bytes allowed"
                )
            }
            Self::Disconnected => f.write_str("the peer went away before the body was complete"),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl Error for BodyError {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts the wakes at which the body was not locked.
    struct Looker {
        shared: Arc<Mutex<Incoming>>,
        unlocked: AtomicUsize,
    }

    impl Wake for Looker {
        fn wake(self: Arc<Self>) {
            let free = self.shared.try_lock().is_ok();
            self.unlocked
                .fetch_add(usize::from(free), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_body_that_was_thrown_away_is_not_full() {
        let (sender, received) = incoming(None, u64::MAX);
        sender.push(&[0; BODY_BUFFER]);
        assert!(sender.is_full());
        received.lock().limit = 10;
        let read = received.poll_frame(&Context::from_waker(Waker::noop()));
        assert!(matches!(read, Poll::Ready(Some(Err(_)))));
        assert!(!sender.is_full());
    }

    #[test]
    fn whoever_is_woken_may_use_the_body_at_once() {
        let (sender, received) = incoming(None, 100);
        let looker = Arc::new(Looker {
            shared: Arc::clone(&sender.shared),
            unlocked: AtomicUsize::new(0),
        });
        let waker = Waker::from(Arc::clone(&looker));
        let cx = Context::from_waker(&waker);

        sender.watch(&waker);
        assert!(received.poll_frame(&cx).is_pending()); // Asks for it, and
        sender.push(b"data"); // wakes the reader,
        sender.watch(&waker);
        assert!(received.poll_frame(&cx).is_ready()); // empties it,
        assert!(received.poll_frame(&cx).is_pending());
        sender.finish(Ok(None)); // wakes the reader,
        sender.watch(&waker);
        drop(received); // and drops it.

        assert_eq!(looker.unlocked.load(Ordering::Relaxed), 5);
    }
}
