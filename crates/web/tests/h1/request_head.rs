//! Request heads: what is accepted and how it is understood, what is refused and with which status.

use std::fmt::Write;

use http::{HeaderMap, Method, Version};
use proptest::prelude::*;
use ropewalk_web::h1::{BodyLength, HeadScan, HeadStorage, Limits, parse_request_head};

use crate::wire::{accepted, read, read_pieces, read_with, refused, status};

/// A GET for HTTP/1.1 with Host and the given field lines.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n")
}

/// A request line, with the Host field that HTTP/1.1 needs.
fn with_line(line: &str) -> String {
    format!("{line}\r\nHost: example.com\r\n\r\n")
}

#[test]
fn a_browsers_request_is_understood() {
    let request = accepted(concat!(
        "GET /a%20b?q=1&r=%7B HTTP/1.1\r\n",
        "Host: example.com:8080\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n",
        "ACCEPT: text/html,*/*;q=0.8\r\n",
        "sec-fetch-mode: navigate\r\n",
        "Sec-Fetch-Site:none\r\n",
        "X-Trace:  \t spaced \t \r\n",
        "X-Custom-Thing: a\r\n",
        "x-custom-thing: b\r\n",
        "X-Empty:\r\n",
        "\r\n"
    ));
    assert_eq!(request.method, Method::GET);
    assert_eq!(request.version, Version::HTTP_11);
    assert_eq!(request.uri.path(), "/a%20b");
    assert_eq!(request.uri.query(), Some("q=1&r=%7B"));
    assert_eq!(request.target, "/a%20b?q=1&r=%7B");
    let headers = &request.headers;
    assert_eq!(headers.len(), 9);
    assert_eq!(headers["host"], "example.com:8080");
    assert_eq!(headers["user-agent"], "Mozilla/5.0 (X11; Linux x86_64)");
    assert_eq!(headers["accept"], "text/html,*/*;q=0.8");
    assert_eq!(headers["sec-fetch-mode"], "navigate");
    assert_eq!(headers["sec-fetch-site"], "none");
    assert_eq!(headers["x-trace"], "spaced");
    assert_eq!(headers["x-empty"], "");
    let custom: Vec<_> = headers.get_all("x-custom-thing").iter().collect();
    assert_eq!(custom, ["a", "b"]);
    assert_eq!(request.framing, BodyLength::None);
    assert!(request.keep_alive);
    assert!(!request.expect_continue);
}

#[test]
fn bytes_after_the_head_are_left_alone() {
    let input = get("") + "GET /next";
    let found = parse_request_head(
        input.as_bytes(),
        &Limits::default(),
        &mut HeadScan::default(),
        &mut HeadStorage::default(),
    );
    let (_, consumed) = found.unwrap().unwrap();
    assert_eq!(&input[consumed..], "GET /next");
}

#[test]
fn progress_is_ready_for_the_next_request() {
    let mut progress = HeadScan::default();
    let mut storage = HeadStorage::default();
    for _ in 0..2 {
        let input = get("X-A: b\r\n");
        for end in 0..input.len() {
            let part = &input.as_bytes()[..end];
            assert!(matches!(
                parse_request_head(part, &Limits::default(), &mut progress, &mut storage),
                Ok(None)
            ));
        }
        let found = parse_request_head(
            input.as_bytes(),
            &Limits::default(),
            &mut progress,
            &mut storage,
        );
        assert_eq!(found.unwrap().unwrap().1, input.len());
    }
}

#[test]
fn values_share_one_copy_of_the_head() {
    let input = get("X-First: one\r\nX-Second: two\r\n");
    let found = parse_request_head(
        input.as_bytes(),
        &Limits::default(),
        &mut HeadScan::default(),
        &mut HeadStorage::default(),
    );
    let (head, _) = found.unwrap().unwrap();
    let place = |name: &str| head.parts.headers[name].as_bytes().as_ptr() as usize;
    let offset = |text: &str| input.find(text).unwrap();
    assert_eq!(
        place("x-second") - place("x-first"),
        offset("two") - offset("one")
    );
    assert_eq!(
        place("x-first") - head.target.as_ptr() as usize,
        offset("one") - offset("/ HTTP")
    );
}

#[test]
fn unknown_methods_are_let_through() {
    for method in ["PROPFIND", "M-SEARCH", "x", "get", "!#$%&'*+-.^_`|~09"] {
        let request = accepted(with_line(&format!("{method} / HTTP/1.1")));
        assert_eq!(request.method.as_str(), method);
    }
}

#[test]
fn request_lines_that_are_not_three_words_are_400() {
    for line in [
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET\t/\tHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET HTTP/1.1",
        "GET / ",
        "G(T / HTTP/1.1",
        "GET: / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET / HTTP/",
        "GET / HTTP/1.",
        "GET / HTTP/.1",
        "GET / HTTP/1.1.1",
        "GET / HTTP/-1.1",
        "GET / http/1.1",
        "GET / HTTQ/1.1",
        "GET / HTTP1.1",
        "GET / HTTP /1.1",
    ] {
        assert_eq!(status(with_line(line)), 400, "{line}");
    }
}

#[test]
fn peers_that_do_not_speak_http_are_told_at_the_first_byte() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    assert_eq!(status(hello), 400);
    assert!(refused(hello).reason().contains("TLS"));
    for first in [
        "\0",
        " GET / HTTP/1.1",
        "\tGET",
        "(",
        "{}",
        "\u{feff}GET",
        "\x7f",
    ] {
        assert_eq!(status(first), 400, "{first:?}");
    }
}

#[test]
fn the_http_2_preface_is_400_with_a_reason() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(status(preface), 400);
    assert!(refused(preface).reason().contains("HTTP/2"));
}

#[test]
fn other_major_versions_are_505_and_what_is_no_version_is_400() {
    for (status_of, versions) in [
        (505, &["0.9", "2.0", "3.0", "9.9"][..]),
        (400, &["1", "2", "1.10", "10.0", "01.1", "1.1a"]),
    ] {
        for version in versions {
            let line = format!("GET / HTTP/{version}");
            assert_eq!(status(with_line(&line)), status_of, "{line}");
        }
    }
}

#[test]
fn a_later_minor_version_is_read_as_http_1_1() {
    for minor in 2..=9 {
        let request = accepted(with_line(&format!("GET /1.2 HTTP/1.{minor}")));
        assert_eq!(request.version, Version::HTTP_11);
        assert_eq!(request.target, "/1.2");
        assert!(request.keep_alive);
    }
    // It must hold to the rules of HTTP/1.1.
    assert_eq!(status("GET / HTTP/1.2\r\n\r\n"), 400);
}

#[test]
fn a_request_of_http_0_9_is_refused_without_an_empty_line() {
    assert_eq!(status("GET /\r\n"), 400);
    assert_eq!(status("GET\r\n"), 400);
}

#[test]
fn a_connect_with_content_is_400() {
    let connect = |lines: &str| {
        format!("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n")
    };
    accepted(connect("Content-Length: 0\r\n"));
    assert_eq!(status(connect("Content-Length: 1\r\n")), 400);
    assert_eq!(status(connect("Transfer-Encoding: chunked\r\n")), 400);
}

#[test]
fn a_method_that_fills_the_request_line_is_501() {
    assert_eq!(status("A".repeat(8192)), 501);
    assert_eq!(status("A".repeat(8200) + " / HTTP/1.1\r\n\r\n"), 501);
    assert_eq!(status("A".repeat(8191) + " / HTTP/1.1\r\n\r\n"), 414);
}

#[test]
fn a_few_empty_lines_before_the_request_line_are_skipped() {
    for lines in 0..=4 {
        let request = accepted("\r\n".repeat(lines) + &get(""));
        assert_eq!(request.method, Method::GET);
    }
    assert_eq!(status("\r\n".repeat(5) + &get("")), 400);
    assert_eq!(status("\r\n".repeat(5)), 400);
    assert_eq!(status("\n".to_owned() + &get("")), 400);
    assert_eq!(status("\r".to_owned() + &get("")), 400);
    assert_eq!(status(" \r\n".to_owned() + &get("")), 400);
}

#[test]
fn a_bare_cr_or_lf_at_any_place_of_the_head_is_400() {
    let head = get("X-Long: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n");
    for at in 0..head.len() {
        for bare in ["\r", "\n"] {
            let (before, after) = head.split_at(at);
            let makes_crlf = (bare == "\r" && after.starts_with('\n'))
                || (bare == "\n" && before.ends_with('\r'));
            let spoiled = format!("{before}{bare}{after}");
            if !makes_crlf {
                assert_eq!(status(&spoiled), 400, "{spoiled:?}");
            }
        }
    }
}

#[test]
fn bare_line_ends_are_named_in_the_reason() {
    assert!(
        refused("GET / HTTP/1.1\nHost: example.com\n\n")
            .reason()
            .contains("bare LF")
    );
    assert!(
        refused("GET / HTTP/1.1\rHost: example.com\r\n\r\n")
            .reason()
            .contains("CR")
    );
    assert!(refused(get("X-A: b\rX-C: d\r\n")).reason().contains("CR"));
    assert!(refused(get("\rX-C: d\r\n")).reason().contains("CR"));
}

#[test]
fn line_ends_without_cr_or_lf_are_400() {
    let head = get("X-A: b\r\n");
    for (at, _) in head.match_indices("\r\n") {
        let mut no_cr = head.clone();
        no_cr.remove(at);
        assert_eq!(status(&no_cr), 400, "{no_cr:?}");
        let mut no_lf = head.clone();
        no_lf.remove(at + 1);
        if at + 2 < head.len() {
            assert_eq!(status(no_lf + "GET / HTTP/1.1\r\n\r\n"), 400);
        }
    }
}

#[test]
fn white_space_before_the_colon_is_400() {
    for line in [
        "X-A : b\r\n",
        "X-A\t: b\r\n",
        "Content-Length : 5\r\n",
        "X A: b\r\n",
    ] {
        let error = refused(get(line));
        assert_eq!(error.status(), 400, "{line:?}");
        assert!(error.reason().contains("white space"), "{line:?}");
    }
}

#[test]
fn folded_lines_are_400() {
    for line in [
        "X-A: b\r\n c\r\n",
        "X-A: b\r\n\tc\r\n",
        "X-A:\r\n b\r\n",
        "X-A: b\r\n \r\n",
        " X-A: b\r\n",
    ] {
        let error = refused(get(line));
        assert_eq!(error.status(), 400, "{line:?}");
        assert!(error.reason().contains("folded"), "{line:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\n Host: example.com\r\n\r\n"), 400);
}

#[test]
fn field_lines_without_a_proper_name_are_400() {
    for line in [
        ": b\r\n",
        "X-A\r\n",
        "X(A: b\r\n",
        "X\0A: b\r\n",
        "\u{fc}: b\r\n",
        "X;A: b\r\n",
        "\"X\": b\r\n",
    ] {
        assert_eq!(status(get(line)), 400, "{line:?}");
    }
}

#[test]
fn control_bytes_in_values_are_400_wherever_they_stand() {
    // Parsers look at many bytes at a time: each place of a long value must be looked at.
    for byte in (0..=0x1f).chain([0x7f]).filter(|byte| *byte != b'\t') {
        for at in [0, 1, 7, 8, 15, 16, 31, 32, 33, 62, 63] {
            let mut value = [b'v'; 64];
            value[at] = byte;
            let mut head = b"GET / HTTP/1.1\r\nHost: example.com\r\nX-A: ".to_vec();
            head.extend_from_slice(&value);
            head.extend_from_slice(b"\r\n\r\n");
            assert_eq!(status(&head), 400, "{byte:#x} at {at}");
        }
    }
}

#[test]
fn values_may_hold_tabs_and_bytes_above_ascii() {
    let request = accepted(b"GET / HTTP/1.1\r\nHost: example.com\r\nX-A: a\tb\xff\x80\r\n\r\n");
    assert_eq!(request.headers["x-a"].as_bytes(), b"a\tb\xff\x80");
}

#[test]
fn targets_with_forbidden_bytes_are_400() {
    for byte in (0..=0x20)
        .chain([b'#', b'<', b'>', 0x7f])
        .chain(0x80..=0xff)
    {
        for (before, after) in [
            ("/", ""),
            ("/a", "b"),
            ("/a?", "b"),
            ("http://example.com/", ""),
        ] {
            let mut head = format!("GET {before}").into_bytes();
            head.push(byte);
            head.extend_from_slice(with_line(&format!("{after} HTTP/1.1")).as_bytes());
            assert_eq!(status(&head), 400, "{}", head.escape_ascii());
        }
    }
    // UTF-8 must be percent-encoded too.
    assert_eq!(status(with_line("GET /caf\u{e9} HTTP/1.1")), 400);
}

#[test]
fn absolute_targets_replace_the_host_field() {
    for (target, host, path) in [
        ("http://example.org/a?b", "example.org", "/a"),
        ("https://example.org:8443/a", "example.org:8443", "/a"),
        ("http://example.org", "example.org", "/"),
        ("http://example.org?b", "example.org", "/"),
        ("HTTP://example.org/a", "example.org", "/a"),
        ("http://[2001:db8::1]:80/a", "[2001:db8::1]:80", "/a"),
    ] {
        let request = accepted(with_line(&format!("GET {target} HTTP/1.1")));
        assert_eq!(request.headers.get_all("host").iter().count(), 1);
        assert_eq!(request.headers["host"], host, "{target}");
        assert_eq!(request.uri.authority().unwrap().as_str(), host, "{target}");
        assert_eq!(request.uri.path(), path, "{target}");
        assert_eq!(request.target, target);
    }
    let request = accepted("GET http://example.org/ HTTP/1.0\r\n\r\n");
    assert_eq!(request.headers["host"], "example.org");
}

#[test]
fn targets_in_no_known_form_are_400() {
    for target in [
        "example.com",
        "a",
        "index.html",
        "?query",
        "example.com:80",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http:/example.com/",
        "http:///path",
        "http://",
        "https://:80/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com:port/",
        "http://example.com:99999/",
        "http://exa%mple.com/",
        "http://[::1/",
        "://example.com/",
        "javascript:alert(1)",
        "**",
        "*/",
    ] {
        let line = format!("GET {target} HTTP/1.1");
        assert_eq!(status(with_line(&line)), 400, "{target}");
    }
}

#[test]
fn the_asterisk_is_for_options_alone() {
    let request = accepted(with_line("OPTIONS * HTTP/1.1"));
    assert_eq!(request.uri.path(), "*");
    for method in ["GET", "CONNECT", "options"] {
        assert_eq!(status(with_line(&format!("{method} * HTTP/1.1"))), 400);
    }
    assert!(
        refused(with_line("GET * HTTP/1.1"))
            .reason()
            .contains("OPTIONS")
    );
}

#[test]
fn connect_takes_a_host_and_port_and_nothing_else() {
    let request = accepted(with_line("CONNECT example.org:443 HTTP/1.1"));
    assert_eq!(request.uri.authority().unwrap().as_str(), "example.org:443");
    assert_eq!(request.headers["host"], "example.org:443");
    for target in [
        "example.org",
        "example.org:",
        ":443",
        "http://example.org/",
        "a@b:443",
    ] {
        let line = format!("CONNECT {target} HTTP/1.1");
        assert_eq!(status(with_line(&line)), 400, "{target}");
    }
}

#[test]
fn http_1_1_needs_exactly_one_valid_host() {
    let with_hosts = |hosts: &str| format!("GET / HTTP/1.1\r\n{hosts}\r\n");
    for hosts in [
        "",
        "X-Host: example.com\r\n",
        "Host: example.com\r\nHost: example.com\r\n",
        "Host: example.com\r\nhOST: example.net\r\n",
        "Host:\r\n",
        "Host: example.com, example.net\r\n",
        "Host: example.com/path\r\n",
        "Host: user@example.com\r\n",
        "Host: http://example.com\r\n",
        "Host: example.com:port\r\n",
        "Host: exam ple.com\r\n",
        "Host: [::1\r\n",
    ] {
        assert_eq!(status(with_hosts(hosts)), 400, "{hosts:?}");
    }
    accepted(with_hosts("Host: [::1]:8080\r\n"));
}

#[test]
fn an_absolute_target_does_not_excuse_a_bad_host() {
    for host in ["", "Host: \r\n", "Host: a b\r\n", "Host: a\r\nHost: a\r\n"] {
        let head = format!("GET http://example.org/ HTTP/1.1\r\n{host}\r\n");
        assert_eq!(status(&head), 400, "{head:?}");
    }
}

#[test]
fn http_1_0_needs_no_host_but_has_at_most_one() {
    accepted("GET / HTTP/1.0\r\n\r\n");
    accepted("GET / HTTP/1.0\r\nHost: example.com\r\n\r\n");
    assert_eq!(status("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), 400);
}

#[test]
fn the_connection_lasts_as_version_and_options_say() {
    for (version, lines, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: upgrade, close\r\n", false),
        ("1.1", "Connection: upgrade ,\tClose ,x\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        (
            "1.1",
            "Connection: close\r\nConnection: keep-alive\r\n",
            false,
        ),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: \"close\"\r\n", true),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: x, Keep-Alive\r\n", true),
        ("1.0", "Connection: x\r\nConnection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: example.com\r\n{lines}\r\n");
        assert_eq!(accepted(&head).keep_alive, expected, "{head:?}");
    }
}

#[test]
fn heads_share_storage_and_none_is_changed_by_those_after_it() {
    let mut storage = HeadStorage::default();
    let mut kept = Vec::new();
    for number in 0..1000 {
        // Of all lengths, some longer than what is stored at once.
        let value = format!("{number:0width$}", width = 1 + number * 7);
        let input = get(&format!("X-Number: {value}\r\n"));
        let limits = Limits::default();
        let mut progress = HeadScan::default();
        let found = parse_request_head(input.as_bytes(), &limits, &mut progress, &mut storage);
        kept.push((found.unwrap().unwrap().0, value));
        if number % 3 == 0 {
            kept.remove(number % kept.len());
        }
        for (head, value) in &kept {
            assert_eq!(head.parts.headers["x-number"], value[..]);
        }
    }
}

#[test]
fn a_continue_is_expected_where_a_body_waits_for_it() {
    let post = |version: &str, lines: &str| {
        format!("POST / HTTP/{version}\r\nHost: example.com\r\n{lines}\r\n")
    };
    let head_of = |bytes: &str| {
        let found = parse_request_head(
            bytes.as_bytes(),
            &Limits::default(),
            &mut HeadScan::default(),
            &mut HeadStorage::default(),
        );
        found.unwrap().unwrap().0
    };
    for (version, lines, expected) in [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n", true),
        (
            "1.1",
            "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n",
            true,
        ),
        ("1.1", "Content-Length: 5\r\n", false),
        ("1.1", "Expect: 100-continue\r\n", false),
        (
            "1.1",
            "Expect: 100-continue\r\nContent-Length: 0\r\n",
            false,
        ),
        (
            "1.0",
            "Expect: 100-continue\r\nContent-Length: 5\r\n",
            false,
        ),
    ] {
        let head = post(version, lines);
        assert_eq!(head_of(&head).expect_continue, expected, "{head:?}");
    }
}

#[test]
fn other_expectations_are_417() {
    for line in [
        "Expect: 200-ok\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue\r\nExpect: x\r\n",
        "Expect: 100-continue;a=b\r\n",
    ] {
        assert_eq!(status(get(line)), 417, "{line:?}");
    }
    for line in ["Expect:\r\n", "Expect: , 100-continue,\r\n"] {
        accepted(get(line));
    }
}

#[test]
fn a_request_line_at_the_limit_is_served_and_one_byte_more_is_414() {
    let line = |length: usize| {
        let frame = "GET / HTTP/1.1\r\n".len();
        with_line(&format!("GET /{} HTTP/1.1", "a".repeat(length - frame)))
    };
    assert_eq!(
        accepted(line(8192)).target.len(),
        8192 - "GET  HTTP/1.1\r\n".len()
    );
    assert_eq!(status(line(8193)), 414);
    // It is known before the line ends, and however the limit cuts it.
    let endless = format!("GET /{}", "a".repeat(8192));
    assert!(read(&endless.as_bytes()[..8191]).refused.is_none());
    assert_eq!(status(&endless[..8192]), 414);
    assert_eq!(status("\r\n".to_owned() + &line(8193)), 414);
}

#[test]
fn a_header_block_at_the_limit_is_served_and_one_byte_more_is_431() {
    let block = |length: usize| {
        let frame = "Host: example.com\r\nX-Long: \r\n\r\n".len();
        get(&format!("X-Long: {}\r\n", "v".repeat(length - frame)))
    };
    accepted(block(16384));
    assert_eq!(status(block(16385)), 431);
    let endless = block(20_000);
    let limit = "GET / HTTP/1.1\r\n".len() + 16384;
    assert!(read(&endless.as_bytes()[..limit - 1]).refused.is_none());
    assert_eq!(status(&endless[..limit]), 431);
}

#[test]
fn a_hundred_fields_are_served_and_one_more_is_431() {
    let fields = |count: usize| {
        let mut lines = String::new();
        for number in 1..count {
            write!(lines, "x-{number}: v\r\n").unwrap();
        }
        get(&lines)
    };
    assert_eq!(accepted(fields(100)).headers.len(), 100);
    assert_eq!(status(fields(101)), 431);
    // It is known before the head ends.
    let many = fields(150);
    let (early, _) = many.split_at(many.find("x-101").unwrap());
    assert_eq!(status(early), 431);
}

#[test]
fn limits_may_be_raised_and_lowered() {
    let mut limits = Limits::default();
    limits.header_fields = 500;
    limits.header_block = 100_000;
    let mut lines = String::new();
    for number in 0..400 {
        write!(lines, "x-{number}: {}\r\n", "v".repeat(60)).unwrap();
    }
    let transcript = read_with(get(&lines).as_bytes(), &limits);
    assert_eq!(transcript.requests[0].headers.len(), 401);

    limits.request_line = 15;
    let refused = read_with(get("").as_bytes(), &limits).refused.unwrap();
    assert_eq!(refused.status(), 414);
}

#[test]
fn a_target_that_http_cannot_hold_is_414() {
    let mut limits = Limits::default();
    limits.request_line = 100_000;
    let line = format!("GET /{} HTTP/1.1", "a".repeat(65_534));
    let transcript = read_with(with_line(&line).as_bytes(), &limits);
    assert_eq!(transcript.refused.unwrap().status(), 414);
}

#[test]
fn requests_in_a_row_are_told_apart() {
    let transcript = read(concat_requests().as_bytes());
    assert_eq!(transcript.refused, None);
    assert!(transcript.idle);
    let seen: Vec<_> = transcript
        .requests
        .iter()
        .map(|request| (request.uri.path(), &request.body[..]))
        .collect();
    assert_eq!(
        seen,
        [
            ("/one", &b""[..]),
            ("/two", b"hello"),
            ("/three", b"hello world"),
            ("/four", b""),
        ]
    );
}

fn concat_requests() -> String {
    [
        "GET /one HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "POST /two HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\nhello\r\n",
        "POST /three HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "GET /four HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ]
    .concat()
}

fn any_field() -> impl Strategy<Value = (String, String)> {
    let name = "[Xx]-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}";
    let value = "([!-~]([ \t!-~]{0,40}[!-~])?)?";
    (name, value)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        method in "[A-Z]{1,12}",
        path in "/[a-zA-Z0-9/._~%!$&'()*+,;=:@-]{0,60}",
        query in proptest::option::of("[a-zA-Z0-9/?._~%!$&'()*+,;=:@-]{0,60}"),
        fields in proptest::collection::vec(any_field(), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assume!(method != "CONNECT");
        let target = match &query {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        };
        let mut input = format!("{method} {target} HTTP/1.1\r\nHost: example.com\r\n");
        let mut headers = HeaderMap::new();
        headers.insert("host", "example.com".parse().unwrap());
        for (name, value) in &fields {
            write!(input, "{name}:{value}\r\n").unwrap();
            headers.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        input.push_str("\r\n");

        let pieces = cut(input.as_bytes(), &cuts);
        let transcript = read_pieces(pieces, &Limits::default());
        prop_assert_eq!(transcript.refused, None);
        let request = &transcript.requests[0];
        prop_assert_eq!(request.method.as_str(), method);
        prop_assert_eq!(request.uri.path(), path);
        prop_assert_eq!(request.uri.query(), query.as_deref());
        prop_assert_eq!(&request.target, target.as_bytes());
        prop_assert_eq!(&request.headers, &headers);
    }

    #[test]
    fn the_meaning_of_any_bytes_does_not_depend_on_how_they_are_cut(
        spoil in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = concat_requests().into_bytes();
        for (index, byte) in &spoil {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
        let limits = Limits::default();
        let whole = read_pieces([&bytes[..]], &limits);
        prop_assert_eq!(&read_pieces(cut(&bytes, &cuts), &limits), &whole);
        prop_assert_eq!(&read_pieces(bytes.chunks(1), &limits), &whole);
    }
}

/// Cuts `bytes` at the chosen places.
pub(crate) fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in places.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[start..place]);
        start = place;
    }
    pieces
}
