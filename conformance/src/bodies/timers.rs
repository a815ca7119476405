//! Timed calls: their order, their times, and what becomes of those that are cancelled or moved.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::DelayedCall;
use ropewalk_reactor::Handle;

use crate::body::topic;
use crate::case::{Case, MOMENT, ms};
use crate::log::Log;
use crate::script::{Script, boom};

topic! { timers:
    calls_come_in_the_order_of_their_times,
    calls_of_one_time_come_in_the_order_of_their_making,
    no_call_comes_early,
    a_call_with_no_delay_comes_in_the_next_turn,
    a_call_is_not_made_within_call_later,
    a_cancelled_call_does_not_come,
    cancelling_twice_is_no_news,
    a_call_may_cancel_one_of_the_same_time,
    a_call_that_runs_counts_as_having_run,
    a_call_may_cancel_itself_in_vain,
    a_reset_counts_from_now,
    a_reset_may_bring_a_call_forward,
    a_reset_call_of_one_time_comes_last,
    a_delayed_call_comes_later,
    a_call_that_has_run_cannot_be_moved,
    a_call_may_ask_for_another,
    a_chain_of_calls_without_delay_leaves_turns_for_others,
    a_call_tells_its_time,
    now_is_not_before_the_time_of_the_call,
    now_does_not_change_within_a_turn,
    now_moves_on_between_turns,
    a_call_that_panics_leaves_the_others,
    a_hundred_thousand_calls_come_in_order,
    a_million_calls_may_wait,
    a_call_in_a_thousand_years_holds_nothing_up,
    a_dropped_handle_leaves_its_call,
    what_a_cancelled_call_holds_is_dropped_at_once,
    a_call_before_the_run_counts_from_its_making,
    calls_of_a_run_are_gone_after_it,
    a_timer_comes_while_bytes_stream,
    the_wall_clock_moves_with_the_reactors_time,
}

/// A call that notes.
fn later(case: &Case<'_>, delay: Duration, log: &Log, event: &str) -> DelayedCall {
    case.reactor().call_later(delay, log.noting(event))
}

fn calls_come_in_the_order_of_their_times(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    // Within one turn, so that they count from one time.
    case.reactor().call_when_running(move || {
        for delay in [5, 1, 9, 3, 7, 0, 2] {
            reactor.call_later(ms(delay), noted.noting(delay.to_string()));
        }
    });
    let seen = log.clone();
    case.until("all have come", move || seen.len() == 7);
    log.assert(&["0", "1", "2", "3", "5", "7", "9"]);
}

fn calls_of_one_time_come_in_the_order_of_their_making(case: &Case<'_>) {
    let log = case.log();
    let reactor = case.reactor();
    let noted = log.clone();
    // Within one turn, so that they have one time.
    case.reactor().call_when_running(move || {
        for number in 0..20 {
            reactor.call_later(ms(3), noted.noting(number.to_string()));
        }
    });
    let seen = log.clone();
    case.until("all have come", move || seen.len() == 20);
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(log.events(), expected);
}

fn no_call_comes_early(case: &Case<'_>) {
    let waited = Rc::new(RefCell::new(Vec::new()));
    for delay in [1, 5, 13, 20] {
        let (reactor, waited) = (case.reactor(), Rc::clone(&waited));
        let begun = reactor.now();
        case.reactor().call_later(ms(delay), move || {
            waited.borrow_mut().push((ms(delay), reactor.now() - begun));
        });
    }
    let seen = Rc::clone(&waited);
    case.until("all have come", move || seen.borrow().len() == 4);
    for (delay, waited) in &*waited.borrow() {
        assert!(waited >= delay, "{waited:?} instead of {delay:?}");
    }
}

fn a_call_with_no_delay_comes_in_the_next_turn(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    later(case, ms(1), &log, "first");
    case.reactor().call_later(ms(1), move || {
        noted.note("asks");
        reactor.call_later(Duration::ZERO, noted.noting("at once"));
        noted.note("has asked");
    });
    case.until_noted(&log, "at once");
    log.assert(&["first", "asks", "has asked", "at once"]);
}

fn a_call_is_not_made_within_call_later(case: &Case<'_>) {
    let log = case.log();
    later(case, Duration::ZERO, &log, "called");
    log.assert(&[]);
    case.until_noted(&log, "called");
}

fn a_cancelled_call_does_not_come(case: &Case<'_>) {
    let log = case.log();
    let call = later(case, ms(1), &log, "cancelled");
    assert!(call.is_active());
    assert!(call.cancel());
    assert!(!call.is_active());
    later(case, MOMENT, &log, "later");
    case.until_noted(&log, "later");
    log.assert(&["later"]);
}

fn cancelling_twice_is_no_news(case: &Case<'_>) {
    let log = case.log();
    let call = later(case, ms(1), &log, "cancelled");
    assert_eq!((call.cancel(), call.cancel()), (true, false));
    let ran = later(case, ms(1), &log, "ran");
    case.until_noted(&log, "ran");
    assert!(!ran.cancel());
}

fn a_call_may_cancel_one_of_the_same_time(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let next: Rc<RefCell<Option<DelayedCall>>> = Rc::default();
        let cancels = Rc::clone(&next);
        let first = noted.clone();
        reactor.call_later(ms(2), move || {
            first.note("first");
            let call = cancels.take().expect("it was made");
            first.note(format!("cancelled: {}", call.cancel()));
        });
        next.replace(Some(reactor.call_later(ms(2), noted.noting("second"))));
        reactor.call_later(ms(2), noted.noting("third"));
    });
    case.until_noted(&log, "third");
    log.assert(&["first", "cancelled: true", "third"]);
}

/// A call that is given its own handle.
fn with_own(case: &Case<'_>, delay: Duration, call: impl FnOnce(DelayedCall) + 'static) {
    let own: Rc<RefCell<Option<DelayedCall>>> = Rc::default();
    let given = Rc::clone(&own);
    let made = case
        .reactor()
        .call_later(delay, move || call(given.take().expect("it was made")));
    own.replace(Some(made));
}

fn a_call_that_runs_counts_as_having_run(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    with_own(case, ms(1), move |own| {
        noted.note(format!(
            "active: {}, time: {:?}",
            own.is_active(),
            own.time()
        ));
    });
    case.until_noted(&log, "active: false, time: None");
}

fn a_call_may_cancel_itself_in_vain(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    with_own(case, ms(1), move |own| {
        let (cancelled, reset) = (own.cancel(), own.reset(ms(1)));
        noted.note(format!("{cancelled} {reset}"));
    });
    later(case, MOMENT, &log, "later");
    case.until_noted(&log, "later");
    log.assert(&["false false", "later"]);
}

fn a_reset_counts_from_now(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let moved = reactor.call_later(ms(10), noted.noting("moved"));
        reactor.call_later(ms(20), noted.noting("between"));
        reactor.call_later(ms(5), move || {
            assert!(moved.reset(ms(25)));
            noted.note("moves");
        });
    });
    case.until_noted(&log, "moved");
    log.assert(&["moves", "between", "moved"]);
}

fn a_reset_may_bring_a_call_forward(case: &Case<'_>) {
    let log = case.log();
    let call = later(case, Duration::from_secs(3600), &log, "moved");
    case.reactor().call_later(ms(1), move || {
        assert!(call.reset(ms(1)));
    });
    case.until_noted(&log, "moved");
}

fn a_reset_call_of_one_time_comes_last(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let first = reactor.call_later(ms(2), noted.noting("first"));
        reactor.call_later(ms(2), noted.noting("second"));
        assert!(first.reset(ms(2)));
    });
    case.until_noted(&log, "first");
    log.assert(&["second", "first"]);
}

fn a_delayed_call_comes_later(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let call = reactor.call_later(ms(5), noted.noting("delayed"));
        let before = call.time().expect("it is to come");
        assert!(call.delay(ms(15)));
        assert_eq!(call.time(), Some(before + ms(15)));
        reactor.call_later(ms(12), noted.noting("between"));
    });
    case.until_noted(&log, "delayed");
    log.assert(&["between", "delayed"]);
}

fn a_call_that_has_run_cannot_be_moved(case: &Case<'_>) {
    let log = case.log();
    let call = later(case, ms(1), &log, "ran");
    let noted = log.clone();
    case.reactor().call_later(MOMENT, move || {
        let (reset, delayed) = (call.reset(ms(1)), call.delay(ms(1)));
        noted.note(format!("{reset} {delayed} {}", call.is_active()));
    });
    later(case, MOMENT * 3, &log, "later");
    case.until_noted(&log, "later");
    log.assert(&["ran", "false false false", "later"]);
}

fn a_call_may_ask_for_another(case: &Case<'_>) {
    fn again(reactor: &Handle, left: u32, log: &Log) {
        log.note(left.to_string());
        if left > 0 {
            let (next, log) = (reactor.clone(), log.clone());
            reactor.call_later(ms(1), move || again(&next, left - 1, &log));
        }
    }
    let log = case.log();
    again(&case.reactor(), 5, &log);
    case.until_noted(&log, "0");
    log.assert(&["5", "4", "3", "2", "1", "0"]);
}

fn a_chain_of_calls_without_delay_leaves_turns_for_others(case: &Case<'_>) {
    fn endless(reactor: &Handle) {
        let again = reactor.clone();
        reactor.call_later(Duration::ZERO, move || endless(&again));
    }
    let client = case.log();
    endless(&case.reactor());
    case.join(Script::echo(), Script::noting(&client).saying("x"));
    case.until_noted(&client, "data x");
}

fn a_call_tells_its_time(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let call = reactor.call_later(ms(7), || ());
        let exact = call.time() == Some(reactor.now() + ms(7));
        noted.note(format!("exact: {exact}"));
    });
    case.until_noted(&log, "exact: true");
}

fn now_is_not_before_the_time_of_the_call(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let due = reactor.now() + ms(3);
        let later = reactor.clone();
        reactor.call_later(ms(3), move || {
            noted.note(format!("due: {}", later.now() >= due));
        });
    });
    case.until_noted(&log, "due: true");
}

fn now_does_not_change_within_a_turn(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let begun = Rc::new(Cell::new(None));
        // Made at one time, they are due in one turn.
        for _ in 0..2 {
            let (now, noted, begun) = (reactor.clone(), noted.clone(), Rc::clone(&begun));
            reactor.call_later(ms(2), move || {
                (0..100_000).for_each(|number| {
                    std::hint::black_box(number);
                });
                if let Some(begun) = begun.replace(Some(now.now())) {
                    noted.note(format!("same: {}", begun == now.now()));
                }
            });
        }
    });
    case.until_noted(&log, "same: true");
}

fn now_moves_on_between_turns(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let before = reactor.now();
        let later = reactor.clone();
        reactor.call_later(ms(1), move || {
            noted.note(format!("later: {}", later.now() > before));
        });
    });
    case.until_noted(&log, "later: true");
}

fn a_call_that_panics_leaves_the_others(case: &Case<'_>) {
    let log = case.log();
    later(case, ms(1), &log, "before");
    case.reactor().call_later(ms(2), || boom());
    later(case, ms(3), &log, "after");
    case.until_noted(&log, "after");
    log.assert(&["before", "after"]);
}

fn a_hundred_thousand_calls_come_in_order(case: &Case<'_>) {
    const CALLS: u64 = 100_000;
    let last = Rc::new(Cell::new((0, 0)));
    let wrong = Rc::new(Cell::new(0));
    let (reactor, seen, errors) = (case.reactor(), Rc::clone(&last), Rc::clone(&wrong));
    case.reactor().call_when_running(move || {
        for number in 0..CALLS {
            // Times in no order, within 20 ms.
            let delay = Duration::from_micros(number * 7919 % 20_000);
            let (seen, errors) = (Rc::clone(&seen), Rc::clone(&errors));
            reactor.call_later(delay, move || {
                let (before, count) = seen.get();
                if before > delay.as_micros() {
                    errors.set(errors.get() + 1);
                }
                seen.set((delay.as_micros(), count + 1));
            });
        }
    });
    case.until("all have come", move || last.get().1 == CALLS);
    assert_eq!(wrong.get(), 0);
}

fn a_million_calls_may_wait(case: &Case<'_>) {
    let log = case.log();
    let ran = Rc::new(Cell::new(0));
    let mut calls = Vec::with_capacity(1_000_000);
    for number in 0..1_000_000_u64 {
        let ran = Rc::clone(&ran);
        let delay = Duration::from_secs(600) + Duration::from_micros(number * 7919 % 1_000_000);
        let call = case
            .reactor()
            .call_later(delay, move || ran.set(ran.get() + 1));
        calls.push(call);
    }
    later(case, ms(1), &log, "not held up");
    case.until_noted(&log, "not held up");
    assert_eq!(ran.get(), 0);
    assert!(calls.iter().all(|call| !call.is_active()));
}

fn a_call_in_a_thousand_years_holds_nothing_up(case: &Case<'_>) {
    let log = case.log();
    let years = Duration::from_secs(1000 * 365 * 24 * 3600);
    let call = later(case, years, &log, "too early");
    let longest = later(case, Duration::MAX, &log, "too early");
    assert!(call.is_active() && longest.is_active());
    later(case, ms(2), &log, "in time");
    case.until_noted(&log, "in time");
    log.assert(&["in time"]);
}

fn a_dropped_handle_leaves_its_call(case: &Case<'_>) {
    let log = case.log();
    drop(later(case, ms(1), &log, "came"));
    case.until_noted(&log, "came");
}

fn what_a_cancelled_call_holds_is_dropped_at_once(case: &Case<'_>) {
    let held = Rc::new(());
    let holds = Rc::clone(&held);
    let call = case.reactor().call_later(ms(1), move || drop(holds));
    assert_eq!(Rc::strong_count(&held), 2);
    call.cancel();
    assert_eq!(Rc::strong_count(&held), 1);
}

fn a_call_before_the_run_counts_from_its_making(case: &Case<'_>) {
    let reactor = case.reactor();
    let begun = reactor.now();
    let call = reactor.call_later(ms(5), || ());
    let due = call.time().expect("it is to come");
    assert!(due >= begun + ms(5));
    assert!(due <= reactor.now() + ms(5));
}

fn calls_of_a_run_are_gone_after_it(case: &Case<'_>) {
    let log = case.log();
    let call = later(case, Duration::from_secs(3600), &log, "never");
    later(case, ms(1), &log, "ends");
    case.until_noted(&log, "ends");
    assert!(!call.is_active());
}

fn a_timer_comes_while_bytes_stream(case: &Case<'_>) {
    let log = case.log();
    let loud = || Script::echo().made(|transport| transport.write(&[0; 300_000]));
    case.join(loud(), loud());
    let (reactor, noted) = (case.reactor(), log.clone());
    let rounds = Rc::new(Cell::new(0));
    fn tick(reactor: &Handle, rounds: &Rc<Cell<u32>>, log: &Log) {
        rounds.set(rounds.get() + 1);
        if rounds.get() == 10 {
            return log.note("ten times");
        }
        let (again, rounds, log) = (reactor.clone(), Rc::clone(rounds), log.clone());
        reactor.call_later(ms(1), move || tick(&again, &rounds, &log));
    }
    tick(&reactor, &rounds, &noted);
    case.until_noted(&log, "ten times");
}

fn the_wall_clock_moves_with_the_reactors_time(case: &Case<'_>) {
    use ropewalk_core::ReactorTime;
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    let before = reactor.wall_clock();
    case.reactor().call_later(ms(20), move || {
        // It may be set meanwhile, but hardly is.
        let moved = reactor.wall_clock().duration_since(before);
        noted.note(format!(
            "moved: {}",
            moved.is_ok_and(|moved| moved >= ms(10))
        ));
    });
    case.until_noted(&log, "moved: true");
}
