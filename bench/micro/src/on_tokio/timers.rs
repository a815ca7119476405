//! `Sleep`, boxed and pinned as what is to be reset must be, and polled once, which is what starts it.
//!
//! A deadline is an `Instant` here, so the clock is read for each: there is no time of the turn to be asked
//! for.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::{coop::unconstrained, yield_now};
use tokio::time::{Sleep, sleep};

use super::runtime;
use crate::figure::Repetitions;
use crate::population::{Population, rounds, works};
use crate::{Figure, Sizes, print};

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    for live in sizes.live.clone() {
        let mut repetitions = Repetitions::of(works(sizes, live));
        let rounds = rounds(sizes, live);
        // Polls are not to be counted against one task here: they stand for those of many.
        runtime()?.block_on(unconstrained(async {
            let mut timers = Timers::new(live).await;
            while repetitions.are_wanted() {
                let mut times = [Duration::ZERO; 3];
                for _ in 0..rounds {
                    times[0] += timers.add().await;
                    times[1] += timers.cancel().await;
                    times[2] += timers.reset().await;
                }
                repetitions.note(times);
            }
        }));
        for figure in repetitions.figures() {
            print(&figure)?;
        }
    }
    print(&connection_deadline(sizes)?)?;
    Ok(())
}

/// The turn that follows belongs to each batch, as on Ropewalk.
struct Timers {
    live: Population<Pin<Box<Sleep>>>,
}

impl Timers {
    async fn new(live: usize) -> Self {
        let live = with_context(|context| Population::new(live, |delay| add(delay, context))).await;
        Self { live }
    }

    async fn add(&mut self) -> Duration {
        let delays = self.live.draw_delays();
        let start = Instant::now();
        with_context(|context| {
            for delay in &delays {
                self.live.push(add(*delay, context), *delay);
            }
        })
        .await;
        yield_now().await;
        start.elapsed()
    }

    async fn cancel(&mut self) -> Duration {
        self.live.draw();
        let start = Instant::now();
        self.live.drain_drawn().for_each(drop);
        yield_now().await;
        start.elapsed()
    }

    async fn reset(&mut self) -> Duration {
        let drawn = self.live.draw_longer();
        let start = Instant::now();
        for (sleep, delay) in drawn {
            sleep.as_mut().reset(tokio::time::Instant::now() + *delay);
        }
        yield_now().await;
        start.elapsed()
    }
}

fn add(delay: Duration, context: &mut Context<'_>) -> Pin<Box<Sleep>> {
    let mut sleep = Box::pin(sleep(delay));
    let _ = sleep.as_mut().poll(context);
    sleep
}

/// Calls `work` with the task's context, which is all that a `Sleep` wants of a task.
async fn with_context<T>(mut work: impl FnMut(&mut Context<'_>) -> T) -> T {
    poll_fn(|context| Poll::Ready(work(context))).await
}

/// What a connection's task does for each message, with one `Sleep` for all of them.
fn connection_deadline(sizes: &Sizes) -> Result<Figure, Box<dyn Error>> {
    const TIMEOUT: Duration = Duration::from_secs(60);
    // As many as on Ropewalk would take seconds.
    let resets = sizes.deadlines.div_ceil(10);
    let runtime = runtime()?;
    let mut repetitions = Repetitions::of([("connection deadline reset".to_owned(), resets)]);
    runtime.block_on(unconstrained(async {
        let mut deadline = with_context(|context| add(TIMEOUT, context)).await;
        while repetitions.are_wanted() {
            let start = Instant::now();
            for _ in 0..resets {
                deadline
                    .as_mut()
                    .reset(tokio::time::Instant::now() + TIMEOUT);
            }
            repetitions.note([start.elapsed()]);
        }
    }));
    let [figure] = repetitions.figures();
    Ok(figure)
}
