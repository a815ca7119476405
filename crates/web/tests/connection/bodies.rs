use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Factory, FileRegion};
use ropewalk_web::{Body, Site, handler_fn};

use super::rig::*;

#[test]
fn a_body_with_a_length_is_echoed() {
    let script = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert!(answers_end(script).ends_with("content-length: 5\r\n\r\nhello"));
}

/// The answer, fed whole and in pieces: where it streams, its chunks differ, so only what both
/// must have in common is compared.
fn answers_end(script: &str) -> String {
    answers(mirror, script)
}

#[test]
fn a_chunked_body_is_echoed_whatever_its_chunks() {
    let script = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n";
    for split in [1, 2, 5, usize::MAX] {
        let reactor = MemoryReactor::new();
        reactor.set_split(split);
        let client = Client::on(reactor, mirror());
        client.send(script);
        client.send(get("/after"));
        let seen = client.received();
        let (first, after) = seen.split_once("0\r\n").unwrap();
        let body: String = first
            .split("\r\n\r\n")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .skip(1)
            .step_by(2)
            .collect();
        assert_eq!(body, "hello", "{seen}");
        assert!(first.contains("transfer-encoding: chunked\r\n"));
        assert!(after.starts_with("x-sum: 1\r\n\r\n"), "{after}");
        assert!(after.ends_with("GET /after"), "{after}");
    }
}

#[test]
fn continue_is_said_when_the_handler_asks_for_the_body_and_not_before() {
    let client = Client::new(mirror());
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    // A handler that reads: its answer streams the body, and so has begun before.
    client.send(head("/ignored"));
    let seen = client.received();
    assert_eq!(statuses(&seen), ["200"], "{seen}");
    assert!(seen.contains("connection: close\r\n"), "{seen}");
    assert!(client.is_closed());

    let client = Client::new(reading());
    client.send(head("/read"));
    assert_eq!(client.received(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi");
    assert!(client.received().ends_with("\r\n\r\nread 2"));
    assert!(!client.is_closed());
}

/// Reads the whole body, then says how long it was.
fn reading() -> Rc<dyn Factory> {
    Rc::new(Site::new(Reading))
}

#[derive(Clone)]
struct Reading;

impl tower_service::Service<Request<Body>> for Reading {
    type Response = Response<Body>;
    type Error = ropewalk_web::BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>>>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() == "/large" {
                request.body_mut().set_limit(3 * 1024 * 1024);
            }
            let body = request.into_body().collect().await?;
            Ok(Response::new(Body::from(format!("read {}", body.len()))))
        })
    }
}

#[test]
fn a_body_over_the_limit_is_413_before_it_is_sent_and_a_handler_may_raise_the_limit() {
    let two_mib = 2 * 1024 * 1024;
    let head = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {two_mib}\r\n{more}\r\n")
    };
    let client = Client::new(reading());
    client.send(head("/", "Expect: 100-continue\r\n"));
    assert_eq!(statuses(&client.received()), ["413"]);
    assert!(client.is_closed());

    let client = Client::new(reading());
    client.send(head("/large", ""));
    for _ in 0..32 {
        client.send(vec![b'x'; two_mib / 32]);
    }
    assert!(client.received().ends_with("read 2097152"));
}

#[test]
fn a_chunked_body_over_the_limit_is_413() {
    let client = Client::new(reading());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..17 {
        client.send("10000\r\n");
        client.send(vec![b'x'; 0x10000]);
        client.send("\r\n");
    }
    assert_eq!(statuses(&client.received()), ["413"]);
    assert!(client.is_closed());
}

#[test]
fn an_unread_short_body_is_skipped_and_a_long_one_ends_the_connection() {
    let client = Client::new(mirror());
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(statuses(&client.received()), ["200"]);
    client.send(vec![b'x'; 1000]);
    client.send(get("/next"));
    assert_eq!(statuses(&client.received()), ["200"]);

    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let seen = client.received();
    assert!(seen.contains("connection: close\r\n"), "{seen}");
    assert!(client.is_closed());
    // What still comes is heard, and thrown away, for a while.
    client.send(vec![b'x'; 50_000]);
    assert_eq!(client.reactor.connections(), 2);
    client.advance(std::time::Duration::from_secs(2));
    assert_eq!(client.reactor.connections(), 1);
}

#[test]
fn a_body_that_is_dropped_late_is_skipped_no_further_than_any_other() {
    let frames = Frames::default();
    let kept = Rc::new(std::cell::RefCell::new(None));
    let (given, keep) = (frames.clone(), Rc::clone(&kept));
    let client = Client::new(Rc::new(Site::new(handler_fn(
        move |request: Request<Body>| {
            *keep.borrow_mut() = Some(request);
            Response::new(given.clone())
        },
    ))));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    assert!(!client.received().contains("connection: close"));
    kept.take();
    frames.end();
    client.reactor.run();
    assert!(client.received().ends_with("0\r\n\r\n"));
    assert!(client.is_closed());
}

fn site_of<B>(body: impl Fn() -> Response<B> + 'static) -> Rc<dyn Factory>
where
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<ropewalk_web::BoxError>,
{
    Rc::new(Site::new(handler_fn(move |_: Request<Body>| body())))
}

#[test]
fn a_streamed_answer_is_sent_as_it_comes_in_chunks_with_trailers() {
    let frames = Frames::default();
    let given = frames.clone();
    let client = Client::new(site_of(move || Response::new(given.clone())));
    client.send(get("/"));
    assert!(client.received().contains("transfer-encoding: chunked\r\n"));
    frames.data("hello");
    client.reactor.run();
    assert_eq!(client.received(), "5\r\nhello\r\n");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "9".parse().unwrap());
    frames.push(Frame::trailers(trailers));
    frames.end();
    client.reactor.run();
    assert_eq!(client.received(), "0\r\nx-sum: 9\r\n\r\n");
    assert!(!client.is_closed());
}

#[test]
fn a_streamed_answer_waits_for_a_slow_reader() {
    let frames = Frames::default();
    let given = frames.clone();
    let client = Client::new(site_of(move || Response::new(given.clone())));
    client.reactor.set_window(1000);
    client.connection.pause_producing();
    for _ in 0..100 {
        frames.push(Frame::data(Bytes::from(vec![b'x'; 64 * 1024])));
    }
    frames.end();
    client.send(get("/"));
    assert!(frames.taken() < 10, "{}", frames.taken());
    client.connection.resume_producing();
    client.reactor.run();
    assert_eq!(frames.taken(), 100);
    assert!(client.received().ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn a_stream_that_is_not_as_long_as_it_said_ends_the_connection() {
    for data in ["four", "seven..", "sixsix"] {
        let frames = Frames::default();
        frames.data(data);
        frames.end();
        let client = Client::new(site_of(move || {
            let mut response = Response::new(frames.clone());
            let length = "6".parse().unwrap();
            response.headers_mut().insert("content-length", length);
            response
        }));
        client.send(get("/"));
        assert_eq!(client.lost().is_some(), data.len() != 6, "{data}");
    }
}

#[test]
fn a_stream_that_gave_all_that_it_said_is_complete() {
    let frames = Frames::default();
    let given = frames.clone();
    let client = Client::new(site_of(move || {
        let mut response = Response::new(given.clone());
        let length = "6".parse().unwrap();
        response.headers_mut().insert("content-length", length);
        response
    }));
    client.send(get("/") + &get("/"));
    frames.data("six");
    frames.data("six");
    client.reactor.run();
    // The stream has not said that it has ended.
    assert_eq!(statuses(&client.received()), ["200", "200"]);
}

#[test]
fn a_wrong_content_length_is_500_before_anything_is_sent() {
    let client = Client::new(site_of(|| {
        let mut response = Response::new(Body::from("four"));
        response
            .headers_mut()
            .insert("content-length", "5".parse().unwrap());
        response
    }));
    client.send(get("/"));
    assert_eq!(statuses(&client.received()), ["500"]);
    assert!(client.is_closed());
}

#[test]
fn a_long_answer_from_memory_is_queued_in_pieces() {
    let long = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
    let client = Client::new(site_of(move || Response::new(Body::from(long.clone()))));
    // The hard limit of a connection is half of this.
    client.send(get("/"));
    let seen = client.received();
    assert!(seen.len() > 32 * 1024 * 1024, "{}", seen.len());
    assert!(!client.is_closed());
}

#[test]
fn a_region_of_a_file_is_sent_and_one_that_shrank_ends_the_connection() {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let file = std::sync::Arc::new(file);
    for promised in [6, 60] {
        let file = std::sync::Arc::clone(&file);
        let client = Client::new(site_of(move || {
            let (offset, file) = (2, std::sync::Arc::clone(&file));
            Response::new(Body::from(FileRegion {
                file,
                offset,
                len: promised,
            }))
        }));
        client.send(get("/"));
        let seen = client.received();
        match promised {
            6 => assert!(
                seen.ends_with("\r\n\r\n234567") && !client.is_closed(),
                "{seen}"
            ),
            _ => assert!(client.lost().is_some()),
        }
    }
}

#[test]
fn a_long_frame_of_a_stream_is_queued_in_pieces() {
    let frames = Frames::default();
    // The hard limit of a connection is less.
    frames.push(Frame::data(Bytes::from(vec![b'x'; 20 * 1024 * 1024])));
    frames.end();
    let client = Client::new(site_of(move || Response::new(frames.clone())));
    client.send(get("/"));
    assert!(client.received().ends_with("\r\n0\r\n\r\n"));
    assert!(!client.is_closed());
}

#[test]
fn a_body_may_be_read_after_the_answer() {
    let reactor = MemoryReactor::new();
    let read = Rc::new(std::cell::Cell::new(0));
    let (spawner, count) = (reactor.clone(), Rc::clone(&read));
    let site = Rc::new(Site::new(handler_fn(move |request: Request<Body>| {
        let count = Rc::clone(&count);
        spawner.spawn(Box::pin(async move {
            let body = request.into_body().collect().await.unwrap();
            count.set(body.len());
        }));
        Response::new(Body::from("accepted"))
    })));
    let client = Client::on(reactor, site);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    assert!(client.received().ends_with("accepted"));
    client.send(vec![b'x'; 300_000]);
    assert_eq!(read.get(), 300_000);
    client.send(get("/after"));
    assert!(client.received().ends_with("accepted"));
}

/// An answer without end, of which there is always more.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = Bytes::from_static(&[b'x'; 1024]);
        std::task::Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

#[test]
fn a_body_is_read_by_others_while_the_peer_does_not_read_the_answer() {
    let reactor = MemoryReactor::new();
    let read = Rc::new(std::cell::Cell::new(0));
    let (spawner, count) = (reactor.clone(), Rc::clone(&read));
    let site = Rc::new(Site::new(handler_fn(move |request: Request<Body>| {
        let count = Rc::clone(&count);
        spawner.spawn(Box::pin(async move {
            let body = request.into_body().collect().await.unwrap();
            count.set(body.len());
        }));
        Response::new(Endless)
    })));
    let client = Client::on(reactor, site);
    client.connection.pause_producing();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    client.send(vec![b'x'; 300_000]);
    assert_eq!(read.get(), 300_000);
}
