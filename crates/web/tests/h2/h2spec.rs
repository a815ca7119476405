//! Each case of h2spec, the conformance suite of HTTP/2, as a row: what is sent, and what must come of it.
//! Rows have the numbers that h2spec prints (`generic/…`, `http2/…` after RFC 7540, `hpack/…` after RFC
//! 7541).
//!
//! h2spec itself sends frame by frame, to a server that answers at once. Here each row is sent frame by
//! frame and in one piece, to a site that answers at once and, where no answer is expected, to one
//! that never does.

use std::rc::Rc;

use ropewalk_core::Factory;

use super::rig::*;

/// What must come of a row.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The connection is ended, with one of these codes.
    ConnectionError(&'static [u32]),
    /// The stream is reset, or the connection is ended, with one of these codes.
    StreamError(&'static [u32]),
    /// Nothing is refused, and a PING is answered.
    Alive,
    /// The connection goes on, or is closed without a complaint.
    AliveOrOver,
    /// Stream 1 is answered with 200.
    Answer,
    /// The first DATA frame of stream 1 has so many bytes.
    Data(usize),
}

use Then::{Alive, AliveOrOver, Answer, ConnectionError, Data, StreamError};

type Row = (&'static str, Vec<Vec<u8>>, Then);

// (The `h2` crate has the general code where RFC 9113 has a special one. So has h2spec.)
const STREAM_IS_CLOSED: Then = StreamError(&[STREAM_CLOSED, PROTOCOL_ERROR]);
const UNDECODABLE: Then = ConnectionError(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
const WINDOW_IS_TOO_LARGE: Then = ConnectionError(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]);
const MALFORMED: Then = StreamError(&[PROTOCOL_ERROR]);

fn block_of_get() -> Vec<u8> {
    request("GET", "/", &[])
}

/// Begins with a request on `stream`, and does not end it.
fn post(stream: u32) -> Vec<u8> {
    headers(stream, 0, request("POST", "/", &[]))
}

/// A request of which more fields are to come.
fn begun(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM, stream, block_of_get())
}

fn more(stream: u32, flags: u8) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block(&[("x-dummy0", "dummy")]))
}

fn priority(stream: u32, on: u32, weight: u8) -> Vec<u8> {
    let payload = [on.to_be_bytes().as_slice(), &[weight]].concat();
    frame(PRIORITY, 0, stream, payload)
}

/// A GET with `fields` behind the others, as they stand.
fn get_with(fields: &[u8]) -> Vec<Vec<u8>> {
    let all = [&block_of_get()[..], fields].concat();
    vec![headers(1, END_STREAM, all)]
}

/// A GET of exactly these fields.
fn get_of(fields: &[(&str, &str)]) -> Vec<Vec<u8>> {
    vec![headers(1, END_STREAM, block(fields))]
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "example.com");

fn get_and(field: (&str, &str)) -> Vec<Vec<u8>> {
    get_of(&[METHOD, SCHEME, PATH, AUTHORITY, field])
}

fn generic() -> Vec<Row> {
    let of_get = |flags, stream| headers(stream, flags | END_STREAM, block_of_get());
    let with_priority = |on: u32, weight| {
        let first = [on.to_be_bytes().as_slice(), &[weight]].concat();
        let all = [first, block_of_get()].concat();
        vec![headers(1, END_STREAM | WITH_PRIORITY, all)]
    };
    let padded = [&[8][..], &block_of_get(), &[0; 8]].concat();
    let literal = |bytes: &[u8]| get_with(bytes);
    vec![
        ("generic/1", vec![], Alive),
        ("generic/2/1", vec![priority(1, 0, 255)], Alive),
        (
            "generic/2/2",
            vec![settings(&[(4, 0)]), get(1, "/"), window_update(1, 1)],
            Data(1),
        ),
        (
            "generic/2/3",
            vec![
                settings(&[(4, 0)]),
                get(1, "/"),
                priority(1, 0, 255),
                window_update(1, 1),
            ],
            Data(1),
        ),
        (
            "generic/2/4",
            vec![get(1, "/"), rst(1, CANCEL)],
            AliveOrOver,
        ),
        ("generic/2/5", vec![get(1, "/"), priority(1, 0, 255)], Alive),
        (
            "generic/3.1/1",
            vec![post(1), data(1, END_STREAM, "test")],
            Answer,
        ),
        (
            "generic/3.1/2",
            vec![post(1), data(1, 0, "test"), data(1, END_STREAM, "test")],
            Answer,
        ),
        (
            "generic/3.1/3",
            vec![
                post(1),
                data(1, END_STREAM | PADDED, b"\x06test\0\0\0\0\0\0"),
            ],
            Answer,
        ),
        ("generic/3.2/1", vec![of_get(0, 1)], Answer),
        (
            "generic/3.2/2",
            vec![headers(1, END_STREAM | PADDED, padded)],
            Answer,
        ),
        ("generic/3.2/3", with_priority(0, 255), Answer),
        (
            "generic/3.3/1",
            vec![priority(1, 0, 0), get(1, "/")],
            Answer,
        ),
        (
            "generic/3.3/2",
            vec![priority(1, 0, 255), get(1, "/")],
            Answer,
        ),
        (
            "generic/3.3/3",
            vec![priority(3, 1, 255), get(1, "/")],
            Answer,
        ),
        (
            "generic/3.3/4",
            vec![priority(1, 0x8000_0000, 255), get(1, "/")],
            Answer,
        ),
        (
            "generic/3.3/5",
            vec![priority(3, 0, 255), get(1, "/")],
            Answer,
        ),
        (
            "generic/3.4",
            vec![get(1, "/"), rst(1, CANCEL)],
            AliveOrOver,
        ),
        ("generic/3.5", vec![settings(&[(3, 100)])], Alive),
        ("generic/3.7", vec![ping(b"h2spec\0\0")], Alive),
        (
            "generic/3.8",
            vec![frame(GOAWAY, 0, 0, [0; 8])],
            AliveOrOver,
        ),
        ("generic/3.9/1", vec![window_update(0, 1)], Alive),
        (
            "generic/3.9/2",
            vec![settings(&[(4, 0)]), get(1, "/"), window_update(1, 1)],
            Data(1),
        ),
        (
            "generic/3.10/1",
            vec![begun(1), more(1, END_HEADERS)],
            Answer,
        ),
        (
            "generic/3.10/2",
            vec![begun(1), more(1, 0), more(1, END_HEADERS)],
            Answer,
        ),
        ("generic/4/1", vec![get(1, "/")], Answer),
        (
            "generic/4/2",
            vec![headers(1, END_STREAM, request("HEAD", "/", &[]))],
            Answer,
        ),
        (
            "generic/4/3",
            vec![post(1), data(1, END_STREAM, "test")],
            Answer,
        ),
        (
            "generic/4/4",
            vec![
                headers(1, 0, request("POST", "/", &[("trailer", "x-test")])),
                data(1, 0, "test"),
                headers(1, END_STREAM, block(&[("x-test", "ok")])),
            ],
            Answer,
        ),
        ("generic/5/1", literal(b"\xba"), Answer),
        ("generic/5/2", literal(b"\x7a\x06h2spec"), Answer),
        ("generic/5/3", literal(b"\x7a\x84\x9c\x48\xac\xa4"), Answer),
        ("generic/5/4", literal(b"\x40\x06x-test\x06h2spec"), Answer),
        (
            "generic/5/5",
            literal(b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
            Answer,
        ),
        ("generic/5/6", literal(b"\x0f\x2b\x06h2spec"), Answer),
        (
            "generic/5/7",
            literal(b"\x0f\x2b\x84\x9c\x48\xac\xa4"),
            Answer,
        ),
        ("generic/5/8", literal(b"\x00\x06x-test\x06h2spec"), Answer),
        (
            "generic/5/9",
            literal(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
            Answer,
        ),
        ("generic/5/10", literal(b"\x1f\x2b\x06h2spec"), Answer),
        (
            "generic/5/11",
            literal(b"\x1f\x2b\x84\x9c\x48\xac\xa4"),
            Answer,
        ),
        ("generic/5/12", literal(b"\x10\x06x-test\x06h2spec"), Answer),
        (
            "generic/5/13",
            literal(b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
            Answer,
        ),
        (
            "generic/5/14",
            vec![headers(
                1,
                END_STREAM,
                [&b"\x3f\x61"[..], &block_of_get()].concat(),
            )],
            Answer,
        ),
        (
            "generic/5/15",
            vec![headers(
                1,
                END_STREAM,
                [&b"\x3f\x61\x3f\xe1\x1f"[..], &block_of_get()].concat(),
            )],
            Answer,
        ),
    ]
}

/// Sections 3 to 5. (3.5 is about what comes before SETTINGS: see below.)
fn http2_frames_and_streams() -> Vec<Row> {
    let closed = |then: Vec<u8>| vec![get(1, "/"), then];
    let reset = |then: Vec<u8>| vec![post(1), rst(1, CANCEL), then];
    let many = (0..101).map(|n| post(2 * n + 1)).collect();
    let depends_on_itself = [&1_u32.to_be_bytes()[..], &[255], &block_of_get()].concat();
    vec![
        ("http2/4.1/1", vec![frame(0x16, 0, 0, [0; 8])], Alive),
        ("http2/4.1/2", vec![frame(PING, 0x16, 0, [0; 8])], Alive),
        (
            "http2/4.1/3",
            vec![frame(PING, 0x16, 0x8000_0000, [0; 8])],
            Alive,
        ),
        (
            "http2/4.2/1",
            vec![post(1), data(1, END_STREAM, [0; 16_384])],
            Answer,
        ),
        (
            "http2/4.2/2",
            vec![post(1), data(1, END_STREAM, [0; 16_385])],
            StreamError(&[FRAME_SIZE_ERROR]),
        ),
        (
            "http2/4.2/3",
            vec![headers(1, END_STREAM, [0; 16_385])],
            ConnectionError(&[FRAME_SIZE_ERROR]),
        ),
        (
            "http2/4.3/1",
            vec![headers(1, END_STREAM, b"\x40")],
            UNDECODABLE,
        ),
        (
            "http2/4.3/2",
            vec![begun(1), priority(1, 0, 255), more(1, END_HEADERS)],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/4.3/3",
            vec![begun(1), get(3, "/"), more(1, END_HEADERS)],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/5.1/1",
            vec![data(1, END_STREAM, "test")],
            StreamError(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        (
            "http2/5.1/2",
            vec![rst(1, CANCEL)],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/5.1/3",
            vec![window_update(1, 100)],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/5.1/4",
            vec![frame(CONTINUATION, END_HEADERS, 1, block_of_get())],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/5.1/5",
            closed(data(1, END_STREAM, "test")),
            STREAM_IS_CLOSED,
        ),
        ("http2/5.1/6", closed(get(1, "/")), STREAM_IS_CLOSED),
        (
            "http2/5.1/7",
            closed(more(1, END_HEADERS)),
            StreamError(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "http2/5.1/8",
            reset(data(1, END_STREAM, "test")),
            STREAM_IS_CLOSED,
        ),
        ("http2/5.1/9", reset(get(1, "/")), STREAM_IS_CLOSED),
        (
            "http2/5.1/10",
            reset(more(1, END_HEADERS)),
            StreamError(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        // 5.1/11 to 5.1/13 send the same as 5.1/5 to 5.1/7, when the answer is there.
        (
            "http2/5.1.1/1",
            vec![get(2, "/")],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/5.1.1/2",
            vec![post(5), post(3)],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/5.1.2/1",
            many,
            StreamError(&[PROTOCOL_ERROR, REFUSED_STREAM]),
        ),
        (
            "http2/5.3.1/1",
            vec![headers(1, END_STREAM | WITH_PRIORITY, depends_on_itself)],
            MALFORMED,
        ),
        ("http2/5.3.1/2", vec![priority(1, 1, 255)], MALFORMED),
        (
            "http2/5.4.1/1",
            vec![frame(PING, 0, 3, [0; 8])],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        (
            "http2/5.4.1/2",
            vec![frame(PING, 0, 3, [0; 8])],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        ("http2/5.5/1", vec![frame(0x16, 0, 0, [0; 8])], Alive),
        (
            "http2/5.5/2",
            vec![begun(1), frame(0x16, 0, 0, [0; 8]), more(1, END_HEADERS)],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ]
}

/// Section 6: each type of frame.
fn http2_types_of_frames() -> Vec<Row> {
    let protocol_error = ConnectionError(&[PROTOCOL_ERROR]);
    let frame_size_error = ConnectionError(&[FRAME_SIZE_ERROR]);
    let setting = |id, value| vec![settings(&[(id, value)])];
    let short = [&[block_of_get().len() as u8 + 2][..], &block_of_get()].concat();
    vec![
        (
            "http2/6.1/1",
            vec![data(0, END_STREAM, "test")],
            protocol_error,
        ),
        (
            "http2/6.1/2",
            vec![get(1, "/"), data(1, END_STREAM, "test")],
            STREAM_IS_CLOSED,
        ),
        (
            "http2/6.1/3",
            vec![
                headers(1, 0, request("POST", "/", &[("content-length", "4")])),
                data(1, END_STREAM | PADDED, b"\x06Test"),
            ],
            protocol_error,
        ),
        (
            "http2/6.2/1",
            vec![begun(1), priority(1, 0, 255), more(1, END_HEADERS)],
            protocol_error,
        ),
        (
            "http2/6.2/2",
            vec![begun(1), get(3, "/"), more(1, END_HEADERS)],
            protocol_error,
        ),
        ("http2/6.2/3", vec![get(0, "/")], protocol_error),
        (
            "http2/6.2/4",
            vec![headers(1, END_STREAM | PADDED, short)],
            MALFORMED,
        ),
        ("http2/6.3/1", vec![priority(0, 0, 255)], protocol_error),
        (
            "http2/6.3/2",
            vec![post(1), frame(PRIORITY, 0, 1, [0x80, 0, 0, 1])],
            StreamError(&[FRAME_SIZE_ERROR]),
        ),
        ("http2/6.4/1", vec![rst(0, CANCEL)], protocol_error),
        ("http2/6.4/2", vec![rst(1, CANCEL)], protocol_error),
        (
            "http2/6.4/3",
            vec![post(1), frame(RST_STREAM, 0, 1, [0; 3])],
            StreamError(&[FRAME_SIZE_ERROR]),
        ),
        (
            "http2/6.5/1",
            vec![frame(SETTINGS, ACK, 0, [0])],
            frame_size_error,
        ),
        (
            "http2/6.5/2",
            vec![frame(SETTINGS, 0, 1, [0, 3, 0, 0, 0, 100])],
            protocol_error,
        ),
        (
            "http2/6.5/3",
            vec![frame(SETTINGS, 0, 0, [0, 3, 0])],
            frame_size_error,
        ),
        ("http2/6.5.2/1", setting(2, 2), protocol_error),
        (
            "http2/6.5.2/2",
            setting(4, 0x8000_0000),
            WINDOW_IS_TOO_LARGE,
        ),
        ("http2/6.5.2/3", setting(5, 16_383), protocol_error),
        ("http2/6.5.2/4", setting(5, 16_777_216), protocol_error),
        ("http2/6.5.2/5", setting(0xff, 0), Alive),
        (
            "http2/6.5.3/1",
            vec![settings(&[(4, 100), (4, 1)]), get(1, "/")],
            Data(1),
        ),
        ("http2/6.5.3/2", setting(2, 0), Alive),
        ("http2/6.7/1", vec![ping(b"h2spec\0\0")], Alive),
        (
            "http2/6.7/2",
            vec![frame(PING, ACK, 0, b"invalid\0")],
            Alive,
        ),
        (
            "http2/6.7/3",
            vec![frame(PING, 0, 1, [0; 8])],
            protocol_error,
        ),
        (
            "http2/6.7/4",
            vec![frame(PING, 0, 0, [0; 6])],
            frame_size_error,
        ),
        (
            "http2/6.8/1",
            vec![frame(GOAWAY, 0, 1, [0; 8])],
            protocol_error,
        ),
        ("http2/6.9/1", vec![window_update(0, 0)], protocol_error),
        ("http2/6.9/2", vec![post(1), window_update(1, 0)], MALFORMED),
        (
            "http2/6.9/3",
            vec![frame(WINDOW_UPDATE, 0, 0, [0, 0, 1])],
            frame_size_error,
        ),
        (
            "http2/6.9.1/1",
            vec![settings(&[(4, 1)]), get(1, "/")],
            Data(1),
        ),
        (
            "http2/6.9.1/2",
            vec![window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)],
            ConnectionError(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "http2/6.9.1/3",
            vec![
                post(1),
                window_update(1, 0x7fff_ffff),
                window_update(1, 0x7fff_ffff),
            ],
            StreamError(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "http2/6.9.2/1",
            vec![settings(&[(4, 0)]), get(1, "/"), settings(&[(4, 1)])],
            Data(1),
        ),
        (
            "http2/6.9.2/2",
            vec![
                settings(&[(4, 3)]),
                get(1, "/"),
                settings(&[(4, 2)]),
                window_update(1, 2),
            ],
            Data(3),
        ),
        (
            "http2/6.9.2/3",
            setting(4, 0x8000_0000),
            WINDOW_IS_TOO_LARGE,
        ),
        (
            "http2/6.10/1",
            vec![begun(1), more(1, 0), more(1, END_HEADERS)],
            Answer,
        ),
        (
            "http2/6.10/2",
            vec![begun(1), more(1, 0), data(1, END_STREAM, "test")],
            protocol_error,
        ),
        (
            "http2/6.10/3",
            vec![begun(1), more(0, END_HEADERS)],
            protocol_error,
        ),
        (
            "http2/6.10/4",
            vec![get(1, "/"), more(1, END_HEADERS)],
            protocol_error,
        ),
        (
            "http2/6.10/5",
            vec![begun(1), more(1, END_HEADERS), more(1, END_HEADERS)],
            protocol_error,
        ),
        (
            "http2/6.10/6",
            vec![begun(1), data(1, END_STREAM, "test"), more(1, END_HEADERS)],
            protocol_error,
        ),
    ]
}

/// Sections 7 and 8: messages.
fn http2_messages() -> Vec<Row> {
    let of_length_1 = headers(1, 0, request("POST", "/", &[("content-length", "1")]));
    let promise = [&[0, 0, 0, 3][..], &block_of_get()].concat();
    vec![
        (
            "http2/7/1",
            vec![frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0xff])],
            AliveOrOver,
        ),
        ("http2/7/2", vec![post(1), rst(1, 0xff)], AliveOrOver),
        (
            "http2/8.1/1",
            vec![
                post(1),
                data(1, 0, "test"),
                headers(1, 0, block(&[("x-test", "ok")])),
            ],
            MALFORMED,
        ),
        ("http2/8.1.2/1", get_and(("X-TEST", "ok")), MALFORMED),
        ("http2/8.1.2.1/1", get_and((":test", "ok")), MALFORMED),
        ("http2/8.1.2.1/2", get_and((":status", "200")), MALFORMED),
        (
            "http2/8.1.2.1/3",
            vec![
                post(1),
                data(1, 0, "test"),
                headers(1, END_STREAM, block(&[(":method", "POST")])),
            ],
            MALFORMED,
        ),
        (
            "http2/8.1.2.1/4",
            get_of(&[("x-test", "ok"), METHOD, SCHEME, PATH, AUTHORITY]),
            MALFORMED,
        ),
        (
            "http2/8.1.2.2/1",
            get_and(("connection", "keep-alive")),
            MALFORMED,
        ),
        (
            "http2/8.1.2.2/2",
            get_and(("te", "trailers, deflate")),
            MALFORMED,
        ),
        (
            "http2/8.1.2.3/1",
            get_of(&[METHOD, SCHEME, (":path", ""), AUTHORITY]),
            MALFORMED,
        ),
        (
            "http2/8.1.2.3/2",
            get_of(&[SCHEME, PATH, AUTHORITY]),
            MALFORMED,
        ),
        (
            "http2/8.1.2.3/3",
            get_of(&[METHOD, PATH, AUTHORITY]),
            MALFORMED,
        ),
        (
            "http2/8.1.2.3/4",
            get_of(&[METHOD, SCHEME, AUTHORITY]),
            MALFORMED,
        ),
        ("http2/8.1.2.3/5", get_and(METHOD), MALFORMED),
        ("http2/8.1.2.3/6", get_and(SCHEME), MALFORMED),
        ("http2/8.1.2.3/7", get_and(PATH), MALFORMED),
        (
            "http2/8.1.2.6/1",
            vec![of_length_1.clone(), data(1, END_STREAM, "test")],
            MALFORMED,
        ),
        (
            "http2/8.1.2.6/2",
            vec![of_length_1, data(1, 0, "test"), data(1, END_STREAM, "test")],
            MALFORMED,
        ),
        (
            "http2/8.2/1",
            vec![frame(PUSH_PROMISE, END_HEADERS, 1, promise)],
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ]
}

fn hpack() -> Vec<Row> {
    let compression_error = UNDECODABLE;
    // 4,097.
    let larger = [&b"\x3f\xe2\x1f"[..], &block_of_get()].concat();
    vec![
        ("hpack/2.3.3/1", get_with(b"\xc6"), compression_error),
        (
            "hpack/2.3.3/2",
            get_with(b"\x7f\x07\x00"),
            compression_error,
        ),
        ("hpack/4.2/1", get_with(b"\x21"), compression_error),
        (
            "hpack/5.2/1",
            get_with(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
            compression_error,
        ),
        (
            "hpack/5.2/2",
            get_with(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
            compression_error,
        ),
        (
            "hpack/5.2/3",
            get_with(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"),
            compression_error,
        ),
        ("hpack/6.1/1", get_with(b"\x80"), compression_error),
        (
            "hpack/6.3/1",
            vec![headers(1, END_STREAM, larger)],
            compression_error,
        ),
    ]
}

/// A site that does not answer.
fn never() -> Rc<dyn Factory> {
    site_async(|_| std::future::pending())
}

/// What is wrong with what comes of `pieces`, if anything is.
fn flaw(site: Rc<dyn Factory>, pieces: &[Vec<u8>], then: Then) -> Option<String> {
    let client = Client::new(site);
    client.received();
    for piece in pieces {
        client.send(piece);
    }
    let frames = client.received();
    let ended = |code: u32| {
        let goaway = frames.iter().find(|frame| frame.kind == GOAWAY);
        client.is_closed() && goaway.is_some_and(|frame| frame.code() == code)
    };
    let reset = |code: u32| {
        let mut resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
        resets.next_back().is_some_and(|frame| frame.code() == code)
    };
    let refused = frames.iter().any(|frame| {
        matches!(frame.kind, RST_STREAM) || frame.kind == GOAWAY && frame.code() != NO_ERROR
    });
    let pongs = || {
        client.send(ping(b"are you "));
        client
            .received()
            .iter()
            .any(|frame| frame.kind == PING && frame.flags == ACK)
    };
    let of_1 = |kind| {
        frames
            .iter()
            .find(|frame| frame.kind == kind && frame.stream == 1)
    };
    let holds = match then {
        ConnectionError(codes) => codes.iter().any(|code| ended(*code)),
        StreamError(codes) => codes.iter().any(|code| reset(*code) || ended(*code)),
        Alive => !refused && pongs(),
        AliveOrOver => !refused && (client.is_closed() || pongs()),
        Answer => !refused && of_1(HEADERS).is_some_and(|head| head.status() == 200),
        Data(length) => !refused && of_1(DATA).is_some_and(|data| data.payload.len() == length),
    };
    (!holds).then(|| format!("{frames:?}"))
}

#[track_caller]
fn check(rows: Vec<Row>) {
    let mut flaws = Vec::new();
    for (name, pieces, then) in rows {
        let whole = vec![pieces.concat()];
        for pieces in [&pieces, &whole] {
            if matches!(then, Data(_)) && pieces.len() == 1 {
                // How much is sent at once depends on what was there when it was.
                continue;
            }
            let mut note = |site: &str, flaw: Option<String>| {
                let sent = pieces.len();
                flaws.extend(
                    flaw.map(|flaw| format!("{name} ({sent} pieces, {site}), {then:?}: {flaw}")),
                );
            };
            note("answers", flaw(mirror(), pieces, then));
            if matches!(then, ConnectionError(_) | StreamError(_) | Alive) {
                note("never answers", flaw(never(), pieces, then));
            }
        }
    }
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}

#[test]
fn generic_cases_hold() {
    check(generic());
}

#[test]
fn cases_of_frames_and_streams_hold() {
    check(http2_frames_and_streams());
}

#[test]
fn cases_of_types_of_frames_hold() {
    check(http2_types_of_frames());
}

#[test]
fn cases_of_messages_hold() {
    check(http2_messages());
}

#[test]
fn cases_of_compression_hold() {
    check(hpack());
}

/// http2/3.5
#[test]
fn cases_of_the_preface_hold() {
    let client = Client::bare(mirror());
    client.send([PREFACE, &settings(&[(4, 65_535)])].concat());
    let frames = client.received();
    assert_eq!((frames[0].kind, frames[0].flags), (SETTINGS, 0), "3.5/1");
    let client = Client::bare(mirror());
    client.send("INVALID CONNECTION PREFACE\r\n\r\n");
    assert!(client.is_closed(), "3.5/2");
}
