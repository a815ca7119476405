use std::cell::Cell;
use std::rc::Rc;

use http::{HeaderMap, Response, StatusCode};
use ropewalk_web::{Body, current_connection, send_interim};

use super::rig::*;

fn hint(link: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("link", link.parse().unwrap());
    fields
}

#[test]
fn hints_go_out_at_once_before_the_answer_and_in_order() {
    let signal = Signal::default();
    let awaited = signal.clone();
    let client = Client::new(site_async(move |_| {
        let awaited = awaited.clone();
        async move {
            assert!(send_interim(StatusCode::EARLY_HINTS, hint("</a.css>")));
            assert!(send_interim(StatusCode::EARLY_HINTS, hint("</b.css>")));
            awaited.wait().await;
            // In a later poll as well as in the first one.
            assert!(send_interim(StatusCode::EARLY_HINTS, hint("</c.css>")));
            Ok(Response::new(Body::from("answer")))
        }
    }));
    client.send(get("/"));
    assert_eq!(
        client.received(),
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n"
    );
    signal.give();
    client.reactor.run();
    assert_eq!(
        without_dates(&client.received()),
        "HTTP/1.1 103 Early Hints\r\nlink: </c.css>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer"
    );
}

#[test]
fn who_speaks_http_1_0_gets_no_interim_response() {
    let signal = Signal::default();
    let awaited = signal.clone();
    let client = Client::new(site_async(move |_| {
        let awaited = awaited.clone();
        async move {
            assert!(!send_interim(StatusCode::EARLY_HINTS, hint("</a.css>")));
            awaited.wait().await;
            Ok(Response::new(Body::from("answer")))
        }
    }));
    client.send("GET / HTTP/1.0\r\n\r\n");
    signal.give();
    client.reactor.run();
    assert!(client.received().starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn what_is_no_interim_response_is_not_sent() {
    let client = Client::new(site_async(move |_| async move {
        for status in [100, 102, 103] {
            assert!(send_interim(
                StatusCode::from_u16(status).unwrap(),
                HeaderMap::new()
            ));
        }
        for status in [101, 200, 404] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!send_interim(status, HeaderMap::new()));
        }
        // So that those above are sent before the answer.
        let mut polled = false;
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            match std::mem::replace(&mut polled, true) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        Ok(Response::new(Body::empty()))
    }));
    client.send(get("/"));
    assert_eq!(statuses(&client.received()), ["100", "102", "103", "200"]);
}

#[test]
fn a_handler_that_says_continue_says_it_for_the_server() {
    let client = Client::new(site_async(move |request| async move {
        send_interim(StatusCode::CONTINUE, HeaderMap::new());
        Ok(Response::new(Body::from(
            request.into_body().collect().await?,
        )))
    }));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.received(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ab");
    assert_eq!(statuses(&client.received()), ["200"]);
}

#[test]
fn a_hint_that_comes_too_late_does_not_go_to_the_next_request() {
    let client = Client::new(site_async(|request| async move {
        if request.uri().path() == "/first" {
            // Sent when this callback has returned: the answer has gone before.
            send_interim(StatusCode::EARLY_HINTS, hint("</a.css>"));
            return Ok(Response::new(Body::empty()));
        }
        std::future::pending().await
    }));
    client.send(get("/first") + &get("/second"));
    assert_eq!(statuses(&client.received()), ["200"]);
}

#[test]
fn what_outlives_its_request_sends_nothing_into_the_next_one() {
    let late = Rc::new(Cell::new(None));
    let kept = Rc::clone(&late);
    let signal = Signal::default();
    let awaited = signal.clone();
    let client = Client::new(site_async(move |request| {
        let (kept, awaited) = (Rc::clone(&kept), awaited.clone());
        async move {
            if request.uri().path() == "/first" {
                kept.set(current_connection());
            } else {
                awaited.wait().await;
            }
            Ok(Response::new(Body::empty()))
        }
    }));
    client.send(get("/first"));
    assert_eq!(statuses(&client.received()), ["200"]);
    client.send(get("/second"));
    assert!(late.take().unwrap().is_connected());
    assert!(!send_interim(StatusCode::EARLY_HINTS, hint("</a.css>")));
    client.reactor.run();
    assert_eq!(client.received(), "");
    assert!(current_connection().is_none());
    signal.give();
    client.reactor.run();
    assert_eq!(statuses(&client.received()), ["200"]);
}
