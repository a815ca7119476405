use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use ropewalk_web::h1::Limits;
use ropewalk_web::{Body, BoxError, Site, handler_fn};

use super::rig::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_request_line_and_fields_have_limits() {
    let long = "x".repeat(9000);
    let client = Client::new(mirror());
    client.send(format!("GET /{long}"));
    assert_eq!(statuses(&client.received()), ["414"]);
    assert!(client.is_closed());

    let client = Client::new(mirror());
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nA: {long}\r\nB: {long}\r\n"
    ));
    assert_eq!(statuses(&client.received()), ["431"]);

    let client = Client::new(mirror());
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(100)
    ));
    assert_eq!(statuses(&client.received()), ["431"]);
}

#[test]
fn a_head_that_drips_is_408_ten_seconds_after_its_first_byte() {
    let client = Client::new(mirror());
    client.advance(50 * SECOND);
    for byte in b"GET / HTT" {
        client.send([*byte]);
        client.advance(SECOND);
    }
    client.send("P");
    assert_eq!(client.received(), "");
    client.advance(SECOND);
    assert_eq!(statuses(&client.received()), ["408"]);
    assert!(client.is_closed());
}

#[test]
fn an_idle_connection_is_closed_silently_and_each_request_starts_the_time_anew() {
    let client = Client::new(mirror());
    client.advance(59 * SECOND);
    client.send(get("/"));
    assert_eq!(statuses(&client.received()), ["200"]);
    client.advance(59 * SECOND);
    assert!(!client.is_closed());
    client.advance(SECOND);
    assert!(client.is_closed());
    assert_eq!(client.received(), "");
}

#[test]
fn a_body_that_stops_coming_ends_the_connection() {
    let client = Client::new(mirror());
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(statuses(&client.received()), ["200"]);
    client.advance(19 * SECOND);
    assert!(client.lost().is_none());
    client.advance(SECOND);
    assert!(client.lost().is_some());
}

/// Sends a piece of `size` bytes of a long body each second, for so many seconds.
fn drip(client: &Client, size: usize, seconds: u32) {
    for _ in 0..seconds {
        client.send(vec![b'x'; size]);
        client.advance(SECOND);
    }
}

const UPLOAD: &str = "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n";

/// Reads all of the body, and says how long it was.
fn reading(limits: Limits) -> Client {
    let handler = |request: Request<Body>| async move {
        let body = request.into_body().collect().await?;
        Ok::<_, BoxError>(Response::new(Body::from(body.len().to_string())))
    };
    Client::new(Rc::new(Site::with_limits(
        AsyncHandler::new(handler),
        limits,
    )))
}

#[test]
fn a_body_that_drips_is_408_twenty_seconds_after_it_was_waited_for() {
    let client = reading(Limits::default());
    client.send(UPLOAD);
    drip(&client, 10, 19);
    assert_eq!(client.received(), "");
    drip(&client, 10, 1);
    assert_eq!(statuses(&client.received()), ["408"]);
    assert!(client.is_closed());
}

#[test]
fn a_body_that_is_fast_enough_may_take_its_time() {
    let client = reading(Limits::default());
    client.send(UPLOAD);
    drip(&client, 500, 300);
    assert_eq!(client.received(), "");
    assert!(!client.is_closed());
    // What was earned lasts for a while, though no pause is longer than an idle connection's.
    client.advance(15 * SECOND);
    assert!(!client.is_closed());
    client.advance(10 * SECOND);
    assert_eq!(statuses(&client.received()), ["408"]);
}

#[test]
fn a_chunked_body_that_drips_is_408_too() {
    let client = reading(Limits::default());
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        client.send("1\r\nx\r\n");
        client.advance(SECOND);
    }
    assert_eq!(statuses(&client.received()), ["408"]);
}

#[test]
fn without_a_rate_only_the_pauses_of_a_body_are_bounded() {
    let mut limits = Limits::default();
    limits.body_rate = 0;
    let client = reading(limits);
    client.send(UPLOAD);
    drip(&client, 1, 200);
    client.advance(58 * SECOND);
    assert!(!client.is_closed());
    client.advance(SECOND);
    assert_eq!(statuses(&client.received()), ["408"]);
}

#[test]
fn time_in_which_the_handler_does_not_read_is_not_the_senders() {
    let signal = Signal::default();
    let awaited = signal.clone();
    let client = Client::new(site_async(move |request| {
        let awaited = awaited.clone();
        async move {
            awaited.wait().await;
            let body = request.into_body().collect().await?;
            Ok(Response::new(Body::from(body.len().to_string())))
        }
    }));
    client.send(UPLOAD);
    // More than the server keeps for a handler that does not read.
    client.send(vec![b'x'; 300_000]);
    client.advance(500 * SECOND);
    assert!(!client.is_closed());
    signal.give();
    client.reactor.run();
    client.advance(10 * SECOND);
    client.send(vec![b'x'; 600_000]);
    assert_eq!(statuses(&client.received()), ["200"]);
}

#[test]
fn a_reader_that_takes_nothing_is_given_up() {
    let client = Client::new(mirror());
    client.reactor.set_window(10);
    client.connection.pause_producing();
    client.send(get("/"));
    client.advance(29 * SECOND);
    assert!(client.lost().is_none());
    client.advance(SECOND);
    assert!(client.lost().is_some());
}

#[test]
fn the_last_request_that_a_connection_may_carry_is_told_so() {
    let mut limits = Limits::default();
    limits.requests_per_connection = 2;
    let client = Client::new(mirror_with(limits));
    client.send(get("/1") + &get("/2") + &get("/3"));
    let seen = client.received();
    assert_eq!(statuses(&seen), ["200", "200"]);
    assert_eq!(seen.matches("connection: close\r\n").count(), 1);
    assert!(client.is_closed());
}

#[test]
fn a_head_that_began_behind_many_requests_has_its_time_too() {
    let client = Client::new(mirror());
    client.send(get("/").repeat(64) + "GET /two HT");
    assert_eq!(statuses(&client.received()), vec!["200"; 64]);
    client.advance(10 * SECOND);
    assert_eq!(statuses(&client.received()), ["408"]);
    assert!(client.is_closed());
}

#[test]
fn a_peer_that_still_takes_an_answer_is_not_idle() {
    let mut limits = Limits::default();
    limits.write_stall = 1000 * SECOND;
    let long = bytes::Bytes::from(vec![b'x'; 200_000]);
    let client = Client::new(Rc::new(Site::with_limits(
        handler_fn(move |_: Request<Body>| Response::new(Body::from(long.clone()))),
        limits,
    )));
    client.reactor.set_window(1000);
    client.connection.pause_producing();
    client.send(get("/"));
    client.advance(90 * SECOND);
    client.connection.resume_producing();
    client.reactor.run();
    assert!(client.received().len() > 200_000);
    assert!(!client.is_closed());
    client.advance(60 * SECOND);
    assert!(client.is_closed());
}

#[test]
fn one_request_at_least_is_answered_in_a_row() {
    let mut limits = Limits::default();
    limits.pipelined = 0;
    let client = Client::new(mirror_with(limits));
    client.send(get("/").repeat(3));
    assert_eq!(statuses(&client.received()), ["200"; 3]);
}
