//! What stands around services: hosts, rewriting, redirections, error pages.

use std::task::{Context, Poll, Waker};

use http::{Request, Response, StatusCode};
use ropewalk_web::answer::{HttpsRedirect, IntoResponse, Redirect, Rejection};
use ropewalk_web::extract::Path;
use ropewalk_web::router::{Router, any, get};
use ropewalk_web::{
    AccessLogFields, Body, ErrorPages, FileService, HandlerFn, OriginalUri, Rewrite, VirtualHosts,
    handler_fn,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::rig::{Client, ask};

fn says(text: &'static str) -> HandlerFn<impl Fn(Request<Body>) -> Response<Body>> {
    handler_fn(move |_: Request<Body>| Response::new(Body::from(text)))
}

#[test]
fn the_host_decides_who_answers() {
    let hosts = VirtualHosts::new()
        .host("Example.com", says("shop"))
        .host("*.example.com", says("branch"))
        .host("*.eu.example.com", says("europe"))
        .host("[2001:db8::1]", says("address"));
    for (host, body) in [
        ("example.com", "shop"),
        ("EXAMPLE.com:8080", "shop"),
        ("example.com.", "shop"),
        ("www.example.com", "branch"),
        ("a.b.example.com:1", "branch"),
        ("de.eu.example.com", "europe"),
        ("eu.example.com", "branch"),
        ("[2001:DB8::1]:80", "address"),
    ] {
        assert_eq!(
            ask(&hosts, &format!("GET /\nhost: {host}")).body,
            body,
            "{host}"
        );
    }
    for host in [
        "example.org",
        "notexample.com",
        "com",
        "xexample.com",
        "example.com.evil.test",
    ] {
        assert_eq!(
            ask(&hosts, &format!("GET /\nhost: {host}")).status,
            421,
            "{host}"
        );
    }
    // What the target says goes before the field.
    assert_eq!(
        ask(&hosts, "GET http://example.com/\nhost: www.example.com").body,
        "shop"
    );
    let hosts = hosts.fallback(says("any"));
    assert_eq!(ask(&hosts, "GET /\nhost: example.org").body, "any");
    let old = Client::new(hosts).send("GET / HTTP/1.0\r\n\r\n").reply();
    assert_eq!(old.body, "any");
}

#[test]
fn what_is_rewritten_is_looked_for_elsewhere_and_remembered() {
    let shows =
        |Path(rest): Path<String>, original: OriginalUri| format!("{rest} for {}", original.uri());
    let router = Router::builder()
        .route("/pages/{*rest}", get(shows))
        .build()
        .unwrap();
    let site = router.layer(
        Rewrite::new()
            .alias("/docs", "/pages")
            .alias("/home", "/pages/home"),
    );
    assert_eq!(ask(&site, "GET /docs/a?b").body, "a for /docs/a?b");
    assert_eq!(ask(&site, "GET /home").body, "home for /home");
    assert_eq!(ask(&site, "GET /docs/../x").status, 404);
    assert_eq!(ask(&site, "GET /pages/a").body, "a for /pages/a");
}

#[test]
fn a_rewritten_folder_is_redirected_within_this_site() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    let files = FileService::new(folder.path()).unwrap();
    let router = Router::builder().fallback_service(files).build().unwrap();
    let site = router.layer(Rewrite::new().alias("/old", ""));
    for path in ["/old/docs", "/old//docs", "//docs", "/old/%2Fdocs"] {
        let location = ask(&site, &format!("GET {path}"))
            .header("location")
            .to_owned();
        assert!(!location.starts_with("//"), "{path}: {location}");
    }
}

#[test]
fn a_folder_behind_a_prefix_is_redirected_within_it_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a[1]", "café", "docs"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let files = FileService::new(folder.path()).unwrap();
    let router = Router::builder().nest("/the/files", files).build().unwrap();
    for (path, location) in [
        ("/the/files/docs", "/the/files/docs/"),
        ("/the/files/%64ocs", "/the/files/docs/"),
        ("/%74he/files/docs?x", "/%74he/files/docs/?x"),
        ("/the/files/caf%c3%a9", "/the/files/caf%C3%A9/"),
        ("/the/files/a[1]", "/the/files/a%5B1%5D/"),
        ("/the/files/a%5b1%5D", "/the/files/a%5B1%5D/"),
    ] {
        let reply = ask(&router, &format!("GET {path}"));
        assert_eq!((reply.status, reply.header("location")), (301, location));
    }
}

#[test]
fn a_page_of_ones_own_keeps_all_that_went_with_the_rejection() {
    let refuse = handler_fn(|_: Request<Body>| {
        let mut response = Rejection::new(StatusCode::UNAUTHORIZED, "log in").into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            ("www-authenticate", "Basic realm=\"a\""),
            ("www-authenticate", "Bearer realm=\"a\""),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("x-mine", "theirs"),
        ] {
            let name = http::HeaderName::from_static(name);
            headers.append(name, value.parse().unwrap());
        }
        AccessLogFields::of(&mut response).user = Some("ada".to_owned());
        response
    });
    let pages = ErrorPages::new().rejections(|_| {
        let mine = [("x-mine", "mine")];
        Some((StatusCode::UNAUTHORIZED, mine, "Please log in").into_response())
    });
    let mut service = pages.layer(refuse);
    let mut answering = Box::pin(service.call(Request::new(Body::empty())));
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(mut response)) = answering.as_mut().poll(cx) else {
        panic!("it is answered at once");
    };
    let all = |name: &str| {
        let values = response.headers().get_all(name).iter();
        let values = values.map(|value| value.to_str().unwrap().to_owned());
        values.collect::<Vec<_>>()
    };
    let challenges = ["Basic realm=\"a\"", "Bearer realm=\"a\""];
    assert_eq!(all("www-authenticate"), challenges);
    assert_eq!(all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(all("x-mine"), ["mine"]);
    assert_eq!(all("content-type").len(), 1);
    let user = &AccessLogFields::of(&mut response).user;
    assert_eq!(user.as_deref(), Some("ada"));
    assert!(Rejection::of(&response).is_none());
}

#[test]
fn caches_are_told_that_rejections_depend_on_what_is_accepted() {
    let router = Router::builder().build().unwrap();
    for accept in ["*/*", "application/json"] {
        let reply = ask(&router, &format!("GET /nowhere\naccept: {accept}"));
        assert_eq!((reply.status, reply.header("vary")), (404, "accept"));
    }
}

#[test]
fn redirections_are_services_too() {
    assert_eq!(
        ask(&Redirect::permanent("/new"), "GET /x").header("location"),
        "/new"
    );
    let reply = ask(&HttpsRedirect::new(), "POST /a?b\nhost: example.com:80");
    assert_eq!(
        (reply.status, reply.header("location")),
        (308, "https://example.com/a?b")
    );
}

#[test]
fn errors_that_say_nothing_get_pages() {
    let router = Router::builder()
        .route("/bare", any(|| StatusCode::FORBIDDEN))
        .route("/own", get(|| (StatusCode::FORBIDDEN, "go away")))
        .route("/fine", get(|| "fine"))
        .route("/gone", get(|| StatusCode::GONE))
        .route(
            "/teapot",
            get(|| Rejection::new(StatusCode::IM_A_TEAPOT, "short and stout")),
        )
        .build()
        .unwrap()
        .layer(
            ErrorPages::new()
                .page(StatusCode::NOT_FOUND, "<h1>No such tea</h1>")
                .page(StatusCode::FORBIDDEN, "<h1>Not yours</h1>")
                .other(|status| (status.as_u16() == 405).then(|| format!("<h1>{status}</h1>")))
                .rejections(|rejection| {
                    (rejection.status() == StatusCode::IM_A_TEAPOT)
                        .then(|| format!("I am {}", rejection.detail()).into_response())
                }),
        );
    for (request, status, body) in [
        ("GET /nowhere", 404, "<h1>No such tea</h1>"),
        ("GET /bare", 403, "<h1>Not yours</h1>"),
        ("GET /own", 403, "go away"),
        ("GET /fine", 200, "fine"),
        ("GET /gone", 410, ""),
        ("POST /fine", 405, "<h1>405 Method Not Allowed</h1>"),
        ("GET /teapot", 200, "I am short and stout"),
    ] {
        let reply = ask(&router, request);
        assert_eq!((reply.status, &*reply.body), (status, body), "{request}");
        if body.starts_with('<') {
            assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
        }
    }
    assert_eq!(
        ask(&router, "POST /fine").header("allow"),
        "GET, HEAD, OPTIONS"
    );
    // A program gets what it asked for.
    let reply = ask(&router, "GET /nowhere\naccept: application/json");
    assert_eq!(reply.header("content-type"), "application/problem+json");
}
