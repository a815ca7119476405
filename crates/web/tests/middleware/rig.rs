//! A site in memory, and what it answers.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Failure, Protocol, ReactorCore, Transport};
use ropewalk_web::{Body, BoxError, Site};
use tower_service::Service;

/// A site, and the reactor that it is on.
pub(crate) struct World {
    pub(crate) reactor: MemoryReactor,
}

/// A request, and what came of it so far.
pub(crate) struct Asked {
    pub(crate) connection: Connection,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    lost: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

struct Recorder(Rc<RefCell<Seen>>);

impl Protocol for Recorder {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().bytes.extend_from_slice(data);
    }

    fn connection_lost(&mut self, _: Failure) {
        self.0.borrow_mut().lost = true;
    }
}

impl World {
    /// A site of the service that `make` makes.
    pub(crate) fn new<S, B>(make: impl FnOnce(Rc<dyn ReactorCore>) -> S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let reactor = MemoryReactor::new();
        let site = Site::new(make(reactor.handle()));
        reactor
            .listen(&"tcp:80".parse().unwrap(), Rc::new(site))
            .unwrap();
        Self { reactor }
    }

    /// Sends these bytes over a connection of their own.
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> Asked {
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let (recorder, made) = (Rc::clone(&seen), Rc::new(RefCell::new(None)));
        let to_fill = Rc::clone(&made);
        let connected = self.reactor.connect(
            &"tcp:192.0.2.1:80".parse().unwrap(),
            Rc::new(move |_: &Address| Recorder(Rc::clone(&recorder))),
        );
        let connected =
            connected.add_callback(move |made: Connection| *to_fill.borrow_mut() = Some(made));
        self.reactor.run();
        assert!(connected.is_fired());
        let connection: Connection = made.take().unwrap();
        let asked = Asked { connection, seen };
        self.send_more(&asked, bytes);
        asked
    }

    pub(crate) fn send_more(&self, asked: &Asked, bytes: impl AsRef<[u8]>) {
        asked.connection.write(bytes.as_ref());
        self.reactor.run();
    }

    /// Asks for `path` with these lines in the head.
    pub(crate) fn ask(&self, method: &str, path: &str, lines: &[&str]) -> Asked {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n"
        ))
    }

    pub(crate) fn get(&self, path: &str, lines: &[&str]) -> Answer {
        self.ask("GET", path, lines).answer()
    }

    pub(crate) fn head(&self, path: &str, lines: &[&str]) -> Answer {
        self.ask("HEAD", path, lines).head()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.reactor.advance(by);
    }
}

impl Asked {
    /// All that came so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.seen.borrow().bytes.clone()
    }

    /// The whole answer.
    pub(crate) fn answer(&self) -> Answer {
        self.try_answer().expect("it is answered, to its end")
    }

    /// The answer, if it is there and complete.
    pub(crate) fn try_answer(&self) -> Option<Answer> {
        let mut answer = self.try_head()?;
        answer.body = self.body(&answer)?;
        Some(answer)
    }

    /// The head of the answer, with all the content that came so far.
    pub(crate) fn head(&self) -> Answer {
        self.try_head().expect("it is answered")
    }

    fn try_head(&self) -> Option<Answer> {
        let bytes = self.bytes();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value).unwrap(),
            );
        }
        let rest = bytes[end + 4..].to_vec();
        let chunked = headers.contains_key("transfer-encoding");
        let body = if chunked { dechunk(&rest).0 } else { rest };
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    fn body(&self, head: &Answer) -> Option<Vec<u8>> {
        let length = head.headers.get("content-length");
        let length = length.map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
        let bytes = self.bytes();
        let complete = match length {
            _ if matches!(head.status, 204 | 304) => true,
            Some(length) => head.body.len() == length,
            None if head.headers.contains_key("transfer-encoding") => {
                bytes.ends_with(b"\r\n0\r\n\r\n")
            }
            None => self.seen.borrow().lost,
        };
        complete.then(|| head.body.clone())
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

/// The data of the chunks that are there, and whether that is all.
fn dechunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let chunk = &bytes[end + 2..];
        if size == 0 || chunk.len() < size + 2 {
            return (data, size == 0);
        }
        data.extend_from_slice(&chunk[..size]);
        bytes = &chunk[size + 2..];
    }
    (data, false)
}

/// A handler that answers after a while.
pub(crate) fn handler_async<F, A>(handler: F) -> AsyncHandler<F>
where
    F: Fn(Request<Body>) -> A,
    A: Future<Output = Response<Body>> + 'static,
{
    AsyncHandler(Rc::new(handler))
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
    A: Future<Output = Response<Body>> + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// A handler that passes on what it cannot do.
pub(crate) fn handler_fallible<F, A>(handler: F) -> FallibleHandler<F>
where
    F: Fn(Request<Body>) -> A,
    A: Future<Output = Result<Response<Body>, BoxError>> + 'static,
{
    FallibleHandler(Rc::new(handler))
}

pub(crate) struct FallibleHandler<F>(Rc<F>);

impl<F> Clone for FallibleHandler<F> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<F, A> Service<Request<Body>> for FallibleHandler<F>
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

/// Something that handlers wait for, and a test lets happen.
#[derive(Clone, Default)]
pub(crate) struct Signal(Rc<RefCell<(bool, Vec<Waker>)>>);

impl Signal {
    pub(crate) fn give(&self) {
        let wakers = {
            let mut state = self.0.borrow_mut();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn take(&self) {
        self.0.borrow_mut().0 = false;
    }

    pub(crate) async fn wait(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What a decoder of other people's makes of `coded`.
pub(crate) fn decode(coding: Option<&str>, coded: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut out = Vec::new();
    match coding {
        None => out.extend_from_slice(coded),
        Some("gzip") => {
            flate2::read::GzDecoder::new(coded)
                .read_to_end(&mut out)
                .unwrap();
        }
        Some("br") => {
            brotli::Decompressor::new(coded, 4096)
                .read_to_end(&mut out)
                .unwrap();
        }
        Some("zstd") => {
            zstd::stream::copy_decode(coded, &mut out).unwrap();
        }
        Some(other) => panic!("{other}"),
    }
    out
}
