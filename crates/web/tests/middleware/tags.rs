//! Entity tags of answers that are all there.

use http::{Request, Response};
use ropewalk_web::middleware::{CompressionLayer, EntityTagLayer};
use ropewalk_web::{Body, handler_fn};
use tower_layer::Layer;

use crate::rig::World;

fn world() -> World {
    World::new(|_| {
        EntityTagLayer::new().layer(handler_fn(|request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let answer = Response::builder().header("content-type", "text/plain");
            match &path[..] {
                "/no-store" => answer
                    .header("cache-control", "no-store")
                    .body(Body::from("x")),
                "/own" => answer.header("etag", "\"own\"").body(Body::from("x")),
                "/stream" => {
                    let (writer, body) = Body::channel();
                    drop(writer);
                    answer.body(body)
                }
                "/long" => answer.body(Body::from(vec![b'x'; 300_000])),
                "/missing" => answer.status(404).body(Body::from("x")),
                _ => answer.header("vary", "accept").body(Body::from(path)),
            }
            .unwrap()
        }))
    })
}

#[test]
fn the_same_content_has_the_same_strong_tag_and_other_content_another() {
    let world = world();
    let tag = |path| world.get(path, &[]).header("etag").unwrap().to_owned();
    assert_eq!(tag("/a"), tag("/a"));
    assert_ne!(tag("/a"), tag("/b"));
    assert!(tag("/a").starts_with('"') && tag("/a").len() == 34);
    assert_eq!(world.head("/a", &[]).header("etag").unwrap(), tag("/a"));
    for path in ["/no-store", "/stream", "/long", "/missing"] {
        assert_eq!(world.get(path, &[]).header("etag"), None, "{path}");
    }
    assert_eq!(
        world
            .ask("POST", "/a", &["Content-Length: 0"])
            .answer()
            .header("etag"),
        None
    );
    assert_eq!(tag("/own"), "\"own\"");
}

#[test]
fn who_has_it_already_is_told_so_and_gets_no_body() {
    let world = world();
    let tag = world.get("/a", &[]).header("etag").unwrap().to_owned();
    for (path, line, status) in [
        ("/a", format!("If-None-Match: {tag}"), 304),
        ("/a", format!("If-None-Match: \"x\", W/{tag}"), 304),
        ("/a", "If-None-Match: *".to_owned(), 304),
        ("/a", "If-None-Match: \"x\"".to_owned(), 200),
        ("/a", format!("If-Match: {tag}"), 200),
        ("/a", "If-Match: \"x\"".to_owned(), 412),
        ("/own", "If-None-Match: \"own\"".to_owned(), 304),
        ("/missing", "If-None-Match: *".to_owned(), 404),
    ] {
        let answer = world.get(path, &[&line]);
        assert_eq!(answer.status, status, "{path} {line}");
        if status == 304 {
            assert!(answer.body.is_empty());
            assert!(answer.header("etag").is_some());
            assert_eq!(answer.header("content-type"), None);
            assert_eq!(answer.header("content-length"), None);
        }
    }
    assert_eq!(
        world.get("/a", &["If-None-Match: *"]).header("vary"),
        Some("accept")
    );
    let post = ["If-None-Match: *", "Content-Length: 0"];
    assert_eq!(world.ask("POST", "/a", &post).answer().status, 200);
}

#[test]
fn behind_compression_the_tag_is_weak_and_still_saves_the_body() {
    let world = World::new(|_| {
        let page = handler_fn(|_: Request<Body>| {
            let answer = Response::builder().header("content-type", "text/plain");
            answer.body(Body::from("rope ".repeat(200))).unwrap()
        });
        CompressionLayer::new().layer(EntityTagLayer::new().layer(page))
    });
    let first = world.get("/", &["Accept-Encoding: br"]);
    let tag = first.header("etag").unwrap();
    assert!(tag.starts_with("W/\""));
    let line = format!("If-None-Match: {tag}");
    let again = world.get("/", &["Accept-Encoding: br", &line]);
    assert_eq!((again.status, again.header("etag")), (304, Some(tag)));
    assert_eq!(again.header("vary"), Some("accept-encoding"));
    let plain = world.get("/", &[&line]);
    assert_eq!(plain.status, 304);
    assert_eq!(plain.header("etag"), tag.strip_prefix("W/"));
}
