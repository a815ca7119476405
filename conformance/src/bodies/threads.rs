//! Other threads reach the loop: in their order, whether it waits or works, before and after it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use ropewalk_core::{Deferred, Failure, Panicked};
use ropewalk_reactor::ReactorRemote;

use crate::body::topic;
use crate::case::{Case, MOMENT, ms};
use crate::names::name_of;
use crate::script::{Script, boom};

topic! { threads:
    a_call_from_a_thread_runs_on_the_loop [Threads],
    a_call_wakes_a_loop_that_waits [Threads],
    calls_of_one_thread_come_in_their_order [Threads],
    calls_of_eight_threads_all_come_each_threads_in_its_order [Threads],
    a_call_before_the_run_waits_for_it [Threads],
    a_call_after_the_run_waits_for_the_next_one [Threads],
    a_call_to_a_dropped_reactor_is_refused [Threads],
    a_call_that_waits_when_the_reactor_is_dropped_is_dropped [Threads],
    a_call_that_panics_leaves_the_others [Threads],
    a_call_may_stop_the_reactor [Threads],
    a_call_from_a_call_comes_in_the_next_turn,
    a_call_from_the_loops_own_thread_works,
    calls_leave_turns_for_connections,
    a_thread_wakes_a_task [Threads],
    a_thread_writes_by_the_loop [Threads],
    a_timer_and_a_call_from_a_thread_both_come [Threads],
    a_result_of_a_thread_comes_back_to_the_loop [Jobs],
    an_error_of_a_thread_is_a_failure [Jobs],
    a_panic_in_a_thread_is_a_failure [Jobs],
    a_hundred_jobs_all_come_back [Jobs],
    a_job_runs_on_another_thread [Jobs],
    a_cancelled_job_is_not_heard_of [Jobs],
    the_shutdown_waits_for_a_job [Jobs, Threads],
    connections_go_on_while_a_job_runs [Jobs, Threads],
    the_loop_hears_a_thousand_wakes_as_it_should [Threads],
}

/// Runs `call` on a thread of its own, which is joined by the one who asked.
fn on_thread<T: Send + 'static>(
    case: &Case<'_>,
    call: impl FnOnce(ReactorRemote) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let remote = case.reactor().remote();
    thread::spawn(move || call(remote))
}

fn a_call_from_a_thread_runs_on_the_loop(case: &Case<'_>) {
    let ran_on = Arc::new(std::sync::Mutex::new(None));
    let noted = Arc::clone(&ran_on);
    let thread = on_thread(case, move |remote| {
        remote.call_from_thread(move |_| {
            *noted.lock().expect("nobody panics") = Some(thread::current().id());
        })
    });
    let seen = Arc::clone(&ran_on);
    case.until("it was called", move || {
        seen.lock().expect("nobody panics").is_some()
    });
    assert!(thread.join().expect("no panic"));
    assert_eq!(
        *ran_on.lock().expect("nobody panics"),
        Some(thread::current().id())
    );
}

fn a_call_wakes_a_loop_that_waits(case: &Case<'_>) {
    let (waits, gate) = mpsc::channel::<()>();
    let came = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&came);
    let thread = on_thread(case, move |remote| {
        gate.recv().expect("the loop says that it runs");
        remote.call_from_thread(move |_| tells.store(true, Ordering::SeqCst));
    });
    case.reactor().call_later(ms(1), move || {
        waits.send(()).expect("the thread listens");
    });
    case.until("it was called", move || came.load(Ordering::SeqCst));
    thread.join().expect("no panic");
}

fn calls_of_one_thread_come_in_their_order(case: &Case<'_>) {
    let got = Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = Arc::clone(&got);
    let thread = on_thread(case, move |remote| {
        for number in 0..1000 {
            let into = Arc::clone(&into);
            remote.call_from_thread(move |_| {
                into.lock().expect("nobody panics").push(number);
            });
        }
    });
    let seen = Arc::clone(&got);
    case.until("all have come", move || {
        seen.lock().expect("nobody panics").len() == 1000
    });
    thread.join().expect("no panic");
    assert!(*got.lock().expect("nobody panics") == (0..1000).collect::<Vec<_>>());
}

fn calls_of_eight_threads_all_come_each_threads_in_its_order(case: &Case<'_>) {
    let got = Arc::new(std::sync::Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let into = Arc::clone(&got);
            on_thread(case, move |remote| {
                for number in 0..500 {
                    let into = Arc::clone(&into);
                    remote.call_from_thread(move |_| {
                        into.lock().expect("nobody panics").push((thread, number));
                    });
                }
            })
        })
        .collect();
    let seen = Arc::clone(&got);
    case.until("all have come", move || {
        seen.lock().expect("nobody panics").len() == 4000
    });
    for thread in threads {
        thread.join().expect("no panic");
    }
    let mut got = got.lock().expect("nobody panics").clone();
    got.sort_by_key(|(thread, _)| *thread);
    let expected: Vec<_> = (0..8)
        .flat_map(|thread| (0..500).map(move |number| (thread, number)))
        .collect();
    assert!(got == expected);
}

fn a_call_before_the_run_waits_for_it(case: &Case<'_>) {
    let came = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&came);
    let thread = on_thread(case, move |remote| {
        remote.call_from_thread(move |_| tells.store(true, Ordering::SeqCst))
    });
    assert!(thread.join().expect("no panic"));
    assert!(!came.load(Ordering::SeqCst));
    case.until("it was called", move || came.load(Ordering::SeqCst));
}

fn a_call_after_the_run_waits_for_the_next_one(case: &Case<'_>) {
    case.reactor().stop();
    case.run().expect("a run");
    let came = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&came);
    let thread = on_thread(case, move |remote| {
        remote.call_from_thread(move |_| tells.store(true, Ordering::SeqCst))
    });
    assert!(thread.join().expect("no panic"));
    case.until("it was called", move || came.load(Ordering::SeqCst));
}

fn a_call_to_a_dropped_reactor_is_refused(case: &Case<'_>) {
    let remote = case.reactor().remote();
    case.drop_reactor();
    let thread = thread::spawn(move || remote.call_from_thread(|_| ()));
    assert!(!thread.join().expect("no panic"));
}

fn a_call_that_waits_when_the_reactor_is_dropped_is_dropped(case: &Case<'_>) {
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let called = on_thread(case, move |remote| {
        remote.call_from_thread(move |_| drop(holds))
    });
    assert!(called.join().expect("no panic"));
    assert_eq!(Arc::strong_count(&held), 2);
    case.drop_reactor();
    assert_eq!(Arc::strong_count(&held), 1);
}

fn a_call_that_panics_leaves_the_others(case: &Case<'_>) {
    let came = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&came);
    let thread = on_thread(case, move |remote| {
        remote.call_from_thread(|_| boom());
        remote.call_from_thread(move |_| tells.store(true, Ordering::SeqCst));
    });
    case.until("the next one was called", move || {
        came.load(Ordering::SeqCst)
    });
    thread.join().expect("no panic");
}

fn a_call_may_stop_the_reactor(case: &Case<'_>) {
    let thread = on_thread(case, |remote| {
        remote.call_from_thread(|reactor| reactor.stop())
    });
    case.run().expect("a clean end");
    assert!(thread.join().expect("no panic"));
}

fn a_call_from_a_call_comes_in_the_next_turn(case: &Case<'_>) {
    let (outer, inner) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let remote = case.reactor().remote();
    let (one, other) = (Arc::clone(&outer), Arc::clone(&inner));
    case.reactor().remote().call_from_thread(move |_| {
        let told = Arc::clone(&one);
        remote.call_from_thread(move |_| {
            other.store(told.load(Ordering::SeqCst), Ordering::SeqCst);
        });
        one.store(1, Ordering::SeqCst);
    });
    let seen = Arc::clone(&inner);
    case.until("both were called", move || seen.load(Ordering::SeqCst) == 1);
}

fn a_call_from_the_loops_own_thread_works(case: &Case<'_>) {
    let came = Arc::new(AtomicBool::new(false));
    let (tells, remote) = (Arc::clone(&came), case.reactor().remote());
    case.reactor().call_later(ms(1), move || {
        remote.call_from_thread(move |_| tells.store(true, Ordering::SeqCst));
    });
    case.until("it was called", move || came.load(Ordering::SeqCst));
}

fn calls_leave_turns_for_connections(case: &Case<'_>) {
    fn endless(remote: &ReactorRemote) {
        let again = remote.clone();
        remote.call_from_thread(move |_| endless(&again));
    }
    let client = case.log();
    endless(&case.reactor().remote());
    case.join(Script::echo(), Script::noting(&client).saying("x"));
    case.until_noted(&client, "data x");
}

fn a_thread_wakes_a_task(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let ready = Arc::new(AtomicBool::new(false));
    let (sender, waker) = mpsc::channel::<std::task::Waker>();
    let is_ready = Arc::clone(&ready);
    case.reactor().spawn(async move {
        std::future::poll_fn(|context| {
            if is_ready.load(Ordering::SeqCst) {
                return std::task::Poll::Ready(());
            }
            sender
                .send(context.waker().clone())
                .expect("the thread listens");
            std::task::Poll::Pending
        })
        .await;
        noted.note("woken");
    });
    let thread = thread::spawn(move || {
        let waker = waker.recv().expect("the task was polled");
        ready.store(true, Ordering::SeqCst);
        waker.wake();
    });
    case.until_noted(&log, "woken");
    thread.join().expect("no panic");
}

fn a_thread_writes_by_the_loop(case: &Case<'_>) {
    let server = case.log();
    let (go, gate) = mpsc::channel::<()>();
    thread_local! {
        static CLIENT: RefCell<Option<ropewalk_core::Connection>> = const { RefCell::new(None) };
    }
    let thread = on_thread(case, move |remote| {
        gate.recv().expect("the client is up");
        remote.call_from_thread(|_| {
            let client = CLIENT.take().expect("the client is up");
            client.write(b"from a thread");
        });
    });
    case.join(
        Script::noting(&server),
        Script::silent().made(move |transport| {
            CLIENT.set(Some(transport.connection()));
            go.send(()).expect("the thread listens");
        }),
    );
    case.until_noted(&server, "data from a thread");
    thread.join().expect("no panic");
}

fn a_timer_and_a_call_from_a_thread_both_come(case: &Case<'_>) {
    let came = Arc::new(AtomicUsize::new(0));
    let (one, other) = (Arc::clone(&came), Arc::clone(&came));
    let thread = on_thread(case, move |remote| {
        remote.call_from_thread(move |reactor| {
            reactor.call_later(ms(1), move || {
                one.fetch_add(1, Ordering::SeqCst);
            });
        })
    });
    case.reactor().call_later(ms(1), move || {
        other.fetch_add(1, Ordering::SeqCst);
    });
    case.until("both have come", move || came.load(Ordering::SeqCst) == 2);
    assert!(thread.join().expect("no panic"));
}

/// What a job brought, as a word.
fn brought(case: &Case<'_>, job: Deferred<u32>) -> String {
    let log = case.log();
    let noted = log.clone();
    let told = job.add_both(move |result: Result<u32, Failure>| {
        noted.note(match result {
            Ok(value) => value.to_string(),
            Err(failure) => match failure.check::<Panicked>() {
                Some(panicked) => format!("panicked: {}", panicked.message),
                None => name_of(&failure),
            },
        });
    });
    drop::<Deferred<()>>(told);
    let seen = log.clone();
    case.until("the job has ended", move || seen.len() == 1);
    log.events().remove(0)
}

fn a_result_of_a_thread_comes_back_to_the_loop(case: &Case<'_>) {
    let job = case.reactor().defer_to_thread(|| 6 * 7);
    assert_eq!(brought(case, job), "42");
}

fn an_error_of_a_thread_is_a_failure(case: &Case<'_>) {
    let job = case
        .reactor()
        .defer_to_thread(|| Err::<u32, _>(std::io::Error::other("no disk")));
    assert_eq!(brought(case, job), "no disk");
}

fn a_panic_in_a_thread_is_a_failure(case: &Case<'_>) {
    let job: Deferred<u32> = case.reactor().defer_to_thread(|| -> u32 { boom() });
    assert_eq!(brought(case, job), "panicked: boom");
}

fn a_hundred_jobs_all_come_back(case: &Case<'_>) {
    let sum = Rc::new(Cell::new(0));
    for number in 0..100_u64 {
        let sum = Rc::clone(&sum);
        let job: Deferred<u64> = case.reactor().defer_to_thread(move || number);
        let told: Deferred<()> =
            job.add_callback(move |value: u64| sum.set(sum.get() + value + 1_000_000));
        drop(told);
    }
    let seen = Rc::clone(&sum);
    case.until("all have come back", move || seen.get() >= 100_000_000);
    assert_eq!(sum.get(), 100_004_950);
}

fn a_job_runs_on_another_thread(case: &Case<'_>) {
    let here = thread::current().id();
    let job = case
        .reactor()
        .defer_to_thread(move || u32::from(thread::current().id() == here));
    assert_eq!(brought(case, job), "0");
}

fn a_cancelled_job_is_not_heard_of(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let (go, gate) = mpsc::channel::<()>();
    let job: Deferred<()> = case.reactor().defer_to_thread(move || {
        // Whoever waits may be gone.
        let _ = gate.recv();
    });
    let told: Deferred<()> = job.add_both(move |result: Result<(), Failure>| {
        noted.note(result.map_or_else(|failure| name_of(&failure), |()| "done".to_owned()));
    });
    told.cancel();
    drop(go);
    case.reactor().call_later(MOMENT, log.noting("later"));
    case.until_noted(&log, "later");
    log.assert(&["cancelled", "later"]);
}

fn the_shutdown_waits_for_a_job(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let (go, gate) = mpsc::channel::<()>();
    let job: Deferred<()> = case.reactor().defer_to_thread(move || {
        gate.recv().expect("the loop says so");
    });
    let told: Deferred<()> = job.add_callback(move |()| noted.note("the job is done"));
    drop(told);
    let reactor = case.reactor();
    case.reactor().call_later(ms(1), move || {
        reactor.stop();
        reactor.call_later(MOMENT, move || go.send(()).expect("the job waits"));
    });
    case.run().expect("a clean end");
    log.assert(&["the job is done"]);
}

fn connections_go_on_while_a_job_runs(case: &Case<'_>) {
    let client = case.log();
    let (go, gate) = mpsc::channel::<()>();
    let job: Deferred<()> = case.reactor().defer_to_thread(move || {
        // It ends with the body.
        let _ = gate.recv();
    });
    case.join(Script::echo(), Script::noting(&client).saying("x"));
    case.until_noted(&client, "data x");
    drop(go);
    drop(job.add_errback(|_| ()));
}

fn the_loop_hears_a_thousand_wakes_as_it_should(case: &Case<'_>) {
    let came = Arc::new(AtomicUsize::new(0));
    let (answer, gate) = mpsc::channel::<()>();
    let counted = Arc::clone(&came);
    // Each call is made when the one before was run: the loop is about to wait, or waits.
    let thread = on_thread(case, move |remote| {
        for _ in 0..1000 {
            let (counted, answer) = (Arc::clone(&counted), answer.clone());
            remote.call_from_thread(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = answer.send(());
            });
            gate.recv().expect("it was run");
        }
    });
    let seen = Arc::clone(&came);
    case.until("each was run", move || seen.load(Ordering::SeqCst) == 1000);
    thread.join().expect("no panic");
}
