//! What wakes a simulated host from outside: another thread, another host's code, a job.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ropewalk_reactor::driver::Wake;
use ropewalk_reactor::{PoolThread, PoolThreads};

/// The hosts of a world that were woken, and a bell for who waits for any.
#[derive(Default)]
pub(crate) struct Wakes {
    any: AtomicBool,
    waiting: Mutex<()>,
    bell: Condvar,
}

impl Wakes {
    pub(crate) fn take_any(&self) -> bool {
        self.any.load(Ordering::SeqCst) && self.any.swap(false, Ordering::SeqCst)
    }

    fn ring(&self) {
        self.any.store(true, Ordering::SeqCst);
        drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_all();
    }

    /// Waits, in real time, until another thread wakes a host. `false` if none has for so long.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let asleep = |(): &mut ()| !self.any.load(Ordering::SeqCst);
        let waited = self.bell.wait_timeout_while(waiting, most, asleep);
        let (waiting, result) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(waiting);
        !result.timed_out()
    }
}

/// Of one host.
pub(crate) struct SimWaker {
    woken: AtomicBool,
    /// Threads of its pool that have begun.
    begun: Mutex<Vec<PoolThread>>,
    /// Those whose jobs have what they waited for.
    answered: Mutex<Vec<usize>>,
    wakes: Arc<Wakes>,
}

impl SimWaker {
    pub(crate) fn new(wakes: Arc<Wakes>) -> Self {
        Self {
            woken: AtomicBool::new(false),
            begun: Mutex::default(),
            answered: Mutex::default(),
            wakes,
        }
    }

    /// Whether it was woken since this was last asked.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    /// The job of a thread has what it waited for.
    pub(crate) fn resume(&self, key: usize) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.push(key);
    }

    pub(crate) fn take_answered(&self) -> Vec<usize> {
        std::mem::take(&mut *self.answered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take_begun(&self) -> Vec<PoolThread> {
        std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wake for SimWaker {
    fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.wakes.ring();
    }
}

impl PoolThreads for SimWaker {
    fn start(&self, thread: PoolThread) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push(thread);
        drop(begun);
        self.wakes.ring();
    }
}
