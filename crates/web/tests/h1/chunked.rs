//! The chunked decoder: payload without copies, bounds, extensions and trailers.

use std::fmt::Write;

use http::HeaderMap;
use proptest::prelude::*;
use ropewalk_web::h1::{ChunkedDecoder, Event, Limits};

use crate::request_head::cut;
use crate::wire::{Request, accepted, read, read_pieces, refused, status};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n";

fn body(chunks: &str) -> Request {
    accepted(format!("{HEAD}{chunks}"))
}

fn bad(chunks: &str) -> u16 {
    status(format!("{HEAD}{chunks}"))
}

#[test]
fn chunks_are_joined() {
    for chunks in [
        "b\r\nhello world\r\n0\r\n\r\n",
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n06\r\n world\r\n000\r\n\r\n",
        "B\r\nhello world\r\n0\r\n\r\n",
    ] {
        assert_eq!(body(chunks).body, b"hello world", "{chunks:?}");
    }
    assert_eq!(body("0\r\n\r\n").body, b"");
}

#[test]
fn payload_is_lent_from_the_input() {
    let input = b"5\r\nhello\r\n";
    let mut decoder = ChunkedDecoder::new();
    let (consumed, event) = decoder.decode(input).unwrap();
    assert_eq!(consumed, 8);
    let Event::Data(data) = event else {
        panic!("no data: {event:?}");
    };
    assert_eq!(data.as_ptr(), input[3..].as_ptr());
}

#[test]
fn bytes_behind_the_end_are_left_alone() {
    let mut decoder = ChunkedDecoder::new();
    let end = Event::End(HeaderMap::new());
    assert_eq!(decoder.decode(b"0\r\n\r\nGET /"), Ok((5, end)));
    assert_eq!(
        decoder.decode(b"GET /"),
        Ok((0, Event::End(HeaderMap::new())))
    );
    assert_eq!(decoder.decode(b""), Ok((0, Event::End(HeaderMap::new()))));
}

#[test]
fn an_error_is_repeated() {
    let mut decoder = ChunkedDecoder::new();
    let error = decoder.decode(b"x").unwrap_err();
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(error));
    assert_eq!(decoder.decode(b""), Err(error));
}

#[test]
fn the_largest_size_does_not_overflow() {
    let transcript = read(format!("{HEAD}ffffffffffffffff\r\nhello").as_bytes());
    assert_eq!(transcript.refused, None);
    assert_eq!(bad("10000000000000000\r\nhello"), 400);
}

#[test]
fn a_size_begins_with_a_hexadecimal_digit() {
    for byte in 0..=0xffu8 {
        let accepted = ChunkedDecoder::new().decode(&[byte]).is_ok();
        assert_eq!(accepted, byte.is_ascii_hexdigit(), "{byte:#x}");
    }
}

#[test]
fn sizes_are_hexadecimal_in_either_case() {
    let payload = vec![b'.'; 0x10000];
    for size in [
        "1", "9", "a", "F", "10", "aB", "90fe", "CdEf", "fFfF", "10000",
    ] {
        let length = usize::from_str_radix(size, 16).unwrap();
        let mut chunk = format!("{size}\r\n").into_bytes();
        chunk.extend_from_slice(&payload);
        let (_, event) = ChunkedDecoder::new().decode(&chunk).unwrap();
        assert_eq!(event, Event::Data(&payload[..length]), "{size}");
    }
}

#[test]
fn well_formed_extensions_are_ignored() {
    for extension in [
        ";a",
        ";a=b",
        ";a=b;c=d;e",
        ";a=\"b\"",
        ";a=\"\"",
        ";a=\"b;c\\\"d \t\u{fc}\";e=f",
        " ; a = b ; c",
        "\t;\ta\t=\t\"b\"\t;c",
        ";a ;b",
        ";!#$%&'*+-.^_`|~=x",
    ] {
        let chunks = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        assert_eq!(body(&chunks).body, b"hello", "{extension:?}");
    }
}

#[test]
fn malformed_extensions_are_400() {
    for extension in [
        ";",
        " ",
        "\t",
        " ;",
        "; ",
        ";;a",
        ";=b",
        ";a=",
        ";a= ",
        ";a=b ",
        ";a ",
        ";a b",
        ";a=b c",
        ";a=\"b",
        ";a=\"b\\\"",
        ";a=\"b\"c",
        ";a=b\"c\"",
        ";a=\"\0\"",
        ";a=\"\\\0\"",
        ";a=\"\x7f\"",
        ";a\0",
        ";a==b",
        ";a=b=c",
        ";\u{fc}",
        ",a",
        "x",
        " 5",
        ";a,b",
        ";a=\"b\" c",
        " a",
        "=a",
    ] {
        assert_eq!(
            bad(&format!("5{extension}\r\nhello\r\n0\r\n\r\n")),
            400,
            "{extension:?}"
        );
    }
}

#[test]
fn a_size_line_is_at_most_256_bytes_long() {
    let line = |length: usize| {
        format!(
            "5;{}\r\nhello\r\n0\r\n\r\n",
            "a".repeat(length - "5;\r\n".len())
        )
    };
    assert_eq!(body(&line(256)).body, b"hello");
    assert_eq!(bad(&line(257)), 400);
    assert_eq!(bad(&format!("5;{}", "a".repeat(300))), 400);
}

#[test]
fn extensions_of_one_body_are_bounded_together() {
    // Each carries 128 bytes, semicolon included.
    let chunk = format!("1;{}\r\n.\r\n", "a".repeat(127));
    let with = |count| chunk.repeat(count) + "0\r\n\r\n";
    assert_eq!(body(&with(64)).body.len(), 64);
    assert_eq!(bad(&with(65)), 400);
}

#[test]
fn data_must_be_followed_by_crlf() {
    for end in ["\n", "\r", "\r\r\n", " \r\n", "x\r\n", "\n\r"] {
        assert_eq!(bad(&format!("5\r\nhello{end}0\r\n\r\n")), 400, "{end:?}");
    }
}

#[test]
fn trailers_are_delivered_with_the_end() {
    let request = body(
        "5\r\nhello\r\n0\r\nX-Checksum:  abc \r\nServer-Timing: a\r\nserver-timing: b\r\n\r\n",
    );
    assert_eq!(request.body, b"hello");
    assert_eq!(request.trailers.len(), 3);
    assert_eq!(request.trailers["x-checksum"], "abc");
    let timings: Vec<_> = request.trailers.get_all("server-timing").iter().collect();
    assert_eq!(timings, ["a", "b"]);
    assert!(!request.headers.contains_key("x-checksum"));
}

#[test]
fn trailers_that_frame_route_or_authenticate_are_400() {
    for name in [
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "WWW-Authenticate",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Trailer",
        "TE",
        "Expect",
        "Range",
        "Max-Forwards",
        "Cache-Control",
        "If-Match",
        "If-None-Match",
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Real-IP",
        "Proxy-Connection",
        "Origin",
        "If-Modified-Since",
        "If-Range",
        "If-Unmodified-Since",
        "Location",
        "Pragma",
        "Proxy-Authenticate",
        "Vary",
    ] {
        assert_eq!(
            bad(&format!("0\r\nX-A: b\r\n{name}: 1\r\n\r\n")),
            400,
            "{name}"
        );
    }
}

#[test]
fn malformed_trailers_are_400() {
    for trailers in [
        "X-A : b\r\n",
        "X-A: b\r\n c\r\n",
        " X-A: b\r\n",
        "X-A: b\n",
        "X-A: b\rX-C: d\r\n",
        "X-A: \0\r\n",
        "X-A\r\n",
        ": b\r\n",
        "\r",
        "\n",
    ] {
        assert_eq!(bad(&format!("0\r\n{trailers}\r\n")), 400, "{trailers:?}");
    }
    let bare_cr = refused(format!("{HEAD}0\r\nX-A: b\rX-C: d\r\n\r\n"));
    assert!(bare_cr.reason().contains("CR"), "{bare_cr}");
}

#[test]
fn a_trailer_section_at_the_limit_is_served_and_one_byte_more_is_431() {
    let trailers = |length: usize| {
        format!(
            "0\r\nX-A: {}\r\n\r\n",
            "v".repeat(length - "X-A: \r\n\r\n".len())
        )
    };
    assert_eq!(body(&trailers(8192)).trailers.len(), 1);
    assert_eq!(bad(&trailers(8193)), 431);
    assert_eq!(bad(&trailers(20_000)), 431);
    assert_eq!(bad(&trailers(20_000)[..3 + 8192]), 431);
}

#[test]
fn a_hundred_trailers_are_served_and_one_more_is_431() {
    let trailers = |count: usize| {
        let mut chunks = "0\r\n".to_owned();
        for number in 0..count {
            write!(chunks, "x-{number}: v\r\n").unwrap();
        }
        chunks + "\r\n"
    };
    assert_eq!(body(&trailers(100)).trailers.len(), 100);
    assert_eq!(bad(&trailers(101)), 431);
}

proptest! {
    #[test]
    fn chunks_at_any_size_and_cut_give_the_payload(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..80), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut input = HEAD.as_bytes().to_vec();
        for piece in &pieces {
            input.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            input.extend_from_slice(piece);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"0\r\nX-A: b\r\n\r\n");
        let transcript = read_pieces(cut(&input, &cuts), &Limits::default());
        prop_assert_eq!(transcript.refused, None);
        prop_assert_eq!(&transcript.requests[0].body, &pieces.concat());
        prop_assert_eq!(&transcript.requests[0].trailers["x-a"], "b");
    }

    #[test]
    fn the_meaning_of_any_chunks_does_not_depend_on_how_they_are_cut(
        chunks in "[0-2a;=\"\\\\ \r\n]{0,40}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let input = format!("{HEAD}{chunks}");
        let limits = Limits::default();
        let whole = read_pieces([input.as_bytes()], &limits);
        prop_assert_eq!(&read_pieces(cut(input.as_bytes(), &cuts), &limits), &whole);
        prop_assert_eq!(&read_pieces(input.as_bytes().chunks(1), &limits), &whole);
    }
}
