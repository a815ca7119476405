//! What a peer can send for ever ends its connection (RFC 9113, section 10.5).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame as BodyFrame;
use ropewalk_web::Body;

use super::rig::*;

/// Sends `frame` until the connection ends; how many it took.
fn flood(client: &Client, frame: impl Fn(u32) -> Vec<u8>) -> u32 {
    for count in 0..20_000 {
        if client.is_closed() {
            return count;
        }
        client.send(frame(count));
    }
    panic!("it goes on");
}

fn never() -> std::rc::Rc<dyn ropewalk_core::Factory> {
    site_async(|_| std::future::pending())
}

#[test]
fn floods_of_control_frames_end_the_connection() {
    let cases: [(&str, Vec<u8>, u32); 6] = [
        ("PING", ping(b"flooding"), 200),
        ("SETTINGS", settings(&[]), 30),
        ("PRIORITY", frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1]), 500),
        ("WINDOW_UPDATE", window_update(0, 1), 1000),
        ("unknown", frame(0x77, 0, 0, b"what?"), 500),
        ("PING answers", frame(PING, ACK, 0, b"flooding"), 200),
    ];
    for (name, bytes, most) in cases {
        let client = Client::new(mirror());
        let taken = flood(&client, |_| bytes.clone());
        assert!((most - 5..=most + 5).contains(&taken), "{name}: {taken}");
        client.assert_goaway(ENHANCE_YOUR_CALM);
    }
}

#[test]
fn a_flood_in_one_read_ends_the_connection_as_well() {
    let client = Client::new(mirror());
    client.send(ping(b"flooding").repeat(10_000));
    client.assert_goaway(ENHANCE_YOUR_CALM);
}

#[test]
fn what_is_sent_slowly_is_no_flood() {
    let client = Client::new(never());
    client.send(get(1, "/"));
    for _ in 0..1000 {
        client
            .advance(Duration::from_millis(20))
            .send(ping(b"patience"));
    }
    client.assert_alive();
}

#[test]
fn empty_data_ends_the_connection() {
    for empty in [data(1, 0, []), data(1, PADDED, [3, 0, 0, 0])] {
        let client = Client::new(mirror());
        client.send(headers(1, 0, request("POST", "/echo", &[])));
        let taken = flood(&client, |_| empty.clone());
        assert!(taken <= 102, "{taken}");
        client.assert_goaway(ENHANCE_YOUR_CALM);
    }
}

#[test]
fn rapid_resets_end_the_connection() {
    // CVE-2023-44487
    let drops = Drops::default();
    let client = Client::new(site_async(move |_: Request<Body>| {
        let token = drops.token();
        async move {
            std::future::pending::<()>().await;
            drop(token);
            Ok(Response::new(Body::empty()))
        }
    }));
    let taken = flood(&client, |count| {
        let stream = 2 * count + 1;
        [get(stream, "/"), rst(stream, CANCEL)].concat()
    });
    assert!(taken <= 202, "{taken}");
    client.assert_goaway(ENHANCE_YOUR_CALM);
}

#[test]
fn rapid_resets_in_one_read_start_few_handlers() {
    let started = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = started.clone();
    let client = Client::new(site_async(move |_: Request<Body>| {
        count.set(count.get() + 1);
        std::future::pending()
    }));
    let all: Vec<u8> = (0..1000)
        .flat_map(|count| [get(2 * count + 1, "/"), rst(2 * count + 1, CANCEL)].concat())
        .collect();
    client.send(all);
    client.assert_goaway(ENHANCE_YOUR_CALM);
    assert!(started.get() <= 220, "{}", started.get());
}

#[test]
fn resets_that_the_server_is_made_to_send_end_the_connection() {
    // MadeYouReset, CVE-2025-8671
    type Provoke = fn(u32) -> Vec<u8>;
    let provoke: [(&str, Provoke); 3] = [
        ("overflow", |stream| {
            [
                window_update(stream, 0x7fff_ffff),
                window_update(stream, 0x7fff_ffff),
            ]
            .concat()
        }),
        ("self", |stream| {
            frame(
                PRIORITY,
                0,
                stream,
                [stream.to_be_bytes().as_slice(), &[1]].concat(),
            )
        }),
        ("length", |stream| data(stream, END_STREAM, "too short")),
    ];
    for (name, provoke) in provoke {
        let drops = Drops::default();
        let (begun, tokens) = (std::rc::Rc::new(std::cell::Cell::new(0)), drops.clone());
        let count = begun.clone();
        let client = Client::new(site_async(move |_: Request<Body>| {
            count.set(count.get() + 1);
            let token = tokens.token();
            async move {
                std::future::pending::<()>().await;
                drop(token);
                Ok(Response::new(Body::empty()))
            }
        }));
        let taken = flood(&client, |count| {
            let stream = 2 * count + 1;
            let open = headers(stream, 0, request("POST", "/", &[("content-length", "10")]));
            [open, provoke(stream)].concat()
        });
        assert!(taken <= 600, "{name}: {taken}");
        client.assert_goaway(ENHANCE_YOUR_CALM);
        // No handler goes on for a stream that is no more.
        assert_eq!(drops.0.get(), begun.get(), "{name}");
    }
}

#[test]
fn streams_above_the_limit_are_refused_only_so_often() {
    let client = Client::new(never());
    let taken = flood(&client, |count| get(2 * count + 1, "/"));
    assert!(taken <= 100 + 512 + 102, "{taken}");
}

#[test]
fn malformed_requests_end_the_connection_at_last() {
    let client = Client::new(mirror());
    let taken = flood(&client, |count| {
        headers(
            2 * count + 1,
            END_STREAM,
            request("GET", "/", &[("x", " padded")]),
        )
    });
    assert!(taken <= 600, "{taken}");
}

#[test]
fn continuations_are_counted() {
    // CVE-2024-27316
    for piece in [&[][..], &[0, 1, b'a', 1, b'b']] {
        let client = Client::new(mirror());
        client.send(frame(HEADERS, END_STREAM, 1, request("GET", "/", &[])));
        let taken = flood(&client, |_| frame(CONTINUATION, 0, 1, piece));
        assert!(taken <= 9, "{taken}");
        client.assert_goaway(ENHANCE_YOUR_CALM);
    }
}

#[test]
fn a_field_section_above_the_limit_is_431() {
    let client = Client::new(mirror());
    let long = "x".repeat(15 * 1024);
    client.send(headers(1, END_STREAM, request("GET", "/", &[("x", &long)])));
    assert_eq!(client.answer(1).0, 200);
    let fields: Vec<_> = (0..20).map(|_| ("x-field", "y".repeat(800))).collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (*name, &value[..]))
        .collect();
    let block = request("GET", "/", &fields);
    let (one, two) = block.split_at(16_000);
    client.send(frame(HEADERS, END_STREAM, 3, one));
    client.send(frame(CONTINUATION, END_HEADERS, 3, two));
    assert_eq!(client.of_stream(3)[0].status(), 431);
    client.assert_alive();
}

#[test]
fn a_hpack_bomb_is_bounded_as_it_is_decoded() {
    // One field of 4,000 bytes in the dynamic table, and 8,000 references of a byte to it.
    let client = Client::new(mirror());
    let mut block = request("GET", "/", &[]);
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]); // a literal of 127 + 0xf21 = 4,000 bytes
    block.extend(vec![b'y'; 4000]);
    block.extend(vec![0xbe; 8000]);
    client.send(headers(1, END_STREAM, block));
    let frames = client.received();
    let refused = frames.iter().any(|frame| match frame.kind {
        HEADERS => frame.status() == 431,
        GOAWAY => frame.code() == ENHANCE_YOUR_CALM,
        _ => false,
    });
    assert!(refused, "{frames:?}");
}

#[test]
fn small_pieces_of_a_body_are_bounded() {
    let client = Client::new(site_async(|request: Request<Body>| async move {
        std::future::pending::<()>().await;
        drop(request);
        Ok(Response::new(Body::empty()))
    }));
    client.send(headers(1, 0, request("POST", "/", &[])));
    let frames = data(1, 0, "x").repeat(60_000);
    client.send(frames);
    client.assert_goaway(ENHANCE_YOUR_CALM);
}

#[test]
fn a_peer_that_reads_nothing_is_answered_nothing_more() {
    let client = Client::new(mirror());
    client.connection.pause_producing();
    let mut sent = 0;
    for _ in 0..1000 {
        if client.is_lost() {
            break;
        }
        sent += 1;
        client.send(ping(b"flooding").repeat(100));
    }
    // Nothing of it is kept beyond the buffers of the connection.
    assert!(sent <= 1000);
    client.connection.resume_producing();
    client.reactor.run();
    assert!(client.is_closed());
}

#[test]
fn updates_of_windows_are_earned_by_answers() {
    let client = Client::new(mirror());
    // Each answer of a MiB is 64 frames or more, and so earns more than 256 updates.
    for count in 0..20 {
        let stream = 2 * count + 1;
        client.send(get(stream, "/large"));
        for _ in 0..256 {
            client.send([window_update(stream, 4096), window_update(0, 4096)].concat());
        }
        client.received();
    }
    client.assert_alive();
}

/// A body without an end, which counts what is taken of it.
struct Endless(Arc<AtomicU64>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let piece = Bytes::from_static(&[b'x'; PIECE as usize]);
        self.0.fetch_add(PIECE, Ordering::Relaxed);
        Poll::Ready(Some(Ok(BodyFrame::data(piece))))
    }
}

const PIECE: u64 = 16_384;

#[test]
fn windows_that_are_never_opened_hold_little_and_not_for_ever() {
    // No window of a stream, or no more of that of the connection.
    for window in [0, 0x7fff_ffff] {
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let client = Client::with_settings(
            site_async(move |_: Request<Body>| {
                let body = Body::new(Endless(Arc::clone(&count)));
                std::future::ready(Ok(Response::new(body)))
            }),
            &[(4, window)],
        );
        for n in 0..100 {
            client.send(get(2 * n + 1, "/"));
        }
        // Each stream waits with one piece, and the connection with what one may queue.
        let most = 100 * PIECE + 2 * 65_536;
        let held = taken.load(Ordering::Relaxed);
        assert!(held <= most, "{window}: {held}");
        client.received();
        client.advance(Duration::from_secs(30));
        let frames = client.received();
        let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
        assert_eq!(resets.count(), 100, "{window}: {frames:?}");
        assert_eq!(taken.load(Ordering::Relaxed), held, "{window}");
        // And then it is idle.
        client.advance(Duration::from_secs(60));
        client.advance(Duration::from_secs(2));
        assert!(client.is_closed(), "{window}");
    }
}

#[test]
fn streams_that_are_opened_and_not_used_are_taken_back() {
    let client = Client::new(mirror());
    for n in 0..100 {
        client.send(headers(2 * n + 1, 0, request("POST", "/", &[])));
    }
    client.received();
    client.advance(Duration::from_secs(60));
    let frames = client.received();
    let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    assert_eq!(resets.count(), 100, "{frames:?}");
    client.advance(Duration::from_secs(60));
    client.advance(Duration::from_secs(2));
    assert!(client.is_closed());
}

#[test]
fn who_says_nothing_or_not_enough_is_closed_in_time() {
    for said in [&[][..], &PREFACE[..12], PREFACE, b"PRI"] {
        let client = Client::bare(mirror());
        client.send(said);
        client.advance(Duration::from_secs(61));
        client.advance(Duration::from_secs(2));
        assert!(client.is_closed(), "{said:?}");
    }
}

#[test]
fn crumbs_of_cookies_count_as_fields() {
    let crumbs = |count| {
        let mut block = request("GET", "/", &[]);
        for _ in 0..count {
            block.extend(b"\x00\x06cookie\x03a=b");
        }
        headers(1, END_STREAM, block)
    };
    for (count, status) in [(300, 200), (1000, 431)] {
        let client = Client::new(mirror());
        client.send(crumbs(count));
        assert_eq!(client.of_stream(1)[0].status(), status, "{count}");
        client.assert_alive();
    }
}

#[test]
fn changes_of_the_size_of_a_table_are_no_work() {
    let client = Client::new(mirror());
    for n in 0..50 {
        let mut block = [0x20, 0x3f, 0xe1, 0x1f].repeat(3500);
        block.extend(request("GET", "/", &[]));
        client.send(headers(2 * n + 1, END_STREAM, block));
        assert!(!client.received().is_empty());
        if client.is_closed() {
            return;
        }
    }
    client.assert_alive();
}
