//! What stands around services: hosts, rewriting, redirections, error pages.

use http::{Request, Response, StatusCode};
use ropewalk_web::answer::{HttpsRedirect, IntoResponse, Redirect, Rejection};
use ropewalk_web::extract::Path;
use ropewalk_web::router::{Router, any, get};
use ropewalk_web::{
    Body, ErrorPages, FileService, HandlerFn, OriginalUri, Rewrite, VirtualHosts, handler_fn,
};

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
