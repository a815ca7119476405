//! Calls in time, on the manual clock.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::testing::{Clock, MemoryReactor};
use ropewalk_core::{
    AlreadyRunning, Backoff, Cooperator, Deferred, Failure, LoopingCall, Panicked, Resolver, Retry,
    RetryBudget, TaskStopped, TimedOut, defer_later,
};

use crate::kit::{Log, fail, words};

const SECOND: Duration = Duration::from_secs(1);

/// A clock, a log, and the seconds that have passed.
struct Fixture {
    clock: Clock,
    log: Log,
    start: std::time::Instant,
}

impl Fixture {
    fn new() -> Rc<Self> {
        let clock = Clock::new();
        Rc::new(Self {
            start: clock.now(),
            log: Log::default(),
            clock,
        })
    }

    fn reactor(&self) -> Rc<Clock> {
        Rc::new(self.clock.clone())
    }

    fn seconds(&self) -> f64 {
        (self.clock.now() - self.start).as_secs_f64()
    }

    /// A function that notes when it is called.
    fn tick(self: &Rc<Self>) -> impl FnMut() + 'static + use<> {
        let f = self.clone();
        move || f.log.say(f.seconds())
    }
}

#[test]
fn ticks_stay_on_the_grid_however_long_a_call_takes() {
    let f = Fixture::new();
    let in_call = f.clone();
    let looping = LoopingCall::new(f.reactor(), move || {
        in_call.log.say(in_call.seconds());
        defer_later::<(), _>(&in_call.clock, SECOND / 4, || ())
    });
    let _ended = looping.start(SECOND, true);
    f.clock.advance(3 * SECOND);
    assert_eq!(f.log.take(), "0 1 2 3");
}

#[test]
fn a_call_that_takes_longer_than_the_interval_skips_ticks_and_counts_them() {
    let f = Fixture::new();
    let in_call = f.clone();
    let looping = LoopingCall::with_count(f.reactor(), move |count| {
        in_call.log.say(format!("{}x{count}", in_call.seconds()));
        defer_later::<(), _>(&in_call.clock, 5 * SECOND / 2, || ())
    });
    let _ended = looping.start(SECOND, false);
    f.clock.advance(10 * SECOND);
    assert_eq!(f.log.take(), "1x1 4x3 7x3 10x3");
}

#[test]
fn a_clock_that_jumps_makes_one_call_that_counts_all() {
    let f = Fixture::new();
    // The manual clock stops at each timer. Within a call it may be moved on.
    let in_call = f.clone();
    let looping = LoopingCall::with_count(f.reactor(), move |count| {
        in_call.log.say(format!("{}x{count}", in_call.seconds()));
        if count == 1 {
            in_call.clock.advance(7 * SECOND / 2);
        }
    });
    let _ended = looping.start(SECOND, true);
    f.clock.advance(SECOND);
    assert_eq!(f.log.take(), "0x1 4x4");
}

#[test]
fn stop_fires_the_deferred_at_once_or_when_the_call_is_done() {
    let f = Fixture::new();
    let looping = LoopingCall::new(f.reactor(), f.tick());
    let ended = looping.start(SECOND, false);
    assert!(looping.is_running() && looping.stop());
    assert!(ended.is_fired() && !looping.is_running() && !looping.stop());
    assert_eq!(f.clock.pending(), 0);

    let (resolver, work) = Deferred::<()>::pair();
    let work = Cell::new(Some(work));
    let looping = LoopingCall::new(f.reactor(), move || work.take().unwrap());
    let ended = looping.start(SECOND, true);
    looping.stop();
    assert!(!ended.is_fired());
    resolver.callback(());
    assert!(ended.is_fired());
    assert_eq!(f.clock.pending(), 0);
}

#[test]
fn a_call_may_stop_reset_and_later_start_its_own_loop() {
    let f = Fixture::new();
    let own = Rc::new(RefCell::new(None::<LoopingCall>));
    let (in_call, this) = (f.clone(), own.clone());
    let looping = LoopingCall::new(f.reactor(), move || {
        in_call.log.say(in_call.seconds());
        let looping = this.borrow().clone().unwrap();
        looping.reset();
        if in_call.seconds() >= 2.0 {
            looping.stop();
        }
    });
    own.replace(Some(looping.clone()));
    f.log.end(looping.start(SECOND, true));
    f.clock.advance(5 * SECOND);
    assert_eq!(f.log.take(), "0 1 2 =()");
    f.log.end(looping.start(SECOND, true));
    assert_eq!(f.log.take(), "5 =()");
    own.take();
}

#[test]
fn reset_begins_the_grid_again() {
    let f = Fixture::new();
    let looping = LoopingCall::new(f.reactor(), f.tick());
    let _ended = looping.start(SECOND, true);
    f.clock.advance(SECOND * 5 / 2);
    looping.reset();
    f.clock.advance(2 * SECOND);
    assert_eq!(f.log.take(), "0 1 2 3.5 4.5");
}

#[test]
fn a_failure_ends_the_loop() {
    let f = Fixture::new();
    let mut left = 2;
    let looping = LoopingCall::new(f.reactor(), move || {
        left -= 1;
        if left == 0 { Err(fail("x")) } else { Ok(()) }
    });
    f.log.end(looping.start(SECOND, true));
    f.clock.advance(9 * SECOND);
    assert_eq!(f.log.take(), "!x");
    assert_eq!(f.clock.pending(), 0);
}

#[test]
fn a_panic_ends_the_loop_and_it_can_be_started_again() {
    let f = Fixture::new();
    let mut calls = 0;
    let looping = LoopingCall::new(f.reactor(), move || {
        calls += 1;
        if calls == 2 {
            resume_unwind(Box::new("slipped"));
        }
    });
    f.log.end(looping.start(SECOND, true));
    let advance = AssertUnwindSafe(|| f.clock.advance(SECOND));
    assert!(catch_unwind(advance).is_err());
    assert_eq!(f.log.take(), "!abandoned");
    let _ended = looping.start(SECOND, true);
    assert!(looping.is_running());
    f.clock.advance(SECOND);
}

#[test]
fn cancelling_the_deferred_of_a_loop_stops_it_and_what_it_waits_for() {
    let f = Fixture::new();
    let log = f.log.clone();
    let kept = Rc::new(RefCell::new(Vec::<Resolver<()>>::new()));
    let looping = LoopingCall::new(f.reactor(), move || {
        let log = log.clone();
        let (resolver, work) = Deferred::<()>::with_canceller(move || log.say("stop"));
        kept.borrow_mut().push(resolver);
        work
    });
    let ended = looping.start(SECOND, true);
    ended.cancel();
    f.log.end(ended);
    f.clock.advance(5 * SECOND);
    assert_eq!(f.log.take(), "stop !cancelled");
    assert!(!looping.is_running());
}

#[test]
fn a_call_may_cancel_its_own_loop_and_start_it_anew() {
    let f = Fixture::new();
    let own = Rc::new(RefCell::new(None::<(LoopingCall, Deferred<()>)>));
    let (in_call, this) = (f.clone(), own.clone());
    let looping = LoopingCall::new(f.reactor(), move || {
        in_call.log.say(in_call.seconds());
        if let Some((looping, ended)) = this.take() {
            ended.cancel();
            drop(looping.start(2 * SECOND, true));
        }
    });
    let ended = looping.start(SECOND, false);
    own.replace(Some((looping, ended)));
    f.clock.advance(5 * SECOND);
    assert_eq!(f.log.take(), "1 3 5");
}

#[test]
fn a_loop_that_runs_is_not_started_twice() {
    let f = Fixture::new();
    let looping = LoopingCall::new(f.reactor(), f.tick());
    let _ended = looping.start(SECOND, false);
    drop(looping.start(SECOND, true).add_errback(|failure| {
        assert!(failure.check::<AlreadyRunning>().is_some());
    }));
    f.clock.advance(SECOND);
    assert_eq!(f.log.take(), "1");
}

#[test]
fn an_interval_of_zero_calls_once_a_turn() {
    let f = Fixture::new();
    let own = Rc::new(RefCell::new(None::<LoopingCall>));
    let (this, mut left) = (own.clone(), 5);
    let looping = LoopingCall::new(f.reactor(), move || {
        left -= 1;
        if left == 0 {
            this.borrow().as_ref().unwrap().stop();
        }
    });
    own.replace(Some(looping.clone()));
    let ended = looping.start(Duration::ZERO, true);
    f.clock.advance(Duration::ZERO);
    assert!(ended.is_fired());
    own.take();
}

proptest! {
    #[test]
    fn however_long_calls_take_each_is_on_the_grid_and_all_ticks_are_counted(
        interval in 1_u64..50,
        lengths in vec(0_u64..200, 1..40),
    ) {
        let f = Fixture::new();
        let calls = Rc::new(RefCell::new(Vec::new()));
        let (log, clock) = (calls.clone(), f.clone());
        let mut left = lengths.into_iter();
        let looping = LoopingCall::with_count(f.reactor(), move |count| {
            let at = (clock.clock.now() - clock.start).as_millis() as u64;
            log.borrow_mut().push((at, count));
            let length = Duration::from_millis(left.next().unwrap_or(0));
            defer_later::<(), _>(&clock.clock, length, || ())
        });
        let _ended = looping.start(Duration::from_millis(interval), true);
        f.clock.advance(3 * SECOND);
        let mut counted = 0;
        for (at, count) in calls.take() {
            counted += count;
            prop_assert_eq!(at % interval, 0);
            prop_assert_eq!(counted, at / interval + 1);
        }
    }
}

/// An operation that fails so often.
fn failing(
    f: &Rc<Fixture>,
    times: u32,
) -> impl FnMut(u32) -> Result<u32, Failure> + 'static + use<> {
    let f = f.clone();
    move |attempt| {
        f.log.say(f.seconds());
        if attempt > times {
            Ok(attempt)
        } else {
            Err(fail("x"))
        }
    }
}

fn exact() -> Retry {
    Retry::new().backoff(Backoff {
        jitter: 0.0,
        factor: 2.0,
        ..Backoff::new()
    })
}

#[test]
fn an_operation_is_tried_again_after_growing_delays() {
    let f = Fixture::new();
    f.log
        .end(exact().run::<u32, _>(f.reactor(), || 0.0, failing(&f, 3)));
    f.clock.advance(60 * SECOND);
    assert_eq!(f.log.take(), "0 1 3 7 =4");
    assert_eq!(f.clock.pending(), 0);
}

#[test]
fn the_same_random_numbers_give_the_same_delays() {
    let delays = |seed: u64| {
        let mut state = seed;
        let random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let f = Fixture::new();
        f.log
            .end(Retry::new().run::<u32, _>(f.reactor(), random, failing(&f, 5)));
        f.clock.advance(60 * SECOND);
        f.log.take()
    };
    assert_eq!(delays(7), delays(7));
    assert_ne!(delays(7), delays(8));
}

#[test]
fn retry_gives_up_after_so_many_attempts_and_says_so() {
    let f = Fixture::new();
    f.log.end(
        exact()
            .max_attempts(3)
            .run::<u32, _>(f.reactor(), || 0.0, failing(&f, 9)),
    );
    f.clock.advance(60 * SECOND);
    assert_eq!(
        f.log.take(),
        "0 1 3 !given up after 3 attempts in 3s, as no more are allowed: x"
    );
}

#[test]
fn retry_gives_up_when_no_time_is_left() {
    let f = Fixture::new();
    f.log.end(
        exact()
            .deadline(5 * SECOND)
            .run::<u32, _>(f.reactor(), || 0.0, failing(&f, 9)),
    );
    f.clock.advance(60 * SECOND);
    assert_eq!(
        f.log.take(),
        "0 1 3 !given up after 3 attempts in 3s, as no time is left: x"
    );
}

#[test]
fn an_attempt_is_cancelled_at_the_deadline() {
    let f = Fixture::new();
    let failure = Rc::new(RefCell::new(None));
    let (keep, kept) = (failure.clone(), RefCell::new(Vec::new()));
    let never = move |_| {
        let (resolver, deferred) = Deferred::<()>::pair();
        kept.borrow_mut().push(resolver);
        deferred
    };
    let run = exact()
        .deadline(5 * SECOND)
        .run::<(), _>(f.reactor(), || 0.0, never);
    drop(run.add_errback(move |failure| *keep.borrow_mut() = Some(failure)));
    f.clock.advance(5 * SECOND);
    let failure = failure.take().expect("it has ended");
    assert!(failure.check::<TimedOut>().is_some(), "{failure}");
    assert_eq!(f.clock.pending(), 0);
}

#[test]
fn failures_that_the_policy_does_not_name_are_not_tried_again() {
    let f = Fixture::new();
    let policy = exact().only_if(|failure| failure.check::<TimedOut>().is_some());
    f.log
        .end(policy.run::<u32, _>(f.reactor(), || 0.0, failing(&f, 3)));
    assert_eq!(f.log.take(), "0 !x");
}

#[test]
fn a_budget_is_shared_and_successes_fill_it() {
    let f = Fixture::new();
    let policy = exact().budget(RetryBudget::new(1, 1.0));
    f.log
        .end(policy.run::<u32, _>(f.reactor(), || 0.0, failing(&f, 1)));
    f.clock.advance(SECOND);
    assert_eq!(f.log.take(), "0 1 =2");
    f.log
        .end(policy.run::<u32, _>(f.reactor(), || 0.0, failing(&f, 9)));
    f.clock.advance(SECOND);
    assert_eq!(
        f.log.take(),
        "1 2 !given up after 2 attempts in 1s, as the budget for repetitions is spent: x"
    );
}

#[test]
fn cancelling_a_retry_ends_the_pause_or_the_attempt_and_nothing_comes_after() {
    let f = Fixture::new();
    let run = exact().run::<u32, _>(f.reactor(), || 0.0, failing(&f, 9));
    run.cancel();
    f.log.end(run);
    f.clock.advance(60 * SECOND);
    assert_eq!(f.log.take(), "0 !cancelled");

    let log = f.log.clone();
    let kept = RefCell::new(Vec::new());
    let run = exact().run::<i32, _>(
        f.reactor(),
        || 0.0,
        move |_| {
            let (resolver, work) = log.source("stop");
            kept.borrow_mut().push(resolver);
            // What it says when it is cancelled would be tried again.
            work.add_errback(|_| Err::<i32, _>(fail("y")))
        },
    );
    run.cancel();
    f.log.end(run);
    f.clock.advance(60 * SECOND);
    assert_eq!(f.log.take(), "stop !cancelled");
    assert_eq!(f.clock.pending(), 0);
}

#[test]
fn an_async_operation_is_tried_again() {
    let reactor = Rc::new(MemoryReactor::new());
    let (tasks, random) = (reactor.clone(), || 0.0);
    let time: Rc<Clock> = Rc::new(Clock::new());
    let clock = (*time).clone();
    let sum: Deferred<u32> = exact().run(time, random, move |attempt| {
        Deferred::<u32>::from_future(&**tasks, async move {
            let n = Deferred::succeed(attempt).await?;
            if n < 3 { Err(fail("x")) } else { Ok(n) }
        })
    });
    for _ in 0..3 {
        reactor.run();
        clock.advance(4 * SECOND);
    }
    assert!(sum.is_fired());
}

#[test]
fn cooperating_iterators_make_their_steps_in_turn() {
    let f = Fixture::new();
    let cooperator = Cooperator::new(f.reactor());
    for name in ["a", "b"] {
        let log = f.log.clone();
        let steps = (0..3).map(move |n| log.say(format!("{name}{n}")));
        f.log.end(cooperator.coiterate(steps));
    }
    f.clock.advance(Duration::ZERO);
    assert_eq!(f.log.take(), "a0 b0 a1 b1 a2 b2 =() =()");
    assert_eq!(f.clock.pending(), 0);
}

#[test]
fn a_turn_makes_so_many_steps_and_others_get_theirs_between() {
    let f = Fixture::new();
    let cooperator = Cooperator::with_steps(f.reactor(), 2);
    let log = f.log.clone();
    let done = cooperator.coiterate((0..5).map(move |n| log.say(n)));
    let other = f.clone();
    f.clock.call_later(Duration::ZERO, move || {
        other.log.say("other");
        let again = other.clone();
        let call = move || again.log.say("again");
        other.clock.call_later(Duration::ZERO, call);
    });
    f.clock.advance(Duration::ZERO);
    assert_eq!(f.log.take(), "0 1 other 2 3 again 4");
    assert!(done.is_fired());
}

#[test]
fn a_step_that_returns_a_deferred_is_waited_for() {
    let f = Fixture::new();
    let cooperator = Cooperator::new(f.reactor());
    let (log, clock) = (f.clone(), f.clock.clone());
    let steps = (0..3).map(move |n| {
        log.log.say(format!("{n}@{}", log.seconds()));
        defer_later::<(), _>(&clock, SECOND, || ())
    });
    f.log.end(cooperator.coiterate(steps));
    f.clock.advance(5 * SECOND);
    assert_eq!(f.log.take(), "0@0 1@1 2@2 =()");
}

#[test]
fn a_task_is_paused_as_often_as_it_is_and_resumed_as_often() {
    let f = Fixture::new();
    let cooperator = Cooperator::new(f.reactor());
    let log = f.log.clone();
    let task = cooperator.cooperate((0..2).map(move |n| log.say(n)));
    task.pause();
    task.pause();
    f.clock.advance(SECOND);
    assert!(task.resume());
    f.clock.advance(SECOND);
    f.log.say("on");
    assert!(task.resume() && !task.resume());
    f.clock.advance(SECOND);
    assert_eq!(f.log.take(), "on 0 1");
    assert!(task.when_done().is_fired());
}

#[test]
fn a_task_that_is_stopped_drops_its_iterator_and_cancels_what_it_waits_for() {
    let f = Fixture::new();
    let cooperator = Cooperator::new(f.reactor());
    let log = f.log.clone();
    let held = Rc::new(());
    let (in_steps, keep) = (held.clone(), RefCell::new(Vec::new()));
    let task = cooperator.cooperate((0..9).map(move |_| {
        let _held = &in_steps;
        let (resolver, work) = log.source("stop");
        keep.borrow_mut().push(resolver);
        work.add_callback::<(), _>(|_| ())
    }));
    let done = task.when_done();
    f.clock.advance(SECOND);
    assert!(task.stop() && !task.stop());
    assert_eq!(f.log.take(), "stop");
    assert_eq!(Rc::strong_count(&held), 1);
    for done in [done, task.when_done()] {
        drop(done.add_errback(|failure| assert!(failure.check::<TaskStopped>().is_some())));
    }
    assert_eq!(f.clock.pending(), 0);
}

#[test]
fn a_failure_or_a_panic_ends_its_task_alone() {
    let f = Fixture::new();
    let cooperator = Cooperator::new(f.reactor());
    f.log.end(cooperator.coiterate([Ok(()), Err(fail("x"))]));
    let panicking = (0..1).map(|_| -> () { resume_unwind(Box::new("slipped")) });
    let panicking = cooperator.coiterate(panicking);
    let log = f.log.clone();
    drop(panicking.add_errback(move |failure| {
        assert!(failure.check::<Panicked>().is_some());
        log.say(words(&failure));
    }));
    let log = f.log.clone();
    f.log
        .end(cooperator.coiterate((0..2).map(move |n| log.say(n))));
    f.clock.advance(SECOND);
    assert_eq!(
        f.log.take(),
        "a step of a cooperative task panicked: slipped 0 !x 1 =()"
    );
}

#[test]
fn a_task_may_stop_itself_and_start_others() {
    let f = Fixture::new();
    let cooperator = Cooperator::new(f.reactor());
    let own = Rc::new(RefCell::new(None::<ropewalk_core::CooperativeTask>));
    let (this, log, others) = (own.clone(), f.log.clone(), cooperator.clone());
    let task = cooperator.cooperate((0..9).map(move |n| {
        log.say(n);
        let log = log.clone();
        drop(others.coiterate((0..1).map(move |_| log.say("other"))));
        this.borrow().as_ref().unwrap().stop();
    }));
    own.replace(Some(task));
    f.clock.advance(SECOND);
    assert_eq!(f.log.take(), "0 other");
    own.take();
}

#[test]
fn a_panic_of_one_who_waits_for_a_task_keeps_neither_others_who_wait_nor_other_tasks() {
    let f = Fixture::new();
    let cooperator = Cooperator::new(f.reactor());
    let task = cooperator.cooperate([()]);
    let panics = |()| -> () { resume_unwind(Box::new("slipped")) };
    drop(
        task.when_done()
            .add_callback::<(), _>(panics)
            .add_errback(|_| ()),
    );
    f.log.end(task.when_done());
    let log = f.log.clone();
    f.log
        .end(cooperator.coiterate((0..2).map(move |n| log.say(n))));
    let advance = AssertUnwindSafe(|| f.clock.advance(SECOND));
    assert!(catch_unwind(advance).is_err());
    f.clock.advance(SECOND);
    assert_eq!(f.log.take(), "0 =() 1 =()");
}
