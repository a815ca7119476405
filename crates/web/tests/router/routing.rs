//! Which request goes where.

use http::{Method, Request, Response};
use proptest::prelude::*;
use ropewalk_web::extract::{Path, PathParams};
use ropewalk_web::router::{RouteError, Router, any, any_service, get, post, put};
use ropewalk_web::{Body, FileService, OriginalUri, handler_fn};

use crate::rig::ask;

fn teas() -> Router {
    Router::builder()
        .route("/", get(|| "home"))
        .route(
            "/teas",
            get(|| "list").post(|tea: String| format!("new {tea}")),
        )
        .route("/teas/best", get(|| "best"))
        .route(
            "/teas/{id}",
            get(|Path(id): Path<String>| format!("tea {id}")),
        )
        .route("/teas/{id}", put(|Path(id): Path<u32>| format!("put {id}")))
        .route(
            "/files/{*path}",
            any(|Path(path): Path<String>| format!("file {path}")),
        )
        .route("/café/{{x}}", get(|| "literal"))
        .build()
        .unwrap()
}

#[test]
fn a_request_goes_to_the_handler_of_its_method_and_path() {
    let router = teas();
    for (request, status, body) in [
        ("GET /", 200, "home"),
        ("GET /?a=b", 200, "home"),
        ("GET /teas", 200, "list"),
        ("POST /teas\n\noolong", 200, "new oolong"),
        ("GET /teas/best", 200, "best"),
        ("GET /teas/7", 200, "tea 7"),
        ("PUT /teas/7", 200, "put 7"),
        ("GET /files/a/b", 200, "file a/b"),
        ("PURGE /files/a/b", 200, "file a/b"),
        ("GET /teas/a%2Fb%20c", 200, "tea a/b c"),
        ("GET /teas/caf%C3%A9", 200, "tea café"),
        ("GET /%74eas", 200, "list"),
        ("GET /caf%c3%a9/%7Bx%7d", 200, "literal"),
        ("GET http://example.com/teas", 200, "list"),
    ] {
        let reply = ask(&router, request);
        assert_eq!((reply.status, &*reply.body), (status, body), "{request}");
    }
}

#[test]
fn what_fits_no_route_is_404() {
    let router = teas();
    for path in [
        "/teas/",
        "//teas",
        "/teas//",
        "/Teas",
        "/tea",
        "/teas/7/",
        "/files/",
        "/files",
        "/teas/.",
        "/teas/%2e%2E",
        "/files/../teas",
        "/files/a/%2e%2e/b",
        "/files/./x",
    ] {
        let reply = ask(&router, &format!("GET {path}"));
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.body, "there is nothing at this address\n");
    }
}

#[test]
fn bad_escapes_are_400() {
    let router = teas();
    for path in [
        "/teas/%",
        "/teas/%4",
        "/teas/%zz",
        "/teas/%ff",
        "/files/a/%C3",
        "/%",
    ] {
        assert_eq!(ask(&router, &format!("GET {path}")).status, 400, "{path}");
    }
}

/// RFC 9110, section 9.1.
#[test]
fn a_method_that_nobody_knows_is_501_and_connect_and_trace_are_405() {
    let router = Router::builder()
        .route("/tea", get(|| "tea"))
        .build()
        .unwrap();
    assert_eq!(ask(&router, "BREW /tea").status, 501);
    for line in [
        "TRACE /tea",
        "CONNECT /tea",
        "CONNECT example.com:443",
        "PATCH /tea",
    ] {
        let reply = ask(&router, line);
        assert_eq!(reply.status, 405, "{line}");
        assert_eq!(reply.header("allow"), "GET, HEAD, OPTIONS", "{line}");
    }
}

#[test]
fn another_method_is_405_with_what_is_allowed() {
    let reply = ask(&teas(), "DELETE /teas");
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), "GET, HEAD, OPTIONS, POST");
    assert_eq!(
        ask(&teas(), "POST /teas/7").header("allow"),
        "GET, HEAD, OPTIONS, PUT"
    );
    assert_eq!(ask(&teas(), "POST /nowhere").status, 404);
}

#[test]
fn head_is_get_without_its_content_unless_it_has_its_own() {
    let reply = ask(&teas(), "HEAD /teas");
    assert_eq!((reply.status, &*reply.body), (200, ""));
    assert_eq!(reply.header("content-length"), "4");
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    let own = Router::builder().route("/", get(|| "x").head(|| ([("x-own", "1")], ())));
    let own = own.build().unwrap();
    assert_eq!(ask(&own, "HEAD /").header("x-own"), "1");
    let all = Router::builder().route("/", get(|| "x").any(|method: Method| method.to_string()));
    assert_eq!(
        ask(&all.build().unwrap(), "HEAD /").header("content-length"),
        "1"
    );
}

#[test]
fn options_is_answered_with_what_is_allowed() {
    let reply = ask(&teas(), "OPTIONS /teas");
    assert_eq!(
        (reply.status, reply.header("allow")),
        (204, "GET, HEAD, OPTIONS, POST")
    );
    let reply = ask(&teas(), "OPTIONS *");
    assert_eq!(
        (reply.status, reply.header("allow")),
        (204, "GET, HEAD, OPTIONS, POST, PUT")
    );
    let own = Router::builder()
        .route("/", get(|| "x").options(|| "mine"))
        .build()
        .unwrap();
    assert_eq!(ask(&own, "OPTIONS /").body, "mine");
}

#[test]
fn the_fallback_answers_what_fits_no_route() {
    let router = Router::builder()
        .route("/", get(|| "home"))
        .fallback(|uri: http::Uri| format!("nothing at {uri}"))
        .build()
        .unwrap();
    assert_eq!(ask(&router, "POST /x/../y").body, "nothing at /x/../y");
    assert_eq!(ask(&router, "POST /").status, 405);
}

/// Says what it sees.
fn mirror(request: Request<Body>) -> Response<Body> {
    let params: Vec<_> = PathParams::of(&request)
        .map(|params| {
            params
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        })
        .unwrap_or_default();
    let (seen, asked) = (request.uri(), OriginalUri::of(&request));
    let prefix = OriginalUri::prefix(&request);
    Response::new(Body::from(format!("{seen} {asked} [{prefix}] {params:?}")))
}

#[test]
fn what_is_nested_sees_the_rest_of_the_path() {
    let inner = Router::builder()
        .route("/{leaf}", any_service(handler_fn(mirror)))
        .route("/", get(mirror_handler))
        .build()
        .unwrap();
    let router = Router::builder()
        .nest("/api/{version}", inner)
        .route("/api/{version}/own", get(|| "own"))
        .nest("/raw/", handler_fn(mirror))
        .build()
        .unwrap();
    for (path, body) in [
        (
            "/api/1/x?q",
            "/x?q /api/1/x?q [/api/1] [\"version=1\", \"leaf=x\"]",
        ),
        (
            "/api/1/a%2fb",
            "/a%2Fb /api/1/a%2fb [/api/1] [\"version=1\", \"leaf=a/b\"]",
        ),
        ("/api/1", "/ /api/1 [/api/1] [\"version=1\"]"),
        ("/api/1/", "/ /api/1/ [/api/1] [\"version=1\"]"),
        ("/api/1/own", "own"),
        ("/raw", "/ /raw [/raw] []"),
        ("/raw/a//b/", "/a//b/ /raw/a//b/ [/raw] []"),
        ("/raw//a", "//a /raw//a [/raw] []"),
    ] {
        assert_eq!(ask(&router, &format!("GET {path}")).body, body, "{path}");
    }
    assert_eq!(ask(&router, "GET /raw/../api/1").status, 404);
    assert_eq!(ask(&router, "GET /rawx").status, 404);
}

fn mirror_handler(request: Request<Body>) -> Response<Body> {
    mirror(request)
}

#[test]
fn a_router_within_a_router_within_a_router_remembers_what_was_asked() {
    let inner = Router::builder()
        .route("/z", get(mirror_handler))
        .build()
        .unwrap();
    let middle = Router::builder().nest("/y", inner).build().unwrap();
    let outer = Router::builder().nest("/x", middle).build().unwrap();
    assert_eq!(ask(&outer, "GET /x/y/z").body, "/z /x/y/z [/x/y] []");
}

#[test]
fn a_nested_folder_redirects_to_its_own_address() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    std::fs::write(folder.path().join("docs/index.html"), "docs").unwrap();
    std::fs::write(folder.path().join("index.html"), "root").unwrap();
    let files = FileService::new(folder.path()).unwrap();
    let router = Router::builder().nest("/static", files).build().unwrap();
    assert_eq!(ask(&router, "GET /static/docs/").body, "docs");
    let reply = ask(&router, "GET /static/docs?a");
    assert_eq!(
        (reply.status, reply.header("location")),
        (301, "/static/docs/?a")
    );
    let reply = ask(&router, "GET /static?a");
    assert_eq!(
        (reply.status, reply.header("location")),
        (301, "/static/?a")
    );
    assert_eq!(ask(&router, "GET /static/").body, "root");
}

#[test]
fn routes_that_cannot_be_told_apart_are_both_named() {
    let error = Router::builder()
        .route("/teas/{id}", get(|| ""))
        .route("/teas/{name}", post(|| ""))
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`/teas/{name}` (") && error.contains("`/teas/{id}` ("),
        "{error}"
    );
    assert_eq!(error.matches("routing.rs:").count(), 2, "{error}");

    let error = Router::builder()
        .nest("/api", handler_fn(mirror))
        .route("/api/{*path}", get(|| ""))
        .build()
        .unwrap_err();
    let RouteError::Conflict { route, with } = error else {
        panic!("{error}")
    };
    assert_eq!((&*route.path, &*with.path), ("/api/{*path}", "/api"));
    assert_ne!(route.place.line(), with.place.line());

    let error = Router::builder()
        .route("/caf%C3%A9", get(|| ""))
        .route("/café", post(|| ""))
        .build()
        .unwrap_err();
    assert!(matches!(error, RouteError::Conflict { .. }), "{error}");
}

#[test]
fn two_handlers_for_one_method_are_an_error() {
    for routes in [
        Router::builder().route("/", get(|| "").get(|| "")),
        Router::builder()
            .route("/", get(|| ""))
            .route("/", get(|| "")),
        Router::builder()
            .route("/", any(|| ""))
            .route("/", any(|| "")),
    ] {
        let error = routes.build().unwrap_err();
        assert!(matches!(error, RouteError::TwoHandlers { .. }), "{error}");
    }
}

#[test]
fn a_path_that_is_none_is_an_error_that_says_why() {
    for (path, reason) in [
        ("teas", "begin with a `/`"),
        ("", "begin with a `/`"),
        ("/%zz", "hexadecimal"),
        ("/{}", "a parameter is a name"),
        ("/{a", "a parameter is a name"),
        ("/{a}{b}", "one parameter"),
        ("/{*a}/b", "last segment"),
    ] {
        let error = Router::builder()
            .route(path, get(|| ""))
            .build()
            .unwrap_err();
        assert!(
            matches!(error, RouteError::Malformed { .. }),
            "{path}: {error}"
        );
        assert!(error.to_string().contains(reason), "{error}");
    }
    let nested = Router::builder()
        .nest("/x/{*rest}", handler_fn(mirror))
        .build();
    assert!(matches!(nested.unwrap_err(), RouteError::Malformed { .. }));
}

proptest! {
    /// What a client writes never makes the router panic, nor a handler see a dot segment.
    #[test]
    fn no_path_leads_past_its_route(path in "/(files/)?([a%2eEfF./é]|\\PC){0,16}") {
        let router = teas();
        let mut request = Request::new(Body::empty());
        let Ok(uri) = http::Uri::try_from(&path) else { return Ok(()) };
        *request.uri_mut() = uri;
        let answer = router.answer(request).into_ready().ok().expect("at once").unwrap();
        prop_assert!(matches!(answer.status().as_u16(), 200 | 400 | 404 | 405));
    }
}
