//! Responses: what is written for each framing, version and set of fields.

use std::num::NonZeroUsize;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use proptest::prelude::*;
use ropewalk_web::h1::ResponseFraming::{Chunked, Length, NoBody, UntilClose};
use ropewalk_web::h1::{
    ChunkedDecoder, Event, ResponseFields, ResponseFraming, ResponseHead, encode_chunk_end,
    encode_chunk_header, encode_response_head, encode_trailers,
};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const DATE_LINE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

fn encode(
    status: u16,
    version: Version,
    headers: &HeaderMap,
    framing: ResponseFraming,
    keep_alive: bool,
) -> String {
    let mut out = Vec::new();
    let head = ResponseHead {
        status: StatusCode::from_u16(status).unwrap(),
        version,
        fields: ResponseFields::new(headers),
        framing,
        keep_alive,
        date: DATE_LINE,
    };
    encode_response_head(&mut out, &head);
    String::from_utf8(out).unwrap()
}

/// The lines between the status line and the empty line, without the date.
fn lines(encoded: &str) -> Vec<&str> {
    let block = encoded.strip_suffix("\r\n\r\n").unwrap();
    block
        .split("\r\n")
        .skip(1)
        .filter(|line| *line != format!("date: {DATE}"))
        .collect()
}

#[test]
fn the_head_is_written_behind_what_is_there() {
    let mut out = b"before".to_vec();
    let headers = fields(&[("content-type", "text/plain"), ("x-a", "1"), ("x-a", "2")]);
    let head = ResponseHead {
        status: StatusCode::NOT_FOUND,
        version: Version::HTTP_11,
        fields: ResponseFields::new(&headers),
        framing: Length(5),
        keep_alive: true,
        date: DATE_LINE,
    };
    encode_response_head(&mut out, &head);
    let expected = concat!(
        "beforeHTTP/1.1 404 Not Found\r\n",
        "content-type: text/plain\r\n",
        "x-a: 1\r\n",
        "x-a: 2\r\n",
        "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "content-length: 5\r\n",
        "\r\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_status_without_a_registered_phrase_keeps_its_space() {
    let encoded = encode(299, Version::HTTP_11, &HeaderMap::new(), Length(0), true);
    assert!(encoded.starts_with("HTTP/1.1 299 \r\n"), "{encoded:?}");
}

#[test]
fn framing_and_persistence_are_told_in_the_words_of_the_version() {
    let new = Version::HTTP_11;
    let old = Version::HTTP_10;
    for (version, framing, keep_alive, expected) in [
        (new, Length(0), true, &["content-length: 0"][..]),
        (new, Length(10), true, &["content-length: 10"]),
        (
            new,
            Length(u64::MAX),
            true,
            &["content-length: 18446744073709551615"],
        ),
        (
            new,
            Length(5),
            false,
            &["content-length: 5", "connection: close"],
        ),
        (new, Chunked, true, &["transfer-encoding: chunked"]),
        (
            new,
            Chunked,
            false,
            &["transfer-encoding: chunked", "connection: close"],
        ),
        (new, NoBody(None), true, &[]),
        (new, NoBody(Some(7)), true, &["content-length: 7"]),
        (
            old,
            Length(5),
            true,
            &["content-length: 5", "connection: keep-alive"],
        ),
        (
            old,
            Length(5),
            false,
            &["content-length: 5", "connection: close"],
        ),
        (old, UntilClose, false, &["connection: close"]),
        (old, UntilClose, true, &["connection: close"]),
    ] {
        let encoded = encode(200, version, &HeaderMap::new(), framing, keep_alive);
        assert_eq!(lines(&encoded), expected);
        // The answer names the version of the server, not that of the request.
        assert!(encoded.starts_with("HTTP/1.1 200 OK\r\n"), "{encoded:?}");
    }
}

#[test]
fn interim_responses_and_204_never_have_a_length_or_coding() {
    let headers = fields(&[("content-length", "5"), ("transfer-encoding", "chunked")]);
    for status in [100, 101, 103, 204] {
        for framing in [
            Length(5),
            Chunked,
            UntilClose,
            NoBody(Some(5)),
            NoBody(None),
        ] {
            let encoded = encode(status, Version::HTTP_11, &headers, framing, true);
            assert!(!encoded.contains("content-length"), "{encoded:?}");
            assert!(!encoded.contains("transfer-encoding"), "{encoded:?}");
        }
    }
}

#[test]
fn interim_responses_have_neither_date_nor_persistence() {
    let headers = fields(&[("connection", "upgrade"), ("upgrade", "websocket")]);
    let encoded = encode(101, Version::HTTP_11, &headers, NoBody(None), false);
    assert!(!encoded.contains("date"));
    assert_eq!(
        lines(&encoded),
        ["upgrade: websocket", "connection: upgrade"]
    );
}

#[test]
fn framing_fields_of_the_handler_are_not_sent() {
    let headers = fields(&[
        ("content-length", "99"),
        ("transfer-encoding", "gzip, chunked"),
        ("x-a", "b"),
    ]);
    let encoded = encode(200, Version::HTTP_11, &headers, Length(5), true);
    assert_eq!(lines(&encoded), ["x-a: b", "content-length: 5"]);
}

#[test]
fn persistence_is_ours_and_other_connection_options_are_the_handlers() {
    for (options, keep_alive, expected) in [
        (&["close"][..], true, None),
        (&["keep-alive"], false, Some("connection: close")),
        (&["x, close , y"], true, Some("connection: x, y")),
        (
            &["x", "Keep-Alive", "y"],
            false,
            Some("connection: x, y, close"),
        ),
        (&["", ","], true, None),
    ] {
        let options: Vec<_> = options
            .iter()
            .map(|option| ("connection", *option))
            .collect();
        let encoded = encode(
            200,
            Version::HTTP_11,
            &fields(&options),
            NoBody(None),
            keep_alive,
        );
        assert_eq!(lines(&encoded).first().copied(), expected, "{options:?}");
    }
}

#[test]
fn a_handler_can_ask_to_close() {
    for (options, expected) in [
        (&[][..], false),
        (&["close"], true),
        (&["x, CLOSE"], true),
        (&["x", "close"], true),
        (&["keep-alive, closed"], false),
    ] {
        let options: Vec<_> = options
            .iter()
            .map(|option| ("connection", *option))
            .collect();
        assert_eq!(
            ResponseFields::new(&fields(&options)).ask_to_close(),
            expected,
            "{options:?}"
        );
    }
}

#[test]
fn a_date_of_the_handler_takes_the_place_of_ours() {
    let headers = fields(&[("date", "Mon, 07 Nov 1994 08:49:37 GMT")]);
    let encoded = encode(200, Version::HTTP_11, &headers, NoBody(None), true);
    assert_eq!(lines(&encoded), ["date: Mon, 07 Nov 1994 08:49:37 GMT"]);
    assert!(!encoded.contains(DATE));
}

#[test]
fn trailers_end_a_body_and_forbidden_ones_are_left_out() {
    let mut out = Vec::new();
    encode_trailers(
        &mut out,
        Some(&fields(&[
            ("x-a", "b"),
            ("content-length", "5"),
            ("x-c", "d"),
        ])),
    );
    assert_eq!(out, b"0\r\nx-a: b\r\nx-c: d\r\n\r\n");
    out.clear();
    encode_trailers(&mut out, Some(&HeaderMap::new()));
    assert_eq!(out, b"0\r\n\r\n");
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let name = "x-[a-z0-9_-]{1,20}".prop_map(|name| name.parse::<HeaderName>().unwrap());
    let bytes = prop_oneof![Just(b'\t'), 0x20..0x7fu8, 0x80..=0xffu8];
    let value = proptest::collection::vec(bytes, 0..60)
        .prop_map(|bytes| HeaderValue::from_bytes(bytes.trim_ascii()).unwrap());
    proptest::collection::vec((name, value), 0..12).prop_map(|fields| {
        fields
            .into_iter()
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    })
}

proptest! {
    #[test]
    fn a_client_reads_the_head_that_was_written(
        headers in any_headers(),
        status in 200..600u16,
        length in any::<u64>(),
        keep_alive in any::<bool>(),
    ) {
        prop_assume!(status != 204);
        let mut out = Vec::new();
        let head = ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            version: Version::HTTP_11,
            fields: ResponseFields::new(&headers),
            framing: Length(length),
            keep_alive,
            date: DATE_LINE,
        };
        encode_response_head(&mut out, &head);

        let mut slots = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut slots);
        let parsed = response.parse(&out);
        prop_assert_eq!(parsed, Ok(httparse::Status::Complete(out.len())));
        prop_assert_eq!(response.code, Some(status));
        let mut read = HeaderMap::new();
        for field in response.headers.iter() {
            let name: HeaderName = field.name.parse().unwrap();
            read.append(name, HeaderValue::from_bytes(field.value).unwrap());
        }
        let mut expected = headers.clone();
        expected.insert("date", DATE.parse().unwrap());
        expected.insert("content-length", length.into());
        if !keep_alive {
            expected.insert("connection", "close".parse().unwrap());
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn chunks_that_were_written_are_decoded(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
        trailers in any_headers(),
    ) {
        let mut out = Vec::new();
        for piece in &pieces {
            if let Some(length) = NonZeroUsize::new(piece.len()) {
                encode_chunk_header(&mut out, length);
                out.extend_from_slice(piece);
                encode_chunk_end(&mut out);
            }
        }
        encode_trailers(&mut out, Some(&trailers));

        let mut decoder = ChunkedDecoder::new();
        let mut input = &out[..];
        let mut body = Vec::new();
        let read = loop {
            let (consumed, event) = decoder.decode(input).unwrap();
            input = &input[consumed..];
            match event {
                Event::Data(bytes) => body.extend_from_slice(bytes),
                Event::End(trailers) => break trailers,
                Event::NeedMore => panic!("the body does not end"),
            }
        };
        prop_assert!(input.is_empty());
        prop_assert_eq!(body, pieces.concat());
        prop_assert_eq!(read, trailers);
    }
}
