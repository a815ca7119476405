//! Request bodies that come compressed.

use std::io::Write;

use http::{Request, Response};
use proptest::prelude::*;
use ropewalk_web::middleware::{BodyLimitLayer, DecompressionLayer};
use ropewalk_web::router::{Router, post as answer_post};
use ropewalk_web::{Body, Uploads};
use tower_layer::Layer;

use crate::rig::{Answer, World, handler_fallible};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// A site that answers with the length of the body and its beginning, and what the request says of
/// it.
fn world(layer: &DecompressionLayer) -> World {
    World::new(|_| {
        let handler = handler_fallible(|request: Request<Body>| async move {
            let fields = ["content-encoding", "content-length"];
            let fields = fields.map(|name| u8::from(request.headers().contains_key(name)));
            let mut body = request.into_body().collect().await?.to_vec();
            let length = body.len();
            body.truncate(10);
            let text = String::from_utf8_lossy(&body);
            Ok(Response::new(Body::from(format!(
                "{length} {text} {fields:?}"
            ))))
        });
        BodyLimitLayer::new(64 << 20).layer(layer.layer(handler))
    })
}

fn encode(coding: &str, data: &[u8]) -> Vec<u8> {
    match coding {
        "br" => {
            let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            writer.write_all(data).unwrap();
            writer.into_inner()
        }
        "zstd" => zstd::encode_all(data, 3).unwrap(),
        _ => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            writer.write_all(data).unwrap();
            writer.finish().unwrap()
        }
    }
}

fn post(world: &World, coding: &str, body: &[u8], cuts: impl IntoIterator<Item = usize>) -> Answer {
    let asked = world.send(format!(
        "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Encoding: {coding}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    ));
    let mut rest = body;
    for cut in cuts {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        world.send_more(&asked, piece);
        rest = after;
    }
    world.send_more(&asked, rest);
    asked.answer()
}

#[test]
fn the_handler_reads_what_was_meant() {
    let world = world(&DecompressionLayer::new(1 << 20));
    let text = b"0123456789".repeat(50_000);
    for coding in ["gzip", "x-gzip", "br", "zstd", "ZSTD", "identity, br"] {
        let name = coding.rsplit([' ', '-']).next().unwrap().to_lowercase();
        let answer = post(&world, coding, &encode(&name, &text), []);
        assert_eq!(answer.text(), "500000 0123456789 [0, 0]", "{coding}");
    }
    assert_eq!(
        post(&world, "identity", b"as it is", []).text(),
        "8 as it is [1, 1]"
    );
    for coding in CODINGS {
        assert_eq!(
            post(&world, coding, &encode(coding, b""), []).text(),
            "0  [0, 0]"
        );
    }
}

#[test]
fn limits_within_hold_for_what_was_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = Uploads::new(folder.path()).unwrap().max_size(1000);
    let length = |body: bytes::Bytes| async move { body.len().to_string() };
    let router = Router::builder()
        .route("/short", answer_post(length).body_limit(1000))
        .route("/long", answer_post(length))
        .nest("/files", uploads)
        .build()
        .unwrap();
    let world = World::new(|_| DecompressionLayer::new(1 << 20).layer(router));
    let ask = |method: &str, path: &str, length: usize| {
        let body = encode("gzip", &vec![b'x'; length]);
        let asked = world.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: example.com\r\nContent-Encoding: gzip\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        ));
        world.send_more(&asked, body);
        asked.answer().status
    };
    assert_eq!(ask("POST", "/long", 1001), 200);
    assert_eq!(ask("POST", "/short", 1000), 200);
    assert_eq!(ask("POST", "/short", 1001), 413);
    assert_eq!(ask("PUT", "/files/a", 1000), 201);
    assert_eq!(ask("PUT", "/files/b", 1001), 413);
    assert!(!folder.path().join("b").exists());
}

#[test]
fn a_window_of_brotli_that_is_larger_than_the_format_has_is_refused() {
    let world = world(&DecompressionLayer::new(1 << 20));
    let params = brotli::enc::BrotliEncoderParams {
        large_window: true,
        lgwin: 30,
        ..Default::default()
    };
    let mut writer = brotli::CompressorWriter::with_params(Vec::new(), 4096, &params);
    writer.write_all(b"0123456789").unwrap();
    let body = writer.into_inner();
    for cut in 0..3 {
        assert_eq!(post(&world, "br", &body, [cut]).status, 400, "{cut}");
    }
}

#[test]
fn two_members_of_gzip_and_two_frames_of_zstd_are_one_body() {
    let world = world(&DecompressionLayer::new(1 << 20));
    for coding in ["gzip", "zstd"] {
        let body = [encode(coding, b"rope"), encode(coding, b"walk")].concat();
        for cut in 0..body.len() {
            let answer = post(&world, coding, &body, [cut]);
            assert_eq!(answer.text(), "8 ropewalk [0, 0]", "{coding} at {cut}");
        }
    }
}

#[test]
fn what_decodes_to_too_much_is_refused_and_never_held() {
    let world = world(&DecompressionLayer::new(1 << 20));
    for coding in CODINGS {
        let exactly = encode(coding, &vec![0; 1 << 20]);
        assert_eq!(post(&world, coding, &exactly, []).status, 200, "{coding}");
        let one_more = encode(coding, &vec![0; (1 << 20) + 1]);
        assert_eq!(post(&world, coding, &one_more, []).status, 413, "{coding}");
        let bomb = encode(coding, &vec![0; 64 << 20]);
        assert_eq!(post(&world, coding, &bomb, []).status, 413, "{coding}");
    }
}

#[test]
fn what_is_malformed_cut_off_or_followed_by_more_is_refused() {
    let world = world(&DecompressionLayer::new(1 << 20));
    for coding in CODINGS {
        let mut body = encode(coding, &b"0123456789".repeat(1000));
        for length in [0, 1, body.len() / 2, body.len() - 1] {
            let answer = post(&world, coding, &body[..length], []);
            // An empty body is no stream of gzip or brotli, but one of no frames of zstd.
            let expected = if length == 0 { [200, 400] } else { [400, 400] };
            assert!(
                expected.contains(&answer.status),
                "{coding} of {length}: {answer:?}"
            );
        }
        let middle = body.len() / 2;
        body[middle] ^= 0xff;
        body[middle + 1] ^= 0xff;
        let answer = post(&world, coding, &body, []);
        // Only gzip has a checksum always.
        assert!(answer.status == 400 || coding != "gzip", "{coding}");
        assert_eq!(
            post(&world, coding, b"plain text, that is", []).status,
            400,
            "{coding}"
        );
    }
    let more = [encode("zstd", b"rope"), b"walk".to_vec()].concat();
    assert_eq!(post(&world, "zstd", &more, []).status, 400);
}

#[test]
fn a_coding_that_is_not_known_is_answered_with_those_that_are() {
    let world = world(&DecompressionLayer::new(1 << 20));
    for coding in ["deflate", "gzip, br", "gzip, gzip", "x"] {
        let answer = post(&world, coding, b"x", []);
        assert_eq!(answer.status, 415, "{coding}");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, br, zstd"));
    }
}

#[test]
fn only_so_many_are_decoded_at_once() {
    let world = world(&DecompressionLayer::new(1 << 20).bodies(1));
    let head = "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Encoding: gzip\r\n\
                Content-Length: 100\r\n\r\n";
    let first = world.send(head);
    let second = post(&world, "gzip", &encode("gzip", b"x"), []);
    assert_eq!(
        (second.status, second.header("retry-after")),
        (503, Some("1"))
    );
    first.connection.abort_connection();
    world.reactor.run();
    assert_eq!(post(&world, "gzip", &encode("gzip", b"x"), []).status, 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn it_means_the_same_however_it_is_cut(
        data in proptest::collection::vec(any::<u8>(), 0..3000),
        cuts in proptest::collection::vec(1..200_usize, 0..10),
        coding in 0..3_usize,
    ) {
        let world = world(&DecompressionLayer::new(1 << 20));
        let body = encode(CODINGS[coding], &data);
        let whole = post(&world, CODINGS[coding], &body, []);
        let cut = post(&world, CODINGS[coding], &body, cuts);
        prop_assert_eq!(whole.status, 200);
        prop_assert!(whole.body.starts_with(data.len().to_string().as_bytes()));
        prop_assert_eq!(whole.body, cut.body);
    }

    #[test]
    fn whatever_comes_is_answered(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        damaged in any::<bool>(),
        at in any::<proptest::sample::Index>(),
        coding in 0..3_usize,
    ) {
        let world = world(&DecompressionLayer::new(1 << 16));
        let coding = CODINGS[coding];
        let body = match damaged {
            true => {
                let mut coded = encode(coding, &body);
                let at = at.index(coded.len());
                coded[at] = coded[at].wrapping_add(1);
                coded
            }
            false => body,
        };
        let status = post(&world, coding, &body, []).status;
        prop_assert!([200, 400, 413].contains(&status), "{}", status);
    }
}
