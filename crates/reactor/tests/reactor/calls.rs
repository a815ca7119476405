//! Timers, calls from other threads, and tasks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ropewalk_reactor::{Handle, Reactor};

use crate::support::{Counting, Log};

const MS: Duration = Duration::from_millis(1);

fn note(log: &Log, what: impl Into<String>) -> impl FnOnce() + 'static {
    let (log, what) = (Rc::clone(log), what.into());
    move || log.borrow_mut().push(what)
}

#[test]
fn timers_fire_in_the_order_of_their_times_and_never_early() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let (handle, kept) = (reactor.handle(), Rc::clone(&log));
    // Within a turn all of them count from the same time.
    reactor.call_when_running(move || {
        let stopping = handle.clone();
        handle.call_later(20 * MS, move || stopping.stop());
        handle.call_later(7 * MS, note(&kept, "c"));
        handle.call_later(2 * MS, note(&kept, "a"));
        handle.call_later(7 * MS, note(&kept, "d"));
        handle.call_later(3 * MS, note(&kept, "b"));
        let cancelled = handle.call_later(4 * MS, note(&kept, "cancelled"));
        let reset = handle.call_later(MS, note(&kept, "reset"));
        assert!(cancelled.cancel());
        assert!(reset.reset(12 * MS));
    });
    let began = Instant::now();
    reactor.run().unwrap();
    assert!(began.elapsed() >= 20 * MS);
    assert_eq!(*log.borrow(), ["a", "b", "c", "d", "reset"]);
}

#[test]
fn a_timer_of_a_reactor_that_does_not_run_counts_from_when_it_was_made() {
    let reactor = Reactor::new().unwrap();
    let made = Instant::now();
    while made.elapsed() < 5 * MS {}
    let began = Instant::now();
    let handle = reactor.handle();
    reactor.call_later(5 * MS, move || handle.stop());
    reactor.run().unwrap();
    assert!(began.elapsed() >= 5 * MS);
}

#[test]
fn a_million_timers_are_fine() {
    let reactor = Reactor::new().unwrap();
    let fired = Rc::new(Cell::new(0));
    let calls: Vec<_> = (0..1_000_000_u32)
        .map(|n| {
            let fired = Rc::clone(&fired);
            let after = Duration::from_secs(3600) + Duration::from_micros(u64::from(n % 1000));
            reactor.call_later(after, move || fired.set(fired.get() + 1))
        })
        .collect();
    for call in calls.iter().step_by(2) {
        assert!(call.cancel());
    }
    for call in calls.iter().skip(1).step_by(2) {
        assert!(call.reset(MS));
    }
    let handle = reactor.handle();
    let counted = Rc::clone(&fired);
    crate::support::when(
        &reactor,
        move || counted.get() == 500_000,
        move || handle.stop(),
    );
    reactor.run().unwrap();
    assert_eq!(fired.get(), 500_000);
}

#[test]
fn what_is_called_when_running_is_called_in_order_before_anything_else() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    reactor.call_later(Duration::ZERO, note(&log, "timer"));
    for name in ["first", "second"] {
        reactor.call_when_running(note(&log, name));
    }
    let (handle, kept) = (reactor.handle(), Rc::clone(&log));
    reactor.call_when_running(move || {
        note(&kept, "third")();
        let inner = handle.clone();
        handle.call_when_running(move || {
            note(&kept, "asked for while running")();
            inner.stop();
        });
    });
    assert!(log.borrow().is_empty());
    reactor.run().unwrap();
    assert_eq!(log.borrow()[..3], ["first", "second", "third"]);
    assert!(log.borrow().contains(&"asked for while running".to_owned()));
}

#[test]
fn a_call_that_always_asks_for_another_leaves_turns_for_the_rest() {
    fn again(handle: &Handle) {
        let next = handle.clone();
        handle.call_when_running(move || again(&next));
    }
    let reactor = Reactor::new().unwrap();
    again(&reactor);
    let handle = reactor.handle();
    reactor.call_later(2 * MS, move || handle.stop());
    reactor.run().unwrap();
}

#[test]
fn calls_from_many_threads_all_run_each_threads_in_its_order() {
    const THREADS: usize = 8;
    const CALLS: usize = 2_000;
    let reactor = Reactor::new().unwrap();
    let (ran, order) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (remote, ran) = (reactor.remote(), ran.clone());
            std::thread::spawn(move || {
                for call in 0..CALLS {
                    let ran = ran.clone();
                    assert!(remote.call_from_thread(move |_| ran.send((thread, call)).unwrap()));
                }
            })
        })
        .collect();
    let remote = reactor.remote();
    let stopping = std::thread::spawn(move || {
        for thread in threads {
            thread.join().unwrap();
        }
        remote.call_from_thread(|reactor| reactor.stop());
    });
    reactor.run().unwrap();
    stopping.join().unwrap();
    drop(ran);
    let mut next = [0; THREADS];
    for (thread, call) in order {
        assert_eq!(call, next[thread]);
        next[thread] += 1;
    }
    assert_eq!(next, [CALLS; THREADS]);
}

#[test]
fn a_call_wakes_a_reactor_that_waits_and_many_calls_wake_it_once() {
    let driver = Counting::new();
    let reactor = Reactor::with_driver(Rc::clone(&driver) as _);
    let remote = reactor.remote();
    let (inside, is_inside) = mpsc::channel();
    let (handed_over, is_handed_over) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // The first finds the loop waiting, or about to. While it runs, the loop is awake.
        remote.call_from_thread(move |_| {
            inside.send(()).unwrap();
            is_handed_over.recv().unwrap();
        });
        is_inside.recv().unwrap();
        for _ in 0..1000 {
            remote.call_from_thread(|_| ());
        }
        remote.call_from_thread(|reactor| reactor.stop());
        handed_over.send(()).unwrap();
    });
    reactor.run().unwrap();
    thread.join().unwrap();
    assert!(driver.wakes() <= 2, "{} wakes", driver.wakes());
    assert!(driver.polls.get() < 20, "{} polls", driver.polls.get());
}

#[test]
fn a_reactor_with_nothing_to_do_does_not_turn() {
    let driver = Counting::new();
    let reactor = Reactor::with_driver(Rc::clone(&driver) as _);
    let handle = reactor.handle();
    reactor.call_later(50 * MS, move || handle.stop());
    reactor.run().unwrap();
    assert!(driver.polls.get() < 12, "{} polls", driver.polls.get());
}

#[test]
fn a_call_that_comes_before_the_run_waits_for_it() {
    let reactor = Reactor::new().unwrap();
    reactor.remote().call_from_thread(|reactor| reactor.stop());
    reactor.run().unwrap();
}

#[test]
fn a_task_is_woken_from_another_thread() {
    let reactor = Reactor::new().unwrap();
    let shared = Arc::new(Mutex::new((None::<Waker>, 0)));
    let (polled, is_polled) = mpsc::channel();
    let (in_task, handle) = (Arc::clone(&shared), reactor.handle());
    reactor.spawn(async move {
        std::future::poll_fn(|context| {
            let mut shared = in_task.lock().unwrap();
            if shared.1 == 100 {
                return Poll::Ready(());
            }
            shared.0 = Some(context.waker().clone());
            polled.send(()).unwrap();
            Poll::Pending
        })
        .await;
        handle.stop();
    });
    let thread = std::thread::spawn(move || {
        for _ in 0..100 {
            is_polled.recv().unwrap();
            let waker = {
                let mut shared = shared.lock().unwrap();
                shared.1 += 1;
                shared.0.take().unwrap()
            };
            waker.wake();
        }
    });
    reactor.run().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_turn_is_timers_then_calls_from_threads_then_tasks() {
    let reactor = Reactor::new().unwrap();
    let log = Log::default();
    let (kept, handle) = (Rc::clone(&log), reactor.handle());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (from_thread, from_rest) = (Arc::clone(&seen), Arc::clone(&seen));
    reactor.call_when_running(move || {
        let remote = handle.remote();
        let in_task = Arc::clone(&from_rest);
        handle.spawn(async move { in_task.lock().unwrap().push("task") });
        remote.call_from_thread(move |_| from_thread.lock().unwrap().push("call"));
        let stop = handle.clone();
        handle.call_later(Duration::ZERO, move || {
            from_rest.lock().unwrap().push("timer");
            note(&kept, "timer")();
            stop.stop();
        });
    });
    reactor.run().unwrap();
    assert_eq!(*seen.lock().unwrap(), ["timer", "call", "task"]);
    assert_eq!(*log.borrow(), ["timer"]);
}

#[test]
fn time_stands_still_within_a_turn() {
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let times = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&times);
    reactor.call_when_running(move || {
        let before = handle.now();
        let began = Instant::now();
        while began.elapsed() < MS {}
        kept.borrow_mut().push((before, handle.now()));
        handle.stop();
    });
    reactor.run().unwrap();
    let times = times.take();
    assert_eq!(times.len(), 1);
    assert_eq!(times[0].0, times[0].1);
}
