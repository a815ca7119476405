//! Ranges and conditions of a request for a file: what is sent is what was asked for, no more than a
//! file is worth, and never an error of the server's own.

#![no_main]

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::{HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use ropewalk_web::{Body, FileService};

const LENGTH: usize = 1000;
/// Ranges that are sent in one answer, and what each may cost beside its bytes.
const PARTS: usize = 16;
const PART_HEADER: usize = 200;

fuzz_target!(|input: &[u8]| {
    let (which, value) = match input {
        [which, value @ ..] => (which % 6, value),
        [] => return,
    };
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let mut request = Request::get("/file");
    if which == 0 {
        request = request.header("range", "bytes=1-5");
    }
    let name = [
        "if-range",
        "range",
        "if-none-match",
        "if-match",
        "if-modified-since",
        "if-unmodified-since",
    ][usize::from(which)];
    let request = request.header(name, value).body(()).expect("a request");
    let files = FileService::new(folder()).expect("the folder is there");
    let response = files.respond(&request, Instant::now());
    check(response);
});

fn check(response: Response<Body>) {
    let (head, body) = response.into_parts();
    let body = read(body);
    let content_range = head.headers.get("content-range");
    let content_range = content_range.map(|range| range.to_str().expect("text"));
    match (head.status.as_u16(), content_range) {
        (200, None) => assert_eq!(body, content()),
        (206, Some(range)) => assert_eq!(body, part(range)),
        (206, None) => {
            assert!(body.len() <= LENGTH + (PARTS + 1) * PART_HEADER);
            check_parts(&String::from_utf8(body).expect("text"));
        }
        (416, Some(range)) => assert_eq!(range, format!("bytes */{LENGTH}")),
        (304, None) => assert!(body.is_empty()),
        (412, None) => {}
        other => panic!("{other:?}"),
    }
}

/// Each part of a multipart answer holds the bytes that its Content-Range names.
fn check_parts(body: &str) {
    let mut parts = 0;
    for part_of in body.split("\r\nContent-Range: ").skip(1) {
        let (range, rest) = part_of.split_once("\r\n\r\n").expect("an empty line");
        let range = range.lines().next().expect("a line");
        let expected = part(range);
        assert!(rest.as_bytes().starts_with(&expected), "{range}");
        assert!(rest[expected.len()..].starts_with("\r\n--"), "{range}");
        parts += 1;
    }
    assert!((2..=PARTS).contains(&parts), "{parts}");
}

/// The bytes that a Content-Range names.
fn part(content_range: &str) -> Vec<u8> {
    let range = content_range.strip_prefix("bytes ").expect("bytes");
    let (range, length) = range.split_once('/').expect("a length");
    assert_eq!(length, LENGTH.to_string());
    let (first, last) = range.split_once('-').expect("two ends");
    let (first, last): (usize, usize) = (
        first.parse().expect("a number"),
        last.parse().expect("a number"),
    );
    content()[first..=last].to_vec()
}

/// Reads a body, which is all there.
fn read(body: Body) -> Vec<u8> {
    let mut collected = pin!(body.collect());
    match collected
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(bytes) => bytes.expect("the file can be read").to_vec(),
        Poll::Pending => panic!("a file is there at once"),
    }
}

/// Letters, so that a multipart answer is text.
fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| b'a' + (at % 23) as u8).collect()
}

/// A folder with one file in it.
fn folder() -> &'static std::path::Path {
    static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let name = format!("ropewalk-fuzz-conditions-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let mut file = std::fs::File::create(folder.join("file")).expect("a file can be made");
        file.write_all(&content()).expect("it can be written");
        folder
    })
}
