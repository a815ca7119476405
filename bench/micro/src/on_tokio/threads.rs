//! Boxed closures over an unbounded channel, to a task that calls them; and `spawn_blocking`.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, spawn_blocking};

use super::runtime;
use crate::figure::Repetitions;
use crate::{Sizes, print};

type Call = Box<dyn FnOnce() + Send>;

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    measure("call_from_thread", sizes.calls, |remote, calls| {
        let counted = Arc::new(AtomicU64::new(0));
        for _ in 0..calls {
            let counted = Arc::clone(&counted);
            let call = move || {
                counted.fetch_add(1, Ordering::Relaxed);
            };
            remote
                .send(Box::new(call))
                .expect("the runtime waits for all calls");
        }
    })?;
    measure(
        "call_from_thread round trip",
        sizes.round_trips,
        |remote, calls| {
            let (answer, answered) = mpsc::channel();
            for _ in 0..calls {
                let answer = answer.clone();
                let call = move || {
                    // Nobody waits any more when the other thread has ended by a panic.
                    let _ = answer.send(());
                };
                remote
                    .send(Box::new(call))
                    .expect("the runtime waits for all calls");
                answered.recv().expect("an answer to each call");
            }
        },
    )?;
    let jobs = sizes.round_trips;
    let work = "defer_to_thread round trip".to_owned();
    let mut repetitions = Repetitions::of([(work, jobs)]);
    runtime()?.block_on(async {
        while repetitions.are_wanted() {
            let start = Instant::now();
            for job in 0..jobs {
                assert_eq!(spawn_blocking(move || job + 1).await?, job + 1);
            }
            repetitions.note([start.elapsed()]);
        }
        Ok::<(), JoinError>(())
    })?;
    let [figure] = repetitions.figures();
    print(&figure)?;
    Ok(())
}

/// The time from when the other thread starts until all its calls are done, and it has dropped its sender.
fn measure(
    work: &str,
    calls: u64,
    caller: fn(&UnboundedSender<Call>, u64),
) -> Result<(), Box<dyn Error>> {
    let runtime = runtime()?;
    let mut repetitions = Repetitions::of([(work.to_owned(), calls)]);
    while repetitions.are_wanted() {
        let (sender, mut receiver) = unbounded_channel::<Call>();
        let start = Instant::now();
        let thread = thread::spawn(move || caller(&sender, calls));
        runtime.block_on(async {
            while let Some(call) = receiver.recv().await {
                call();
            }
        });
        repetitions.note([start.elapsed()]);
        thread.join().map_err(|_| "the calling thread panicked")?;
    }
    let [figure] = repetitions.figures();
    print(&figure)?;
    Ok(())
}
