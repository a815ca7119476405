//! The service as its clients see it, on a real folder.

mod answers;
mod caching;
mod confinement;
mod listing;
mod partial;
mod precompressed;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method, Request};
use tower_service::Service;

use super::FileService;
use super::representation::SMALL;
use crate::{Body, RequestInfo};
use ropewalk_core::{Address, Segment};

const PAGE: &str = "<p>The quick brown fox jumps over the lazy dog</p>";

/// A folder, its service, and a loop's clock that is moved by hand.
struct Site {
    dir: tempfile::TempDir,
    files: FileService,
    now: Instant,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    regions: usize,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("site");
        fs::create_dir_all(site.join("docs/empty")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(site.join("index.html"), PAGE).unwrap();
        fs::write(site.join("docs/index.html"), "docs").unwrap();
        fs::write(site.join("digits.txt"), "0123456789".repeat(100)).unwrap();
        fs::write(site.join("nothing"), "").unwrap();
        let large: Vec<u8> = (0..SMALL + 1).map(|n| (n % 251) as u8).collect();
        fs::write(site.join("large.bin"), large).unwrap();
        let mut files = FileService::new(&site).unwrap();
        // Everything was written long ago.
        files.wall_clock = || SystemTime::now() + Duration::from_secs(3600);
        let now = Instant::now();
        Self { dir, files, now }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("site").join(name)
    }

    fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        Answer::from(self.files.respond(&request, self.now))
    }

    fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[])
    }

    fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, target, headers)
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }
}

impl From<http::Response<Body>> for Answer {
    fn from(response: http::Response<Body>) -> Self {
        let (head, mut body) = response.into_parts();
        let len = body.len().unwrap();
        let mut bytes = Vec::new();
        let mut regions = 0;
        let mut segments = body.take_segments().unwrap();
        while let Some(segment) = segments.pop_front() {
            match segment {
                Segment::Bytes(piece) => bytes.extend_from_slice(&piece),
                Segment::File(region) => {
                    regions += 1;
                    let mut piece = vec![0; region.len as usize];
                    region
                        .file
                        .read_exact_at(&mut piece, region.offset)
                        .unwrap();
                    bytes.extend_from_slice(&piece);
                }
            }
        }
        assert_eq!(bytes.len() as u64, len);
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: bytes,
            regions,
        }
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}
