use std::rc::Rc;

use http::{Request, Response};
use ropewalk_web::{Body, Site, handler_fn};

use super::rig::*;

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let script = format!("{}{}{}", get("/one"), get("/two"), get("/three"));
    let expected: String = ["/one", "/two", "/three"]
        .map(|path| {
            let length = 4 + path.len();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nGET {path}")
        })
        .concat();
    assert_eq!(answers(mirror, &script), expected);
}

#[test]
fn more_requests_than_are_answered_in_a_row_are_all_answered() {
    let script = get("/many").repeat(300);
    let client = Client::new(mirror());
    client.send(script);
    assert_eq!(statuses(&client.received()), vec!["200"; 300]);
}

#[test]
fn head_has_the_header_of_get_and_no_body() {
    let script = format!(
        "HEAD /x HTTP/1.1\r\nHost: example.com\r\n\r\n{}",
        get("/after")
    );
    assert_eq!(
        answers(mirror, &script),
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nGET /after"
    );
}

#[test]
fn http_1_0_closes_unless_it_is_asked_not_to() {
    let client = Client::new(mirror());
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(
        without_dates(&client.received()),
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nGET /"
    );
    assert!(!client.is_closed());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.received().contains("\r\nconnection: close\r\n"));
    assert!(client.is_closed());
}

#[test]
fn options_of_the_whole_server_and_absolute_targets_reach_the_handler() {
    let script = "OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n\
                  GET http://example.com/a?b HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let seen = answers(mirror, script);
    assert!(seen.contains("\r\n\r\nOPTIONS *HTTP/1.1"), "{seen}");
    assert!(seen.ends_with("GET http://example.com/a?b"), "{seen}");
}

#[test]
fn what_is_ambiguous_is_refused_and_nothing_behind_it_is_served() {
    for (head, status) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            "501",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        ("GET /\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "417"),
    ] {
        let script = format!("{}{head}{}", get("/before"), get("/smuggled"));
        let seen = answers(mirror, &script);
        let chunked_answer = head.contains("Z\r\n");
        let found = statuses(&seen);
        assert_eq!(found[0], "200", "{head}");
        if chunked_answer {
            // The handler had answered before the body turned out to be none.
            assert!(found.len() <= 2, "{seen}");
        } else {
            assert_eq!(found[1..], [status], "{head}");
            assert!(seen.contains("connection: close\r\n"), "{head}");
        }
        assert!(!seen.contains("smuggled"), "{head}");
    }
}

#[test]
fn a_head_request_that_is_refused_gets_no_content() {
    for refused in ["HEAD / HTTP/1.1\r\n\r\n", "\r\nHEAD / HTTP/2.0\r\n\r\n"] {
        let seen = answers(mirror, refused);
        assert!(seen.contains("content-length: "), "{seen}");
        assert!(seen.ends_with("\r\n\r\n"), "{seen}");
    }
    let client = Client::new(mirror());
    client.send("HEAD / HTTP/1.1\r\nHost: exa");
    client.advance(std::time::Duration::from_secs(10));
    let seen = client.received();
    assert_eq!(statuses(&seen), ["408"]);
    assert!(seen.ends_with("\r\n\r\n"), "{seen}");
}

#[test]
fn the_date_is_that_of_the_reactor_and_moves_with_it() {
    let client = Client::new(mirror());
    client.send(get("/"));
    assert!(
        client
            .received()
            .contains("\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n")
    );
    client.advance(std::time::Duration::from_secs(2));
    client.send(get("/"));
    assert!(
        client
            .received()
            .contains("\r\ndate: Thu, 01 Jan 2026 00:00:02 GMT\r\n")
    );
}

#[test]
fn an_interim_status_is_no_answer() {
    for status in [100, 101, 103] {
        let client = Client::new(Rc::new(Site::new(handler_fn(move |_: Request<Body>| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response
        }))));
        client.send(get("/"));
        assert_eq!(statuses(&client.received()), ["500"]);
    }
}

#[test]
fn what_follows_a_connect_that_was_answered_with_success_is_no_request() {
    let client = Client::new(mirror());
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".to_owned() + &get("/"));
    let seen = client.received();
    assert_eq!(statuses(&seen), ["200"]);
    assert!(seen.contains("connection: close\r\n"), "{seen}");
    assert!(client.is_closed());
}

#[test]
fn an_empty_line_after_a_request_is_no_beginning_of_one() {
    let client = Client::new(mirror());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n");
    assert_eq!(statuses(&client.received()), ["200"]);
    client.advance(std::time::Duration::from_secs(30));
    assert_eq!(client.received(), "");
    assert!(!client.is_closed());
    client.send(get("/"));
    assert_eq!(statuses(&client.received()), ["200"]);
}

/// RFC 9110, section 7.4: "Unless the connection is from a trusted gateway".
#[test]
fn https_is_asked_for_over_plain_text_by_trusted_gateways_alone() {
    let ask = |networks: &[&str]| {
        let networks = networks.iter().map(|network| network.parse().unwrap());
        let site = Site::new(handler_fn(|request: Request<Body>| {
            let secure = ropewalk_web::RequestInfo::of(&request).unwrap().secure;
            Response::new(Body::from(format!("secure={secure}")))
        }));
        let client = Client::new(Rc::new(site.trusted_gateways(networks)));
        client.send("GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n");
        client.received()
    };
    assert_eq!(statuses(&ask(&[])), ["421"]);
    assert_eq!(statuses(&ask(&["203.0.113.0/24"])), ["421"]);
    assert!(ask(&["203.0.113.0/24", "0.0.0.0/0", "::/0"]).ends_with("secure=true"));
}
