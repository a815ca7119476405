//! Requests that another site makes a browser send.

use http::{Request, Response, StatusCode};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::auth::CrossOriginProtection;
use ropewalk_web::{Body, handler_fn};
use tower_layer::Layer;
use tower_service::Service;

fn status(protection: &CrossOriginProtection, method: &str, fields: &[(&str, &str)]) -> StatusCode {
    let mut service = protection.layer(handler_fn(|_: Request<Body>| Response::new(Body::empty())));
    let mut request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "example.com");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answering = service.call(request.body(Body::empty()).unwrap());
    let reactor = MemoryReactor::new();
    let status = std::rc::Rc::new(std::cell::Cell::new(None));
    let found = std::rc::Rc::clone(&status);
    reactor.handle().spawn(Box::pin(async move {
        found.set(Some(answering.await.unwrap().status()));
    }));
    reactor.run();
    status.take().unwrap()
}

#[test]
fn what_changes_something_comes_from_here_or_from_no_browser() {
    let protection = CrossOriginProtection::new();
    let ok = StatusCode::OK;
    let refused = StatusCode::FORBIDDEN;
    for (fields, expected) in [
        (&[][..], ok),
        (&[("sec-fetch-site", "same-origin")], ok),
        (&[("sec-fetch-site", "none")], ok),
        (&[("sec-fetch-site", "same-site")], refused),
        (&[("sec-fetch-site", "cross-site")], refused),
        (&[("sec-fetch-site", "")], refused),
        (
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "none"),
            ],
            refused,
        ),
        // What the browser says of the site counts more than the origin.
        (
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://evil.example"),
            ],
            ok,
        ),
        (
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://example.com"),
            ],
            refused,
        ),
        (&[("origin", "https://example.com")], ok),
        (&[("origin", "http://EXAMPLE.com")], ok),
        (&[("origin", "https://example.com:8443")], refused),
        (&[("origin", "https://evil.example")], refused),
        (&[("origin", "https://example.com.evil.example")], refused),
        (&[("origin", "null")], refused),
        (
            &[
                ("origin", "https://example.com"),
                ("origin", "https://example.com"),
            ],
            refused,
        ),
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
            assert_eq!(
                status(&protection, method, fields),
                expected,
                "{method} {fields:?}"
            );
        }
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(
                status(&protection, method, fields),
                ok,
                "{method} {fields:?}"
            );
        }
    }
}

#[test]
fn an_origin_that_is_trusted_may_do_what_ours_may() {
    let protection = CrossOriginProtection::new()
        .trust("https://Partner.example")
        .unwrap();
    for (origin, expected) in [
        ("https://partner.example", StatusCode::OK),
        ("http://partner.example", StatusCode::FORBIDDEN),
        ("https://partner.example:444", StatusCode::FORBIDDEN),
    ] {
        let fields = [("sec-fetch-site", "cross-site"), ("origin", origin)];
        assert_eq!(status(&protection, "POST", &fields), expected, "{origin}");
        assert_eq!(
            status(&protection, "POST", &fields[1..]),
            expected,
            "{origin}"
        );
    }
    for text in [
        "example.com",
        "https://",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://u@a",
        "",
    ] {
        assert!(CrossOriginProtection::new().trust(text).is_err(), "{text}");
    }
}
