//! The bare driver: how long a poll waits, what ends it, and that nobody is forgotten in it.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ropewalk_core::OutputQueue;
use ropewalk_reactor::driver::ListenerId;

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::ms;

topic! { driver driver_polling:
    a_poll_waits_for_its_timeout,
    a_poll_with_no_timeout_to_wait_for_returns_at_once,
    time_does_not_go_back,
    a_wake_ends_the_next_poll,
    a_wake_from_a_thread_ends_a_poll_without_end [Threads],
    many_wakes_end_one_poll,
    a_wake_within_a_report_ends_the_next_poll,
    a_waker_outlives_its_driver,
    bytes_end_a_poll_without_end,
    an_idle_connection_ends_no_poll,
    a_loud_connection_leaves_a_quiet_one_its_turn,
    a_connection_that_is_always_ready_does_not_keep_a_poll,
    a_busy_listener_leaves_another_its_turn,
    a_storm_at_a_listener_leaves_connections_their_turn,
}

fn a_poll_waits_for_its_timeout(bare: &Bare<'_>) {
    for timeout in [1, 7, 20] {
        let before = bare.driver().now();
        bare.poll(ms(timeout));
        let waited = bare.driver().now() - before;
        assert!(waited >= ms(timeout), "{waited:?} instead of {timeout} ms");
    }
    assert!(bare.events().is_empty());
}

fn a_poll_with_no_timeout_to_wait_for_returns_at_once(bare: &Bare<'_>) {
    let before = bare.driver().now();
    for _ in 0..100 {
        bare.poll(Duration::ZERO);
    }
    // Far from what a hundred waits of any kind would take.
    assert!(bare.driver().now() - before < Duration::from_secs(10));
}

fn time_does_not_go_back(bare: &Bare<'_>) {
    let mut last = bare.driver().now();
    for _ in 0..1000 {
        let now = bare.driver().now();
        assert!(now >= last);
        last = now;
    }
    bare.poll(ms(1));
    assert!(bare.driver().now() > last);
}

/// Longer than any test may wait.
const HOUR: Duration = Duration::from_secs(3600);

fn a_wake_ends_the_next_poll(bare: &Bare<'_>) {
    bare.driver().waker().wake();
    let before = bare.driver().now();
    bare.poll(HOUR);
    assert!(bare.driver().now() - before < HOUR);
}

fn a_wake_from_a_thread_ends_a_poll_without_end(bare: &Bare<'_>) {
    let waker = bare.driver().waker();
    let thread = thread::spawn(move || waker.wake());
    bare.poll_without_end();
    thread.join().expect("no panic");
}

fn many_wakes_end_one_poll(bare: &Bare<'_>) {
    let waker = bare.driver().waker();
    (0..1000).for_each(|_| waker.wake());
    bare.poll(HOUR);
    let before = bare.driver().now();
    bare.poll(ms(10));
    assert!(bare.driver().now() - before >= ms(10));
}

fn a_wake_within_a_report_ends_the_next_poll(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    let waker = bare.driver().waker();
    bare.react(move |_, _| waker.wake());
    bare.send(client, b"x");
    bare.until("it has come", |bare| bare.received_len(server) == 1);
    let before = bare.driver().now();
    bare.poll(HOUR);
    assert!(bare.driver().now() - before < HOUR);
}

fn a_waker_outlives_its_driver(bare: &Bare<'_>) {
    let driver = bare.subject().driver().expect("another driver");
    let waker = driver.waker();
    drop(driver);
    waker.wake();
    waker.wake();
}

fn bytes_end_a_poll_without_end(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.send(client, b"x");
    while bare.received_len(server) == 0 {
        bare.poll_without_end();
    }
    assert_eq!(bare.received(server), b"x");
}

fn an_idle_connection_ends_no_poll(bare: &Bare<'_>) {
    for _ in 0..10 {
        let (client, server) = bare.pair();
        bare.send(client, b"x");
        bare.until("it has come", |bare| bare.received_len(server) == 1);
    }
    bare.poll_for(ms(5));
    let before = bare.polls();
    bare.poll_for(ms(20));
    assert!(
        bare.polls() - before <= 3,
        "{} polls",
        bare.polls() - before
    );
}

fn a_loud_connection_leaves_a_quiet_one_its_turn(bare: &Bare<'_>) {
    let (loud, floods) = bare.pair();
    let (quiet, asks) = bare.pair();
    for id in [floods, asks] {
        bare.driver().set_reading(id, false);
    }
    // Both have something to read, and the loud one far more than its share.
    let waits = bare.fill(loud);
    bare.send(quiet, b"?");
    bare.poll_for(ms(10));
    for id in [floods, asks] {
        bare.driver().set_reading(id, true);
    }
    bare.until("the quiet one is heard", |bare| {
        bare.received_len(asks) == 1
    });
    let before = bare.received_len(floods) as u64;
    assert!(
        before <= waits.min(512 * 1024),
        "{before} of {waits} came first"
    );
}

fn a_connection_that_is_always_ready_does_not_keep_a_poll(bare: &Bare<'_>) {
    const ALL: u64 = 64 * 1024 * 1024;
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.fill(client);
    bare.poll_for(ms(5));
    let sent = Rc::new(Cell::new(0));
    let total = Rc::clone(&sent);
    // Whatever is read, as much again comes at once: up to a bound that no share of a poll comes
    // near.
    bare.react(move |driver, event| {
        let is_read = matches!(event, Event::Received(of, _) if *of == server);
        let takes_more = *event == Event::Writable(client);
        if (is_read || takes_more) && total.get() < ALL {
            let mut output = OutputQueue::default();
            output.write(&[0; 256 * 1024]);
            let before = output.len();
            driver.send(client, &mut output).expect("sends");
            total.set(total.get() + before - output.len());
        }
    });
    bare.driver().set_reading(server, true);
    bare.until("it is read", |bare| bare.received_len(server) > 1_000_000);
    let mut by_poll = std::collections::BTreeMap::new();
    for (poll, event) in bare.events_by_poll() {
        if let Event::Received(_, len) = event {
            *by_poll.entry(poll).or_insert(0) += len;
        }
    }
    let most = by_poll.values().max().copied().unwrap_or_default();
    assert!(most <= 8 * 1024 * 1024, "{most} bytes in one poll");
}

fn a_busy_listener_leaves_another_its_turn(bare: &Bare<'_>) {
    let busy = bare.listen(ListenerId(0));
    let quiet = bare.listen(ListenerId(1));
    for _ in 0..200 {
        bare.connect(busy).expect("begins");
    }
    bare.connect(quiet).expect("begins");
    bare.until("all are accepted", |bare| {
        bare.accepted(ListenerId(0)).len() == 200 && bare.accepted(ListenerId(1)).len() == 1
    });
    let events = bare.events();
    let of_quiet = events
        .iter()
        .position(|event| matches!(event, Event::Accepted(ListenerId(1), _)));
    let before = events[..of_quiet.expect("it was accepted")]
        .iter()
        .filter(|event| matches!(event, Event::Accepted(ListenerId(0), _)));
    let before = before.count();
    assert!(before < 200, "{before} were accepted before the quiet one");
}

fn a_storm_at_a_listener_leaves_connections_their_turn(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    let address = bare.listen(ListenerId(0));
    for _ in 0..300 {
        bare.connect(address).expect("begins");
    }
    bare.send(client, b"?");
    bare.until("it is heard", |bare| bare.received_len(server) == 1);
    let accepted = bare.accepted(ListenerId(0)).len();
    assert!(
        accepted < 300,
        "{accepted} were accepted before it was heard"
    );
}
