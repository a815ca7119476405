//! Conditional requests and ranges.

use super::*;

#[test]
fn a_client_that_has_the_version_is_told_so() {
    let site = Site::new();
    for target in ["/", "/large.bin"] {
        let first = site.get(target);
        let (etag, date) = (first.header("etag"), first.header("last-modified"));
        for condition in [("if-none-match", etag), ("if-modified-since", date)] {
            let answer = site.get_with(target, &[condition]);
            assert_eq!(
                (answer.status, answer.body.len()),
                (304, 0),
                "{condition:?}"
            );
            assert_eq!(answer.header("etag"), etag);
            assert_eq!(answer.header("last-modified"), date);
            assert_eq!(answer.headers.len(), 2, "nothing else changed either");
        }
        let failed = site.get_with(target, &[("if-match", "\"other\"")]);
        assert_eq!(failed.status, 412);
        // Preconditions go before the range.
        let range = ("range", "bytes=9999999-");
        let answer = site.get_with(target, &[("if-none-match", etag), range]);
        assert_eq!(answer.status, 304);
        let answer = site.get_with(target, &[("if-match", "\"other\""), range]);
        assert_eq!(answer.status, 412);
    }
    // They are not judged where the answer would be an error.
    assert_eq!(
        site.get_with("/nowhere", &[("if-none-match", "*")]).status,
        404
    );
}

#[test]
fn a_range_is_answered_from_memory_and_from_the_file() {
    let site = Site::new();
    let digits = site.get_with("/digits.txt", &[("range", "bytes=5-14")]);
    assert_eq!((digits.status, digits.text()), (206, "5678901234"));
    assert_eq!(digits.header("content-range"), "bytes 5-14/1000");
    assert_eq!(digits.header("content-length"), "10");
    assert_eq!(digits.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(digits.header("accept-ranges"), "bytes");
    assert_eq!(
        digits.header("etag"),
        site.get("/digits.txt").header("etag")
    );

    let content = fs::read(site.path("large.bin")).unwrap();
    let large = site.get_with("/large.bin", &[("range", "bytes=-100")]);
    assert_eq!((large.status, large.regions), (206, 1));
    assert_eq!(large.header("content-range"), "bytes 65437-65536/65537");
    assert_eq!(large.body, content[content.len() - 100..]);
}

#[test]
fn several_ranges_are_parts_of_one_body() {
    let site = Site::new();
    let range = ("range", "bytes=1000-1009,0-4,-5");
    let answer = site.get_with("/large.bin", &[range]);
    let content = fs::read(site.path("large.bin")).unwrap();
    assert_eq!((answer.status, answer.regions), (206, 3));
    assert_eq!(
        answer.header("content-length"),
        answer.body.len().to_string()
    );
    assert_eq!(answer.header("content-range"), "");
    let boundary = answer
        .header("content-type")
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    assert!(boundary.len() > 20 && boundary.len() <= 70, "{boundary}");

    let mut expected = Vec::new();
    for (range, bytes) in [
        ("1000-1009", &content[1000..1010]),
        ("0-4", &content[..5]),
        ("65532-65536", &content[65532..]),
    ] {
        if !expected.is_empty() {
            expected.extend_from_slice(b"\r\n");
        }
        write!(
            expected,
            "--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {range}/65537\r\n\r\n"
        )
        .unwrap();
        expected.extend_from_slice(bytes);
    }
    write!(expected, "\r\n--{boundary}--\r\n").unwrap();
    assert!(answer.body == expected);

    let small = site.get_with("/digits.txt", &[("range", "bytes=0-1,500-501")]);
    assert_eq!((small.status, small.regions), (206, 0));
    assert!(
        small
            .text()
            .contains("bytes 500-501/1000\r\n\r\n01\r\n--ropewalk-")
    );
}

#[test]
fn a_range_that_cannot_be_is_refused_or_ignored() {
    let site = Site::new();
    let beyond = site.get_with("/digits.txt", &[("range", "bytes=1000-")]);
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, "bytes */1000")
    );
    let twice = [("range", "bytes=0-0"), ("range", "bytes=1-1")];
    assert_eq!(site.get_with("/digits.txt", &twice).status, 200);
    let malformed = site.get_with("/digits.txt", &[("range", "bytes=9-1")]);
    assert_eq!((malformed.status, malformed.body.len()), (200, 1000));
    let many = format!("bytes={}", "0-,".repeat(1000));
    let many = site.get_with("/digits.txt", &[("range", &many)]);
    assert_eq!((many.status, many.body.len()), (200, 1000));
}

#[test]
fn a_range_of_another_version_is_answered_by_all_of_this_one() {
    let mut site = Site::new();
    let range = ("range", "bytes=0-0");
    let first = site.get("/digits.txt");
    let (etag, date) = (first.header("etag"), first.header("last-modified"));
    for (condition, status) in [
        (etag, 206),
        (date, 206),
        ("\"other\"", 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ] {
        let answer = site.get_with("/digits.txt", &[range, ("if-range", condition)]);
        assert_eq!(answer.status, status, "{condition}");
    }
    // An unsatisfiable range of another version is no error.
    let beyond = ("range", "bytes=1000-");
    let answer = site.get_with("/digits.txt", &[beyond, ("if-range", "\"other\"")]);
    assert_eq!(answer.status, 200);

    // What was written just now has no strong validator. By this clock, that is everything.
    site.files.wall_clock = || SystemTime::UNIX_EPOCH;
    fs::write(site.path("digits.txt"), "new").unwrap();
    site.pass(1000);
    let fresh = site.get("/digits.txt");
    assert!(fresh.header("etag").starts_with("W/\""));
    for condition in ["etag", "last-modified"] {
        let condition = ("if-range", fresh.header(condition));
        let answer = site.get_with("/digits.txt", &[range, condition]);
        assert_eq!(answer.status, 200, "{condition:?}");
    }
}
