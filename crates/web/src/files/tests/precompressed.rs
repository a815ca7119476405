//! Compressed forms that lie beside their files.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::{PAGE, Site};
use crate::ContentCoding::{Brotli, Gzip, Zstd};

/// A site with compressed forms of its index: gzip and brotli.
fn site() -> Site {
    let mut site = Site::new();
    fs::write(site.path("index.html.gz"), "in gzip").unwrap();
    fs::write(site.path("index.html.br"), "in brotli").unwrap();
    site.files = site.files.clone().precompressed([Zstd, Brotli, Gzip]);
    site
}

#[test]
fn the_form_that_the_client_likes_best_is_sent() {
    let site = site();
    for path in ["/", "/index.html"] {
        for (accepted, coding, content) in [
            ("gzip, br, zstd", "br", "in brotli"),
            ("gzip, br;q=0.5", "gzip", "in gzip"),
            ("zstd", "", PAGE),
            ("identity, gzip;q=0.5", "", PAGE),
            ("", "", PAGE),
        ] {
            let answer = site.get_with(path, &[("accept-encoding", accepted)]);
            assert_eq!(
                answer.header("content-encoding"),
                coding,
                "{path} {accepted}"
            );
            assert_eq!(answer.text(), content);
            assert_eq!(answer.header("content-length"), content.len().to_string());
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
            assert_eq!(answer.header("vary"), "accept-encoding");
        }
    }
    // By its own name it is what it is.
    let gzip = site.get_with("/index.html.gz", &[("accept-encoding", "gzip")]);
    assert_eq!(gzip.header("content-encoding"), "");
    assert_eq!(gzip.header("content-type"), "application/gzip");
}

#[test]
fn each_form_has_a_tag_of_its_own_and_ranges_are_those_of_the_form() {
    let site = site();
    let gzip = ("accept-encoding", "gzip");
    let tag = site.get_with("/", &[gzip]).header("etag").to_owned();
    assert_ne!(tag, site.get("/").header("etag"));
    let again = site.get_with("/", &[gzip, ("if-none-match", &tag)]);
    assert_eq!(
        (again.status, again.header("vary")),
        (304, "accept-encoding")
    );
    assert_eq!(site.get_with("/", &[("if-none-match", &tag)]).status, 200);
    let part = site.get_with("/", &[gzip, ("range", "bytes=3-"), ("if-range", &tag)]);
    assert_eq!((part.status, part.text()), (206, "gzip"));
    assert_eq!(part.header("content-encoding"), "gzip");
}

#[test]
fn a_form_that_is_older_than_its_file_is_not_sent() {
    let mut site = site();
    let gzip = [("accept-encoding", "gzip")];
    let old = SystemTime::now() - Duration::from_secs(3600);
    let file = File::options().write(true).open(site.path("index.html.gz"));
    let file = file.unwrap();
    file.set_modified(old).unwrap();
    assert_eq!(site.get_with("/", &gzip).text(), PAGE);
    file.set_modified(SystemTime::now()).unwrap();
    site.pass(1000);
    assert_eq!(site.get_with("/", &gzip).text(), "in gzip");
}

#[test]
fn a_form_that_comes_or_goes_is_seen_within_a_second() {
    let mut site = site();
    let zstd = [("accept-encoding", "zstd")];
    assert_eq!(site.get_with("/", &zstd).text(), PAGE);
    fs::write(site.path("index.html.zst"), "in zstd").unwrap();
    site.pass(1000);
    assert_eq!(site.get_with("/", &zstd).text(), "in zstd");
    fs::remove_file(site.path("index.html.zst")).unwrap();
    site.pass(1000);
    assert_eq!(site.get_with("/", &zstd).text(), PAGE);
}

#[test]
fn without_being_told_no_other_form_is_looked_for() {
    let site = site();
    let plain = super::FileService::new(site.path("")).unwrap();
    let request = http::Request::get("/").header("accept-encoding", "gzip");
    let answer = plain.respond(&request.body(()).unwrap(), site.now);
    assert!(!answer.headers().contains_key("content-encoding"));
    assert!(!answer.headers().contains_key("vary"));
}
