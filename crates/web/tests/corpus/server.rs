//! A server in memory that reads each request whole and notes it, and what a client of it got.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Failure, Protocol, Transport};
use ropewalk_web::{Body, BoxError, Site};
use tower_service::Service;

use super::case::Case;

/// Sent behind a case, it shows where the case ends.
pub(crate) const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// What a handler saw of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Seen {
    pub(crate) fn is_probe(&self) -> bool {
        self.method == "GET" && self.target == "/probe" && self.body.is_empty()
    }
}

/// What a client got, but for the date.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    content: Vec<u8>,
}

/// What came of a stream of bytes.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) requests: Vec<Seen>,
    pub(crate) answers: Vec<Answer>,
    /// How many interim answers stood among them.
    pub(crate) interim: usize,
    pub(crate) closed: bool,
}

impl Outcome {
    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.answers.iter().map(|answer| answer.status).collect()
    }
}

/// A server, and a connection to it.
pub(crate) struct Server {
    reactor: MemoryReactor,
    connection: Connection,
    requests: Rc<RefCell<Vec<Seen>>>,
    received: Rc<RefCell<Received>>,
}

#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    closed: bool,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::noting(MemoryReactor::new())
    }

    /// One to which each byte of `case` comes alone; a few at once, where there are very many.
    pub(crate) fn dripping(case: &Case) -> Self {
        let reactor = MemoryReactor::new();
        reactor.set_split(1 + case.bytes.len() / 40_000);
        Self::noting(reactor)
    }

    fn noting(reactor: MemoryReactor) -> Self {
        let requests: Rc<RefCell<Vec<Seen>>> = Rc::default();
        // (HTTP/2 has its own tests: here its preface is what HTTP/1.1 makes of it.)
        let site = Site::new(Noting(Rc::clone(&requests))).http2(None);
        Self::serving(reactor, Rc::new(site), requests)
    }

    /// One that answers as `site` does, and notes nothing.
    pub(crate) fn of(site: Rc<dyn Factory>) -> Self {
        Self::serving(MemoryReactor::new(), site, Rc::default())
    }

    fn serving(
        reactor: MemoryReactor,
        site: Rc<dyn Factory>,
        requests: Rc<RefCell<Vec<Seen>>>,
    ) -> Self {
        let port = "tcp:80".parse().unwrap();
        reactor.listen(&port, site).unwrap();

        let received: Rc<RefCell<Received>> = Rc::default();
        let client = Rc::clone(&received);
        let made: Rc<RefCell<Option<Connection>>> = Rc::default();
        let keep = Rc::clone(&made);
        let deferred = reactor
            .connect(
                &"tcp:192.0.2.1:80".parse().unwrap(),
                Rc::new(move |_: &Address| Client(Rc::clone(&client))),
            )
            .add_callback(move |connection: Connection| *keep.borrow_mut() = Some(connection));
        reactor.run();
        assert!(deferred.is_fired());
        let connection = made.take().unwrap();
        Self {
            reactor,
            connection,
            requests,
            received,
        }
    }

    pub(crate) fn send(&self, pieces: &[&[u8]]) -> &Self {
        for piece in pieces {
            self.connection.write(piece);
            self.reactor.run();
        }
        self
    }

    /// For longer than any request may take.
    pub(crate) fn wait(&self) -> &Self {
        self.reactor.advance(Duration::from_secs(61));
        self
    }

    /// All that the client got.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8(self.received.borrow().bytes.clone()).unwrap()
    }

    /// The same without dates, and whether the connection is closed.
    pub(crate) fn received(&self) -> (String, bool) {
        (without_date(&self.raw()), self.received.borrow().closed)
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let requests = self.requests.borrow().clone();
        let received = self.received.borrow();
        let mut answers = Vec::new();
        let mut interim = 0;
        let mut rest = &received.bytes[..];
        while !rest.is_empty() {
            let answer = read_answer(&mut rest, requests.get(answers.len()));
            match answer.status {
                100..200 => interim += 1,
                _ => answers.push(answer),
            }
        }
        Outcome {
            requests,
            answers,
            interim,
            closed: received.closed,
        }
    }
}

/// Takes the first answer from `rest`: to `request`, or to one that no handler saw to its end,
/// behind which there is none.
fn read_answer(rest: &mut &[u8], request: Option<&Seen>) -> Answer {
    let end = rest.windows(4).position(|at| at == b"\r\n\r\n");
    let (head, content) = rest.split_at(end.expect("a whole head") + 4);
    let head = str::from_utf8(head).unwrap();
    let status = head.strip_prefix("HTTP/1.1 ").expect(head)[..3]
        .parse()
        .unwrap();
    let has_content = status >= 200 && request.is_none_or(|request| request.method != "HEAD");
    let length = match head.split_once("\r\ncontent-length: ") {
        Some((_, length)) if has_content => match request {
            Some(_) => length.split_once("\r\n").unwrap().0.parse().unwrap(),
            None => content.len(),
        },
        _ => 0,
    };
    *rest = &content[length..];
    Answer {
        status,
        head: without_date(head),
        content: content[..length].to_vec(),
    }
}

fn without_date(answers: &str) -> String {
    let lines = answers.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

struct Client(Rc<RefCell<Received>>);

impl Protocol for Client {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().bytes.extend_from_slice(data);
    }

    fn read_closed(&mut self, _: &mut Transport) {
        self.0.borrow_mut().closed = true;
    }

    fn connection_lost(&mut self, _: Failure) {
        self.0.borrow_mut().closed = true;
    }
}

/// Reads all of a request, and says what it was.
#[derive(Clone)]
struct Noting(Rc<RefCell<Vec<Seen>>>);

impl Service<Request<Body>> for Noting {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let noted = Rc::clone(&self.0);
        let (head, mut content) = request.into_parts();
        Box::pin(async move {
            let mut body = Vec::new();
            let mut trailers = HeaderMap::new();
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut content).poll_frame(cx)).await {
                match frame?.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
                }
            }
            let text = format!("{} {} {}", head.method, head.uri, body.len());
            noted.borrow_mut().push(Seen {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                fields: head.headers,
                body,
                trailers,
            });
            Ok(Response::new(Body::from(text)))
        })
    }
}
