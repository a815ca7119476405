//! The frame of each load but `idle`: threads, each with a poll and a share of the connections, and the window of
//! time in which all of them count.

use std::{
    io,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use mio::{Events, Poll, Registry, event::Event};

use crate::{
    args::Load,
    failure::{Failure, Trouble},
    measure::{Clock, Measured, Tally, cpu_seconds},
};

/// So that a thread with nothing to do notices when another has ended the run.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// One thread's part of a load.
pub(crate) trait Work: Send {
    /// Sends what starts it.
    fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Failure>;

    /// Serves a socket.
    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure>;

    /// Does what time asks for, before each wait, and says how long the wait may be.
    fn due(&mut self, _turn: &mut Turn<'_>) -> Result<Duration, Failure> {
        Ok(LONGEST_WAIT)
    }

    /// Whether a connection is left.
    fn is_alive(&self) -> bool;

    /// Counts what only the end shows.
    fn end(&mut self, _turn: &mut Turn<'_>) {}
}

/// What a thread's work is lent.
pub(crate) struct Turn<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) registry: &'a Registry,
    pub(crate) tally: Tally,
}

impl Turn<'_> {
    /// Whether a connection was lost while it was served, which is counted. What is wrong ends the
    /// run.
    pub(crate) fn is_lost(&mut self, served: Result<(), Trouble>) -> Result<bool, Failure> {
        match served {
            Ok(()) => Ok(false),
            Err(Trouble::Wrong(what)) => Err(Failure::Wrong(what)),
            Err(Trouble::Lost(what)) => {
                self.tally.error(what);
                Ok(true)
            }
        }
    }

    /// Counts an answer that came now to what began `since`, if now counts.
    pub(crate) fn answered(&mut self, now: u64, since: u64, requests: u64, bytes: u64) {
        if self.clock.counts(now) {
            self.tally.requests += requests;
            self.tally.bytes += bytes;
            self.tally.latency.saturating_record(now - since);
        }
    }
}

/// Whether a read may give something: bytes, the end, or an error.
pub(crate) fn may_read(event: &Event) -> bool {
    event.is_readable() || event.is_read_closed() || event.is_error()
}

/// Which of a number of things are a thread's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) thread: usize,
    pub(crate) threads: usize,
}

impl Share {
    pub(crate) fn of(self, all: usize) -> impl Iterator<Item = usize> {
        (self.thread..all).step_by(self.threads)
    }
}

/// Makes each thread's work (so all are connected before the first begins), runs the load, adds up.
pub(crate) fn run_threads<W: Work>(
    load: &Load,
    connections: usize,
    work: impl Fn(&Registry, Share) -> Result<W, Failure>,
) -> Result<Measured, Failure> {
    let threads = load.threads.min(connections);
    let mut ready = Vec::with_capacity(threads);
    for thread in 0..threads {
        let poll = Poll::new().map_err(Failure::doing("making a poll"))?;
        let work = work(poll.registry(), Share { thread, threads })?;
        ready.push((poll, work));
    }

    let clock = Clock::start(load);
    thread::scope(|scope| {
        let (tell, hear) = mpsc::channel();
        for (poll, work) in ready {
            let (clock, tell) = (&clock, tell.clone());
            scope.spawn(move || {
                // Nobody hears it when another thread's failure has ended the run.
                let _ = tell.send(drive(work, poll, clock));
            });
        }
        drop(tell);
        let measured = measure(&clock, &hear);
        clock.stop();
        measured
    })
}

fn drive(mut work: impl Work, mut poll: Poll, clock: &Clock) -> Result<Tally, Failure> {
    let mut events = Events::with_capacity(1024);
    let registry = poll.registry().try_clone();
    let registry = registry.map_err(Failure::doing("sharing a poll"))?;
    let mut turn = Turn {
        clock,
        registry: &registry,
        tally: Tally::new(),
    };
    work.begin(&mut turn)?;
    while work.is_alive() && !clock.is_over() {
        let wait = work.due(&mut turn)?.min(LONGEST_WAIT);
        let wait = wait.min(clock.until(clock.end));
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::doing("waiting for sockets")(error)),
            Ok(()) => {}
        }
        for event in &events {
            work.ready(event, &mut turn)?;
        }
    }
    work.end(&mut turn);
    Ok(turn.tally)
}

/// Waits for the threads, and notes the CPU time at both ends of the window.
fn measure(
    clock: &Clock,
    hear: &mpsc::Receiver<Result<Tally, Failure>>,
) -> Result<Measured, Failure> {
    let mut sum = Tally::new();
    gather(&mut sum, hear, || Some(clock.until(clock.warm)))?;
    let before = cpu_seconds()?;
    gather(&mut sum, hear, || Some(clock.until(clock.end)))?;
    let cpu = cpu_seconds()? - before;
    // Earlier than the end when no connection was left.
    let end = clock.now().min(clock.end);
    gather(&mut sum, hear, || None)?;

    if let Some(first) = &sum.first_error {
        eprintln!("bench-load: {} errors, the first: {first}", sum.errors);
    }
    let seconds = Duration::from_nanos(end.saturating_sub(clock.warm)).as_secs_f64();
    Ok(sum.measured(seconds, cpu))
}

/// Adds what comes until there is no time left, or no thread.
fn gather(
    sum: &mut Tally,
    hear: &mpsc::Receiver<Result<Tally, Failure>>,
    left: impl Fn() -> Option<Duration>,
) -> Result<(), Failure> {
    loop {
        let heard = match left() {
            Some(left) => hear.recv_timeout(left),
            None => hear.recv().map_err(RecvTimeoutError::from),
        };
        match heard {
            Ok(tally) => sum.add(tally?),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_complete() {
        let mut all: Vec<usize> = Vec::new();
        for thread in 0..3 {
            let mine: Vec<usize> = Share { thread, threads: 3 }.of(8).collect();
            assert!((2..=3).contains(&mine.len()));
            all.extend(mine);
        }
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
    }
}
