//! Compression of answers.

use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use ropewalk_web::middleware::{CompressionLayer, CompressionLevel};
use ropewalk_web::{Body, BodyWriter, ContentCoding, handler_fn};
use std::cell::RefCell;
use std::rc::Rc;
use tower_layer::Layer;

use crate::rig::{World, decode};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn rope() -> String {
    "The strands are twisted into rope. ".repeat(100)
}

/// A site that answers with `answer`, compressed.
fn world(answer: impl Fn(&Request<Body>) -> Response<Body> + 'static) -> World {
    world_with(&CompressionLayer::new(), answer)
}

fn world_with(
    layer: &CompressionLayer,
    answer: impl Fn(&Request<Body>) -> Response<Body> + 'static,
) -> World {
    World::new(|_| layer.layer(handler_fn(move |request: Request<Body>| answer(&request))))
}

fn text(body: impl Into<Body>) -> Response<Body> {
    let answer = Response::builder().header("content-type", "text/plain");
    answer.body(body.into()).unwrap()
}

fn accept(coding: &str) -> String {
    format!("Accept-Encoding: {coding}")
}

#[test]
fn each_coding_decodes_to_what_was_answered_and_says_how_long_it_is() {
    let world = world(|_| text(rope()));
    for coding in CODINGS {
        let answer = world.get("/", &[&accept(coding)]);
        assert_eq!(answer.header("content-encoding"), Some(coding));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert!(answer.body.len() < 200, "{coding}: {}", answer.body.len());
        assert!(answer.header("content-length").is_some(), "{coding}");
        assert_eq!(decode(Some(coding), &answer.body), rope().as_bytes());
    }
}

#[test]
fn who_takes_nothing_but_the_content_as_it_is_gets_that() {
    let world = world(|_| text(rope()));
    for lines in [
        &[][..],
        &["Accept-Encoding: deflate"],
        &["Accept-Encoding: gzip;q=0"],
    ] {
        let answer = world.get("/", lines);
        assert_eq!(answer.header("content-encoding"), None, "{lines:?}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "{lines:?}");
        assert_eq!(answer.text(), rope(), "{lines:?}");
    }
}

#[test]
fn who_takes_nothing_at_all_gets_406_and_who_takes_no_identity_gets_the_shortest_answer_coded() {
    let world = world(|_| text("short"));
    let answer = world.get("/", &["Accept-Encoding: identity;q=0"]);
    assert_eq!(answer.status, 406);
    let answer = world.get("/", &["Accept-Encoding: gzip"]);
    assert_eq!(answer.header("content-encoding"), None);
    let answer = world.get("/", &["Accept-Encoding: gzip, identity;q=0"]);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(decode(Some("gzip"), &answer.body), b"short");
}

#[test]
fn what_is_coded_has_a_weak_tag_and_no_ranges() {
    let world = world(|_| {
        let mut answer = text(rope());
        let headers = answer.headers_mut();
        headers.insert("etag", "\"x\"".parse().unwrap());
        headers.insert("accept-ranges", "bytes".parse().unwrap());
        headers.insert("vary", "Accept".parse().unwrap());
        headers.insert("content-length", rope().len().into());
        answer
    });
    let answer = world.get("/", &["Accept-Encoding: gzip"]);
    assert_eq!(answer.header("etag"), Some("W/\"x\""));
    assert_eq!(answer.header("accept-ranges"), None);
    let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept", "accept-encoding"]);
    let answer = world.get("/", &[]);
    assert_eq!(answer.header("etag"), Some("\"x\""));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
}

#[test]
fn what_must_not_be_coded_is_sent_as_it_is() {
    let world = world(|request| {
        let mut answer = text(rope());
        let (name, value) = match request.uri().path() {
            "/partial" => {
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                ("content-range", "bytes 0-3499/9999")
            }
            "/coded" => ("content-encoding", "br"),
            "/no-transform" => ("cache-control", "max-age=5, no-transform"),
            "/picture" => ("content-type", "image/png"),
            _ => panic!(),
        };
        answer.headers_mut().insert(name, value.parse().unwrap());
        answer
    });
    for path in ["/partial", "/coded", "/no-transform", "/picture"] {
        let answer = world.get(path, &["Accept-Encoding: gzip, br"]);
        assert_eq!(answer.text(), rope(), "{path}");
    }
    let answer = world.get("/coded", &["Accept-Encoding: gzip"]);
    assert_eq!(answer.header("content-encoding"), Some("br"));
}

#[test]
fn what_does_not_get_shorter_is_sent_as_it_is() {
    let noise: Vec<u8> = std::iter::successors(Some(1_u64), |n| {
        Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
    })
    .map(|n| (n >> 56) as u8)
    .take(2000)
    .collect();
    let sent = noise.clone();
    let world = world(move |_| text(sent.clone()));
    let answer = world.get("/", &["Accept-Encoding: zstd"]);
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.body, noise);
}

#[test]
fn the_answer_to_head_has_the_headers_of_that_to_get() {
    let world = world(|request| {
        // As a handler that leaves the body out, and one that doesn't.
        let mut answer = match request.uri().path() {
            "/left-out" if request.method() == "HEAD" => text(""),
            _ => text(rope()),
        };
        if request.uri().path() == "/left-out" {
            let length = rope().len().into();
            answer.headers_mut().insert("content-length", length);
        }
        answer
    });
    for path in ["/left-out", "/whole"] {
        let get = world.get(path, &["Accept-Encoding: gzip"]);
        let head = world.head(path, &["Accept-Encoding: gzip"]);
        for name in ["content-encoding", "vary", "content-type"] {
            assert_eq!(get.header(name), head.header(name), "{path}");
        }
        // It may be left out, but not be another one.
        let length = head.header("content-length");
        assert!(
            length.is_none() || length == get.header("content-length"),
            "{path}"
        );
        assert!(head.body.is_empty());
    }
}

/// A site that streams what the writer is given.
fn streaming(layer: &CompressionLayer) -> (World, Rc<RefCell<Vec<BodyWriter>>>) {
    let writers: Rc<RefCell<Vec<BodyWriter>>> = Rc::default();
    let keep = Rc::clone(&writers);
    let world = world_with(layer, move |_| {
        let (writer, body) = Body::channel();
        keep.borrow_mut().push(writer);
        let mut answer = Response::new(body);
        let events = "text/event-stream".parse().unwrap();
        answer.headers_mut().insert("content-type", events);
        answer
    });
    (world, writers)
}

/// What can be read of a coded stream that has not ended.
fn decode_so_far(coding: &str, coded: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut decoder: Box<dyn Read + '_> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(coded)),
        "br" => Box::new(brotli::Decompressor::new(coded, 4096)),
        _ => Box::new(zstd::stream::read::Decoder::new(coded).unwrap()),
    };
    let (mut out, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = decoder.read(&mut byte) {
        out.push(byte[0]);
    }
    out
}

#[test]
fn an_event_comes_through_at_once() {
    for coding in CODINGS {
        let (world, writers) = streaming(&CompressionLayer::new());
        let asked = world.ask("GET", "/", &[&accept(coding)]);
        let mut writer = writers.borrow_mut().pop().unwrap();
        assert_eq!(asked.head().header("content-encoding"), Some(coding));
        let mut sent = String::new();
        for number in 0..5 {
            let event = format!("data: {number}\n\n");
            sent += &event;
            assert!(writer.try_send(event.into()).is_ok());
            world.reactor.run();
            let so_far = decode_so_far(coding, &asked.head().body);
            assert_eq!(String::from_utf8(so_far).unwrap(), sent, "{coding}");
            let length = asked.bytes().len();
            world.reactor.run();
            assert_eq!(asked.bytes().len(), length, "nothing is sent for nothing");
        }
        drop(writer);
        world.reactor.run();
        let answer = asked.answer();
        assert_eq!(decode(Some(coding), &answer.body), sent.as_bytes());
    }
}

#[test]
fn a_stream_that_breaks_off_breaks_off_coded_too() {
    let (world, writers) = streaming(&CompressionLayer::new());
    let asked = world.ask("GET", "/", &["Accept-Encoding: gzip"]);
    let mut writer = writers.borrow_mut().pop().unwrap();
    assert!(writer.try_send("some".into()).is_ok());
    world.reactor.run();
    writer.abort();
    world.reactor.run();
    assert!(!asked.bytes().ends_with(b"0\r\n\r\n"));
}

#[test]
fn only_so_many_streams_are_coded_at_once() {
    let (world, writers) = streaming(&CompressionLayer::new().streams(1));
    let coding = |asked: &crate::rig::Asked| {
        let head = asked.head();
        head.header("content-encoding").map(str::to_owned)
    };
    let first = world.ask("GET", "/", &["Accept-Encoding: gzip"]);
    let second = world.ask("GET", "/", &["Accept-Encoding: gzip"]);
    assert_eq!(coding(&first).as_deref(), Some("gzip"));
    assert_eq!(coding(&second), None);
    first.connection.abort_connection();
    world.reactor.run();
    let third = world.ask("GET", "/", &["Accept-Encoding: gzip"]);
    assert_eq!(coding(&third).as_deref(), Some("gzip"));
    assert_eq!(writers.borrow().len(), 3);
}

#[test]
fn what_is_long_is_coded_piece_by_piece_while_others_get_their_turn() {
    let long: String = (0..400_000).map(|n| format!("{n}\n")).collect();
    let sent = long.clone();
    let world = world(move |_| text(sent.clone()));
    for coding in CODINGS {
        let answer = world.get("/", &[&accept(coding)]);
        assert_eq!(answer.header("content-length"), None);
        assert!(
            decode(Some(coding), &answer.body) == long.as_bytes(),
            "{coding}"
        );
    }
}

#[test]
fn codings_and_levels_are_chosen() {
    use ContentCoding::{Brotli, Gzip};
    for level in [CompressionLevel::Fastest, CompressionLevel::Best] {
        let layer = CompressionLayer::new().codings([Gzip, Brotli]).level(level);
        let world = world_with(&layer, |_| text(rope()));
        for (asked, coding) in [
            ("br, gzip, zstd", Some("gzip")),
            ("zstd", None),
            ("br", Some("br")),
        ] {
            let answer = world.get("/", &[&accept(asked)]);
            assert_eq!(answer.header("content-encoding"), coding);
            assert_eq!(decode(coding, &answer.body), rope().as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn however_a_stream_is_cut_it_decodes_to_what_was_sent(
        pieces in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..5000), any::<bool>()),
            0..8,
        ),
        coding in 0..3_usize,
    ) {
        let coding = CODINGS[coding];
        let (world, writers) = streaming(&CompressionLayer::new());
        let asked = world.ask("GET", "/", &[&accept(coding)]);
        let mut writer = writers.borrow_mut().pop().unwrap();
        let mut sent = Vec::new();
        for (piece, pause) in pieces {
            sent.extend_from_slice(&piece);
            prop_assert!(writer.try_send(piece.into()).is_ok());
            if pause {
                world.reactor.run();
            }
        }
        drop(writer);
        world.reactor.run();
        prop_assert_eq!(decode(Some(coding), &asked.answer().body), sent);
    }
}
