//! Jobs for threads, on the reactor in memory: run by the next turn, in their order.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{
    Cancelled, ContextKey, Deferred, Failure, JobName, Panicked, ThreadJobError, defer_to_thread,
};

/// Where the outcome of a Deferred goes.
fn outcome<T: 'static>(deferred: Deferred<T>) -> Rc<RefCell<Option<Result<T, Failure>>>> {
    let kept = Rc::new(RefCell::new(None));
    let filled = Rc::clone(&kept);
    drop(deferred.add_both(move |result| *filled.borrow_mut() = Some(result)) as Deferred<()>);
    kept
}

#[test]
fn jobs_are_run_by_the_next_turn_in_their_order_on_this_thread() {
    let reactor = MemoryReactor::new();
    let loops = std::thread::current().id();
    let log: Rc<RefCell<Vec<u8>>> = Rc::default();
    for number in 0..3 {
        let job = move || (number, std::thread::current().id());
        let deferred: Deferred<(u8, _)> = defer_to_thread(&*reactor, job);
        let log = Rc::clone(&log);
        drop(deferred.add_callback(move |(number, thread)| {
            assert_eq!(thread, loops);
            log.borrow_mut().push(number);
        }) as Deferred<()>);
    }
    assert!(log.borrow().is_empty(), "none before the turn");
    reactor.run();
    assert_eq!(*log.borrow(), [0, 1, 2]);
}

#[test]
fn a_job_given_by_the_result_of_another_is_run_too() {
    let reactor = MemoryReactor::new();
    let again = reactor.clone();
    let first: Deferred<u8> = defer_to_thread(&*reactor, || 1);
    let second = outcome(
        first.add_callback(move |n: u8| defer_to_thread(&*again, move || n + 1) as Deferred<u8>)
            as Deferred<u8>,
    );
    reactor.run();
    assert_eq!(second.take().unwrap().unwrap(), 2);
}

#[test]
fn an_error_and_a_panic_of_a_job_are_failures() {
    let reactor = MemoryReactor::new();
    let parsed = outcome::<u8>(defer_to_thread(&*reactor, || "x".parse::<u8>()));
    let panics = outcome::<u8>(defer_to_thread(&*reactor, || -> u8 {
        panic!("no rope left")
    }));
    reactor.run();
    let failure = parsed.take().unwrap().unwrap_err();
    assert!(failure.check::<std::num::ParseIntError>().is_some());
    let failure = panics.take().unwrap().unwrap_err();
    assert_eq!(failure.check::<Panicked>().unwrap().message, "no rope left");
}

#[test]
fn a_cancelled_job_is_dropped_and_never_run() {
    let reactor = MemoryReactor::new();
    let held = Arc::new(());
    let in_job = Arc::clone(&held);
    let job = Box::new(move || assert_eq!(Arc::strong_count(&in_job), 0, "it was run"));
    let deferred = reactor.run_in_thread(JobName::from("never"), job);
    deferred.cancel();
    assert_eq!(Arc::strong_count(&held), 1);
    reactor.run();
    let failure = outcome(deferred).take().unwrap().unwrap_err();
    assert!(failure.check::<Cancelled>().is_some());
}

#[test]
fn a_job_has_the_values_of_where_it_was_given() {
    static USER: ContextKey<&str> = ContextKey::new();
    let reactor = MemoryReactor::new();
    let seen = USER.with_value("ada", || {
        outcome::<Option<Arc<&str>>>(defer_to_thread(&*reactor, || USER.get()))
    });
    reactor.run();
    assert_eq!(seen.take().unwrap().unwrap().as_deref(), Some(&"ada"));
    assert!(USER.get().is_none());
}

#[test]
fn jobs_that_outlive_the_reactor_fail_with_their_name() {
    let reactor = MemoryReactor::new();
    let lost = outcome(reactor.run_in_thread(JobName::from("resize"), Box::new(|| ())));
    drop(reactor);
    let failure = lost.take().unwrap().unwrap_err();
    let error = failure.check::<ThreadJobError>().unwrap();
    assert!(
        matches!(error, ThreadJobError::ReactorStopped { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("resize"), "{error}");
}
