//! Jobs on threads, their results, and threads that wait for the loop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use ropewalk_core::{
    Address, Cancelled, Deferred, Failure, Panicked, Protocol, ThreadJobError, Transport,
    defer_to_thread,
};
use ropewalk_reactor::{BlockingCallError, Phase, Reactor, RunError, ThreadPool};

use crate::support::{run_with, serve};

const LONG: Duration = Duration::from_secs(60);

/// A job that says when it has begun, and ends when its gate is opened or dropped.
fn gated(pool: &ThreadPool) -> (Sender<()>, Receiver<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let (tell, begun) = mpsc::channel();
    pool.call_in_thread(move || {
        tell.send(()).unwrap();
        let _ = gate.recv();
    })
    .unwrap();
    (open, begun)
}

/// What comes of `deferred`, which stops the reactor.
fn run_for<T: 'static>(reactor: &Reactor, deferred: Deferred<T>) -> Result<T, Failure> {
    let result = Rc::new(RefCell::new(None));
    let (filled, stop) = (Rc::clone(&result), reactor.handle());
    drop(deferred.add_both(move |outcome| {
        *filled.borrow_mut() = Some(outcome);
        stop.stop();
    }));
    reactor.run().unwrap();
    result.take().unwrap()
}

#[test]
fn a_pool_runs_as_many_jobs_at_once_as_it_has_threads_and_no_more() {
    let pool = ThreadPool::new("three", 0..=3);
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let meeting = Arc::new(Barrier::new(3));
    for _ in 0..30 {
        let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
        let meeting = Arc::clone(&meeting);
        pool.call_in_thread(move || {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            meeting.wait();
            at_once.fetch_sub(1, Ordering::SeqCst);
        })
        .unwrap();
    }
    pool.stop();
    pool.join(LONG).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(pool.threads(), 0);
}

#[test]
fn threads_are_named_after_their_pool() {
    let pool = ThreadPool::new("images", 0..=1);
    let (tell, told) = mpsc::channel();
    pool.call_in_thread(move || {
        tell.send(thread::current().name().map(str::to_owned))
            .unwrap();
    })
    .unwrap();
    assert_eq!(told.recv().unwrap().as_deref(), Some("images-0"));
}

#[test]
fn a_full_queue_fails_a_job_at_once_and_says_what_to_do() {
    let pool = ThreadPool::new("one", 0..=1);
    pool.set_queue_limit(2);
    let (open, begun) = gated(&pool);
    begun.recv().unwrap();
    for _ in 0..2 {
        pool.call_in_thread(|| ()).unwrap();
    }
    let error = pool.call_in_thread(|| ()).unwrap_err();
    assert!(
        matches!(&error, ThreadJobError::QueueFull { pool, limit: 2, .. } if pool == "one"),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("threads.rs:") && text.contains("2 jobs wait"),
        "{text}"
    );
    assert_eq!((pool.waiting(), pool.working().len()), (2, 1));
    drop(open);
    pool.stop();
    pool.join(LONG).unwrap();
}

#[test]
fn without_a_queue_every_free_thread_still_takes_a_job() {
    let pool = ThreadPool::new("two", 0..=2);
    pool.set_queue_limit(0);
    let (_one, begun_one) = gated(&pool);
    let (two, begun_two) = gated(&pool);
    begun_one.recv().unwrap();
    begun_two.recv().unwrap();
    assert!(matches!(
        pool.call_in_thread(|| ()),
        Err(ThreadJobError::QueueFull { .. })
    ));
    drop(two);
    while !matches!(pool.call_in_thread(|| ()), Ok(())) {
        thread::yield_now();
    }
}

#[test]
fn idle_threads_end_but_for_the_least_number() {
    let pool = ThreadPool::new("idle", 2..=5);
    let jobs: Vec<_> = (0..5).map(|_| gated(&pool)).collect();
    for (_, begun) in &jobs {
        begun.recv().unwrap();
    }
    assert_eq!(pool.threads(), 5);
    drop(jobs);
    pool.set_idle_timeout(Duration::ZERO);
    while pool.threads() > 2 || !pool.working().is_empty() {
        thread::yield_now();
    }
    // The two that are left stay, and work.
    let (open, begun) = gated(&pool);
    begun.recv().unwrap();
    assert_eq!(pool.threads(), 2);
    drop(open);
    pool.adjust_pool_size(0..=1);
    while pool.threads() > 0 {
        thread::yield_now();
    }
}

#[test]
fn a_larger_pool_takes_jobs_that_waited() {
    let pool = ThreadPool::new("grows", 0..=1);
    let (_one, begun_one) = gated(&pool);
    let (_two, begun_two) = gated(&pool);
    begun_one.recv().unwrap();
    assert!(begun_two.try_recv().is_err());
    pool.adjust_pool_size(0..=2);
    begun_two.recv().unwrap();
}

#[test]
fn a_panic_ends_its_job_and_no_thread() {
    let pool = ThreadPool::new("panics", 0..=1);
    let (tell, told) = mpsc::channel();
    let second = tell.clone();
    pool.call_in_thread(|| panic!("no rope left")).unwrap();
    pool.call_in_thread_with_callback(
        || -> u8 { panic!("none at all") },
        move |result| {
            tell.send(result.unwrap_err().to_string()).unwrap();
        },
    )
    .unwrap();
    pool.call_in_thread_with_callback(
        || 7,
        move |result| {
            second.send(result.unwrap().to_string()).unwrap();
        },
    )
    .unwrap();
    assert_eq!(
        told.recv().unwrap(),
        "a job in a thread panicked: none at all"
    );
    assert_eq!(told.recv().unwrap(), "7");
    assert_eq!(pool.threads(), 1);
}

#[test]
fn a_stopped_pool_does_what_waits_and_refuses_what_comes() {
    let pool = ThreadPool::new("stops", 0..=1);
    let (open, begun) = gated(&pool);
    begun.recv().unwrap();
    let (tell, told) = mpsc::channel();
    pool.call_in_thread(move || tell.send(()).unwrap()).unwrap();
    pool.stop();
    let error = pool.call_in_thread(|| ()).unwrap_err();
    assert!(matches!(error, ThreadJobError::Stopped { .. }), "{error:?}");

    let still = pool.join(Duration::ZERO).unwrap_err();
    assert_eq!(still.jobs.len(), 2);
    assert!(still.to_string().contains("threads.rs:"), "{still}");

    drop(open);
    pool.join(LONG).unwrap();
    told.recv().unwrap();
}

#[test]
fn ten_thousand_jobs_from_eight_threads_are_each_run_once() {
    let pool = Arc::new(ThreadPool::new("many", 0..=4));
    pool.set_queue_limit(10_000);
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let givers: Vec<_> = (0..8)
        .map(|giver| {
            let (pool, seen) = (Arc::clone(&pool), Arc::clone(&seen));
            thread::spawn(move || {
                for job in 0..1250 {
                    let seen = Arc::clone(&seen);
                    pool.call_in_thread(move || {
                        assert!(seen.lock().unwrap().insert((giver, job)), "run twice");
                    })
                    .unwrap();
                }
            })
        })
        .collect();
    for giver in givers {
        giver.join().unwrap();
    }
    pool.stop();
    pool.join(LONG).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 10_000);
}

#[test]
fn ten_thousand_results_for_eight_threads_come_back_to_the_loop() {
    let reactor = Reactor::new().unwrap();
    reactor.thread_pool().set_queue_limit(10_000);
    let sum = Rc::new(Cell::new(0_u64));
    thread_local!(static SUM: RefCell<Option<Rc<Cell<u64>>>> = const { RefCell::new(None) });
    SUM.set(Some(Rc::clone(&sum)));
    let remote = reactor.remote();
    run_with(&reactor, move || {
        thread::scope(|scope| {
            for giver in 0..8_u64 {
                let remote = remote.clone();
                scope.spawn(move || {
                    for job in 0..1250 {
                        // Each waits for its result, so that all have come when all have ended.
                        if job % 50 == 0 {
                            let number: Result<u64, Failure> =
                                remote.blocking_call_from_thread(move |reactor| {
                                    reactor.defer_to_thread(move || giver * 1250 + job)
                                        as Deferred<u64>
                                });
                            assert_eq!(number.unwrap(), giver * 1250 + job);
                        }
                        remote.call_from_thread(move |reactor| {
                            let number: Deferred<u64> =
                                reactor.defer_to_thread(move || giver * 1250 + job);
                            drop(number.add_callback(|number: u64| {
                                SUM.with_borrow(|sum| {
                                    let sum = sum.as_ref().unwrap();
                                    sum.set(sum.get() + number);
                                });
                            }));
                        });
                    }
                });
            }
        });
    });
    // The shutdown has waited for the jobs, and their results came before its end.
    assert_eq!(sum.get(), (0..10_000).sum::<u64>());
    assert!(reactor.thread_pool().threads() <= 10);
}

#[test]
fn a_result_comes_back_on_the_loops_thread() {
    let reactor = Reactor::new().unwrap();
    let loops = thread::current().id();
    let deferred: Deferred<_> = reactor.defer_to_thread(|| thread::current().id());
    let deferred = deferred.add_callback(move |worker| {
        assert_eq!(thread::current().id(), loops);
        worker
    });
    let worker: thread::ThreadId = run_for(&reactor, deferred).unwrap();
    assert_ne!(worker, loops);
}

#[test]
fn an_error_of_a_job_is_the_failure() {
    let reactor = Reactor::new().unwrap();
    let read: Deferred<u16> = reactor.defer_to_thread(|| "many".parse::<u16>());
    let failure = run_for(&reactor, read).unwrap_err();
    assert!(
        failure.check::<std::num::ParseIntError>().is_some(),
        "{failure}"
    );
}

#[test]
fn a_panic_of_a_job_is_a_failure_with_its_words() {
    let reactor = Reactor::new().unwrap();
    let deferred: Deferred<()> = reactor.defer_to_thread(|| -> () { panic!("no rope left") });
    let failure = run_for(&reactor, deferred).unwrap_err();
    let panicked = failure.check::<Panicked>().unwrap();
    assert_eq!(panicked.message, "no rope left");
}

#[test]
fn another_pool_may_run_a_job_of_the_loop() {
    let reactor = Reactor::new().unwrap();
    let pool = ThreadPool::new("disk", 0..=1);
    let name = || thread::current().name().unwrap().to_owned();
    let deferred: Deferred<String> = reactor.defer_to_thread_pool(&pool, name);
    assert_eq!(run_for(&reactor, deferred).unwrap(), "disk-0");
    assert_eq!(reactor.thread_pool().threads(), 0);
}

#[test]
fn cancelling_takes_a_job_back_that_has_not_begun() {
    let reactor = Reactor::new().unwrap();
    reactor.thread_pool().adjust_pool_size(0..=1);
    let (open, begun) = gated(reactor.thread_pool());
    begun.recv().unwrap();
    let held = Arc::new(());
    let in_job = Arc::clone(&held);
    let deferred: Deferred<()> = reactor.defer_to_thread(move || {
        assert_eq!(Arc::strong_count(&in_job), 0, "it was run");
    });
    assert_eq!(reactor.thread_pool().waiting(), 1);
    deferred.cancel();
    assert_eq!(reactor.thread_pool().waiting(), 0);
    assert_eq!(Arc::strong_count(&held), 1, "it was dropped");
    drop(open);
    let failure = run_for(&reactor, deferred).unwrap_err();
    assert!(failure.check::<Cancelled>().is_some(), "{failure}");
}

#[test]
fn cancelling_a_job_that_has_begun_lets_it_go_on_unheard() {
    let reactor = Reactor::new().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let done = tell.clone();
    let deferred: Deferred<()> = reactor.defer_to_thread(move || {
        tell.send("begun").unwrap();
        let _ = gate.recv();
        done.send("done").unwrap();
    });
    assert_eq!(told.recv().unwrap(), "begun");
    deferred.cancel();
    assert!(deferred.is_fired());
    drop(open);
    assert_eq!(told.recv().unwrap(), "done");
    let failure = run_for(&reactor, deferred).unwrap_err();
    assert!(failure.check::<Cancelled>().is_some(), "{failure}");
}

/// Answers with what a thread makes of a message.
struct Slow;

impl Protocol for Slow {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        let (connection, text) = (transport.connection(), data.to_ascii_uppercase());
        let shouted: Deferred<Vec<u8>> = defer_to_thread(&*transport.reactor(), move || text);
        drop(shouted.add_callback(move |text: Vec<u8>| {
            connection.write(&text);
            connection.lose_connection();
        }));
    }
}

#[test]
fn a_protocol_reaches_the_threads_through_its_transport() {
    use std::io::{Read, Write};
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, Rc::new(|_: &Address| Slow));
    let answer = run_with(&reactor, move || {
        let mut peer = std::net::TcpStream::connect(address).unwrap();
        peer.write_all(b"hello").unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer, "HELLO");
}

#[test]
fn the_shutdown_waits_for_jobs_and_their_results_come_before_its_last_phase() {
    let reactor = Reactor::new().unwrap();
    let log = Rc::new(RefCell::new(Vec::new()));
    let (open, gate) = mpsc::channel::<()>();
    let (tell, begun) = mpsc::channel();
    let deferred: Deferred<()> = reactor.defer_to_thread(move || {
        tell.send(()).unwrap();
        let _ = gate.recv();
    });
    let result = Rc::clone(&log);
    drop(deferred.add_callback(move |()| result.borrow_mut().push("result")));
    // When the shutdown has come to wait for the pool, the pool takes no more.
    let (handle, refused) = (reactor.handle(), Rc::clone(&log));
    reactor.add_system_event_trigger(Phase::During, move || {
        let later = handle.clone();
        handle.call_later(Duration::ZERO, move || refuse(&later, refused, open));
    });
    let after = Rc::clone(&log);
    reactor.add_system_event_trigger(Phase::After, move || after.borrow_mut().push("after"));
    begun.recv().unwrap();
    reactor.stop();
    reactor.run().unwrap();
    assert_eq!(*log.borrow(), ["refused", "result", "after"]);

    /// Waits in turns of the loop until the pool is stopped.
    fn refuse(
        reactor: &ropewalk_reactor::Handle,
        log: Rc<RefCell<Vec<&'static str>>>,
        open: Sender<()>,
    ) {
        match reactor.call_in_thread(|| ()) {
            Err(ThreadJobError::Stopped { .. }) => {
                log.borrow_mut().push("refused");
                drop(open);
            }
            _ => {
                let again = reactor.clone();
                reactor.call_later(Duration::ZERO, move || refuse(&again, log, open));
            }
        }
    }
}

#[test]
fn a_shutdown_with_a_stuck_job_ends_at_its_deadline_and_names_the_job() {
    let reactor = Reactor::new().unwrap();
    reactor.set_shutdown_deadline(Duration::from_millis(20));
    reactor.thread_pool().adjust_pool_size(0..=1);
    let (_open, begun) = gated(reactor.thread_pool());
    let lost = Rc::new(RefCell::new(None));
    let told = Rc::clone(&lost);
    let line = line!() + 1;
    let queued: Deferred<()> = reactor.defer_to_thread(|| ());
    drop(queued.add_errback(move |failure| *told.borrow_mut() = Some(failure)));
    begun.recv().unwrap();
    reactor.stop();
    let error = reactor.run().unwrap_err();
    let RunError::ShutdownTimedOut { jobs, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(jobs.len(), 2, "{error}");
    assert!(jobs[1].contains(&format!("threads.rs:{line}:")), "{error}");
    assert!(error.to_string().contains("threads.rs:"), "{error}");
    let failure: Failure = lost.take().unwrap();
    let error = failure.check::<ThreadJobError>();
    assert!(
        matches!(error, Some(ThreadJobError::ReactorStopped { .. })),
        "{failure}"
    );
}

#[test]
fn jobs_after_the_run_fail_and_the_next_run_takes_them_again() {
    let reactor = Reactor::new().unwrap();
    reactor.stop();
    reactor.run().unwrap();
    let error = reactor.call_in_thread(|| ()).unwrap_err();
    assert!(matches!(error, ThreadJobError::Stopped { .. }), "{error}");
    let (handle, result) = (reactor.handle(), Rc::new(Cell::new(0)));
    let filled = Rc::clone(&result);
    reactor.call_when_running(move || {
        let answer: Deferred<i32> = handle.defer_to_thread(|| 42);
        drop(answer.add_callback(move |answer: i32| {
            filled.set(answer);
            handle.stop();
        }));
    });
    reactor.run().unwrap();
    assert_eq!(result.get(), 42);

    let handle = reactor.handle();
    drop(reactor);
    let late: Deferred<()> = handle.defer_to_thread(|| ());
    let failed = Rc::new(Cell::new(false));
    let flag = Rc::clone(&failed);
    drop(late.add_errback(move |_| flag.set(true)));
    assert!(failed.get());
}

#[test]
fn a_blocking_call_brings_a_value_and_the_result_of_a_deferred() {
    let reactor = Reactor::new().unwrap();
    let remote = reactor.remote();
    let (value, later) = run_with(&reactor, move || {
        let value: Result<u8, Failure> = remote.blocking_call_from_thread(|_| 7);
        let later: Result<u8, Failure> = remote.blocking_call_from_thread(|reactor| {
            let (resolver, deferred) = Deferred::pair();
            reactor.call_later(Duration::from_millis(1), move || resolver.callback(8));
            deferred
        });
        (value.unwrap(), later.unwrap())
    });
    assert_eq!((value, later), (7, 8));
}

#[test]
fn a_blocking_call_that_fails_or_panics_is_an_error() {
    let reactor = Reactor::new().unwrap();
    let remote = reactor.remote();
    run_with(&reactor, move || {
        let failed: Result<u8, Failure> = remote.blocking_call_from_thread(|_| "x".parse::<u8>());
        assert!(
            failed
                .unwrap_err()
                .check::<std::num::ParseIntError>()
                .is_some()
        );
        let panicked: Result<u8, Failure> =
            remote.blocking_call_from_thread(|_| -> u8 { panic!("no rope left") });
        assert!(panicked.unwrap_err().check::<Panicked>().is_some());
    });
}

#[test]
fn a_blocking_call_on_the_loops_own_thread_is_an_error_and_no_deadlock() {
    let reactor = Reactor::new().unwrap();
    let (remote, stop) = (reactor.remote(), reactor.handle());
    let failure = Rc::new(RefCell::new(None));
    let told = Rc::clone(&failure);
    reactor.call_when_running(move || {
        let result: Result<(), Failure> = remote.blocking_call_from_thread(|_| ());
        *told.borrow_mut() = result.err();
        stop.stop();
    });
    reactor.run().unwrap();
    let failure: Failure = failure.take().unwrap();
    assert_eq!(failure.check(), Some(&BlockingCallError::OnTheLoop));
}

#[test]
fn a_blocking_call_ends_with_the_run_of_the_loop() {
    let reactor = Reactor::new().unwrap();
    let remote = reactor.remote();
    let (tell, told) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let never: Result<(), Failure> = remote.blocking_call_from_thread(move |reactor| {
            reactor.stop();
            let (resolver, deferred) = Deferred::pair();
            tell.send(()).unwrap();
            std::mem::forget(resolver);
            deferred
        });
        let late: Result<(), Failure> = remote.blocking_call_from_thread(|_| ());
        (never.unwrap_err(), late.unwrap_err())
    });
    reactor.run().unwrap();
    told.recv().unwrap();
    let (never, late) = waiting.join().unwrap();
    assert_eq!(never.check(), Some(&BlockingCallError::ReactorStopped));
    assert_eq!(late.check(), Some(&BlockingCallError::ReactorStopped));
}

#[test]
fn a_job_may_call_back_into_the_loop_while_the_shutdown_waits_for_it() {
    let reactor = Reactor::new().unwrap();
    let remote = reactor.remote();
    let deferred: Deferred<u8> = reactor.defer_to_thread(move || {
        let stopped: Result<(), Failure> =
            remote.blocking_call_from_thread(|reactor| reactor.stop());
        stopped.and_then(|()| remote.blocking_call_from_thread(|_| 9))
    });
    assert_eq!(run_for(&reactor, deferred).unwrap(), 9);
}
