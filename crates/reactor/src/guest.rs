//! A reactor whose turns another loop gives it.

use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::time::{Duration, Instant};

use crate::reactor::{Handle, Reactor, RunError};

/// A reactor that does not run by itself: whoever owns it gives it a turn when there is something
/// to do, and waits in its place. So several reactors share one thread, as those of a simulation do.
///
/// Dropping it ends everything on it.
///
/// ```
/// use ropewalk_reactor::Reactor;
/// use std::ops::ControlFlow;
///
/// let mut guest = Reactor::new()?.into_guest();
/// let handle = guest.handle();
/// guest.call_when_running(move || handle.stop());
/// let ended = loop {
///     if let ControlFlow::Break(ended) = guest.turn() {
///         break ended;
///     }
/// };
/// ended?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Guest {
    reactor: Reactor,
}

impl Reactor {
    /// Runs as the guest of another loop, which gives it its turns.
    #[must_use]
    pub fn into_guest(self) -> Guest {
        Guest { reactor: self }
    }
}

impl Guest {
    /// A handle, for those who are run by the reactor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.reactor.handle()
    }

    /// One turn, which waits for nothing: what has happened, what is due, what was asked for. The
    /// first one begins a run. Breaks when the run is over, with what
    /// [`Reactor::run`] would return; a turn after that begins the next run.
    pub fn turn(&mut self) -> ControlFlow<Result<(), RunError>> {
        let event_loop = &self.reactor.inner;
        if !event_loop.is_running()
            && let Err(error) = event_loop.begin_run()
        {
            return ControlFlow::Break(Err(error));
        }
        // It may have slept: what it does before it looks at its driver is done now, not then.
        event_loop.wake_up();
        match event_loop.step(|_| Some(Duration::ZERO)) {
            Some(outcome) => ControlFlow::Break(event_loop.end_run(outcome)),
            None => ControlFlow::Continue(()),
        }
    }

    /// When the next turn has something to do, in the time of the reactor's driver, if nothing
    /// happens before: what the driver reports, or a call from another thread, which
    /// [wakes](crate::driver::Driver::waker) it. `None` for never.
    #[must_use]
    pub fn next_turn(&self) -> Option<Instant> {
        self.reactor.inner.next_turn()
    }
}

impl Deref for Guest {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.reactor
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("reactor", &self.reactor)
            .finish()
    }
}
