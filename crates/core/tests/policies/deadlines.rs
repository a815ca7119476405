//! A deadline fires once, and says which it was.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::policies::{Rate, Throttle, ThrottlingFactory, TimeoutFactory};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Deadline, DeadlinePassed, Failure, Protocol, Transport};

use crate::rig::{Flood, SECOND, client, serve};

type Reasons = Rc<RefCell<Vec<DeadlinePassed>>>;

/// An echo that writes down why it ends.
struct Noting(Reasons);

impl Protocol for Noting {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        match data {
            b"quiet" => {}
            b"say" => transport.write(b"something"),
            _ => transport.exchange_protocol(Box::new(Self(Rc::clone(&self.0))), b""),
        }
    }
    fn connection_lost(&mut self, reason: Failure) {
        let passed = reason.check::<DeadlinePassed>().copied();
        self.0
            .borrow_mut()
            .push(passed.expect("only deadlines here"));
    }
}

type Timed<F> = fn(TimeoutFactory<F>) -> TimeoutFactory<F>;

/// A reactor that serves with deadlines, and why its connections end.
fn serving<F: Fn(&Address) -> Noting + 'static>(
    build: impl FnOnce(Reasons) -> F,
    set: impl FnOnce(TimeoutFactory<F>) -> TimeoutFactory<F>,
) -> (MemoryReactor, Reasons) {
    let reactor = MemoryReactor::new();
    let reasons = Reasons::default();
    let factory = TimeoutFactory::new(build(Rc::clone(&reasons)));
    serve(&reactor, set(factory));
    (reactor, reasons)
}

fn noting(reasons: Reasons) -> impl Fn(&Address) -> Noting {
    move |_| Noting(Rc::clone(&reasons))
}

const NANO: Duration = Duration::from_nanos(1);

fn passed(deadline: Deadline, after: Duration) -> DeadlinePassed {
    DeadlinePassed { deadline, after }
}

#[test]
fn by_default_the_first_byte_has_a_minute_and_silence_half_an_hour() {
    let (reactor, reasons) = serving(noting, |timed| timed);
    let (_silent, seen) = client(&reactor);
    let (talker, heard) = client(&reactor);
    talker.write(b"quiet");
    reactor.advance(60 * SECOND - NANO);
    assert!(reasons.borrow().is_empty());
    reactor.advance(NANO);
    assert_eq!(
        *reasons.borrow(),
        [passed(Deadline::FirstByte, 60 * SECOND)]
    );
    assert!(seen.is_lost());
    let half_an_hour = 30 * 60 * SECOND;
    reactor.advance(half_an_hour - 60 * SECOND - NANO);
    assert!(!heard.is_lost());
    reactor.advance(NANO);
    assert_eq!(reasons.borrow()[1], passed(Deadline::Idle, half_an_hour));
    reactor.advance(100 * half_an_hour);
    assert_eq!(reasons.borrow().len(), 2, "each fires once");
}

#[test]
fn bytes_of_either_way_start_the_idle_time_anew() {
    let (reactor, reasons) = serving(noting, |timed| timed.idle(Some(10 * SECOND)));
    let (connection, _) = client(&reactor);
    for what in ["quiet", "say", "exchange", "quiet"] {
        reactor.advance(10 * SECOND - NANO);
        connection.write(what.as_bytes());
        reactor.run();
        assert!(reasons.borrow().is_empty(), "{what}");
    }
    reactor.advance(10 * SECOND);
    assert_eq!(*reasons.borrow(), [passed(Deadline::Idle, 10 * SECOND)]);
}

#[test]
fn bytes_that_are_only_sent_keep_a_connection_from_being_idle() {
    let reactor = MemoryReactor::new();
    let slow = Throttle::new().per_connection(Rate::per_second(100));
    let factory = ThrottlingFactory::new(|_: &Address| Flood).writes(slow);
    let timed = TimeoutFactory::new(factory).first_byte(None);
    serve(&reactor, timed.idle(Some(10 * SECOND)));
    let (_connection, seen) = client(&reactor);
    reactor.advance(100 * SECOND);
    assert!(!seen.is_lost());
}

#[test]
fn a_lifetime_counts_for_those_who_talk_too_and_over_an_exchange() {
    let set: Timed<_> = |timed| {
        timed
            .idle(None)
            .first_byte(None)
            .lifetime(Some(100 * SECOND))
    };
    let (reactor, reasons) = serving(noting, set);
    let (connection, _) = client(&reactor);
    for second in 0..100 {
        assert!(reasons.borrow().is_empty(), "{second}");
        connection.write(if second == 50 { b"exchange" } else { b"say" });
        reactor.advance(SECOND);
    }
    assert_eq!(
        *reasons.borrow(),
        [passed(Deadline::Lifetime, 100 * SECOND)]
    );
}

#[test]
fn the_earliest_deadline_is_the_one_that_is_named() {
    let set: Timed<_> = |timed| {
        timed
            .idle(Some(3 * SECOND))
            .first_byte(Some(2 * SECOND))
            .lifetime(Some(4 * SECOND))
    };
    let (reactor, reasons) = serving(noting, set);
    let (_first, _) = client(&reactor);
    let (second, _) = client(&reactor);
    let (third, _) = client(&reactor);
    second.write(b"quiet");
    third.write(b"quiet");
    reactor.advance(2 * SECOND);
    third.write(b"quiet");
    reactor.advance(2 * SECOND);
    let which: Vec<_> = reasons.borrow().iter().map(|it| it.deadline).collect();
    assert_eq!(
        which,
        [Deadline::FirstByte, Deadline::Idle, Deadline::Lifetime]
    );
}

#[test]
fn without_deadlines_a_connection_stays() {
    let (reactor, reasons) = serving(noting, |timed| timed.idle(None).first_byte(None));
    let (connection, seen) = client(&reactor);
    reactor.advance(Duration::from_secs(86_400 * 365));
    assert!(connection.is_connected() && !seen.is_lost());
    assert!(reasons.borrow().is_empty());
    drop(reasons.take());
    // The reactor's end is no deadline.
    std::mem::forget(reactor);
}

#[test]
fn a_deadline_too_far_to_count_never_comes() {
    let (reactor, _) = serving(noting, |timed| {
        timed.idle(Some(Duration::MAX)).first_byte(None)
    });
    let (connection, _) = client(&reactor);
    reactor.advance(Duration::from_secs(86_400));
    assert!(connection.is_connected());
    std::mem::forget(reactor);
}
