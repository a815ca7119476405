//! Server-sent events.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::router::{Router, get};
use ropewalk_web::sse::{Broadcast, Event, LastEventId, Sse, SseWriter};
use ropewalk_web::{BroadcastReport, SlowReader};

use crate::rig::{Client, wire};

/// A site whose one stream is written by the test.
fn stream() -> (Client, Rc<RefCell<Option<SseWriter>>>) {
    let writer: Rc<RefCell<Option<SseWriter>>> = Rc::default();
    let keep = Rc::clone(&writer);
    let router = Router::builder()
        .route(
            "/",
            get(move || {
                let (writer, answer) = Sse::channel();
                *keep.borrow_mut() = Some(writer);
                answer
            }),
        )
        .build()
        .unwrap();
    (Client::new(router), writer)
}

#[test]
fn events_come_as_they_are_written_and_the_stream_ends_with_its_writer() {
    let (client, writer) = stream();
    let head = client.send(wire("GET /")).received();
    assert!(
        head.contains("content-type: text/event-stream\r\n"),
        "{head}"
    );
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    let mut writer = writer.take().unwrap();
    writer
        .try_send(&Event::new("a\nb").id("1").event("x"))
        .unwrap();
    client.reactor.run();
    assert_eq!(
        client.received(),
        "20\r\nevent: x\nid: 1\ndata: a\ndata: b\n\n\r\n"
    );
    drop(writer);
    client.reactor.run();
    assert_eq!(client.received(), "0\r\n\r\n");
}

#[test]
fn comments_keep_an_idle_stream_alive() {
    let (client, writer) = stream();
    client.send(wire("GET /")).received();
    client.reactor.advance(Duration::from_secs(14));
    assert_eq!(client.received(), "");
    client.reactor.advance(Duration::from_secs(1));
    assert_eq!(client.received(), "3\r\n:\n\n\r\n");
    client.reactor.advance(Duration::from_secs(15));
    assert_eq!(client.received(), "3\r\n:\n\n\r\n");
    drop(writer.take());
    client.reactor.run();
    assert_eq!(client.received(), "0\r\n\r\n");
    client.reactor.advance(Duration::from_secs(30));
    assert_eq!(client.received(), "");
}

/// Writes 60 events of 10,000 bytes to a reader that does not read. How many were taken so far, and
/// whether the writer has been told that nobody reads them.
fn written_to_a_slow_reader() -> (Client, Rc<Cell<(u32, bool)>>) {
    let (client, writer) = stream();
    client.reactor.set_window(1000);
    client.send(wire("GET /"));
    let mut writer = writer.take().unwrap();
    let written = Rc::new(Cell::new((0, false)));
    let so_far = Rc::clone(&written);
    client
        .connection
        .act(|transport| transport.pause_producing());
    client.reactor.spawn(Box::pin(async move {
        let event = Event::new("x".repeat(10_000));
        for number in 1..=60 {
            if writer.send(&event).await.is_err() {
                return so_far.set((number - 1, true));
            }
            so_far.set((number, false));
        }
    }));
    client.reactor.run();
    (client, written)
}

#[test]
fn who_writes_waits_for_a_slow_reader() {
    let (client, written) = written_to_a_slow_reader();
    let (before, _) = written.get();
    assert!(
        before < 50,
        "{before} events wait for a reader that does not read"
    );
    client
        .connection
        .act(|transport| transport.resume_producing());
    client.reactor.run();
    assert_eq!(written.get(), (60, false));
    assert_eq!(client.received().matches("data: x").count(), 60);
}

#[test]
fn who_writes_is_told_when_the_reader_is_gone() {
    let (client, written) = written_to_a_slow_reader();
    client.connection.abort_connection();
    client.reactor.run();
    assert!(written.get().1);
}

#[test]
fn one_event_reaches_all_readers_and_those_who_come_back_get_what_they_missed() {
    let news = Broadcast::new(SlowReader::Drop).keep(3);
    let readers = news.clone();
    let router = Router::builder()
        .route("/", get(move |last: LastEventId| readers.subscribe(&last)))
        .build()
        .unwrap();
    let reactor = MemoryReactor::new();
    let first = Client::on(reactor.clone(), router);
    let second = Client::to(reactor.clone());
    first.send(wire("GET /")).received();
    second.send(wire("GET /")).received();
    for id in 1..=4 {
        assert_eq!(
            news.send(&Event::new(format!("n{id}")).id(&id.to_string()))
                .sent,
            2
        );
    }
    reactor.run();
    assert_eq!(first.received().matches("data: n").count(), 4);
    assert!(second.received().contains("data: n4"));

    second.connection.abort_connection();
    reactor.run();
    assert_eq!(news.send(&Event::new("n5").id("5")).sent, 1);
    let back = Client::to(reactor.clone());
    let missed = back.send(wire("GET /\nlast-event-id: 3")).received();
    assert!(
        !missed.contains("n3") && missed.contains("n4") && missed.contains("n5"),
        "{missed}"
    );
    // What it saw last is not kept any more: it has missed all that is, at least.
    let long_gone = Client::to(reactor.clone());
    let missed = long_gone.send(wire("GET /\nlast-event-id: 1")).received();
    assert_eq!(missed.matches("data: n").count(), 3, "{missed}");
    // Who comes for the first time has missed nothing.
    for request in ["GET /", "GET /\nlast-event-id:"] {
        let new = Client::to(reactor.clone());
        let got = new.send(wire(request)).received();
        assert!(!got.contains("data"), "{got}");
    }
    assert_eq!(news.len(), 5);
}

#[test]
fn there_are_no_more_readers_than_may_be() {
    let readers = Broadcast::new(SlowReader::Skip).readers_at_most(1);
    let router = Router::builder()
        .route("/", get(move |last: LastEventId| readers.subscribe(&last)))
        .build()
        .unwrap();
    let reactor = MemoryReactor::new();
    let first = Client::on(reactor.clone(), router);
    first.send(wire("GET /"));
    let second = Client::to(reactor.clone());
    assert_eq!(second.send(wire("GET /")).reply().status, 503);
    first.connection.abort_connection();
    reactor.run();
    assert!(
        second
            .send(wire("GET /"))
            .received()
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn a_reader_that_is_too_slow_is_skipped_or_ended_and_the_others_go_on() {
    for slow_reader in [SlowReader::Skip, SlowReader::Drop] {
        let news = Broadcast::new(slow_reader);
        let readers = news.clone();
        let router = Router::builder()
            .route("/", get(move |last: LastEventId| readers.subscribe(&last)))
            .build()
            .unwrap();
        let reactor = MemoryReactor::new();
        reactor.set_window(1000);
        let slow = Client::on(reactor.clone(), router);
        let fast = Client::to(reactor.clone());
        slow.send(wire("GET /"));
        fast.send(wire("GET /"));
        slow.connection.act(|transport| transport.pause_producing());
        let event = Event::new("x".repeat(10_000));
        let mut to_both = 0;
        let report = loop {
            let report = news.send(&event);
            reactor.run();
            if report.sent < 2 {
                break report;
            }
            to_both += 1;
            assert!(to_both < 200, "nothing bounds what waits for a reader");
        };
        let is_dropped = slow_reader == SlowReader::Drop;
        let (skipped, dropped) = (usize::from(!is_dropped), usize::from(is_dropped));
        let expected = BroadcastReport {
            sent: 1,
            skipped,
            dropped,
        };
        assert_eq!(report, expected);
        assert_eq!(news.len(), 2 - dropped);
        assert_eq!(fast.received().matches("data: ").count(), to_both + 1);
        // Once it has read, it has missed one event, and gets the next one; or it has seen the end.
        slow.connection
            .act(|transport| transport.resume_producing());
        reactor.run();
        assert_eq!(news.send(&event).sent, 2 - dropped);
        reactor.run();
        let got = slow.received();
        assert_eq!(got.matches("data: ").count(), to_both + skipped);
        assert_eq!(got.ends_with("\r\n0\r\n\r\n"), is_dropped);
    }
}

#[test]
fn streams_end_when_the_program_shuts_down_and_who_writes_is_told() {
    let (client, writer) = stream();
    client.send(wire("GET /")).received();
    let mut writer = writer.take().unwrap();
    writer.try_send(&Event::new("last")).unwrap();
    client.reactor.drain();
    client.reactor.run();
    assert_eq!(client.received(), "c\r\ndata: last\n\n\r\n0\r\n\r\n");
    assert!(!client.connection.is_connected());
    assert!(writer.try_send(&Event::new("more")).is_err());
    let told = client.reactor.spawn(Box::pin(async move {
        assert!(writer.ready().await.is_err());
        writer.gone().await;
    }));
    client.reactor.run();
    assert!(told.is_finished());
}
