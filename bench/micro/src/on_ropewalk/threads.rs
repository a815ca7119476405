//! `call_from_thread`, and jobs for threads whose results come back.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use ropewalk::{Deferred, Reactor, ReactorRemote};

use super::on_a_reactor;
use crate::figure::Repetitions;
use crate::{Sizes, print};

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    measure("call_from_thread", sizes.calls, |remote, calls| {
        let counted = Arc::new(AtomicU64::new(0));
        for _ in 0..calls {
            let counted = Arc::clone(&counted);
            remote.call_from_thread(move |reactor| {
                if counted.fetch_add(1, Ordering::Relaxed) + 1 == calls {
                    reactor.stop();
                }
            });
        }
    })?;
    measure(
        "call_from_thread round trip",
        sizes.round_trips,
        |remote, calls| {
            let (answer, answered) = mpsc::channel();
            for _ in 0..calls {
                let answer = answer.clone();
                remote.call_from_thread(move |_| {
                    // Nobody waits any more when the other thread has ended by a panic.
                    let _ = answer.send(());
                });
                answered.recv().expect("an answer to each call");
            }
            remote.call_from_thread(|reactor| reactor.stop());
        },
    )?;
    let jobs = sizes.round_trips;
    let figures = on_a_reactor(async move |handle| {
        let work = "defer_to_thread round trip".to_owned();
        let mut repetitions = Repetitions::of([(work, jobs)]);
        while repetitions.are_wanted() {
            let start = Instant::now();
            for job in 0..jobs {
                let result: Deferred<u64> = handle.defer_to_thread(move || job + 1);
                assert_eq!(result.await?, job + 1);
            }
            repetitions.note([start.elapsed()]);
        }
        Ok(repetitions.figures())
    })?;
    let [figure] = figures;
    print(&figure)?;
    Ok(())
}

/// The time from when the other thread starts until the reactor has stopped.
fn measure(work: &str, calls: u64, caller: fn(&ReactorRemote, u64)) -> Result<(), Box<dyn Error>> {
    let mut repetitions = Repetitions::of([(work.to_owned(), calls)]);
    while repetitions.are_wanted() {
        let reactor = Reactor::new()?;
        let remote = reactor.remote();
        let start = Instant::now();
        let thread = thread::spawn(move || caller(&remote, calls));
        reactor.run()?;
        repetitions.note([start.elapsed()]);
        thread.join().map_err(|_| "the calling thread panicked")?;
    }
    let [figure] = repetitions.figures();
    print(&figure)?;
    Ok(())
}
