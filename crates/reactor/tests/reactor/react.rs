//! `react`: a program that is one operation.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Cancelled, Deferred, Failure, defer_later};
use ropewalk_reactor::{Handle, react};

/// Codes cannot be compared but by what they print.
fn code(code: ExitCode) -> &'static str {
    let text = format!("{code:?}");
    match text == format!("{:?}", ExitCode::SUCCESS) {
        true => "0",
        false => "1",
    }
}

#[test]
fn a_result_that_is_there_at_once_ends_it() {
    assert_eq!(code(react(|_: &Handle| ())), "0");
    assert_eq!(code(react(|_: &Handle| Ok::<(), Failure>(()))), "0");
    let failing = |_: &Handle| Err::<(), _>(Failure::msg("meant to fail"));
    assert_eq!(code(react(failing)), "1");
}

#[test]
fn it_runs_until_the_deferred_has_fired() {
    let ran = Rc::new(Cell::new(false));
    let flag = ran.clone();
    let main = |reactor: &Handle| -> Deferred<()> {
        defer_later(reactor, Duration::from_millis(2), move || flag.set(true))
    };
    assert_eq!(code(react(main)), "0");
    assert!(ran.get());
}

#[test]
fn a_failure_that_comes_later_is_code_one() {
    let main = |reactor: &Handle| -> Deferred<()> {
        defer_later(reactor, Duration::from_millis(2), || {
            Err::<(), _>(Failure::msg("meant to fail"))
        })
    };
    assert_eq!(code(react(main)), "1");
}

#[test]
fn a_panic_of_main_is_code_one() {
    let main = |_: &Handle| -> () { std::panic::resume_unwind(Box::new("meant to panic")) };
    assert_eq!(code(react(main)), "1");
}

#[test]
fn to_be_cancelled_by_others_is_a_failure() {
    assert_eq!(code(react(|_: &Handle| Err::<(), _>(Cancelled))), "1");
}

#[test]
fn stopping_the_reactor_cancels_main() {
    let cancelled = Rc::new(Cell::new(false));
    let (flag, held) = (cancelled.clone(), Rc::new(Cell::new(None)));
    let keep = held.clone();
    let main = move |reactor: &Handle| {
        let (resolver, forever) = Deferred::<()>::with_canceller(move || flag.set(true));
        let handle = reactor.clone();
        keep.set(Some(resolver));
        reactor.call_later(Duration::from_millis(1), move || handle.stop());
        forever
    };
    assert_eq!(code(react(main)), "0");
    assert!(cancelled.get());
    drop(held);
}
