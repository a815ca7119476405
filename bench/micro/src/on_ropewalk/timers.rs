//! `call_later`, its handles, and the deadline of a connection.

use std::cell::Cell;
use std::error::Error;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk::testing::StringTransport;
use ropewalk::{DelayedCall, Failure, Handle};

use super::{on_a_reactor, turn};
use crate::figure::{Repetitions, time};
use crate::population::{Population, rounds, works};
use crate::{Figure, Sizes, print};

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    for live in sizes.live.clone() {
        let works = works(sizes, live);
        let rounds = rounds(sizes, live);
        let figures = on_a_reactor(async move |handle| {
            let mut repetitions = Repetitions::of(works);
            let mut timers = Timers::new(handle, live);
            while repetitions.are_wanted() {
                let mut times = [Duration::ZERO; 3];
                for _ in 0..rounds {
                    times[0] += timers.add().await?;
                    times[1] += timers.cancel().await?;
                    times[2] += timers.reset().await?;
                }
                repetitions.note(times);
            }
            Ok(repetitions.figures())
        })?;
        for figure in figures {
            print(&figure)?;
        }
    }
    print(&connection_deadline(sizes))?;
    Ok(())
}

/// The turn that follows belongs to each batch: a loop may put off its work until then.
struct Timers {
    handle: Handle,
    live: Population<DelayedCall>,
    fired: Rc<Cell<u64>>,
}

impl Timers {
    fn new(handle: Handle, live: usize) -> Self {
        let fired = Rc::default();
        let live = Population::new(live, |delay| add(&handle, &fired, delay));
        Self {
            handle,
            live,
            fired,
        }
    }

    async fn add(&mut self) -> Result<Duration, Failure> {
        let delays = self.live.draw_delays();
        let start = Instant::now();
        for delay in delays {
            self.live.push(add(&self.handle, &self.fired, delay), delay);
        }
        turn(&self.handle).await?;
        Ok(start.elapsed())
    }

    async fn cancel(&mut self) -> Result<Duration, Failure> {
        self.live.draw();
        let start = Instant::now();
        for call in self.live.drain_drawn() {
            call.cancel();
        }
        turn(&self.handle).await?;
        Ok(start.elapsed())
    }

    async fn reset(&mut self) -> Result<Duration, Failure> {
        let drawn = self.live.draw_longer();
        let start = Instant::now();
        for (call, delay) in drawn {
            call.reset(*delay);
        }
        turn(&self.handle).await?;
        Ok(start.elapsed())
    }
}

fn add(handle: &Handle, fired: &Rc<Cell<u64>>, delay: Duration) -> DelayedCall {
    let fired = Rc::clone(fired);
    handle.call_later(delay, move || fired.set(fired.get() + 1))
}

/// What a protocol calls for each message. The loop itself then compares two numbers: the timer is moved
/// only when it fires, once in the time of the timeout.
fn connection_deadline(sizes: &Sizes) -> Figure {
    let mut transport = StringTransport::new();
    transport.set_timeout(Some(Duration::from_secs(60)));
    Figure::measure("connection deadline reset", sizes.deadlines, || {
        time(|| {
            for _ in 0..sizes.deadlines {
                black_box(&mut *transport).reset_timeout();
            }
        })
    })
}
