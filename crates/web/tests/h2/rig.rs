//! A site in memory, and a client that sends frames by hand.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Failure, Protocol, Transport};
use ropewalk_web::{Body, BoxError, HandlerFn, Site, handler_fn};
use tower_service::Service;

pub(crate) use super::frames::*;

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    closed: bool,
    lost: Option<Failure>,
}

/// A client that knows frames and nothing else.
pub(crate) struct Client {
    pub(crate) reactor: MemoryReactor,
    pub(crate) connection: Connection,
    seen: Rc<RefCell<Seen>>,
}

struct Recorder(Rc<RefCell<Seen>>);

impl Protocol for Recorder {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().bytes.extend_from_slice(data);
    }

    /// It is the server that drains.
    fn drain(&mut self, _: &mut Transport) {}

    fn read_closed(&mut self, _: &mut Transport) {
        self.0.borrow_mut().closed = true;
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.borrow_mut().lost = Some(reason);
    }
}

impl Client {
    /// Has sent nothing.
    pub(crate) fn bare(site: Rc<dyn Factory>) -> Self {
        let reactor = MemoryReactor::new();
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let recorder = Rc::clone(&seen);
        reactor.listen(&"tcp:80".parse().unwrap(), site).unwrap();
        let made: Rc<Cell<Option<Connection>>> = Rc::default();
        let connection = Rc::clone(&made);
        let deferred = reactor
            .connect(
                &"tcp:192.0.2.1:80".parse().unwrap(),
                Rc::new(move |_: &Address| Recorder(Rc::clone(&recorder))),
            )
            .add_callback(move |connection: Connection| made.set(Some(connection)));
        reactor.run();
        assert!(deferred.is_fired());
        let connection = connection.take().unwrap();
        Self {
            reactor,
            connection,
            seen,
        }
    }

    /// Has sent the preface and acknowledged the settings.
    pub(crate) fn new(site: Rc<dyn Factory>) -> Self {
        Self::with_settings(site, &[])
    }

    pub(crate) fn with_settings(site: Rc<dyn Factory>, values: &[(u16, u32)]) -> Self {
        let client = Self::bare(site);
        client.send(PREFACE).send(settings(values));
        let frames = client.received();
        assert_eq!(frames[0].kind, SETTINGS, "{frames:?}");
        client.send(settings_ack());
        client
    }

    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> &Self {
        self.connection.write(bytes.as_ref());
        self.reactor.run();
        self
    }

    pub(crate) fn advance(&self, by: Duration) -> &Self {
        self.reactor.advance(by);
        self.reactor.run();
        self
    }

    /// The frames that came since the last call.
    pub(crate) fn received(&self) -> Vec<Frame> {
        let bytes = std::mem::take(&mut self.seen.borrow_mut().bytes);
        parse(&bytes)
    }

    /// As [`received`](Self::received), those of `stream` alone.
    pub(crate) fn of_stream(&self, stream: u32) -> Vec<Frame> {
        let mut frames = self.received();
        frames.retain(|frame| frame.stream == stream);
        frames
    }

    /// The status and the content of the answer on `stream`, which must be whole.
    #[track_caller]
    pub(crate) fn answer(&self, stream: u32) -> (u16, String) {
        let frames = self.of_stream(stream);
        let last = frames.last().expect("an answer");
        assert_eq!(last.flags & END_STREAM, END_STREAM, "{frames:?}");
        (frames[0].status(), content(&frames))
    }

    /// The connection must have been ended with this code.
    #[track_caller]
    pub(crate) fn assert_goaway(&self, code: u32) -> Frame {
        let frames = self.received();
        let goaway = frames.iter().find(|frame| frame.kind == GOAWAY);
        let goaway = goaway.unwrap_or_else(|| panic!("no GOAWAY: {frames:?}"));
        assert_eq!(goaway.code(), code, "{frames:?}");
        assert!(self.is_closed(), "it goes on");
        goaway.clone()
    }

    /// The stream must have been reset with this code, and the connection must go on.
    #[track_caller]
    pub(crate) fn assert_reset(&self, stream: u32, code: u32) {
        let frames = self.received();
        let reset = frames.iter().find(|frame| frame.kind == RST_STREAM);
        let reset = reset.unwrap_or_else(|| panic!("no RST_STREAM: {frames:?}"));
        assert_eq!((reset.stream, reset.code()), (stream, code), "{frames:?}");
        self.assert_alive();
    }

    #[track_caller]
    pub(crate) fn assert_alive(&self) {
        self.send(ping(b"are you "));
        let frames = self.received();
        let pong = frames
            .iter()
            .any(|frame| frame.kind == PING && frame.flags == ACK);
        assert!(pong && !self.is_closed(), "it is gone: {frames:?}");
    }

    /// Whether the server has closed its side, or the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        let seen = self.seen.borrow();
        seen.closed || seen.lost.is_some()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.seen.borrow().lost.is_some()
    }
}

pub(crate) fn content(frames: &[Frame]) -> String {
    let data = frames.iter().filter(|frame| frame.kind == DATA);
    let bytes: Vec<u8> = data.flat_map(|frame| frame.payload.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

/// Answers with the method and the path, `/echo` with what it was sent, and `/large` with a MiB.
pub(crate) fn mirror() -> Rc<dyn Factory> {
    Rc::new(mirror_site())
}

pub(crate) fn mirror_site() -> Site<HandlerFn<impl Fn(Request<Body>) -> Response<Body>>> {
    Site::new(handler_fn(|request: Request<Body>| {
        let text = format!("{} {}", request.method(), request.uri().path());
        Response::new(match request.uri().path() {
            "/echo" => request.into_body(),
            "/large" => Body::from(vec![b'x'; 1024 * 1024]),
            _ => Body::from(text),
        })
    }))
}

/// A service of an `async` function.
pub(crate) fn handler<F, A>(handler: F) -> AsyncHandler<F>
where
    F: Fn(Request<Body>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, BoxError>> + 'static,
{
    AsyncHandler(Rc::new(handler))
}

/// A site of an `async` handler.
pub(crate) fn site_async<F, A>(serve: F) -> Rc<dyn Factory>
where
    F: Fn(Request<Body>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, BoxError>> + 'static,
{
    Rc::new(Site::new(handler(serve)))
}

pub(crate) struct AsyncHandler<F>(Rc<F>);

impl<F> Clone for AsyncHandler<F> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<F, A> Service<Request<Body>> for AsyncHandler<F>
where
    F: Fn(Request<Body>) -> A,
    A: Future<Output = Result<Response<Body>, BoxError>> + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin((self.0)(request))
    }
}

/// Something that a handler waits for, and a test lets happen.
#[derive(Clone, Default)]
pub(crate) struct Signal(Rc<(Cell<bool>, RefCell<Vec<Waker>>)>);

impl Signal {
    pub(crate) fn give(&self) {
        self.0.0.set(true);
        for waker in self.0.1.take() {
            waker.wake();
        }
    }

    pub(crate) async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if self.0.0.get() {
                return Poll::Ready(());
            }
            self.0.1.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Counts its drops.
#[derive(Clone, Default)]
pub(crate) struct Drops(pub(crate) Rc<Cell<u32>>);

pub(crate) struct CountDrop(Rc<Cell<u32>>);

impl Drops {
    pub(crate) fn token(&self) -> CountDrop {
        CountDrop(Rc::clone(&self.0))
    }
}

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// A body of frames that a test gives one by one.
#[derive(Clone, Default)]
pub(crate) struct Frames(std::sync::Arc<std::sync::Mutex<FramesState>>);

#[derive(Default)]
struct FramesState {
    frames: std::collections::VecDeque<Result<http_body::Frame<Bytes>, BoxError>>,
    ended: bool,
    waker: Option<Waker>,
}

impl Frames {
    fn change(&self, change: impl FnOnce(&mut FramesState)) {
        let mut state = self.0.lock().unwrap();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn push(&self, frame: http_body::Frame<Bytes>) {
        self.change(|state| state.frames.push_back(Ok(frame)));
    }

    pub(crate) fn fail(&self) {
        self.change(|state| state.frames.push_back(Err("it broke".into())));
    }

    pub(crate) fn data(&self, data: impl Into<Bytes>) {
        self.push(http_body::Frame::data(data.into()));
    }

    pub(crate) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// How many frames nobody has taken.
    pub(crate) fn left(&self) -> usize {
        self.0.lock().unwrap().frames.len()
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let mut state = self.0.lock().unwrap();
        if let Some(frame) = state.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
