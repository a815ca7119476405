//! What a test logs.

use std::io;
use std::num::ParseIntError;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ropewalk_core::testing::{Pair, success_result_of};
use ropewalk_core::{
    Deferred, Failure, FailureReporter, Panicked, Protocol, Transport, defer_later,
};
use ropewalk_trial::{
    Driver, LogCapture, Problem, Trial, flush_logged_errors, flush_logged_if, logged,
};
use tracing::Level;

use crate::{problem, run};

fn no_number() -> Failure {
    "x".parse::<u8>().unwrap_err().into()
}

#[test]
fn a_failure_that_nobody_handles_fails_the_test_with_both_places() {
    let line = line!() + 2;
    let problem = problem(|_| async {
        drop(Deferred::<()>::fail(no_number()));
        Ok(())
    });
    let text = problem.to_string();
    assert!(
        text.contains("ERROR ropewalk::unhandled: a Deferred failed"),
        "{text}"
    );
    assert!(text.contains("invalid digit"), "{text}");
    assert!(
        text.contains(&format!("made_at=crates/trial/tests/kit/logs.rs:{line}:")),
        "{text}"
    );
    assert!(
        text.contains("failed_at=crates/trial/tests/kit/logs.rs:"),
        "{text}"
    );
    assert!(text.contains("flush_logged_errors"), "{text}");
}

#[test]
fn a_failure_that_comes_as_the_reactor_ends_fails_the_test_too() {
    /// Fails a Deferred that nobody has as it is dropped.
    struct Parting;
    impl Drop for Parting {
        fn drop(&mut self) {
            drop(Deferred::<()>::fail(no_number()));
        }
    }
    let problem = problem(|test| async move {
        let parting = Parting;
        test.reactor().call_when_running(|| ());
        test.reactor()
            .add_system_event_trigger(ropewalk_reactor::Phase::After, move || drop(parting));
        Ok(())
    });
    assert!(matches!(problem, Problem::Logged { .. }), "{problem}");
}

#[test]
fn flushed_are_those_of_the_type_and_the_others_fail_the_test() {
    let problem = problem(|_| async {
        drop(Deferred::<()>::fail(no_number()));
        drop(Deferred::<()>::fail(io::Error::other("disk full")));
        drop(Deferred::<()>::fail(
            no_number().context("reading the port"),
        ));
        let numbers = flush_logged_errors::<ParseIntError>();
        assert_eq!(numbers.len(), 2);
        assert!(
            numbers[1]
                .to_string()
                .starts_with("reading the port: invalid")
        );
        assert_eq!(flush_logged_errors::<ParseIntError>().len(), 0);
        assert_eq!(logged().len(), 3, "what was flushed is still in the log");
        Ok(())
    });
    let Problem::Logged { errors, more: 0 } = &problem else {
        panic!("{problem}");
    };
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].field("failure"), Some("disk full"));
}

#[test]
fn failures_are_found_however_they_were_logged() {
    let passed = run(|test| async move {
        tracing::error!(failure = &*no_number().to_error(), "one's own");
        FailureReporter::new(Duration::ZERO).report(&no_number(), Instant::now());
        assert_eq!(flush_logged_errors::<ParseIntError>().len(), 2);
        test.reactor()
            .call_later(Duration::ZERO, || panic!("in a timer"));
        test.reactor().spawn(async { panic!("in a task") });
        defer_later::<(), _>(test.reactor(), Duration::from_millis(1), || ()).await?;
        let panics = flush_logged_errors::<Panicked>();
        assert_eq!(panics.len(), 2, "{panics:?}");
        assert!(panics[0].to_string().contains("in a timer"), "{panics:?}");
        tracing::error!("only words");
        assert_eq!(flush_logged_errors::<Failure>().len(), 0);
        assert_eq!(
            flush_logged_if(|event| event.message == "only words").len(),
            1
        );
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn the_panic_of_a_protocol_is_a_failure_that_can_be_flushed() {
    struct Brittle;
    impl Protocol for Brittle {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {
            panic!("too much");
        }
    }
    let capture = LogCapture::start();
    let pair = Pair::new(Brittle, Brittle);
    pair.client().write(b"x");
    pair.run();
    let panics = capture.flush_errors::<Panicked>();
    assert_eq!(panics.len(), 1);
    assert!(panics[0].to_string().contains("too much"), "{panics:?}");
}

#[test]
fn what_jobs_log_in_their_threads_is_in_the_log_of_the_test() {
    for driver in [Driver::Poll, Driver::Sim] {
        let trial = Trial::new("kit::jobs").driver(driver);
        let passed = trial.run_with([1], move |test| async move {
            let reactor = test.reactor();
            let log = || tracing::error!("in a job");
            reactor.defer_to_thread::<(), _>(log).await?;
            let said = flush_logged_if(|event| event.message == "in a job");
            assert_eq!(said.len(), 1, "{driver:?}");
            reactor.call_in_thread(|| panic!("alone"))?;
            // Until it has ended.
            let left = reactor.track().settled(Duration::from_secs(60)).await?;
            assert_eq!(left, []);
            let panics = flush_logged_errors::<Panicked>();
            assert_eq!(panics.len(), 1, "{driver:?}");
            assert!(
                panics[0].to_string().ends_with("panicked: alone"),
                "{panics:?}"
            );
            Ok(())
        });
        passed.unwrap_or_else(|failed| panic!("{failed}"));
    }
}

#[test]
fn what_jobs_on_other_hosts_log_is_in_the_log_of_the_test() {
    let passed = Trial::new("kit::jobs").run_with([1], |test| async move {
        let world = test.world().expect("a simulated world");
        world.host("server").start(|reactor| {
            let panics = || panic!("over there");
            reactor.call_in_thread(panics).expect("there is room");
        });
        defer_later::<(), _>(test.reactor(), Duration::from_secs(60), || ()).await?;
        let panics = flush_logged_errors::<Panicked>();
        assert_eq!(panics.len(), 1, "{:?}", logged());
        assert!(panics[0].to_string().ends_with("over there"), "{panics:?}");
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn events_have_their_level_target_words_and_fields() {
    let capture = LogCapture::start();
    let (ropes, name) = (3, "hemp");
    tracing::debug!(target: "walk", ropes, name, long = ?Some(1), "twisting {}", 2);
    tracing::trace!("too fine");
    let events = capture.logged();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!((event.level, &*event.target), (Level::DEBUG, "walk"));
    assert_eq!(event.message, "twisting 2");
    let fields = ["ropes", "name", "long", "none"].map(|name| event.field(name));
    assert_eq!(fields, [Some("3"), Some("hemp"), Some("Some(1)"), None]);
    let text = event.to_string();
    assert_eq!(
        text,
        "DEBUG walk: twisting 2 ropes=3 name=hemp long=Some(1)"
    );
}

#[test]
fn the_log_stands_in_the_report() {
    let failed = run(|_| async {
        tracing::info!(step = 1, "about to fail");
        Err(Failure::msg("failed"))
    });
    let text = failed.unwrap_err().to_string();
    assert!(
        text.contains("INFO kit::logs: about to fail step=1"),
        "{text}"
    );
}

#[test]
fn who_saw_the_log_before_still_sees_it_with_its_spans() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let before = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(before, || {
        let capture = LogCapture::start();
        tracing::info_span!("walk", number = 7).in_scope(|| tracing::info!("inside"));
        tracing::debug!("finer than it wants");
        assert_eq!(capture.logged().len(), 2);
        drop(capture);
        tracing::info!("after");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("walk{number=7}: kit::logs: inside"), "{text}");
    assert!(!text.contains("finer") && text.contains("after"), "{text}");
}

#[test]
fn a_flush_may_log_and_nothing_is_lost_by_it() {
    let capture = LogCapture::start();
    tracing::error!("first");
    let flushed = capture.flush_if(|_| {
        tracing::error!("second");
        false
    });
    assert_eq!(flushed.len(), 0);
    let all = capture.flush_if(|_| true);
    let words: Vec<_> = all.iter().map(|event| &*event.message).collect();
    assert_eq!(words, ["first", "second"]);
}

#[test]
fn many_errors_are_kept_up_to_a_bound_and_counted_beyond() {
    let problem = problem(|_| async {
        for number in 0..1010 {
            tracing::error!(number, "again");
        }
        Ok(())
    });
    let Problem::Logged { errors, more } = &problem else {
        panic!("{problem}");
    };
    assert_eq!((errors.len(), *more), (1000, 10));
    assert!(problem.to_string().ends_with("and 980 more"), "{problem}");
}

#[test]
#[should_panic(expected = "hold a LogCapture")]
fn without_a_capture_there_is_no_log() {
    let _ = logged();
}

#[test]
fn a_deferred_that_is_handled_logs_nothing() {
    let capture = LogCapture::start();
    let handled = Deferred::<u8>::fail(no_number()).add_errback(|_| 7);
    assert_eq!(success_result_of(handled), 7);
    assert_eq!(capture.logged().len(), 0);
    let _: Rc<()> = Rc::default();
}
