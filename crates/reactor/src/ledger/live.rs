//! What is asked of a ledger: [`Ledger`], and what it answers.

use std::fmt;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use ropewalk_core::{Deferred, Resolver};

use super::Entries;
use crate::event_loop::EventLoop;

/// How long the first pauses are between two looks at whether all has ended.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// And how long the last ones.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// All that was begun on a reactor since [`Handle::track`](crate::Handle::track) and has not
/// ended: for tests that are to leave nothing behind.
///
/// Told are timers, tasks, ports, connections (those that were accepted by the place of their
/// port), attempts to connect, processes, and jobs in threads. What is noted of each is the stack
/// of where it was made, which takes some microseconds. A reactor that is not tracked notes
/// nothing.
///
/// ```
/// use ropewalk_reactor::{LiveKind, Reactor};
/// use std::time::Duration;
///
/// let reactor = Reactor::new()?;
/// let ledger = reactor.track();
/// let bell = reactor.call_later(Duration::from_secs(60), || println!("ring"));
/// let live = ledger.live();
/// assert_eq!(live[0].kind, LiveKind::Timer);
/// println!("{}", live[0]); // a timer, due in 60s, made at src/main.rs:6 (bells::main)
/// bell.cancel();
/// assert!(ledger.live().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ledger {
    event_loop: Weak<EventLoop>,
    entries: Rc<Entries>,
}

/// Something that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Live {
    /// What kind of thing it is.
    pub kind: LiveKind,
    /// What it is, for people.
    pub what: String,
    /// Where it was made: `file:line (function)`, in the code of whoever uses this engine. For
    /// something that the engine has made by itself, in the engine.
    pub made_at: String,
}

/// The kinds of what is begun on a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LiveKind {
    /// A timed call.
    Timer,
    /// A future that was spawned.
    Task,
    /// A listening port.
    Port,
    /// A datagram port.
    DatagramPort,
    /// A connection.
    Connection,
    /// A connection that is being made.
    Attempt,
    /// A job for a thread.
    Job,
    /// A process.
    Process,
}

impl Ledger {
    pub(super) fn new(event_loop: Weak<EventLoop>, entries: Rc<Entries>) -> Self {
        Self {
            event_loop,
            entries,
        }
    }

    /// What has not ended, in the order in which it was begun. To tell where each was made reads
    /// the program's debug information, which takes a while at the first time.
    #[must_use]
    pub fn live(&self) -> Vec<Live> {
        match self.event_loop.upgrade() {
            Some(event_loop) => self.entries.live(&event_loop),
            None => Vec::new(),
        }
    }

    /// Waits until all that ends by itself has ended, but no longer than `within` of the reactor's
    /// time: connections whose other end was closed, processes, jobs, tasks. Then it fires with
    /// what is left.
    ///
    /// Timers and ports are not waited for. A timer that was there before this call and runs
    /// meanwhile counts as left.
    pub fn settled(&self, within: Duration) -> Deferred<Vec<Live>> {
        let (resolver, settled) = Deferred::pair();
        let Some(event_loop) = self.event_loop.upgrade() else {
            return Deferred::succeed(Vec::new());
        };
        self.entries.end();
        let wait = Wait {
            ledger: self.clone(),
            until: event_loop.now() + within,
            pause: Duration::ZERO,
            resolver,
        };
        wait.pause(&event_loop);
        settled
    }
}

/// Somebody waits until all has ended.
struct Wait {
    ledger: Ledger,
    until: Instant,
    pause: Duration,
    resolver: Resolver<Vec<Live>>,
}

impl Wait {
    fn pause(self, event_loop: &EventLoop) {
        let pause = self.pause;
        // Not through the ledger: it is not the user's.
        event_loop.call_later(pause, Box::new(move || self.look()));
    }

    fn look(mut self) {
        let Some(event_loop) = self.ledger.event_loop.upgrade() else {
            return self.resolver.callback(Vec::new());
        };
        let entries = &self.ledger.entries;
        if entries.may_end_by_itself(&event_loop) && event_loop.now() < self.until {
            self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            return self.pause(&event_loop);
        }
        let mut left = entries.live(&event_loop);
        left.extend(entries.ran_late());
        self.resolver.callback(left);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noted = self.entries.noted();
        f.debug_struct("Ledger").field("noted", &noted).finish()
    }
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, made at {}", self.what, self.made_at)
    }
}
