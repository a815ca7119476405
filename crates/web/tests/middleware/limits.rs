//! Timeouts, limits, and panics.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use ropewalk_web::middleware::{
    BodyLimitLayer, CatchPanicLayer, ConcurrencyLimitLayer, RateLimitLayer, TimeoutLayer,
};
use ropewalk_web::{Body, handler_fn};
use tower_layer::Layer;

use crate::rig::{Signal, World, handler_async, handler_fallible};

const SECOND: Duration = Duration::from_secs(1);

fn hello() -> Response<Body> {
    Response::new(Body::from("hello"))
}

/// Counts down when it is dropped.
struct Held(Rc<Cell<i32>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn a_handler_that_takes_too_long_is_dropped_and_answered_for() {
    let alive = Rc::new(Cell::new(0));
    let count = Rc::clone(&alive);
    let world = World::new(|reactor| {
        let handler = handler_async(move |_| {
            count.set(count.get() + 1);
            let held = Held(Rc::clone(&count));
            async move {
                let _held = held;
                std::future::pending().await
            }
        });
        TimeoutLayer::new(reactor, 10 * SECOND).layer(handler)
    });
    let asked = world.ask("GET", "/", &[]);
    world.advance(10 * SECOND - Duration::from_millis(1));
    assert!(asked.try_answer().is_none());
    assert_eq!(alive.get(), 1);
    world.advance(Duration::from_millis(1));
    assert_eq!(asked.answer().status, 503);
    assert_eq!(alive.get(), 0);
}

#[test]
fn a_handler_that_answers_in_time_leaves_no_timer() {
    let signal = Signal::default();
    let wait = signal.clone();
    let world = World::new(|reactor| {
        let handler = handler_async(move |_| {
            let wait = wait.clone();
            async move {
                wait.wait().await;
                hello()
            }
        });
        TimeoutLayer::new(reactor, 10 * SECOND)
            .status(StatusCode::GATEWAY_TIMEOUT)
            .layer(handler)
    });
    let asked = world.ask("GET", "/", &[]);
    world.advance(9 * SECOND);
    signal.give();
    world.advance(Duration::ZERO);
    assert_eq!(asked.answer().status, 200);
    world.advance(2 * SECOND);
    assert_eq!(
        asked.bytes().iter().filter(|byte| **byte == b'\n').count(),
        4
    );
}

#[test]
fn a_body_that_says_it_is_too_long_is_refused_before_it_is_sent() {
    let called = Rc::new(Cell::new(0));
    let count = Rc::clone(&called);
    let world = World::new(|_| {
        let handler = handler_fallible(move |request: Request<Body>| {
            count.set(count.get() + 1);
            async move {
                Ok(Response::new(Body::from(
                    request.into_body().collect().await?,
                )))
            }
        });
        BodyLimitLayer::new(5).layer(handler)
    });
    let post = |lines: &str, body: &str| {
        let asked = world.send(format!(
            "POST / HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n\r\n{body}"
        ));
        asked.answer()
    };
    let expect = "Expect: 100-continue\r\nContent-Length: 6";
    assert_eq!(post(expect, "").status, 413);
    assert_eq!(post("Content-Length: 6", "123456").status, 413);
    assert_eq!(called.get(), 0);
    assert_eq!(post("Content-Length: 5", "12345").text(), "12345");
    let chunked = "Transfer-Encoding: chunked";
    assert_eq!(post(chunked, "5\r\n12345\r\n0\r\n\r\n").text(), "12345");
    assert_eq!(
        post(chunked, "5\r\n12345\r\n1\r\n6\r\n0\r\n\r\n").status,
        413
    );
}

#[test]
fn a_limit_may_be_higher_than_that_of_the_site() {
    let world = World::new(|_| {
        let handler = handler_fallible(|request: Request<Body>| async move {
            let length = request.into_body().collect().await?.len();
            Ok(Response::new(Body::from(length.to_string())))
        });
        BodyLimitLayer::new(3 << 20).layer(handler)
    });
    let mut request =
        b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3145728\r\n\r\n".to_vec();
    request.resize(request.len() + (3 << 20), b'x');
    assert_eq!(world.send(request).answer().text(), "3145728");
}

/// A site that works on one request at once, each until `signal`, and the number of those begun.
fn one_at_a_time(signal: &Signal, line: usize) -> (World, Rc<Cell<u32>>) {
    let begun = Rc::new(Cell::new(0));
    let (count, signal) = (Rc::clone(&begun), signal.clone());
    let world = World::new(|reactor| {
        let handler = handler_async(move |_| {
            count.set(count.get() + 1);
            let signal = signal.clone();
            async move {
                signal.wait().await;
                hello()
            }
        });
        ConcurrencyLimitLayer::new(reactor, 1)
            .line(line)
            .wait(5 * SECOND)
            .layer(handler)
    });
    (world, begun)
}

#[test]
fn requests_too_many_wait_in_a_line_that_has_an_end() {
    let signal = Signal::default();
    let (world, begun) = one_at_a_time(&signal, 1);
    let first = world.ask("GET", "/", &[]);
    let second = world.ask("GET", "/", &[]);
    let third = world.get("/", &[]);
    assert_eq!(
        (third.status, third.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(begun.get(), 1);
    signal.give();
    world.advance(Duration::ZERO);
    assert_eq!(first.answer().status, 200);
    assert_eq!(second.answer().status, 200);
    assert_eq!(begun.get(), 2);
}

#[test]
fn who_waits_too_long_in_the_line_is_sent_away() {
    let (world, begun) = one_at_a_time(&Signal::default(), 10);
    let _first = world.ask("GET", "/", &[]);
    let second = world.ask("GET", "/", &[]);
    world.advance(5 * SECOND - Duration::from_millis(1));
    assert!(second.try_answer().is_none());
    world.advance(Duration::from_millis(1));
    assert_eq!(second.answer().status, 503);
    assert_eq!(begun.get(), 1);
}

#[test]
fn the_slot_of_a_client_that_went_away_goes_to_the_next() {
    let (world, begun) = one_at_a_time(&Signal::default(), 10);
    let first = world.ask("GET", "/", &[]);
    let second = world.ask("GET", "/", &[]);
    let _third = world.ask("GET", "/", &[]);
    assert_eq!(begun.get(), 1);
    second.connection.abort_connection();
    world.reactor.run();
    first.connection.abort_connection();
    world.reactor.run();
    assert_eq!(begun.get(), 2);
}

#[test]
fn a_stream_counts_until_its_end() {
    let (writer, body) = Body::channel();
    let bodies = Rc::new(Cell::new(Some(body)));
    let world = World::new(|reactor| {
        let handler =
            handler_fn(move |_: Request<Body>| bodies.take().map_or_else(hello, Response::new));
        ConcurrencyLimitLayer::new(reactor, 1)
            .line(0)
            .layer(handler)
    });
    let stream = world.ask("GET", "/", &[]);
    assert_eq!(world.get("/", &[]).status, 503);
    drop(writer);
    world.reactor.run();
    assert_eq!(stream.answer().status, 200);
    assert_eq!(world.get("/", &[]).status, 200);
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_ask_again() {
    let world = World::new(|reactor| {
        let layer = RateLimitLayer::new(reactor, 2, 10 * SECOND);
        layer.layer(handler_fn(|_: Request<Body>| hello()))
    });
    let statuses = |count| -> Vec<_> { (0..count).map(|_| world.get("/", &[]).status).collect() };
    assert_eq!(statuses(3), [200, 200, 429]);
    assert_eq!(world.get("/", &[]).header("retry-after"), Some("5"));
    world.advance(4 * SECOND + Duration::from_millis(1));
    assert_eq!(world.get("/", &[]).header("retry-after"), Some("1"));
    world.advance(SECOND);
    assert_eq!(statuses(2), [200, 429]);
    world.advance(100 * SECOND);
    assert_eq!(statuses(3), [200, 200, 429]);
}

#[test]
fn clients_can_be_told_apart_by_what_a_function_says() {
    let world = World::new(|reactor| {
        let layer = RateLimitLayer::new(reactor, 1, SECOND)
            .key(|request| Some(request.headers().get("x-user")?.as_bytes().to_vec()));
        layer.layer(handler_fn(|_: Request<Body>| hello()))
    });
    let ask = |line: &str| world.get("/", &[line]).status;
    assert_eq!([ask("X-User: a"), ask("X-User: a")], [200, 429]);
    assert_eq!(
        [ask("X-User: b"), ask("X-Other: a"), ask("X-Other: a")],
        [200; 3]
    );
}

#[test]
fn a_panic_in_the_call_or_in_a_later_poll_is_answered_with_500_and_the_connection_lives_on() {
    let signal = Signal::default();
    let wait = signal.clone();
    let world = World::new(|_| {
        CatchPanicLayer::new().layer(handler_async(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            assert_ne!(path, "/at-once", "no rope left");
            let wait = wait.clone();
            async move {
                if path == "/later" {
                    wait.wait().await;
                    panic!("no rope left");
                }
                hello()
            }
        }))
    });
    let asked = world.ask("GET", "/at-once", &[]);
    assert_eq!(asked.answer().status, 500);
    world.send_more(&asked, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(asked.bytes().ends_with(b"\r\n\r\nhello"));
    let later = world.ask("GET", "/later", &[]);
    assert!(later.try_answer().is_none());
    signal.give();
    world.reactor.run();
    assert_eq!(later.answer().status, 500);
}
