//! HTTP/1.1: a site, and clients that keep connections alive, send several requests at once, and
//! read answers of all framings; bodies go both ways.
//!
//! Holds: each request is answered once, in order and whole, or its connection ends; what a body is
//! made of is not changed, whether it has a length, comes in chunks, or is a file.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ETAG, LAST_MODIFIED};
use http::{Request as HttpRequest, Response};
use http_body::{Body as _, Frame, SizeHint};
use ropewalk_core::{Address, Protocol, Transport, defer_later};
use ropewalk_web::{Body, FileService, RequestInfo, Site};
use tower_service::Service;

use crate::checker::Request;
use crate::content::{content, difference};
use crate::files::LENGTHS;
use crate::program::Program;
use crate::questions::PATIENCE;
use crate::response::{Piece, Responses};
use crate::watched::{CountedFactory, WatchedFactory};
use crate::websocket;

const NAME: &str = "http";

/// The longest bodies.
const LONGEST: u64 = 60_000;

/// Of what size the chunks of a streamed body are.
const CHUNK: usize = 3000;

pub(crate) fn serve(program: &Program) {
    let Some(pages) = Pages::new(program) else {
        return;
    };
    let site = CountedFactory::new(Site::new(pages), program.checker(), "http server");
    program.listen("tcp:8080", Rc::new(site));
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let for_each = program.clone();
        let build = move |_: &Address| Browser {
            left: 1 + for_each.below(3),
            program: for_each.clone(),
            open: VecDeque::new(),
            responses: Responses::default(),
        };
        let factory = WatchedFactory::new(build, program.checker(), "http client");
        program.connect(NAME, "tcp:server:8080", factory);
    };
    program.every(Duration::from_secs(20), begin, || ());
}

/// What the site serves.
#[derive(Clone)]
pub(crate) struct Pages {
    program: Program,
    files: FileService,
}

impl Service<HttpRequest<Body>> for Pages {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let pages = self.clone();
        let live = self.program.checker().live("http handler");
        Box::pin(async move {
            let response = pages.respond(request).await;
            drop(live);
            Ok(response)
        })
    }
}

impl Pages {
    pub(crate) fn new(program: &Program) -> Option<Self> {
        match FileService::new(program.around.files.path()) {
            Ok(files) => Some(Self {
                program: program.clone(),
                files,
            }),
            Err(error) => {
                let text = format!("{NAME}: the folder cannot be served: {error}");
                program.checker().violation(text);
                None
            }
        }
    }

    async fn respond(&self, request: HttpRequest<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/websocket" {
            return websocket::answer_to(&self.program, &request);
        }
        let mut parts = path.trim_start_matches('/').split('/');
        let kind = parts.next().unwrap_or_default();
        let mut number = || {
            parts
                .next()
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let (id, len) = (number(), number());
        self.program.checker().accept(id);
        let whole = || content(id, 0, len as usize);
        let body = match kind {
            "whole" => Body::from(whole()),
            "chunked" => Body::new(Chunks::new(id, len as usize)),
            "region" => Body::from(self.program.around.files.region(len)),
            "late" => {
                let wait = Duration::from_millis(len % 2000);
                let reactor = self.program.reactor.clone();
                // It fails only with its reactor.
                let _ = defer_later::<(), ()>(&reactor, wait, || ()).await;
                Body::from(whole())
            }
            "echo" => match read(request.into_body()).await {
                Some(body) => Body::from(body),
                None => Body::empty(),
            },
            _ => return self.file(&request, id),
        };
        with_number(Response::new(body), id)
    }

    /// A file of the folder. What its fields say of its inode is of this machine.
    fn file(&self, request: &HttpRequest<Body>, id: u64) -> Response<Body> {
        let now = RequestInfo::of(request).map(|info| info.received_at);
        let path = format!("/{}", id % LENGTHS.len() as u64);
        let mut asked = HttpRequest::new(());
        *asked.uri_mut() = path.parse().expect("a path of a digit is one");
        let mut response = match now {
            Some(now) => self.files.respond(&asked, now),
            None => Response::new(Body::empty()),
        };
        response.headers_mut().remove(ETAG);
        response.headers_mut().remove(LAST_MODIFIED);
        with_number(response, id)
    }
}

fn with_number(mut response: Response<Body>, id: u64) -> Response<Body> {
    response.headers_mut().insert("x-number", id.into());
    response
}

/// All of a request's body; `None` if it does not come whole.
async fn read(mut body: Body) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match frame {
            None => return Some(all),
            Some(Ok(frame)) => all.extend(frame.into_data().unwrap_or_default()),
            Some(Err(_)) => return None,
        }
    }
}

/// A body of unknown length, which comes in pieces, and now and then lets others go first.
struct Chunks {
    id: u64,
    place: usize,
    len: usize,
    rests: bool,
}

impl Chunks {
    fn new(id: u64, len: usize) -> Self {
        Self {
            id,
            place: 0,
            len,
            rests: false,
        }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.place == self.len {
            return Poll::Ready(None);
        }
        self.rests = !self.rests;
        if self.rests {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = CHUNK.min(self.len - self.place);
        let chunk = content(self.id, self.place, len);
        self.place += len;
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// What is expected of an answer: the number whose content it is, and its length.
struct Expected {
    request: Request,
    content: u64,
    len: usize,
    got: usize,
}

/// What follows from a piece of an answer.
enum Then {
    ReadOn,
    /// All is answered.
    AskAgain,
    GiveUp,
}

struct Browser {
    program: Program,
    left: u64,
    open: VecDeque<Expected>,
    responses: Responses,
}

impl Browser {
    fn next(&mut self, transport: &mut Transport) {
        if self.left == 0 {
            return match self.program.below(3) {
                0 => transport.lose_write_connection(),
                1 => transport.abort_connection(),
                _ => transport.lose_connection(),
            };
        }
        self.left -= 1;
        transport.set_timeout(Some(PATIENCE));
        for _ in 0..=self.program.below(4) {
            self.ask(transport);
        }
    }

    fn ask(&mut self, transport: &mut Transport) {
        let request = self.program.checker().ask(NAME);
        let id = request.number;
        let mut len = self.program.length(LONGEST);
        let mut content_of = id;
        let get = |kind: &str, len: usize| {
            format!("GET /{kind}/{id}/{len} HTTP/1.1\r\nHost: example.com\r\n\r\n").into_bytes()
        };
        let asked = match self.program.below(7) {
            0 | 1 => get("whole", len),
            2 => get("chunked", len),
            3 => {
                content_of = 2;
                get("region", len)
            }
            4 => get("late", len),
            5 => echo(id, len, self.program.below(2) == 0),
            _ => {
                content_of = id % LENGTHS.len() as u64;
                len = LENGTHS[content_of as usize];
                get("file", len)
            }
        };
        transport.write(&asked);
        self.open.push_back(Expected {
            request,
            content: content_of,
            len,
            got: 0,
        });
    }

    /// Checks what came of an answer, and says what follows from it.
    fn check(&mut self, piece: Piece<'_>) -> Result<Then, String> {
        let expected = self.open.front_mut().ok_or("an answer to nothing")?;
        let id = expected.request.number;
        match piece {
            Piece::Head {
                status: 200,
                number,
            } if number == id => Ok(Then::ReadOn),
            // It has come too slowly, and the server ends the connection.
            Piece::Head { status: 408, .. } => Ok(Then::GiveUp),
            Piece::Head { status, number } => Err(format!(
                "request {id} got status {status} for number {number}"
            )),
            Piece::Data(data) => {
                if let Some(at) = difference(expected.content, expected.got, data) {
                    return Err(format!("request {id} got a wrong byte at {at}"));
                }
                expected.got += data.len();
                Ok(Then::ReadOn)
            }
            Piece::End if expected.got != expected.len => Err(format!(
                "request {id} got {} bytes, not {}",
                expected.got, expected.len
            )),
            Piece::End => {
                if let Some(expected) = self.open.pop_front() {
                    expected.request.answered();
                }
                Ok(match self.open.is_empty() {
                    true => Then::AskAgain,
                    false => Then::ReadOn,
                })
            }
        }
    }
}

/// A request with a body, which has a length or comes in chunks.
fn echo(id: u64, len: usize, chunked: bool) -> Vec<u8> {
    let body = content(id, 0, len);
    let head = format!("POST /echo/{id} HTTP/1.1\r\nHost: example.com\r\n");
    let mut asked = head.into_bytes();
    if !chunked {
        asked.extend(format!("Content-Length: {len}\r\n\r\n").into_bytes());
        asked.extend(body);
        return asked;
    }
    asked.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(CHUNK) {
        asked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        asked.extend(chunk);
        asked.extend(b"\r\n");
    }
    asked.extend(b"0\r\n\r\n");
    asked
}

impl Protocol for Browser {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.next(transport);
    }

    fn data_received(&mut self, transport: &mut Transport, mut data: &[u8]) {
        transport.reset_timeout();
        let mut responses = std::mem::take(&mut self.responses);
        while let Some(piece) = responses.next(&mut data) {
            let checked = piece.and_then(|piece| self.check(piece));
            match checked {
                Ok(Then::ReadOn) => {}
                Ok(Then::AskAgain) => self.next(transport),
                Ok(Then::GiveUp) => return transport.abort_connection(),
                Err(wrong) => {
                    self.program.checker().violation(format!("{NAME}: {wrong}"));
                    return transport.abort_connection();
                }
            }
        }
        self.responses = responses;
    }
}
