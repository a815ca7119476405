//! How a test ends, and what is said of it.

use std::fmt;
use std::time::Duration;

use ropewalk_core::{Deferred, Failure, defer_later};
use ropewalk_reactor::Handle;
use ropewalk_trial::{Driver, Problem, Trial};

use crate::{problem, run};

#[derive(Debug)]
struct NoRope;

impl fmt::Display for NoRope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no rope")
    }
}

impl std::error::Error for NoRope {}

#[test]
fn a_failure_is_told_with_its_way_and_its_place() {
    let line = line!() + 2;
    let failed = run(|_| async {
        let failure: Failure = NoRope.into();
        Err(failure.context("twisting"))
    });
    let text = failed.unwrap_err().to_string();
    assert!(
        text.starts_with("kit::a_test failed with seed 0\n"),
        "{text}"
    );
    assert!(text.contains("Traceback: no rope\n"), "{text}");
    assert!(text.contains(": twisting\n"), "{text}");
    assert!(text.contains(&format!("outcomes.rs:{line}:")), "{text}");
}

#[test]
fn a_panic_is_told_with_its_words_and_what_it_leaves_is_no_further_problem() {
    let problem = problem(|test| async move {
        test.reactor().call_later(Duration::from_secs(60), || ());
        assert_eq!(1 + 1, 3, "as they say");
        Ok(())
    });
    let Problem::Panicked(panicked) = problem else {
        panic!("{problem}");
    };
    assert!(panicked.message.contains("as they say"), "{panicked}");
}

#[test]
fn a_panic_before_the_first_wait_is_a_panic_of_the_test() {
    let problem = problem(|_| {
        panic!("not even a future");
        #[expect(unreachable_code, reason = "it gives the closure its type")]
        std::future::ready(Ok(()))
    });
    assert!(
        problem.to_string().contains("not even a future"),
        "{problem}"
    );
}

#[test]
fn a_test_that_does_not_end_is_ended_and_what_was_live_is_named() {
    let trial = Trial::new("kit::waits")
        .driver(Driver::Poll)
        .timeout(Duration::from_millis(20));
    let line = line!() + 4;
    let failed = trial.run_with([0], |test| async move {
        let (_resolver, never) = Deferred::<()>::pair();
        let reactor = test.reactor();
        let slow = defer_later::<(), _>(reactor, Duration::from_secs(3600), || ());
        never.await?;
        slow.await
    });
    let failed = failed.unwrap_err();
    let [Problem::TimedOut { after, live }] = &failed.problems[..] else {
        panic!("{failed}");
    };
    assert_eq!(*after, Duration::from_millis(20));
    assert_eq!(live.len(), 1);
    let place = format!("outcomes.rs:{line} ");
    assert!(live[0].made_at.contains(&place), "{failed}");
}

#[test]
fn a_test_that_waits_for_nothing_is_told_so() {
    let trial = Trial::new("kit::waits")
        .driver(Driver::Poll)
        .timeout(Duration::from_millis(20));
    let failed = trial.run_with([0], |_| std::future::pending());
    let text = failed.unwrap_err().to_string();
    assert!(
        text.contains("nothing was live that could bring one"),
        "{text}"
    );
}

#[test]
fn why_a_test_has_failed_is_not_hidden_by_a_panic_as_it_is_dropped() {
    struct Brittle;
    impl Drop for Brittle {
        fn drop(&mut self) {
            panic!("as it was dropped");
        }
    }
    let trial = Trial::new("kit::waits").timeout(Duration::from_millis(20));
    let failed = trial.run_with([0], |_| async {
        let _brittle = Brittle;
        std::future::pending().await
    });
    let failed = failed.unwrap_err();
    assert!(
        matches!(&failed.problems[..], [Problem::TimedOut { .. }]),
        "{failed}"
    );
    // And with no other reason it is one itself.
    let brittle = Brittle;
    let held = std::sync::Arc::new(std::sync::Mutex::new(Some(brittle)));
    let failed = trial.run_with([0], move |_| {
        let brittle = held.lock().unwrap().take();
        std::future::poll_fn(move |_| {
            let _ = &brittle;
            std::task::Poll::Ready(Ok(()))
        })
    });
    let text = failed.unwrap_err().to_string();
    assert!(
        text.contains("the test panicked: as it was dropped"),
        "{text}"
    );
}

/// As a double that misses a call says so when it is dropped.
struct Expecting;

impl Drop for Expecting {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "nobody has called");
    }
}

#[test]
fn why_a_test_has_failed_is_not_hidden_by_what_its_world_drops() {
    for fails in [true, false] {
        for host in ["test", "server"] {
            let failed = Trial::new("kit::drops").run_with([7], move |test| async move {
                let double = Expecting;
                let world = test.world().expect("a simulated world");
                let holding = move |reactor: &Handle| {
                    reactor.call_later(Duration::from_secs(3600), move || drop(double))
                };
                if host == "test" {
                    holding(test.reactor());
                    assert!(!fails, "the reason");
                    return Ok(());
                }
                let holding = std::cell::Cell::new(Some(holding));
                world.host(host).start(move |reactor| {
                    holding.take().map(|holding| holding(reactor));
                });
                assert!(!fails, "the reason");
                Ok(())
            });
            let failed = failed.unwrap_err();
            let text = failed.to_string();
            assert_eq!(failed.problems.len(), 1, "{text}");
            assert!(text.contains("ROPEWALK_SEED=7"), "{text}");
            let leaves = host == "test";
            let expected = match (fails, leaves) {
                (true, _) => "the test panicked: the reason",
                (false, true) => "it has left these behind",
                (false, false) => "what was dropped at the end panicked: nobody has called",
            };
            assert!(text.contains(expected), "{text}");
        }
    }
}

#[test]
fn a_reactor_that_is_stopped_too_early_is_told() {
    let problem = problem(|test| async move {
        test.reactor().stop_now();
        std::future::pending().await
    });
    assert!(matches!(problem, Problem::Stopped), "{problem}");
}

#[test]
fn a_test_may_have_several_problems() {
    let failed = run(|test| async move {
        test.reactor().call_later(Duration::from_secs(60), || ());
        tracing::error!("the cat is on the table");
        Ok(())
    });
    let failed = failed.unwrap_err();
    assert!(
        matches!(
            &failed.problems[..],
            [Problem::Left(_), Problem::Logged { .. }]
        ),
        "{failed}"
    );
}

#[test]
fn tests_within_tests_and_beside_each_other_do_not_meet() {
    let threads: Vec<_> = (0..4)
        .map(|number| {
            std::thread::spawn(move || {
                let passed = run(move |test| async move {
                    tracing::error!(number, "outer");
                    let inner = run(|_| async {
                        tracing::error!("inner");
                        Ok(())
                    });
                    assert!(inner.is_err());
                    assert!(format!("{:?}", ropewalk_trial::reactor()).contains("Handle"));
                    defer_later::<(), _>(test.reactor(), Duration::from_millis(1), || ()).await?;
                    let mine = ropewalk_trial::flush_logged_if(|_| true);
                    assert_eq!(mine.len(), 1);
                    assert_eq!(mine[0].field("number"), Some(&*number.to_string()));
                    Ok(())
                });
                passed.unwrap_or_else(|failed| panic!("{failed}"));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
#[should_panic(expected = "mark it with #[ropewalk::test]")]
fn outside_of_a_test_there_is_no_reactor() {
    let _ = ropewalk_trial::reactor();
}
