//! The threads of a host's pool, in virtual time: one thing runs at a time, the world or a job.
//!
//! A job runs on a thread of its own, while the world waits for it to end, or to wait for its loop.
//! So it may block, and call the loop and wait for it, as on any reactor; and what it does comes at
//! a time that the seed decides.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ropewalk_reactor::driver::Wake;
use ropewalk_reactor::{Baton, PoolJob, PoolThread};
use tracing::dispatcher;

use crate::waker::SimWaker;

/// A thread of a pool.
pub(crate) struct Worker {
    pub(crate) thread: PoolThread,
    pub(crate) state: Working,
}

pub(crate) enum Working {
    /// It has nothing to do yet.
    Idle,
    /// It will have done this by its next event.
    Job(PoolJob),
    /// Its job waits for the loop.
    Waiting(Arc<Turns>),
}

/// Who may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    World,
    Job,
    /// The job has ended.
    Nobody,
    /// The world does not wait any more, and the job may do what it likes.
    Anybody,
}

/// The baton of one job.
pub(crate) struct Turns {
    state: Mutex<State>,
    bell: Condvar,
    /// Wakes the world, which then gives the job its next turn.
    waker: Arc<SimWaker>,
    key: usize,
}

struct State {
    holder: Holder,
    /// What it waits for has come.
    answered: bool,
    /// The thread that it is the job of, when the world has left both.
    thread: Option<PoolThread>,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, holder: Holder) {
        self.lock().holder = holder;
        self.bell.notify_all();
    }

    fn wait_while(&self, holder: Holder) -> Holder {
        let state = self.lock();
        let waits = |state: &mut State| state.holder == holder;
        let waited = self.bell.wait_while(state, waits);
        waited.unwrap_or_else(PoisonError::into_inner).holder
    }

    /// Lets the job run until it ends or waits. `true` if it waits.
    fn give_turn(&self) -> bool {
        self.wait_while(Holder::Job) == Holder::World
    }

    pub(crate) fn resume(&self) -> bool {
        self.lock().answered = false;
        self.set(Holder::Job);
        self.give_turn()
    }

    /// The world ends, or the host: the job is left to itself, with its thread, which ends after it.
    pub(crate) fn abandon(&self, thread: PoolThread) {
        self.lock().thread = Some(thread);
        self.set(Holder::Anybody);
    }

    /// The job has ended.
    fn end(&self) {
        let thread = self.lock().thread.take();
        drop(thread);
        self.set(Holder::Nobody);
    }
}

impl Baton for Turns {
    fn give(&self) {
        let mut state = self.lock();
        if state.holder == Holder::Job {
            state.holder = Holder::World;
        }
        drop(state);
        self.bell.notify_all();
    }

    fn answered(&self) {
        if !std::mem::replace(&mut self.lock().answered, true) {
            self.waker.resume(self.key);
            self.waker.wake();
        }
    }

    fn take(&self) {
        self.wait_while(Holder::World);
    }
}

/// Runs a job until it ends, or waits for its loop; then it is returned, to be
/// [resumed](Turns::resume).
pub(crate) fn run(job: PoolJob, waker: &Arc<SimWaker>, key: usize) -> Option<Arc<Turns>> {
    let turns = Arc::new(Turns {
        state: Mutex::new(State {
            holder: Holder::Job,
            answered: false,
            thread: None,
        }),
        bell: Condvar::new(),
        waker: Arc::clone(waker),
        key,
    });
    let own = Arc::clone(&turns);
    // What it logs is for whoever hears the world.
    let log = dispatcher::get_default(Clone::clone);
    let work = move || {
        dispatcher::with_default(&log, || job.run(Arc::clone(&own) as Arc<dyn Baton>));
        own.end();
    };
    let started = thread::Builder::new()
        .name("simulated-job".to_owned())
        .spawn(work);
    if let Err(error) = started {
        // The job is dropped, and whoever waits for it is told nothing: as on a system that has no
        // threads left.
        tracing::error!(%error, "cannot start a thread for a job");
        return None;
    }
    turns.give_turn().then_some(turns)
}
