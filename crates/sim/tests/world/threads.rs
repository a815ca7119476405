//! Jobs in threads, in virtual time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Deferred, Failure, defer_later};
use ropewalk_sim::World;

const SECOND: Duration = Duration::from_secs(1);

/// What happened, and when, in microseconds.
type Log = Rc<RefCell<Vec<(String, u128)>>>;

fn run(seed: u64) -> (Vec<(String, u128)>, u64) {
    let world = World::new(seed);
    let host = world.host("host");
    let log = Log::default();
    let (noted, clock) = (Rc::clone(&log), world.clone());
    host.start(move |reactor| {
        for number in 0..20 {
            let (log, clock) = (Rc::clone(&noted), clock.clone());
            let (remote, later) = (reactor.remote(), reactor.remote());
            let squared = reactor.defer_to_thread(move || {
                // There and back, while the world goes on.
                let doubled: Result<u64, Failure> =
                    remote.blocking_call_from_thread(move |reactor| {
                        let time = reactor.clone();
                        defer_later::<u64, _>(&time, SECOND, move || number * 2)
                    });
                let doubled = doubled.unwrap();
                later.call_from_thread(|_| ());
                doubled * doubled
            });
            drop(squared.add_callback(move |squared: u64| {
                let line = format!("{number}: {squared}");
                log.borrow_mut().push((line, clock.now().as_micros()));
            }));
        }
    });
    world.run_for(10 * SECOND);
    let ran = log.borrow().clone();
    (ran, world.hash())
}

#[test]
fn jobs_and_the_calls_that_they_wait_for_come_at_the_same_time_for_the_same_seed() {
    let (log, hash) = run(1);
    assert_eq!(log.len(), 20, "{log:?}");
    for (line, _) in &log {
        let (number, squared) = line.split_once(": ").unwrap();
        let number: u64 = number.parse().unwrap();
        assert_eq!(squared, (4 * number * number).to_string());
    }
    // Ten threads, and so two rounds of a second.
    assert!(log[9].1 < 1_200_000 && log[10].1 > 2_000_000, "{log:?}");
    assert_eq!(run(1), (log.clone(), hash));
    assert_ne!(run(2).0, log);
}

#[test]
fn a_job_whose_host_is_killed_ends_and_nobody_hears_of_it() {
    let world = World::new(1);
    let host = world.host("host");
    let heard = Log::default();
    let log = Rc::clone(&heard);
    let (tell, told) = std::sync::mpsc::channel();
    host.start(move |reactor| {
        let (remote, tell, log) = (reactor.remote(), tell.clone(), Rc::clone(&log));
        let waits: Deferred<()> = reactor.defer_to_thread(move || {
            let waited: Result<(), Failure> = remote.blocking_call_from_thread(|reactor| {
                defer_later::<(), _>(&reactor.clone(), 3600 * SECOND, || ())
            });
            tell.send(waited.is_err()).unwrap();
        });
        drop(waits.add_both(move |_| log.borrow_mut().push(("heard".to_owned(), 0))));
    });
    world.run_for(SECOND);
    host.kill();
    assert!(told.recv().unwrap(), "the loop has ended");
    world.run_for(SECOND);
    assert_eq!(heard.borrow().len(), 1, "that the reactor has ended");
}
