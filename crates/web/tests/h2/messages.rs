//! What makes a message malformed, and what is answered (RFC 9113, sections 8.1 to 8.6).

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use ropewalk_core::Factory;
use ropewalk_web::{Body, BodyError, Site, handler_fn, send_interim};

use super::rig::*;

/// Answers with the fields of the request.
fn fields() -> Rc<dyn Factory> {
    Rc::new(Site::new(handler_fn(|request: Request<Body>| {
        let lines = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
        let lines: String = lines.collect();
        Response::new(Body::from(format!(
            "{} {:?}\n{lines}",
            request.uri(),
            request.version()
        )))
    })))
}

#[track_caller]
fn is_malformed(fields: &[(&str, &str)]) {
    let client = Client::new(mirror());
    client.send(headers(1, END_STREAM, block(fields)));
    is_refused(&client);
}

/// The stream was reset; or the connection was ended, as it may be for any error of a stream (section
/// 5.4.2), where the fields cannot be told from a block that is broken.
#[track_caller]
fn is_refused(client: &Client) {
    let frames = client.received();
    let refused = frames
        .iter()
        .find(|frame| [RST_STREAM, GOAWAY].contains(&frame.kind));
    let refused = refused.unwrap_or_else(|| panic!("it is taken: {frames:?}"));
    assert_eq!(refused.code(), PROTOCOL_ERROR, "{frames:?}");
}

const PSEUDO: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "example.com"),
];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    PSEUDO.iter().chain(more).copied().collect()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    PSEUDO.into_iter().filter(|field| field.0 != name).collect()
}

#[test]
fn names_with_capitals_are_malformed() {
    is_malformed(&with(&[("X-TEST", "ok")])); // 8.2.1
}

#[test]
fn values_with_blanks_around_or_line_ends_are_malformed() {
    is_malformed(&with(&[("x", " ok")])); // 8.2.1
    is_malformed(&with(&[("x", "ok\t")]));
    is_malformed(&with(&[("x", "a\r\nb: c")]));
    is_malformed(&with(&[("x", "a\0")]));
}

#[test]
fn connection_specific_fields_are_malformed() {
    for field in [
        ("connection", "keep-alive"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "trailers, deflate"),
    ] {
        is_malformed(&with(&[field])); // 8.2.2
    }
    let client = Client::new(mirror());
    client.send(headers(
        1,
        END_STREAM,
        request("GET", "/", &[("te", "trailers")]),
    ));
    assert_eq!(client.answer(1).0, 200);
}

#[test]
fn pseudo_fields_are_those_of_requests_once_each_and_first() {
    is_malformed(&with(&[(":test", "ok")])); // 8.3
    is_malformed(&with(&[(":status", "200")]));
    is_malformed(&with(&[(":path", "/")]));
    is_malformed(&with(&[("x", "ok"), (":authority", "example.com")]));
    let mut late = vec![("x", "ok")];
    late.extend(PSEUDO);
    is_malformed(&late);
    for name in [":method", ":scheme", ":path"] {
        is_malformed(&without(name)); // 8.3.1
    }
    for path in ["", "tea", "*", "?x", "/t\u{e9}"] {
        is_malformed(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            ("host", "a"),
        ]);
    }
}

#[test]
fn pseudo_fields_are_no_trailers() {
    let client = Client::new(mirror());
    client.send(headers(1, 0, request("POST", "/echo", &[])));
    client.send(headers(1, END_STREAM, block(&[(":method", "GET")])));
    is_refused(&client); // 8.1
    for name in [
        &[0x82][..],
        &[0x04, 1, b'/'],
        &[0x44, 1, b'/'],
        &[0x20, 0x3f, 0xe1, 0x1f, 0x84],
    ] {
        let client = Client::new(mirror());
        client.send(headers(1, 0, request("POST", "/echo", &[])));
        client.send(headers(1, END_STREAM, name));
        is_refused(&client);
    }
}

#[test]
fn fields_that_frame_route_or_describe_are_no_trailers() {
    for name in ["content-length", "host", "authorization", "set-cookie"] {
        let client = Client::new(site_async(|request: Request<Body>| async move {
            let error = request.into_body().collect().await.unwrap_err();
            assert!(matches!(
                error.downcast_ref::<BodyError>(),
                Some(BodyError::Malformed(_))
            ));
            Err(error)
        }));
        client.send(headers(1, 0, request("POST", "/", &[])));
        client.send(headers(1, END_STREAM, block(&[(name, "1")])));
        assert_eq!(client.of_stream(1)[0].status(), 400, "{name}");
    }
}

#[test]
fn fields_after_the_content_end_the_stream() {
    let client = Client::new(mirror());
    client.send(headers(1, 0, request("POST", "/echo", &[])));
    client.send(headers(1, 0, block(&[("x", "y")])));
    client.assert_reset(1, PROTOCOL_ERROR); // 8.1
}

#[test]
fn the_content_is_as_long_as_it_was_said_to_be() {
    for parts in [&["test"][..], &["te", "st"]] {
        let client = Client::new(mirror());
        client.send(headers(
            1,
            0,
            request("POST", "/echo", &[("content-length", "1")]),
        ));
        for (at, part) in parts.iter().enumerate() {
            let flags = if at + 1 == parts.len() { END_STREAM } else { 0 };
            client.send(data(1, flags, part));
        }
        let frames = client.received();
        let reset = frames
            .iter()
            .find(|frame| frame.kind == RST_STREAM)
            .expect("a reset");
        assert_eq!((reset.stream, reset.code()), (1, PROTOCOL_ERROR)); // 8.1.1
    }
    let client = Client::new(mirror());
    client.send(headers(
        1,
        0,
        request("POST", "/echo", &[("content-length", "5")]),
    ));
    client.send(data(1, END_STREAM, "test"));
    client.assert_reset(1, PROTOCOL_ERROR);
    is_malformed(&with(&[("content-length", "5")]));
    is_malformed(&with(&[("content-length", "x")]));
}

#[test]
fn authority_and_host_agree() {
    is_malformed(&with(&[("host", "example.net")])); // 8.3.1
    let client = Client::new(fields());
    client.send(headers(
        1,
        END_STREAM,
        block(&with(&[("host", "example.com")])),
    ));
    assert_eq!(client.answer(1).0, 200);
    let mut host = without(":authority");
    host.push(("host", "example.org"));
    client.send(headers(3, END_STREAM, block(&host)));
    assert_eq!(client.answer(3).1, "/ HTTP/2.0\nhost: example.org\n");
    client.send(headers(5, END_STREAM, block(&without(":authority"))));
    assert_eq!(client.answer(5).0, 400);
}

#[test]
fn handlers_see_a_host_and_one_cookie() {
    let client = Client::new(fields());
    let cookies = with(&[("cookie", "a=b"), ("cookie", "c=d")]);
    client.send(headers(1, END_STREAM, block(&cookies))); // 8.2.3
    let (_, text) = client.answer(1);
    assert_eq!(
        text,
        "http://example.com/ HTTP/2.0\ncookie: a=b; c=d\nhost: example.com\n"
    );
}

#[test]
fn trailers_go_both_ways() {
    let client = Client::new(mirror());
    client.send(headers(1, 0, request("POST", "/echo", &[])));
    client.send(data(1, 0, "tea"));
    client.send(headers(1, END_STREAM, block(&[("x-sum", "3")])));
    let frames = client.of_stream(1);
    assert_eq!(content(&frames), "tea");
    let last = frames.last().unwrap();
    assert_eq!((last.kind, last.flags), (HEADERS, END_HEADERS | END_STREAM));
}

fn answering(answer: impl Fn(Method) -> Response<Body> + 'static) -> Rc<dyn Factory> {
    Rc::new(Site::new(handler_fn(move |request: Request<Body>| {
        answer(request.method().clone())
    })))
}

#[test]
fn answers_without_content_end_with_their_fields() {
    let client = Client::new(answering(|_| {
        let mut response = Response::new(Body::from("nothing of this is sent"));
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }));
    client.send(get(1, "/"));
    assert_eq!(client.answer(1), (204, String::new()));

    let client = Client::new(mirror());
    client.send(headers(1, END_STREAM, request("HEAD", "/tea", &[])));
    let frames = client.of_stream(1);
    assert_eq!(
        (frames.len(), frames[0].flags),
        (1, END_HEADERS | END_STREAM)
    );

    let client = Client::new(answering(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    }));
    client.send(get(1, "/"));
    assert_eq!(client.answer(1), (304, String::new()));
}

#[test]
fn fields_of_an_http1_connection_are_not_sent() {
    let client = Client::new(answering(|_| {
        let mut response = Response::new(Body::from("tea"));
        let headers = response.headers_mut();
        headers.insert("connection", "close, x-hop".parse().unwrap());
        headers.insert("x-hop", "1".parse().unwrap());
        headers.insert("transfer-encoding", "chunked".parse().unwrap());
        headers.insert("keep-alive", "timeout=5".parse().unwrap());
        response
    }));
    client.send(get(1, "/"));
    assert_eq!(client.answer(1), (200, "tea".to_owned()));
}

#[test]
fn a_wrong_length_of_a_handler_is_500() {
    let client = Client::new(answering(|_| {
        let mut response = Response::new(Body::from("tea"));
        response
            .headers_mut()
            .insert("content-length", "5".parse().unwrap());
        response
    }));
    client.send(get(1, "/"));
    assert_eq!(client.answer(1).0, 500);
    client.assert_alive();
}

#[test]
fn a_body_that_is_shorter_or_longer_than_it_was_said_to_be_resets_its_stream() {
    for length in ["2", "5"] {
        let frames = Frames::default();
        frames.data("tea");
        frames.end();
        let client = Client::new(answering(move |_| {
            let mut response = Response::new(Body::new(frames.clone()));
            response
                .headers_mut()
                .insert("content-length", length.parse().unwrap());
            response
        }));
        client.send(get(1, "/"));
        client.assert_reset(1, INTERNAL_ERROR);
    }
}

#[test]
fn a_body_that_breaks_off_resets_its_stream() {
    let frames = Frames::default();
    frames.data("half");
    frames.fail();
    let client = Client::new(answering(move |_| Response::new(Body::new(frames.clone()))));
    client.send(get(1, "/"));
    client.assert_reset(1, INTERNAL_ERROR);
}

#[test]
fn an_answer_of_frames_is_sent_as_it_comes_with_its_trailers() {
    let frames = Frames::default();
    let body = frames.clone();
    let client = Client::new(answering(move |_| Response::new(Body::new(body.clone()))));
    client.send(get(1, "/"));
    frames.data("one");
    client.reactor.run();
    assert_eq!(content(&client.of_stream(1)), "one");
    frames.data("two");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "6".parse().unwrap());
    frames.push(http_body::Frame::trailers(trailers));
    client.reactor.run();
    let rest = client.of_stream(1);
    assert_eq!(content(&rest), "two");
    assert_eq!(rest.last().unwrap().kind, HEADERS);
    assert_eq!(rest.last().unwrap().flags, END_HEADERS | END_STREAM);
}

#[test]
fn an_answer_whose_length_is_known_has_its_trailers_too() {
    for text in ["tea", ""] {
        let frames = Frames::default();
        let body = frames.clone();
        let client = Client::new(answering(move |_| {
            let mut response = Response::new(Body::new(body.clone()));
            let length = text.len().into();
            response.headers_mut().insert("content-length", length);
            response
        }));
        client.send(get(1, "/"));
        if !text.is_empty() {
            frames.data(text);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "6".parse().unwrap());
        frames.push(http_body::Frame::trailers(trailers));
        client.reactor.run();
        let answer = client.of_stream(1);
        assert_eq!(content(&answer), text);
        let last = answer.last().unwrap();
        assert_eq!((last.kind, last.flags), (HEADERS, END_HEADERS | END_STREAM));
        assert!(last.payload.windows(2).count() < 20, "{answer:?}");
    }
}

#[test]
fn an_answer_whose_length_is_known_ends_when_its_body_does() {
    let frames = Frames::default();
    frames.data("tea");
    let body = frames.clone();
    let client = Client::new(answering(move |_| {
        let mut response = Response::new(Body::new(body.clone()));
        response
            .headers_mut()
            .insert("content-length", "3".parse().unwrap());
        response
    }));
    client.send(get(1, "/"));
    frames.end();
    client.reactor.run();
    assert_eq!(client.answer(1), (200, "tea".to_owned()));
}

#[test]
fn a_slow_reader_holds_its_answer_back() {
    let frames = Frames::default();
    for _ in 0..100 {
        frames.data(Bytes::from(vec![b'x'; 16_384]));
    }
    let body = frames.clone();
    let client = Client::new(answering(move |_| Response::new(Body::new(body.clone()))));
    client.send(get(1, "/"));
    assert!(frames.left() > 90, "{} left", frames.left());
    client
        .send(window_update(0, 200_000))
        .send(window_update(1, 200_000));
    assert!((70..90).contains(&frames.left()), "{} left", frames.left());
}

#[test]
fn a_region_of_a_file_is_sent() {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let file = std::sync::Arc::new(file);
    let client = Client::new(answering(move |_| {
        let region = ropewalk_core::FileRegion {
            file: file.clone(),
            offset: 2,
            len: 5,
        };
        Response::new(Body::from(region))
    }));
    client.send(get(1, "/"));
    assert_eq!(client.answer(1), (200, "23456".to_owned()));
}

#[test]
fn interim_answers_come_before_the_final_one() {
    let signal = Signal::default();
    let go = signal.clone();
    let client = Client::new(site_async(move |_| {
        let signal = signal.clone();
        async move {
            let mut link = HeaderMap::new();
            link.insert("link", "</a>; rel=preload".parse().unwrap());
            assert!(send_interim(StatusCode::EARLY_HINTS, link));
            signal.wait().await;
            assert!(send_interim(StatusCode::PROCESSING, HeaderMap::new()));
            Ok(Response::new(Body::from("at last")))
        }
    }));
    client.send(get(1, "/"));
    let early = client.of_stream(1);
    assert_eq!(
        (early.len(), early[0].status(), early[0].flags),
        (1, 103, END_HEADERS)
    );
    go.give();
    client.reactor.run();
    let rest = client.of_stream(1);
    assert_eq!((rest[0].status(), rest[1].status()), (102, 200));
    assert_eq!(content(&rest), "at last");
}

#[test]
fn who_expects_100_gets_it_when_the_body_is_read() {
    let signal = Signal::default();
    let go = signal.clone();
    let client = Client::new(site_async(move |request| {
        let signal = signal.clone();
        async move {
            signal.wait().await;
            Ok(Response::new(Body::from(
                request.into_body().collect().await?,
            )))
        }
    }));
    let expects = request(
        "POST",
        "/",
        &[("expect", "100-continue"), ("content-length", "3")],
    );
    client.send(headers(1, 0, expects));
    assert!(client.of_stream(1).is_empty());
    go.give();
    client.reactor.run();
    assert_eq!(client.of_stream(1)[0].status(), 100);
    client.send(data(1, END_STREAM, "tea"));
    assert_eq!(client.answer(1), (200, "tea".to_owned()));
}

#[test]
fn a_body_above_the_limit_is_413() {
    let site = || {
        site_async(|request| async move {
            Ok(Response::new(Body::from(
                request.into_body().collect().await?,
            )))
        })
    };
    let client = Client::new(site());
    let long = request("POST", "/", &[("content-length", "1048577")]);
    client.send(headers(1, 0, long));
    assert_eq!(client.of_stream(1)[0].status(), 413);
    let client = Client::new(site());
    client.send(headers(1, 0, request("POST", "/", &[])));
    for _ in 0..64 {
        client.send(data(1, 0, [0; 16_384]));
    }
    assert!(
        client
            .of_stream(1)
            .iter()
            .all(|frame| frame.kind == WINDOW_UPDATE)
    );
    client.send(data(1, 0, [0]));
    assert_eq!(client.of_stream(1)[0].status(), 413);
    client.assert_alive();
}

#[test]
fn a_date_is_given() {
    let client = Client::new(mirror());
    client.send(get(1, "/"));
    let frames = client.of_stream(1);
    // Index 33 of the static table, with incremental indexing.
    assert!(frames[0].payload.contains(&0x61), "{frames:?}");
}

#[test]
fn a_site_may_speak_http1_alone() {
    use ropewalk_core::Factory;
    let site = mirror_site().http2(None);
    assert_eq!(site.application_protocols(), ["http/1.1"]);
    let client = Client::bare(Rc::new(site));
    client.send(PREFACE);
    assert!(client.is_closed());
    assert_eq!(mirror_site().application_protocols(), ["h2", "http/1.1"]);
}

/// RFC 9110, section 7.4: "Unless the connection is from a trusted gateway".
#[test]
fn https_is_asked_for_over_plain_text_by_trusted_gateways_alone() {
    let ask = |networks: &[&str]| {
        let networks = networks.iter().map(|network| network.parse().unwrap());
        let site = Site::new(handler_fn(|request: Request<Body>| {
            let secure = ropewalk_web::RequestInfo::of(&request).unwrap().secure;
            Response::new(Body::from(format!("secure={secure}")))
        }));
        let client = Client::new(Rc::new(site.trusted_gateways(networks)));
        let mut fields = without(":scheme");
        fields.insert(1, (":scheme", "https"));
        client.send(headers(1, END_STREAM, block(&fields)));
        client.answer(1)
    };
    assert_eq!(ask(&[]).0, 421);
    assert_eq!(ask(&["203.0.113.0/24"]).0, 421);
    let trusted = ask(&["203.0.113.0/24", "0.0.0.0/0", "::/0"]);
    assert_eq!(trusted, (200, String::from("secure=true")));
}
