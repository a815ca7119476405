//! A whole connection: whatever is sent, its requests and answers are the same however it is cut, no
//! request has two answers, and nothing panics.

#![no_main]

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Failure, Protocol, Transport};
use ropewalk_web::h1::Limits;
use ropewalk_web::{Body, BoxError, Site};
use tower_service::Service;

fuzz_target!(|input: &[u8]| {
    let whole = serve(input, usize::MAX);
    assert_eq!(serve(input, 1), whole);
    let middle = input.first().map_or(1, |byte| usize::from(*byte)).max(1);
    assert_eq!(serve(input, middle), whole);
});

/// The requests that were read whole, and the answers.
#[derive(Debug, Default, PartialEq)]
struct Served {
    requests: Vec<String>,
    statuses: Vec<u16>,
}

/// What comes of `input`, when at most `split` bytes are received at once.
fn serve(input: &[u8], split: usize) -> Served {
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    let mut limits = Limits::default();
    limits.request_line = 64;
    limits.header_block = 256;
    limits.header_fields = 8;
    limits.body = 64;
    let requests: Rc<RefCell<Vec<String>>> = Rc::default();
    // What begins as HTTP/2 does is for `h2_connection`.
    let site = Site::with_limits(Noting(Rc::clone(&requests)), limits).http2(None);
    let port = "tcp:80".parse().expect("an endpoint");
    reactor
        .listen(&port, Rc::new(site))
        .expect("the port is free");
    let client = "tcp:192.0.2.1:80".parse().expect("an endpoint");
    let answers = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&answers);
    let sent = input.to_vec();
    let made = reactor.connect(
        &client,
        Rc::new(move |_: &Address| Client {
            sent: sent.clone(),
            seen: Rc::clone(&seen),
        }),
    );
    reactor.run();
    drop(made);
    let requests = requests.take();
    let statuses = read_answers(&answers.take(), &requests);
    Served { requests, statuses }
}

/// The statuses of `answers` to `requests`: one for each, and then perhaps one that refuses what
/// followed.
fn read_answers(mut answers: &[u8], requests: &[String]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !answers.is_empty() {
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut slots);
        let Ok(httparse::Status::Complete(length)) = head.parse(answers) else {
            panic!("no answer: {}", answers.escape_ascii());
        };
        let status = head.code.expect("a status");
        let declared = head
            .headers
            .iter()
            .find(|field| field.name == "content-length")
            .map_or(0, |field| {
                let digits = str::from_utf8(field.value).expect("digits");
                digits.parse::<usize>().expect("a length")
            });
        answers = &answers[length..];
        if status < 200 {
            // How often it is said depends on how much has come already.
            continue;
        }
        match requests.get(statuses.len()) {
            Some(request) => {
                assert_eq!(status, 200);
                let content = match request.starts_with("HEAD ") {
                    true => 0,
                    false => declared,
                };
                answers = &answers[content..];
            }
            None => {
                // It is the last, and its request may have been one for the head alone.
                assert!(answers.is_empty() || answers.len() == declared);
                answers = &[];
            }
        }
        // Whether a body that is too long is malformed as well depends on what came in one piece.
        statuses.push(if status == 413 { 400 } else { status });
    }
    assert!(statuses.len() <= requests.len() + 1);
    statuses
}

/// Notes requests that it has read to their end; it reads none that is for `/now`.
#[derive(Clone)]
struct Noting(Rc<RefCell<Vec<String>>>);

impl Service<Request<Body>> for Noting {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let noted = Rc::clone(&self.0);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            if head.method == "CONNECT" && head.uri.authority().is_none() {
                // It is refused, whatever is answered, and is the last.
                return Ok(Response::new(Body::empty()));
            }
            let body = match head.uri.path() {
                "/now" => None,
                _ => Some(body.collect().await?),
            };
            let said = format!("{} {} {:?} {body:?}", head.method, head.uri, head.headers);
            noted.borrow_mut().push(said);
            Ok(Response::new(Body::from("noted")))
        })
    }
}

struct Client {
    sent: Vec<u8>,
    seen: Rc<RefCell<Vec<u8>>>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(&self.sent);
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.seen.borrow_mut().extend_from_slice(data);
    }

    fn connection_lost(&mut self, reason: Failure) {
        assert!(
            reason.check::<ropewalk_core::Panicked>().is_none(),
            "{reason}"
        );
    }
}
