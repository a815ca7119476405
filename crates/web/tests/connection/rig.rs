//! A server in memory, and a client that sends bytes and keeps what it gets.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Failure, Protocol, Transport};
use ropewalk_web::h1::Limits;
use ropewalk_web::{Body, BoxError, Site, handler_fn};
use tower_service::Service;

/// What a client has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) bytes: Vec<u8>,
    pub(crate) closed: bool,
    pub(crate) lost: Option<Failure>,
}

/// A client of a site.
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
    pub(crate) fn new(site: Rc<dyn Factory>) -> Self {
        Self::on(MemoryReactor::new(), site)
    }

    pub(crate) fn on(reactor: MemoryReactor, site: Rc<dyn Factory>) -> Self {
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let recorder = Rc::clone(&seen);
        reactor.listen(&"tcp:80".parse().unwrap(), site).unwrap();
        let connection: Rc<RefCell<Option<Connection>>> = Rc::default();
        let made = Rc::clone(&connection);
        let deferred = reactor
            .connect(
                &"tcp:192.0.2.1:80".parse().unwrap(),
                Rc::new(move |_: &Address| Recorder(Rc::clone(&recorder))),
            )
            .add_callback(move |connection: Connection| *made.borrow_mut() = Some(connection));
        reactor.run();
        assert!(deferred.is_fired());
        let connection = connection.take().unwrap();
        Self {
            reactor,
            connection,
            seen,
        }
    }

    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> &Self {
        self.connection.write(bytes.as_ref());
        self.reactor.run();
        self
    }

    pub(crate) fn advance(&self, by: Duration) -> &Self {
        self.reactor.advance(by);
        self
    }

    /// All that came since the last call.
    pub(crate) fn received(&self) -> String {
        let bytes = std::mem::take(&mut self.seen.borrow_mut().bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the server has closed its side, or the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        let seen = self.seen.borrow();
        seen.closed || seen.lost.is_some()
    }

    pub(crate) fn lost(&self) -> Option<Failure> {
        self.seen.borrow().lost.clone()
    }
}

/// Answers with the method, the path and the length of what it was not asked to read.
pub(crate) fn mirror() -> Rc<dyn Factory> {
    mirror_with(Limits::default())
}

pub(crate) fn mirror_with(limits: Limits) -> Rc<dyn Factory> {
    let handler = handler_fn(|request: Request<Body>| {
        let text = format!("{} {}", request.method(), request.uri());
        Response::new(match request.uri().path() {
            "/echo" => request.into_body(),
            _ => Body::from(text),
        })
    });
    Rc::new(Site::with_limits(handler, limits))
}

/// A site of an `async` handler.
pub(crate) fn site_async<F, A>(handler: F) -> Rc<dyn Factory>
where
    F: Fn(Request<Body>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, BoxError>> + 'static,
{
    Rc::new(Site::new(AsyncHandler::new(handler)))
}

pub(crate) struct AsyncHandler<F>(Rc<F>);

impl<F> AsyncHandler<F> {
    pub(crate) fn new(handler: F) -> Self {
        Self(Rc::new(handler))
    }
}

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
pub(crate) struct Signal(Rc<RefCell<(bool, Option<std::task::Waker>)>>);

impl Signal {
    pub(crate) fn give(&self) {
        self.0.borrow_mut().0 = true;
        self.wake();
    }

    /// Lets whoever waits look again, and wait on.
    pub(crate) fn wake(&self) {
        let waker = self.0.borrow_mut().1.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) async fn wait(&self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

/// What `site` answers to `script`, however it is cut: the answers without their dates.
pub(crate) fn answers(site: impl Fn() -> Rc<dyn Factory>, script: &str) -> String {
    let fed = |sizes: &[usize]| {
        let client = Client::new(site());
        let mut rest = script;
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            client.send(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        without_dates(&client.received())
    };
    let whole = fed(&[usize::MAX]);
    assert_eq!(fed(&[1]), whole, "byte by byte");
    let sizes = proptest::collection::vec(1..100_usize, 1..20);
    proptest!(ProptestConfig::with_cases(64), |(sizes in sizes)| {
        prop_assert_eq!(fed(&sizes), &whole[..]);
    });
    whole
}

pub(crate) fn without_dates(answers: &str) -> String {
    let lines = answers.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

/// The statuses of all answers in `answers`.
pub(crate) fn statuses(answers: &str) -> Vec<&str> {
    let starts = answers.split("HTTP/1.").skip(1);
    let statuses = starts.filter_map(|start| start.get(2..5));
    statuses
        .filter(|status| status.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

/// A body of frames that a test gives one by one.
#[derive(Clone, Default)]
pub(crate) struct Frames(Rc<RefCell<FramesState>>);

#[derive(Default)]
struct FramesState {
    frames: std::collections::VecDeque<http_body::Frame<Bytes>>,
    ended: bool,
    taken: usize,
    waker: Option<std::task::Waker>,
}

impl Frames {
    pub(crate) fn push(&self, frame: http_body::Frame<Bytes>) {
        let mut state = self.0.borrow_mut();
        state.frames.push_back(frame);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn data(&self, data: &'static str) {
        self.push(http_body::Frame::data(Bytes::from_static(data.as_bytes())));
    }

    pub(crate) fn end(&self) {
        let mut state = self.0.borrow_mut();
        state.ended = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// How many frames the server has taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.borrow().taken
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let mut state = self.0.borrow_mut();
        if let Some(frame) = state.frames.pop_front() {
            state.taken += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
