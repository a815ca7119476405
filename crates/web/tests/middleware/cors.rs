//! Cross-origin requests, and headers that protect.

use std::time::Duration;

use http::header::{CONTENT_TYPE, ETAG, HeaderName};
use http::{Method, Request, Response};
use ropewalk_web::middleware::{CorsLayer, SecurityHeadersLayer, TrustedProxiesLayer};
use ropewalk_web::{Body, handler_fn};
use tower_layer::Layer;

use crate::rig::{Answer, World};

const APP: &str = "Origin: https://app.example.com";
const OTHER: &str = "Origin: https://other.example.com";

fn world(layer: &CorsLayer) -> World {
    World::new(|_| {
        layer.layer(handler_fn(|_: Request<Body>| {
            Response::new(Body::from("hello"))
        }))
    })
}

fn listed() -> CorsLayer {
    CorsLayer::for_origins(["https://app.example.com", "http://127.0.0.1:8080"])
        .methods([Method::GET, Method::PUT])
        .headers([CONTENT_TYPE, HeaderName::from_static("x-token")])
        .expose([ETAG])
        .credentials()
        .max_age(Duration::from_secs(600))
}

/// All that is said of CORS, sorted.
fn said(answer: &Answer) -> Vec<String> {
    let headers = answer.headers.iter();
    let said =
        headers.filter(|(name, _)| name.as_str().starts_with("access-control-") || *name == "vary");
    let mut said: Vec<_> = said
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    said.sort();
    said
}

#[test]
fn a_preflight_is_answered_by_the_layer() {
    let world = world(&listed());
    let preflight = |lines: &[&str]| world.ask("OPTIONS", "/", lines).answer();
    let asks = "Access-Control-Request-Method: PUT";
    let answer = preflight(&[APP, asks, "Access-Control-Request-Headers: x-token"]);
    assert_eq!((answer.status, answer.text()), (204, ""));
    assert_eq!(
        said(&answer),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: content-type, x-token",
            "access-control-allow-methods: GET, PUT",
            "access-control-allow-origin: https://app.example.com",
            "access-control-max-age: 600",
            "vary: origin",
        ]
    );
    let answer = preflight(&[OTHER, asks]);
    assert_eq!(
        (answer.status, &said(&answer)[..]),
        (204, &["vary: origin".to_owned()][..])
    );
    // These are no preflights.
    assert_eq!(preflight(&[APP]).text(), "hello");
    assert_eq!(preflight(&[asks]).text(), "hello");
}

#[test]
fn an_answer_says_who_may_read_it() {
    let world = world(&listed());
    let answer = world.get("/", &[APP]);
    assert_eq!(answer.text(), "hello");
    assert_eq!(
        said(&answer),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://app.example.com",
            "access-control-expose-headers: etag",
            "vary: origin",
        ]
    );
    for lines in [
        &[OTHER][..],
        &[],
        &["Origin: null"],
        &["Origin: https://app.example.com.evil.example"],
    ] {
        assert_eq!(said(&world.get("/", lines)), ["vary: origin"], "{lines:?}");
    }
}

#[test]
fn any_origin_may_be_allowed_but_never_with_credentials() {
    let world = world(&CorsLayer::for_any().any_headers().credentials());
    assert_eq!(
        said(&world.get("/", &[OTHER])),
        ["access-control-allow-origin: *"]
    );
    let preflight = [
        OTHER,
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: x-a, x-b",
    ];
    assert_eq!(
        said(&world.ask("OPTIONS", "/", &preflight).answer()),
        [
            "access-control-allow-headers: x-a, x-b",
            "access-control-allow-origin: *",
            "vary: access-control-request-headers",
        ]
    );
}

#[test]
fn a_private_network_is_closed_to_public_pages_unless_told() {
    let preflight = [
        APP,
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Private-Network: true",
    ];
    for (layer, allowed) in [(listed(), None), (listed().private_network(), Some("true"))] {
        let answer = world(&layer).ask("OPTIONS", "/", &preflight).answer();
        assert_eq!(
            answer.header("access-control-allow-private-network"),
            allowed
        );
    }
}

#[test]
fn origins_may_be_judged_by_a_function() {
    let world = world(&CorsLayer::for_origins_that(|origin| {
        origin.ends_with(".example.com")
    }));
    for (line, allowed) in [(APP, true), (OTHER, true), ("Origin: null", false)] {
        let answer = world.get("/", &[line]);
        assert_eq!(
            answer.header("access-control-allow-origin").is_some(),
            allowed
        );
    }
}

#[test]
fn protecting_headers_are_added_where_the_handler_has_none() {
    let world = World::new(|_| {
        let handler = handler_fn(|_: Request<Body>| {
            let answer = Response::builder().header("referrer-policy", "no-referrer");
            answer.body(Body::empty()).unwrap()
        });
        let layer = SecurityHeadersLayer::new()
            .content_security_policy("default-src 'self'")
            .unwrap()
            .without(&http::header::X_FRAME_OPTIONS)
            .strict_transport_security(Duration::from_secs(3600), true)
            .layer(handler);
        TrustedProxiesLayer::x_forwarded(["192.0.2.0/24".parse().unwrap()])
            .with_proto()
            .layer(layer)
    });
    let plain = world.get("/", &[]);
    assert_eq!(plain.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(plain.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(
        plain.header("content-security-policy"),
        Some("default-src 'self'")
    );
    assert_eq!(plain.header("x-frame-options"), None);
    assert_eq!(plain.header("strict-transport-security"), None);
    let secure = world.get("/", &["X-Forwarded-Proto: https"]);
    assert_eq!(
        secure.header("strict-transport-security"),
        Some("max-age=3600; includeSubDomains")
    );
}
