//! Trees of resources, and what people write for Twisted.

use std::cell::RefCell;
use std::rc::Rc;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use ropewalk_web::answer::Html;
use ropewalk_web::resource::{Resource, ResourcePath};
use ropewalk_web::router::{Router, get};
use ropewalk_web::{Body, Data, FileService, OriginalUri, handler_fn};
use tower::util::MapRequest;

use crate::rig::{Client, ask, wire};

/// `HelloResource` with `render_GET`, which writes and never finishes (listing 17 of the books on
/// Twisted: there the request hangs).
#[test]
fn what_writes_and_does_not_say_that_it_is_done_is_done_when_it_returns() {
    let hello = Resource::new().render_get(|| {
        let (mut writer, body) = Body::channel();
        writer.try_send("Hello, world!".into()).unwrap();
        body
    });
    let client = Client::new(hello);
    let answer = client.send(wire("GET /")).received();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nd\r\nHello, world!\r\n0\r\n\r\n"),
        "{answer}"
    );
    // The connection goes on.
    assert!(
        client
            .send(wire("GET /"))
            .received()
            .contains("Hello, world!")
    );
}

/// `setHeader`, then a page (listing 18: 404 there, for the root is no leaf).
#[test]
fn a_page_at_the_root_is_found_and_sets_its_headers() {
    let hello = Resource::new().render_get(|| {
        (
            [("x-made-by", "hand")],
            Html("<html><body>Hello, world!</body></html>"),
        )
    });
    let reply = ask(&hello, "GET /");
    assert_eq!(
        (reply.status, &*reply.body),
        (200, "<html><body>Hello, world!</body></html>")
    );
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(reply.header("x-made-by"), "hand");
}

/// A site on a port (listing 19).
#[test]
fn a_resource_is_served_on_a_port() {
    let hello = Resource::new().render_get(|| "Hello");
    let client = Client::new(hello);
    assert_eq!(client.send(wire("GET /")).reply().status, 200);
}

/// `requestFactory = log_request` (listing 20: a TypeError there).
#[test]
fn each_request_can_be_seen_before_it_is_answered() {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let seen = Rc::clone(&log);
    let hello = Resource::new().render_get(|| Html("<html><body>Hello, world!</body></html>"));
    let logged = MapRequest::new(hello, move |request: Request<Body>| {
        let line = format!("{} {}", request.method(), request.uri());
        seen.borrow_mut().push(line);
        request
    });
    assert_eq!(ask(&logged, "GET /a?b").status, 404);
    assert_eq!(ask(&logged, "GET /").status, 200);
    assert_eq!(*log.borrow(), ["GET /a?b", "GET /"]);
}

/// `root.putChild(b'', SimpleResource())`, a leaf that finishes (listing 39: a RuntimeError there).
#[test]
fn a_child_with_an_empty_name_is_the_page_of_its_folder() {
    let simple = Resource::new().is_leaf(true).render_get(|| "Hello, world!");
    let root = Resource::new().put_child("", simple);
    assert_eq!(ask(&root, "GET /").body, "Hello, world!");
    assert_eq!(ask(&root, "GET /x").status, 404);
}

/// `request.content = …; return b""` (listing 48: an empty page, and 404 there).
#[test]
fn what_a_handler_returns_is_the_page() {
    let simple = Resource::new().render_get(|| Html("<html><body>Hello, Twisted!</body></html>"));
    let reply = ask(&simple, "GET /");
    assert_eq!(reply.body, "<html><body>Hello, Twisted!</body></html>");
}

fn seen(path: ResourcePath, uri: http::Uri, original: OriginalUri) -> String {
    format!(
        "{:?} {:?} {uri} {}",
        path.prepath,
        path.postpath,
        original.uri()
    )
}

#[test]
fn a_path_is_walked_segment_by_segment() {
    let leaf = Resource::new().is_leaf(true).render_get(seen);
    let node = Resource::new()
        .render_get(seen)
        .put_child("leaf", leaf)
        .put_child(
            "own",
            Resource::new()
                .render_get(|| "own")
                .put_child("", Resource::new().render_get(|| "index")),
        );
    let root = Resource::new().put_child("a b", node);
    for (path, body) in [
        ("/a%20b", "[\"a b\"] [] /a%20b /a%20b"),
        ("/a%20b/", "[\"a b\"] [] /a%20b/ /a%20b/"),
        (
            "/a%20b/leaf",
            "[\"a b\", \"leaf\"] [] /a%20b/leaf /a%20b/leaf",
        ),
        (
            "/a%20b/leaf/",
            "[\"a b\", \"leaf\"] [\"\"] /a%20b/leaf/ /a%20b/leaf/",
        ),
        (
            "/a%20b/le%61f/x%2Fy//z",
            "[\"a b\", \"leaf\"] [\"x/y\", \"\", \"z\"] /a%20b/le%61f/x%2Fy//z /a%20b/le%61f/x%2Fy//z",
        ),
        ("/a%20b/own", "own"),
        ("/a%20b/own/", "index"),
    ] {
        assert_eq!(ask(&root, &format!("GET {path}")).body, body, "{path}");
    }
    for path in [
        "/",
        "/x",
        "/a%20b/x",
        "/a%20b//",
        "/a%20b/own/x",
        "/a%20b/leaf/..",
        "/a%20b/leaf/%2e",
    ] {
        assert_eq!(ask(&root, &format!("GET {path}")).status, 404, "{path}");
    }
    assert_eq!(ask(&root, "GET /a%20b/leaf/%ff").status, 400);
    assert_eq!(ask(&root, "GET /%zz").status, 400);
}

#[test]
fn methods_are_answered_by_what_renders_them() {
    let root = Resource::new()
        .put_child(
            "both",
            Resource::new()
                .render_get(|| "got")
                .render_put(|body: String| body),
        )
        .put_child(
            "all",
            Resource::new()
                .render(|method: Method| method.to_string())
                .render_post(|| "post"),
        )
        .put_child("nothing", Resource::new().render_delete(|| ()))
        .put_child("folder", Resource::new().put_child("x", Resource::new()));
    for (request, status, body) in [
        ("GET /both", 200, "got"),
        ("PUT /both\n\nx", 200, "x"),
        ("GET /all", 200, "GET"),
        ("BREW /all", 200, "BREW"),
        ("POST /all", 200, "post"),
        ("DELETE /nothing", 204, ""),
        ("GET /folder", 404, "there is nothing at this address\n"),
        ("GET /folder/x", 404, "there is nothing at this address\n"),
    ] {
        let reply = ask(&root, request);
        assert_eq!((reply.status, &*reply.body), (status, body), "{request}");
    }
    let reply = ask(&root, "HEAD /both");
    assert_eq!(
        (reply.status, &*reply.body, reply.header("content-length")),
        (200, "", "3")
    );
    let reply = ask(&root, "POST /both");
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, "GET, HEAD, OPTIONS, PUT")
    );
    let reply = ask(&root, "OPTIONS /both");
    assert_eq!(
        (reply.status, reply.header("allow")),
        (204, "GET, HEAD, OPTIONS, PUT")
    );
}

#[test]
fn children_may_be_found_put_and_taken_out_while_the_tree_is_served() {
    let root = Resource::new().get_child(|name, request| {
        let id: u32 = name.parse().ok()?;
        let method = request.method().clone();
        Some(Resource::new().render_get(move || format!("{method} user {id}")))
    });
    let client = Client::new(root.clone());
    assert_eq!(client.send(wire("GET /7")).reply().body, "GET user 7");
    assert_eq!(client.send(wire("GET /x")).reply().status, 404);
    let _ = root
        .clone()
        .put_child("x", Resource::new().render_get(|| "x"));
    assert_eq!(client.send(wire("GET /x")).reply().body, "x");
    assert_eq!(root.list_names(), ["x"]);
    assert!(root.delete_child("x") && !root.delete_child("x"));
    assert_eq!(client.send(wire("GET /x")).reply().status, 404);
}

#[test]
fn a_handler_may_change_the_tree_that_it_stands_in() {
    let root = Resource::new();
    let own = root.clone();
    let root = root.render_post(move |name: String| {
        let child = name.clone();
        let _ = own
            .clone()
            .put_child(&name, Resource::new().render_get(move || child.clone()));
        let _ = own.clone().render_get(|| "changed");
        StatusCode::CREATED
    });
    assert_eq!(ask(&root, "POST /\n\ntea").status, 201);
    assert_eq!(ask(&root, "GET /tea").body, "tea");
    assert_eq!(ask(&root, "GET /").body, "changed");
}

#[test]
fn services_are_mounted_below_a_resource() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("tea.txt"), "tea").unwrap();
    let api = Router::builder()
        .route("/x/{y}", get(seen))
        .build()
        .unwrap();
    let root = Resource::new()
        .mount("files", FileService::new(folder.path()).unwrap())
        .mount(
            "robots.txt",
            Data::new("none", HeaderValue::from_static("text/plain")),
        )
        .put_child("api", Resource::new().mount("v1", api));
    assert_eq!(ask(&root, "GET /files/tea.txt").body, "tea");
    assert_eq!(
        ask(&root, "GET /files/sub?q").header("location"),
        "/files/sub/?q"
    );
    assert_eq!(ask(&root, "GET /files/../robots.txt").status, 404);
    assert_eq!(ask(&root, "GET /robots.txt").body, "none");
    assert_eq!(ask(&root, "HEAD /robots.txt").header("content-length"), "4");
    assert_eq!(ask(&root, "POST /robots.txt").header("allow"), "GET, HEAD");
    assert_eq!(
        ask(&root, "GET /api/v1/x/y").body,
        "[\"api\", \"v1\"] [] /x/y /api/v1/x/y"
    );
}

#[test]
fn a_tree_within_a_router_within_a_tree_works() {
    let inner = Resource::new().put_child("leaf", Resource::new().is_leaf(true).render_get(seen));
    let router = Router::builder().nest("/r", inner).build().unwrap();
    let root = Resource::new().mount("t", router);
    assert_eq!(
        ask(&root, "GET /t/r/leaf/x").body,
        "[\"t\", \"leaf\"] [\"x\"] /leaf/x /t/r/leaf/x"
    );
}

#[test]
#[should_panic(expected = "are several")]
fn a_child_whose_name_no_segment_can_be_is_a_mistake() {
    let _ = Resource::new().put_child("a/b", Resource::new());
}

#[test]
fn a_handler_that_fails_at_once_is_answered_500() {
    let fails = handler_fn(|_: Request<Body>| Response::new(Body::empty()));
    assert_eq!(
        ask(&Resource::new().mount("x", fails), "GET /x").status,
        200
    );
}
