//! What the server may send: how an answer is framed, and what is said of the connection, for each
//! method, version and status, whatever the handler says.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use ropewalk_core::Factory;
use ropewalk_web::{Body, BoxError, Site, handler_fn};

use super::server::Server;

/// An answer of a handler, and what becomes of it.
struct Row {
    rule: &'static str,
    /// Method, version, and field lines of the request.
    request: (&'static str, &'static str, &'static str),
    /// Status, field lines and content of the handler's answer.
    answer: (u16, &'static str, Content),
    /// The lines that are sent behind the status line, and the content.
    sent: (&'static [&'static str], &'static str),
    closed: bool,
}

#[derive(Clone, Copy)]
enum Content {
    None,
    Text(&'static str),
    /// Of a length that is not known before.
    Stream(&'static str),
}

use Content::{None as Nothing, Stream, Text};

/// What most requests are.
const GET: (&str, &str, &str) = ("GET", "1.1", "");
const HEAD: (&str, &str, &str) = ("HEAD", "1.1", "");
const OLD: (&str, &str, &str) = ("GET", "1.0", "");
const OLD_KEPT: (&str, &str, &str) = ("GET", "1.0", "Connection: keep-alive\r\n");

const CHUNKED: &str = "transfer-encoding: chunked";
const CLOSE: &str = "connection: close";
const KEEP: &str = "connection: keep-alive";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Framing: RFC 9112, section 6.3.
    row("RFC 9112 6.3: a length that is known is told", GET, (200, "", Text("hello")), (&["content-length: 5"], "hello"), false),
    row("RFC 9110 8.6: an empty answer has a length too", GET, (200, "", Nothing), (&["content-length: 0"], ""), false),
    row("RFC 9112 6.3: one that is not known is chunked", GET, (200, "", Stream("hello")), (&[CHUNKED], "5\r\nhello\r\n0\r\n\r\n"), false),
    row("RFC 9112 6.3: an empty one, too", GET, (200, "", Stream("")), (&[CHUNKED], "0\r\n\r\n"), false),
    row("RFC 9112 6.3: a length that the handler promises", GET, (200, "content-length: 5\r\n", Stream("hello")), (&["content-length: 5"], "hello"), false),
    row("RFC 9112 6.1: no Transfer-Encoding to HTTP/1.0", OLD, (200, "", Stream("hello")), (&[CLOSE], "hello"), true),
    row("RFC 9112 6.3: the end of the connection ends it", OLD_KEPT, (200, "", Stream("hello")), (&[CLOSE], "hello"), true),
    row("RFC 9112 6.1: nor by the handler", OLD, (200, "transfer-encoding: chunked\r\n", Text("hello")), (&["content-length: 5", CLOSE], "hello"), true),
    row("RFC 9112 6.2: no Content-Length beside Transfer-Encoding", GET, (200, "transfer-encoding: gzip, chunked\r\ncontent-length: 5\r\n", Stream("hello")), (&["content-length: 5"], "hello"), false),
    row("RFC 9112 7.1.2: chunks are ours alone", GET, (200, "transfer-encoding: chunked\r\n", Stream("hello")), (&[CHUNKED], "5\r\nhello\r\n0\r\n\r\n"), false),
    row("RFC 9110 8.6: a wrong length is not sent", GET, (200, "content-length: 4\r\n", Text("hello")), FAILED, true),
    row("RFC 9110 8.6: nor one that is none", GET, (200, "content-length: five\r\n", Text("hello")), FAILED, true),
    row("RFC 9110 8.6: nor one that stands twice", GET, (200, "content-length: 5\r\ncontent-length: 5\r\n", Text("hello")), FAILED, true),
    // Answers without content: RFC 9110, section 6.4.1.
    row("RFC 9110 9.3.2: HEAD has the length of GET, and no content", HEAD, (200, "", Text("hello")), (&["content-length: 5"], ""), false),
    row("RFC 9110 8.6: or the one that the handler knows", HEAD, (200, "content-length: 5\r\n", Nothing), (&["content-length: 5"], ""), false),
    row("RFC 9110 8.6: and none where it is not known", HEAD, (200, "", Stream("hello")), (&[], ""), false),
    row("RFC 9110 9.3.2: nor in an error", HEAD, (404, "", Text("gone")), (&["content-length: 4"], ""), false),
    row("RFC 9110 9.3.2: nor to HTTP/1.0", ("HEAD", "1.0", ""), (200, "", Text("hello")), (&["content-length: 5", CLOSE], ""), true),
    row("RFC 9110 15.3.5: 204 has no content", GET, (204, "", Text("hello")), (&[], ""), false),
    row("RFC 9110 8.6: 204 has no Content-Length", GET, (204, "content-length: 0\r\n", Nothing), (&[], ""), false),
    row("RFC 9112 6.1: 204 has no Transfer-Encoding", GET, (204, "transfer-encoding: chunked\r\n", Stream("hello")), (&[], ""), false),
    row("RFC 9110 15.3.5: nor to HTTP/1.0", OLD_KEPT, (204, "", Nothing), (&[KEEP], ""), false),
    row("RFC 9110 15.3.6: 205 has no content", GET, (205, "", Text("hello")), (&["content-length: 0"], ""), false),
    row("RFC 9110 15.3.6: nor a streamed one", GET, (205, "content-length: 5\r\n", Stream("hello")), (&["content-length: 0"], ""), false),
    row("RFC 9110 15.4.5: 304 has no content", GET, (304, "", Text("hello")), (&[], ""), false),
    row("RFC 9110 8.6: 304 may have the length of 200", GET, (304, "content-length: 5\r\n", Nothing), (&["content-length: 5"], ""), false),
    row("RFC 9112 6.1: and no coding", GET, (304, "transfer-encoding: chunked\r\n", Stream("hello")), (&[], ""), false),
    row("RFC 9110 9.3.6: 2xx to CONNECT has neither length nor coding", ("CONNECT", "1.1", ""), (200, "content-length: 5\r\ntransfer-encoding: chunked\r\n", Text("hello")), (&[CLOSE], ""), true),
    row("RFC 9110 9.3.6: other answers to CONNECT are as any", ("CONNECT", "1.1", ""), (403, "", Text("no")), (&["content-length: 2"], "no"), false),
    // Interim answers are not final ones: RFC 9110, section 15.2.
    row("RFC 9110 15.2: 1xx ends no request", GET, (100, "", Nothing), FAILED, true),
    row("RFC 9110 15.2.2: 101 without another protocol", GET, (101, "upgrade: x\r\n", Nothing), FAILED, true),
    row("RFC 9110 15.2: nor to HTTP/1.0", OLD, (103, "", Nothing), FAILED, true),
    // The connection: RFC 9112, sections 9.3 and 9.6.
    row("RFC 9112 9.6: close is answered by close", ("GET", "1.1", "Connection: close\r\n"), (200, "", Text("hello")), (&["content-length: 5", CLOSE], "hello"), true),
    row("RFC 9112 9.6: a handler may close", GET, (200, "connection: close\r\n", Text("hello")), (&["content-length: 5", CLOSE], "hello"), true),
    row("RFC 9110 7.6.1: other options stay", GET, (200, "connection: x-hop, close\r\n", Text("hello")), (&["content-length: 5", "connection: x-hop, close"], "hello"), true),
    row("RFC 9112 9.3: a handler cannot keep what is to end", ("GET", "1.1", "Connection: close\r\n"), (200, "connection: keep-alive\r\n", Nothing), (&["content-length: 0", CLOSE], ""), true),
    row("RFC 9112 9.3: HTTP/1.1 needs no word to last", GET, (200, "connection: keep-alive\r\n", Nothing), (&["content-length: 0"], ""), false),
    row("RFC 9112 9.3: HTTP/1.0 ends", OLD, (200, "", Nothing), (&["content-length: 0", CLOSE], ""), true),
    row("RFC 9112 9.3: unless it asks to last", OLD_KEPT, (200, "", Nothing), (&["content-length: 0", KEEP], ""), false),
    row("RFC 9112 9.3: and the handler lets it", OLD_KEPT, (200, "connection: close\r\n", Nothing), (&["content-length: 0", CLOSE], ""), true),
    // Fields go out as the handler gave them.
    row("RFC 9110 5.3: lines of one name keep their order", GET, (200, "x-a: 1\r\nx-a: 2\r\n", Nothing), (&["x-a: 1", "x-a: 2", "content-length: 0"], ""), false),
    row("RFC 9110 15.1: a status of any class", GET, (599, "", Nothing), (&["content-length: 0"], ""), false),
    row("RFC 9110 15.5.22: 426 and its field", GET, (426, "upgrade: x\r\nconnection: upgrade\r\n", Nothing), (&["upgrade: x", "content-length: 0", "connection: upgrade"], ""), false),
];

/// An answer that cannot be sent.
const FAILED: (&[&str], &str) = (
    &[
        "content-type: text/plain; charset=utf-8",
        "content-length: 73",
        CLOSE,
    ],
    "500 Internal Server Error: the server failed to answer; its log says why\n",
);

const fn row(
    rule: &'static str,
    request: (&'static str, &'static str, &'static str),
    answer: (u16, &'static str, Content),
    sent: (&'static [&'static str], &'static str),
    closed: bool,
) -> Row {
    Row {
        rule,
        request,
        answer,
        sent,
        closed,
    }
}

/// A body whose length nobody knows before its end.
struct Pieces(Option<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        std::task::Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// The answer of a handler with this status, these field lines and this content.
fn respond((status, lines, content): (u16, &str, Content)) -> Response<Body> {
    let mut response = Response::new(match content {
        Nothing => Body::empty(),
        Text(text) => Body::from(text),
        Stream(text) => Body::new(Pieces(Some(Bytes::from_static(text.as_bytes())))),
    });
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for line in lines.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        let name: HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

fn site(answer: (u16, &'static str, Content)) -> Rc<dyn Factory> {
    let handler = move |_: Request<Body>| respond(answer);
    Rc::new(Site::new(handler_fn(handler)))
}

#[test]
fn an_answer_is_framed_as_method_version_and_status_demand() {
    for row in TABLE {
        let (method, version, lines) = row.request;
        let target = match method {
            "CONNECT" => "example.com:443",
            _ => "/",
        };
        let request =
            format!("{method} {target} HTTP/{version}\r\nHost: example.com\r\n{lines}\r\n");
        let server = Server::of(site(row.answer));
        let (seen, closed) = server.send(&[request.as_bytes()]).received();

        let (head, content) = seen.split_once("\r\n\r\n").unwrap();
        let mut sent = head.split("\r\n");
        let status = match row.sent == FAILED {
            true => 500,
            false => row.answer.0,
        };
        let status_line = sent.next().unwrap();
        let starts = status_line.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(starts, "{}: {status_line}", row.rule);
        assert_eq!(sent.collect::<Vec<_>>(), row.sent.0, "{}", row.rule);
        assert_eq!(content, row.sent.1, "{}", row.rule);
        assert_eq!(closed, row.closed, "{}", row.rule);

        // And the next answer begins where this one ends.
        if !closed {
            let next = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n";
            let (both, _) = server.send(&[next]).received();
            assert!(both[seen.len()..].starts_with("HTTP/1.1 "), "{both}");
        }
    }
}

/// RFC 9110, section 6.6.1: a Date in 2xx, 3xx and 4xx; ours is in 5xx, too.
#[test]
fn every_final_answer_has_one_date_and_interim_ones_have_none() {
    for status in [200, 204, 304, 404, 503] {
        let server = Server::of(site((status, "", Nothing)));
        server.send(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]);
        let received = server.raw();
        assert_eq!(received.matches("\r\ndate: ").count(), 1, "{received}");
    }
    let server = Server::of(site((
        200,
        "date: Mon, 07 Nov 1994 08:49:37 GMT\r\n",
        Nothing,
    )));
    server.send(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]);
    let received = server.raw();
    assert_eq!(received.matches("\r\ndate: ").count(), 1, "{received}");
    // What no handler saw is answered with one, too.
    let server = Server::of(site((200, "", Nothing)));
    server.send(&[b"GET / HTTP/1.1\r\n\r\n"]);
    assert_eq!(server.raw().matches("\r\ndate: ").count(), 1);
}

/// RFC 9110, section 5.5, and 9112, section 11.1: no handler can end a line early, whatever it
/// was told to put in it.
#[test]
fn fields_that_would_be_more_than_one_line_cannot_be_made() {
    for text in [
        "a\r\nSet-Cookie: b=c",
        "a\nb",
        "a\rb",
        "a\0b",
        "\r\n\r\n<script>",
    ] {
        assert!(HeaderValue::from_str(text).is_err(), "{text:?}");
        assert!(HeaderValue::from_bytes(text.as_bytes()).is_err());
        assert!(HeaderName::from_bytes(text.as_bytes()).is_err());
        let built = Response::builder().header("location", text).body(());
        assert!(built.is_err(), "{text:?}");
    }
    for name in ["x a", "x:a", "", "x(a", "x\u{e9}"] {
        assert!(HeaderName::from_bytes(name.as_bytes()).is_err(), "{name:?}");
    }
}
