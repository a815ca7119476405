//! What handlers take, and what is answered when they cannot have it.

use http::StatusCode;
use ropewalk_web::answer::Rejection;
use ropewalk_web::extract::{Extension, Form, Host, Json, Path, Query};
use ropewalk_web::router::{Router, get, post};
use ropewalk_web::{Body, RequestInfo};
use serde::Deserialize;

use crate::rig::{Client, ask, wire};

#[derive(Deserialize)]
struct Order {
    tea: String,
    #[serde(default)]
    cups: Vec<u8>,
}

fn told(order: &Order) -> String {
    format!("{} {:?}", order.tea, order.cups)
}

fn router() -> Router {
    Router::builder()
        .route("/path/{n}", get(|Path(n): Path<u8>| n.to_string()))
        .route(
            "/shape/{n}",
            get(|Path((a, b)): Path<(u8, u8)>| (a + b).to_string()),
        )
        .route("/query", get(|Query(order): Query<Order>| told(&order)))
        .route(
            "/maybe",
            get(|order: Option<Query<Order>>| {
                order.map_or("none".to_owned(), |order| told(&order.0))
            }),
        )
        .route("/json", post(|Json(order): Json<Order>| told(&order)))
        .route(
            "/maybe-json",
            post(|order: Option<Json<u8>>| format!("{:?}", order.map(|order| order.0))),
        )
        .route(
            "/own",
            post(|order: Result<Json<u8>, Rejection>| match order {
                Ok(Json(n)) => n.to_string(),
                Err(rejection) => format!("mine: {}", rejection.status()),
            }),
        )
        .route(
            "/form",
            post(|Form(order): Form<Order>| told(&order))
                .get(|Form(order): Form<Order>| told(&order)),
        )
        .route("/text", post(|text: String| text).body_limit(8))
        .route(
            "/bytes",
            post(|bytes: bytes::Bytes| bytes.len().to_string()),
        )
        .route("/body", post(|body: Body| body))
        .route("/host", get(|Host(host): Host| host))
        .route("/peer", get(|info: RequestInfo| format!("{:?}", info.peer)))
        .route(
            "/extension",
            get(|Extension(n): Extension<u8>| n.to_string()),
        )
        .build()
        .unwrap()
}

#[test]
fn requests_are_taken_apart() {
    let router = router();
    for (request, body) in [
        ("GET /path/7", "7"),
        ("GET /query?tea=earl+grey&cups=1&cups=2", "earl grey [1, 2]"),
        ("GET /maybe", "none"),
        ("GET /maybe?tea=x", "x []"),
        (
            "POST /json\ncontent-type: application/json; charset=utf-8\n\n{\"tea\":\"x\",\"cups\":[3]}",
            "x [3]",
        ),
        (
            "POST /json\ncontent-type: application/vnd.api+json\n\n{\"tea\":\"x\"}",
            "x []",
        ),
        ("POST /maybe-json", "None"),
        (
            "POST /maybe-json\ncontent-type: application/json\n\n5",
            "Some(5)",
        ),
        ("POST /own\ncontent-type: application/json\n\n5", "5"),
        (
            "POST /own\ncontent-type: application/json\n\nx",
            "mine: 400 Bad Request",
        ),
        (
            "POST /form\ncontent-type: application/x-www-form-urlencoded\n\ntea=a%26b&cups=1",
            "a&b [1]",
        ),
        ("GET /form?tea=x", "x []"),
        ("POST /text\n\nhé", "hé"),
        ("POST /bytes\n\n12345", "5"),
        ("POST /body\n\nback", "back"),
        ("GET /host\nhost: Example.COM.:80", "example.com"),
        ("GET http://Other.example/host", "other.example"),
    ] {
        let reply = ask(&router, request);
        assert_eq!((reply.status, &*reply.body), (200, body), "{request}");
    }
    assert!(ask(&router, "GET /peer").body.contains("Tcp"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let router = router();
    for (request, status, says) in [
        ("GET /path/300", 400, "the path's `n` is \"300\""),
        ("GET /shape/3", 500, "its log says why"),
        ("GET /query", 400, "missing field `tea`"),
        ("GET /query?tea=a&tea=b", 400, "the query"),
        ("GET /query?tea=a&cups=x", 400, "the query's `cups[0]`"),
        ("GET /maybe?cups=1", 400, "missing field `tea`"),
        ("POST /json\n\n{}", 415, "`application/json`; it has none"),
        (
            "POST /json\ncontent-type: text/plain\n\n{}",
            415,
            "it has `text/plain`",
        ),
        (
            "POST /json\ncontent-type: application/json\n\n{",
            400,
            "line 1 column",
        ),
        (
            "POST /json\ncontent-type: application/json\n\n{\"tea\":1}",
            422,
            "the JSON's `tea`",
        ),
        (
            "POST /maybe-json\ncontent-type: application/json\n\nx",
            400,
            "the JSON",
        ),
        (
            "POST /form\ncontent-type: application/x-www-form-urlencoded\n\ntea=a&cups=999",
            422,
            "`cups[0]`",
        ),
        ("POST /form\n\ntea=a", 415, "it has none"),
        (
            "POST /text\n\n123456789",
            413,
            "longer than the 8 bytes allowed",
        ),
        ("GET /extension", 500, "its log says why"),
    ] {
        let reply = ask(&router, request);
        assert_eq!(reply.status, status, "{request}: {}", reply.body);
        assert!(reply.body.contains(says), "{request}: {}", reply.body);
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    }
    let bad = Client::new(router)
        .send(b"POST /text HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n\xff\xfe")
        .reply();
    assert_eq!(
        (bad.status, &*bad.body),
        (400, "the body is not UTF-8 from byte 0 on\n")
    );
}

#[test]
fn who_asks_for_json_gets_problems_in_it() {
    let router = router();
    for (request, status) in [
        ("GET /path/x", 400),
        ("GET /nowhere", 404),
        ("POST /path/1", 405),
        (
            "POST /json\ncontent-type: application/json\n\n{\"tea\":1}",
            422,
        ),
        ("POST /text\n\n123456789", 413),
    ] {
        let (line, rest) = request.split_once('\n').unwrap_or((request, ""));
        let reply = ask(
            &router,
            &format!("{line}\naccept: application/json\n{rest}"),
        );
        assert_eq!(
            reply.header("content-type"),
            "application/problem+json",
            "{request}"
        );
        let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(
            (reply.status, &problem["status"]),
            (status, &serde_json::json!(status))
        );
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_body_that_is_too_long_for_its_route_is_not_asked_for() {
    let client = Client::new(router());
    let head = "POST /text HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: ";
    client.send(format!("{head}9\r\n\r\n"));
    let reply = client.reply();
    assert_eq!(reply.status, 413);
    let client = Client::new(router());
    client.send(format!("{head}8\r\n\r\n"));
    assert_eq!(client.received(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("12345678");
    assert_eq!(client.reply().body, "12345678");
}

#[test]
fn a_route_may_take_more_than_the_site() {
    let router = Router::builder()
        .route(
            "/",
            post(|bytes: bytes::Bytes| bytes.len().to_string()).body_limit(4 << 20),
        )
        .build()
        .unwrap();
    let client = Client::new(router);
    client.send(wire(&format!("POST /\n\n{}", "x".repeat(2 << 20))));
    assert_eq!(client.reply().body, (2 << 20).to_string());
    let _ = StatusCode::OK;
}
