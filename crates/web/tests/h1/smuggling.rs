//! Ways to hide a request in another one, each with the answer that stops it.
//!
//! The inputs are what published attacks on pairs of servers are made of: heads on whose body two
//! parsers disagree. A case that is accepted must be understood in the only way there is.

use crate::wire::read;

/// A POST with the given field lines and body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /outer HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n{body}")
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// A head whose framing is in doubt, in front of a request that one of two parsers would take for a
/// body.
fn assert_refused(lines: &str, status: u16) {
    for body in [HIDDEN.to_owned(), format!("0\r\n\r\n{HIDDEN}")] {
        let transcript = read(post(lines, &body).as_bytes());
        assert_eq!(transcript.requests, [], "accepted: {lines:?}");
        let refused = transcript.refused.expect(lines);
        assert_eq!(refused.status().as_u16(), status, "{lines:?}: {refused}");
    }
}

#[test]
fn repeated_or_malformed_content_lengths_are_400() {
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n",
        "Content-Length: 5\r\ncONTENT-lENGTH: 5\r\n",
        "Content-Length: 5\r\nX: y\r\nContent-Length:\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: ,5\r\n",
        "Content-Length:\r\n",
        "Content-Length: \t \r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: -0\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5\t5\r\n",
        "Content-Length: 5;a=b\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5e1\r\n",
        "Content-Length: 1_0\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: 5\u{a0}\r\n",
        "Content-Length: \u{664}\r\n",
        "Content-Length: 5\0\r\n",
        "Content-Length: 5\x0b\r\n",
    ] {
        assert_refused(lines, 400);
    }
}

#[test]
fn content_length_with_transfer_encoding_is_400() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
        "transfer-encoding: CHUNKED\r\ncontent-length: 5\r\n",
    ] {
        assert_refused(lines, 400);
    }
}

#[test]
fn chunked_that_is_not_last_or_not_alone_in_its_meaning_is_400() {
    for lines in [
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked, chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: , chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding: chunked;a=b\r\n",
        "Transfer-Encoding: chunked ;\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked chunked\r\n",
        "Transfer-Encoding: chunked\x0b\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer-Encoding: chu\u{212a}ed\r\n",
        "Transfer-Encoding: chunked\u{a0}\r\n",
        "Transfer-Encoding: [chunked]\r\n",
    ] {
        assert_refused(lines, 400);
    }
}

#[test]
fn unknown_codings_are_501() {
    for lines in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedd\r\n",
        "Transfer-Encoding: x-chunked\r\n",
        "Transfer-Encoding: gzip;level=9\r\n",
    ] {
        assert_refused(lines, 501);
    }
}

#[test]
fn a_framing_field_that_only_some_parsers_would_see_is_400() {
    for lines in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\r\r\nTransfer-Encoding: chunked\r\n",
        "X: y\n\rTransfer-Encoding: chunked\r\n",
        "X: y\0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer\u{2010}Encoding: chunked\r\n",
        "\x0bTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding; chunked\r\n",
        "Transfer-Encoding chunked\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\x0b: 5\r\n",
        "Content-Length: 5\r\n 5\r\n",
        ": x\r\nContent-Length: 5\r\n",
        "Content-Length\r\n: 5\r\n",
    ] {
        assert_refused(lines, 400);
    }
}

#[test]
fn transfer_encoding_in_http_1_0_is_400() {
    for lines in ["", "Connection: keep-alive\r\n", "Host: example.com\r\n"] {
        let head = format!("POST / HTTP/1.0\r\n{lines}Transfer-Encoding: chunked\r\n\r\n");
        let transcript = read((head + "0\r\n\r\n" + HIDDEN).as_bytes());
        assert_eq!(transcript.requests, []);
        assert_eq!(transcript.refused.unwrap().status(), 400);
    }
}

#[test]
fn bodies_that_do_not_match_their_framing_cannot_shift_the_next_request() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for body in [
        // One byte too few or too many in a chunk, which puts its end elsewhere.
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        // Line ends that some take for the end of a line.
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "0\n\r\n",
        "0\r\n\n",
        // Sizes that some read as another number.
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        // Extensions that hide a line end.
        "5;\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a\n0\r\n\r\nGET /hidden HTTP/1.1\r\n",
        // Trailers that would change the framing of a request that was read.
        "0\r\nContent-Length: 50\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: example.net\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n X: y\r\n\r\n",
    ] {
        let transcript = read((post(chunked, body) + HIDDEN).as_bytes());
        assert_eq!(transcript.requests, [], "accepted: {body:?}");
        assert_eq!(transcript.refused.expect(body).status(), 400, "{body:?}");
    }
}

#[test]
fn a_request_inside_of_a_body_stays_there() {
    let length = HIDDEN.len();
    for input in [
        post(&format!("Content-Length: {length}\r\n"), HIDDEN),
        post(&format!("Content-Length: 000{length}\r\n"), HIDDEN),
        post(&format!("Content-Length:\t {length} \t\r\n"), HIDDEN),
        post(
            "Transfer-Encoding: chunked\r\n",
            &format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
        ),
        post(
            "Transfer-Encoding:\t CHUNKED \t\r\n",
            &format!("{length:016X} ;x=\"GET /\\\" HTTP/1.1\"\r\n{HIDDEN}\r\n00\r\n\r\n"),
        ),
        // These look like framing, but are other fields.
        post(
            &format!(
                "Content_Length: 0\r\nX-Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"
            ),
            HIDDEN,
        ),
    ] {
        let transcript = read(input.as_bytes());
        assert_eq!(transcript.refused, None, "{input:?}");
        assert!(transcript.idle, "{input:?}");
        assert_eq!(transcript.requests.len(), 1, "{input:?}");
        assert_eq!(transcript.requests[0].body, HIDDEN.as_bytes(), "{input:?}");
    }
}

#[test]
fn without_framing_fields_there_is_no_body() {
    let transcript = read(post("Content-Type: text/plain\r\n", HIDDEN).as_bytes());
    let paths: Vec<_> = transcript
        .requests
        .iter()
        .map(|request| request.uri.path())
        .collect();
    assert_eq!(paths, ["/outer", "/hidden"]);
}
