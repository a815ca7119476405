//! How requests and connections end: handlers that are dropped, times, and shutdown.

use std::time::Duration;

use http::{Request, Response};
use ropewalk_web::answer::IntoResponse;
use ropewalk_web::sse::{Sse, SseWriter};
use ropewalk_web::{Body, BodyError, Site, h1, h2, handler_fn};

use super::rig::*;

/// A site that counts the handlers that were dropped; they answer at a signal.
fn counted(drops: &Drops, signal: &Signal) -> std::rc::Rc<dyn ropewalk_core::Factory> {
    let (drops, signal) = (drops.clone(), signal.clone());
    site_async(move |_| {
        let (token, signal) = (drops.token(), signal.clone());
        async move {
            signal.wait().await;
            drop(token);
            Ok(Response::new(Body::from("done")))
        }
    })
}

#[test]
fn a_reset_drops_the_handler_and_no_other() {
    let drops = Drops::default();
    let signal = Signal::default();
    let client = Client::new(counted(&drops, &signal));
    client
        .send(get(1, "/"))
        .send(get(3, "/"))
        .send(rst(1, CANCEL));
    assert_eq!(drops.0.get(), 1);
    signal.give();
    client.reactor.run();
    assert_eq!(client.answer(3), (200, "done".to_owned()));
}

#[test]
fn a_connection_that_is_lost_drops_all_handlers() {
    let drops = Drops::default();
    let client = Client::new(counted(&drops, &Signal::default()));
    client.send(get(1, "/")).send(get(3, "/"));
    client.connection.abort_connection();
    client.reactor.run();
    assert_eq!(drops.0.get(), 2);
}

#[test]
fn a_peer_that_closes_its_side_is_gone() {
    let drops = Drops::default();
    let client = Client::new(counted(&drops, &Signal::default()));
    client.send(get(1, "/"));
    client
        .connection
        .act(ropewalk_core::Transport::lose_write_connection);
    client.reactor.run();
    assert_eq!(drops.0.get(), 1);
    assert!(client.is_lost());
}

#[test]
fn a_peer_that_vanishes_within_a_frame_is_gone() {
    let script = get(1, "/");
    for at in 1..script.len() {
        let client = Client::new(mirror());
        client.send(&script[..at]);
        client
            .connection
            .act(ropewalk_core::Transport::lose_write_connection);
        client.reactor.run();
        assert!(client.is_lost(), "at {at}");
    }
}

#[test]
fn a_panic_of_a_handler_is_500_and_the_connection_goes_on() {
    let client = Client::new(site_async(|request: Request<Body>| async move {
        match request.uri().path() {
            "/panic" => panic!("it is broken"),
            "/fail" => Err("it failed".into()),
            _ => Ok(Response::new(Body::from("fine"))),
        }
    }));
    client.send(get(1, "/panic"));
    assert_eq!(client.answer(1).0, 500);
    client.send(get(3, "/fail"));
    assert_eq!(client.answer(3).0, 500);
    client.send(get(5, "/"));
    assert_eq!(client.answer(5), (200, "fine".to_owned()));
}

#[test]
fn a_panic_after_a_while_or_at_once_is_500() {
    let signal = Signal::default();
    let go = signal.clone();
    let client = Client::new(site_async(move |_| {
        let signal = signal.clone();
        async move {
            signal.wait().await;
            panic!("it is broken")
        }
    }));
    client.send(get(1, "/"));
    go.give();
    client.reactor.run();
    assert_eq!(client.answer(1).0, 500);
    client.assert_alive();

    let at_once = handler_fn(|_: Request<Body>| -> Response<Body> { panic!("no") });
    let client = Client::new(std::rc::Rc::new(Site::new(at_once)));
    client.send(get(1, "/"));
    assert_eq!(client.answer(1).0, 500);
    client.assert_alive();
}

#[test]
fn who_reads_a_body_learns_that_its_stream_was_reset() {
    let seen: std::rc::Rc<std::cell::Cell<Option<BodyError>>> = std::rc::Rc::default();
    let tell = seen.clone();
    let client = Client::new(std::rc::Rc::new(Site::new(handler(
        move |request: Request<Body>| {
            let tell = tell.clone();
            let reactor = ropewalk_web::current_connection()
                .and_then(|connection| connection.act(|transport| transport.reactor()))
                .unwrap();
            async move {
                // Somebody else than the handler reads it.
                reactor.spawn(Box::pin(async move {
                    let error = request.into_body().collect().await.unwrap_err();
                    tell.set(error.downcast_ref::<BodyError>().copied());
                }));
                Ok(Response::new(Body::from("reading")))
            }
        },
    ))));
    client.send(headers(1, 0, request("POST", "/", &[])));
    client.send(data(1, 0, "te"));
    assert!(seen.get().is_none());
    client.send(rst(1, CANCEL));
    assert_eq!(seen.get(), Some(BodyError::Disconnected));
}

#[test]
fn a_body_that_nobody_reads_is_skipped_if_it_is_short() {
    let client = Client::new(mirror());
    client.send(headers(1, 0, request("POST", "/", &[])));
    assert_eq!(client.answer(1).0, 200);
    client
        .send(data(1, 0, [0; 10_000]))
        .send(data(1, END_STREAM, [0; 10_000]));
    assert!(
        client
            .of_stream(1)
            .iter()
            .all(|frame| frame.kind != RST_STREAM)
    );
    client.assert_alive();
}

#[test]
fn a_body_that_nobody_reads_is_not_taken_for_ever() {
    let client = Client::new(mirror());
    client.send(headers(1, 0, request("POST", "/", &[])));
    client.answer(1);
    for _ in 0..5 {
        client.send(data(1, 0, [0; 16_384]));
    }
    client.assert_reset(1, NO_ERROR);
    // What was under way is ignored.
    client.send(data(1, 0, [0; 16_384]));
    assert!(
        client
            .received()
            .iter()
            .all(|frame| frame.kind != RST_STREAM)
    );
}

#[test]
fn a_reader_that_does_not_read_holds_the_peer_back() {
    let client = Client::new(site_async(|request: Request<Body>| async move {
        let body = request.into_body();
        std::future::pending::<()>().await;
        drop(body);
        unreachable!()
    }));
    client.send(headers(1, 0, request("POST", "/", &[])));
    for _ in 0..4 {
        client.send(data(1, 0, [0; 16_384]));
    }
    assert!(
        client
            .received()
            .iter()
            .all(|frame| frame.kind != WINDOW_UPDATE || frame.stream == 0)
    );
    client.send(data(1, 0, [0]));
    client.assert_reset(1, FLOW_CONTROL_ERROR);
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let client = Client::new(mirror());
    client.send(get(1, "/")).received();
    client.advance(Duration::from_secs(59));
    assert!(client.received().is_empty());
    client.advance(Duration::from_secs(1));
    let frames = client.received();
    assert_eq!((frames[0].kind, frames[0].code()), (GOAWAY, NO_ERROR));
    let sent: Vec<_> = frames.iter().filter(|frame| frame.kind == PING).collect();
    let mut pong = frame(PING, ACK, 0, &sent[0].payload);
    // A request that was under way is still answered.
    let mut late = get(3, "/late");
    late.append(&mut pong);
    client.send(late);
    assert_eq!(client.answer(3).1, "GET /late");
    assert!(client.is_closed());
}

#[test]
fn each_request_starts_the_idle_time_anew() {
    let client = Client::new(mirror());
    client.advance(Duration::from_secs(40)).send(get(1, "/"));
    assert_eq!(client.answer(1).0, 200);
    client.advance(Duration::from_secs(30));
    assert!(client.received().is_empty());
    client.advance(Duration::from_secs(30));
    assert_eq!(client.received()[0].kind, GOAWAY);
}

#[test]
fn an_idle_peer_that_says_nothing_is_closed_soon() {
    let client = Client::new(mirror());
    client.advance(Duration::from_secs(60));
    assert!(!client.is_closed());
    client.advance(Duration::from_secs(2));
    assert!(client.is_closed());
}

#[test]
fn pings_keep_no_idle_connection() {
    let client = Client::new(mirror());
    for _ in 0..62 {
        client
            .advance(Duration::from_secs(1))
            .send(ping(b"stay up."));
    }
    assert!(client.is_closed());
}

#[test]
fn pings_in_pieces_keep_no_idle_connection() {
    let client = Client::new(mirror());
    client.send(get(1, "/"));
    let ping = ping(b"stay up.");
    for _ in 0..62 {
        client.send(&ping[..4]);
        client.advance(Duration::from_secs(1)).send(&ping[4..]);
    }
    assert!(client.is_closed());
}

#[test]
fn a_request_under_way_is_not_idle() {
    let client = Client::new(counted(&Drops::default(), &Signal::default()));
    client.send(get(1, "/"));
    client.advance(Duration::from_secs(600));
    client.assert_alive();
}

#[test]
fn settings_that_are_not_acknowledged_end_the_connection() {
    let client = Client::bare(mirror());
    client.send(PREFACE).send(settings(&[]));
    client.advance(Duration::from_secs(10));
    client.assert_goaway(SETTINGS_TIMEOUT);
}

#[test]
fn a_preface_that_does_not_come_closes_the_connection() {
    let client = Client::bare(mirror());
    client.send(&PREFACE[..10]);
    client.advance(Duration::from_secs(9));
    assert!(!client.is_closed());
    client.advance(Duration::from_secs(1));
    assert!(client.is_closed());
}

#[test]
fn fields_that_do_not_come_end_the_connection() {
    for begun in [
        frame(HEADERS, END_STREAM, 1, request("GET", "/", &[])),
        get(1, "/")[..20].to_vec(),
    ] {
        let client = Client::new(mirror());
        client.send(begun);
        client.advance(Duration::from_secs(10));
        client.assert_goaway(ENHANCE_YOUR_CALM);
    }
}

#[test]
fn each_head_has_a_time_of_its_own() {
    const BEGUN: usize = 20;
    let client = Client::new(mirror());
    let script = |n: u32| get(2 * n + 1, "/");
    client.send(&script(0)[..BEGUN]);
    let mut answers = 0;
    for n in 0..12 {
        client.advance(Duration::from_secs(1));
        let frames = client.received();
        assert!(
            frames.iter().all(|frame| frame.kind != GOAWAY),
            "{frames:?}"
        );
        let ends = |frame: &&Frame| frame.kind == DATA && frame.flags & END_STREAM != 0;
        answers += frames.iter().filter(ends).count();
        client.send([&script(n)[BEGUN..], &script(n + 1)[..BEGUN]].concat());
    }
    assert_eq!(answers, 11);
    client.advance(Duration::from_secs(10));
    client.assert_goaway(ENHANCE_YOUR_CALM);
}

/// Reads the whole body, and says how long it is.
fn reading(limits: h1::Limits) -> std::rc::Rc<dyn ropewalk_core::Factory> {
    let read = |request: Request<Body>| async move {
        let body = request.into_body().collect().await?;
        Ok(Response::new(Body::from(body.len().to_string())))
    };
    std::rc::Rc::new(Site::with_limits(handler(read), limits))
}

/// Sends a piece of `size` bytes of the body on the first stream each second, for so many seconds.
fn drip(client: &Client, size: usize, seconds: u32) {
    for _ in 0..seconds {
        client.send(data(1, 0, vec![b'x'; size]));
        client.advance(Duration::from_secs(1));
    }
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let client = Client::new(reading(h1::Limits::default()));
    client.send(headers(1, 0, request("POST", "/", &[])));
    client.advance(Duration::from_secs(19));
    assert!(client.of_stream(1).is_empty());
    client.advance(Duration::from_secs(1));
    assert_eq!(client.of_stream(1)[0].status(), 408);
    client.assert_alive();
}

#[test]
fn a_body_that_drips_is_408_twenty_seconds_after_it_was_waited_for() {
    let client = Client::new(reading(h1::Limits::default()));
    client.send(headers(1, 0, request("POST", "/", &[])));
    drip(&client, 10, 19);
    let frames = client.of_stream(1);
    assert!(frames.iter().all(|frame| frame.kind == WINDOW_UPDATE));
    drip(&client, 10, 1);
    let frames = client.of_stream(1);
    let answer = frames.iter().find(|frame| frame.kind == HEADERS);
    assert_eq!(answer.expect("an answer").status(), 408);
    client.assert_alive();
}

#[test]
fn a_body_that_drips_into_an_answer_that_has_begun_is_taken_back() {
    let client = Client::new(mirror());
    client.send(headers(1, 0, request("POST", "/echo", &[])));
    drip(&client, 10, 19);
    assert!(
        client
            .received()
            .iter()
            .all(|frame| frame.kind != RST_STREAM)
    );
    drip(&client, 10, 1);
    client.assert_reset(1, CANCEL);
}

#[test]
fn a_body_that_is_fast_enough_may_take_its_time() {
    let client = Client::new(reading(h1::Limits::default()));
    client.send(headers(1, 0, request("POST", "/", &[])));
    drip(&client, 500, 300);
    client.received();
    client.send(data(1, END_STREAM, "end"));
    assert_eq!(client.answer(1), (200, "150003".to_owned()));
}

#[test]
fn without_a_rate_only_the_pauses_of_a_body_are_bounded() {
    let mut limits = h1::Limits::default();
    limits.body_rate = 0;
    let client = Client::new(reading(limits));
    client.send(headers(1, 0, request("POST", "/", &[])));
    drip(&client, 1, 200);
    client.advance(Duration::from_secs(58));
    let frames = client.of_stream(1);
    assert!(frames.iter().all(|frame| frame.kind == WINDOW_UPDATE));
    client.advance(Duration::from_secs(1));
    assert_eq!(client.of_stream(1)[0].status(), 408);
}

#[test]
fn time_in_which_the_handler_does_not_read_is_not_the_senders() {
    let signal = Signal::default();
    let awaited = signal.clone();
    let client = Client::new(site_async(move |request| {
        let awaited = awaited.clone();
        async move {
            awaited.wait().await;
            let body = request.into_body().collect().await?;
            Ok(Response::new(Body::from(body.len().to_string())))
        }
    }));
    client.send(headers(1, 0, request("POST", "/", &[])));
    client.advance(Duration::from_secs(500));
    assert!(client.of_stream(1).is_empty());
    signal.give();
    client.advance(Duration::from_secs(19));
    client.send(data(1, END_STREAM, "tea"));
    assert_eq!(client.answer(1), (200, "3".to_owned()));
}

#[test]
fn an_answer_that_is_not_taken_is_taken_back() {
    for path in ["/", "/large"] {
        let client = Client::with_settings(mirror(), &[(4, 0)]);
        client.send(get(1, path));
        client.advance(Duration::from_secs(29));
        assert!(
            client
                .of_stream(1)
                .iter()
                .all(|frame| frame.kind == HEADERS)
        );
        client.advance(Duration::from_secs(1));
        client.assert_reset(1, CANCEL);
    }
}

#[test]
fn an_answer_that_is_taken_slowly_goes_on() {
    let client = Client::with_settings(mirror(), &[(4, 0)]);
    client.send(get(1, "/slow"));
    for _ in 0.."GET /slow".len() {
        client
            .advance(Duration::from_secs(20))
            .send(window_update(1, 1));
    }
    assert_eq!(client.answer(1).1, "GET /slow");
}

#[test]
fn a_stream_that_waits_for_its_siblings_is_not_taken_back() {
    let client = Client::with_settings(mirror(), &[(4, 4_000_000)]);
    for stream in [1, 3, 5, 7, 9] {
        client.send(get(stream, "/large"));
    }
    // All that they share is read, if slowly.
    for _ in 0..5 {
        client.advance(Duration::from_secs(9));
        client.send(window_update(0, 65_535));
        let frames = client.received();
        let reset = frames.iter().find(|frame| frame.kind == RST_STREAM);
        assert!(reset.is_none(), "{reset:?}");
    }
    // Nothing is read any more.
    client.advance(Duration::from_secs(60));
    let frames = client.received();
    let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    assert_eq!(resets.count(), 5);
}

#[test]
fn a_drained_connection_answers_what_it_has_and_closes() {
    let (drops, signal) = (Drops::default(), Signal::default());
    let client = Client::new(counted(&drops, &signal));
    client.send(get(1, "/")).received();
    client.reactor.drain();
    client.reactor.run();
    let frames = client.received();
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(goaway.payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let shutdown = frames.iter().find(|frame| frame.kind == PING).unwrap();
    client.send(frame(PING, ACK, 0, &shutdown.payload));
    let last = client.received();
    assert_eq!(last[0].payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    // What comes after that is not looked at.
    client.send(get(3, "/"));
    assert!(!client.is_closed());
    signal.give();
    client.reactor.run();
    assert_eq!(client.answer(1), (200, "done".to_owned()));
    assert!(client.is_closed() && drops.0.get() == 1);
}

#[test]
fn an_idle_connection_is_drained_at_once() {
    let client = Client::new(mirror());
    client.reactor.drain();
    client.reactor.run();
    client.advance(Duration::from_secs(2));
    assert!(client.is_closed());
}

#[test]
fn requests_of_a_connection_are_counted() {
    let mut limits = h2::Limits::default();
    limits.requests_per_connection = 2;
    let client = Client::new(std::rc::Rc::new(mirror_site().http2(Some(limits))));
    client.send(get(1, "/")).received();
    client.send(get(3, "/"));
    let frames = client.received();
    assert!(
        frames
            .iter()
            .any(|frame| frame.kind == GOAWAY && frame.code() == NO_ERROR)
    );
}

#[test]
fn a_silent_peer_is_asked_whether_it_lives() {
    let mut limits = h2::Limits::default();
    limits.keep_alive = Some(Duration::from_secs(5));
    let mut times = h1::Limits::default();
    times.idle_timeout = Duration::from_secs(1000);
    let never = || handler(|_: Request<Body>| std::future::pending());
    let site = Site::with_limits(never(), times).http2(Some(limits));
    let client = Client::new(std::rc::Rc::new(site));
    client.send(get(1, "/")).received();
    client.advance(Duration::from_secs(5));
    let asked = client.received();
    assert_eq!((asked[0].kind, asked[0].flags), (PING, 0));
    client.send(frame(PING, ACK, 0, &asked[0].payload));
    client.advance(Duration::from_secs(5));
    assert_eq!(client.received()[0].kind, PING);
    client.advance(Duration::from_secs(5));
    assert!(client.is_lost());
}

#[test]
fn event_streams_end_when_the_program_shuts_down_and_do_not_hold_it_up() {
    let kept: std::rc::Rc<std::cell::RefCell<Vec<SseWriter>>> = std::rc::Rc::default();
    let writers = std::rc::Rc::clone(&kept);
    let site = Site::new(handler_fn(move |_: Request<Body>| {
        let (writer, answer) = Sse::channel();
        writers.borrow_mut().push(writer);
        answer.into_response()
    }));
    let client = Client::new(std::rc::Rc::new(site));
    client.send(get(1, "/")).send(get(3, "/")).received();
    client.reactor.drain();
    client.reactor.run();
    let frames = client.received();
    for stream in [1, 3] {
        let ends = |frame: &Frame| {
            frame.kind == DATA && frame.stream == stream && frame.flags & END_STREAM != 0
        };
        assert!(frames.iter().any(ends), "{frames:?}");
    }
    let shutdown = frames.iter().find(|frame| frame.kind == PING).unwrap();
    client.send(frame(PING, ACK, 0, &shutdown.payload));
    assert!(client.is_closed());
    assert_eq!(kept.borrow().len(), 2);
}

#[test]
fn a_drained_peer_that_still_makes_room_is_heard_out() {
    let client = Client::new(mirror());
    client.send(get(1, "/")).received();
    client.reactor.drain();
    client.reactor.run();
    let shutdown = client.received();
    let asked = shutdown.iter().find(|frame| frame.kind == PING).unwrap();
    client.send(frame(PING, ACK, 0, &asked.payload));
    assert!(client.is_closed());
    // Or what is under way to it would be lost with a reset.
    for _ in 0..5 {
        client.advance(Duration::from_secs(1));
        client.send(window_update(0, 100));
        assert!(!client.is_lost());
    }
    client.advance(Duration::from_secs(2));
    client.send(window_update(0, 100));
    assert!(client.is_lost());
}

#[test]
fn a_drained_peer_is_not_heard_out_for_ever() {
    let client = Client::new(mirror());
    client.reactor.drain();
    client.reactor.run();
    client.advance(Duration::from_secs(2));
    assert!(client.is_closed());
    let mut seconds = 0;
    while !client.is_lost() {
        client.advance(Duration::from_secs(1));
        client.send(window_update(0, 100));
        seconds += 1;
        assert!(seconds <= 33);
    }
}
