//! The part of a reactor that other threads may have.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use ropewalk_core::ContextSnapshot;

use crate::driver::Wake;
use crate::reactor::Handle;

type Call = Box<dyn FnOnce(&Handle) + Send>;

/// Reaches a reactor from any thread. Cheap to clone, and keeps nothing alive.
///
/// ```
/// use ropewalk_reactor::Reactor;
///
/// let reactor = Reactor::new()?;
/// let remote = reactor.remote();
/// std::thread::spawn(move || remote.call_from_thread(|reactor| reactor.stop()));
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ReactorRemote {
    shared: Arc<Remote>,
}

/// What the loop shares with other threads.
pub(crate) struct Remote {
    calls: Mutex<Calls>,
    /// Whether calls wait: asked in each turn, and so without their lock.
    any: AtomicBool,
    /// The loop is about to wait, or waits: it must be woken.
    asleep: AtomicBool,
    waker: Arc<dyn Wake>,
    /// The loop's thread.
    thread: ThreadId,
}

#[derive(Default)]
struct Calls {
    waiting: VecDeque<Call>,
    /// What tells the threads that wait for this loop that its run has ended.
    blocking: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
    blocked: u64,
    /// A run has ended, and no other has begun.
    ended: bool,
    closed: bool,
}

impl ReactorRemote {
    pub(crate) fn new(shared: Arc<Remote>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Remote {
        &self.shared
    }

    /// Runs `call` on the loop, in its next turn, in the order of the calls. Returns `false`, and
    /// drops `call`, when the reactor is gone. A call that waits while the reactor does not run is
    /// run when it does. `call` runs with the values and in the span that hold here
    /// ([`ContextKey`](ropewalk_core::ContextKey)).
    pub fn call_from_thread(&self, call: impl FnOnce(&Handle) + Send + 'static) -> bool {
        let call: Call = match ContextSnapshot::capture_any() {
            Some(context) => Box::new(move |reactor| context.run(|| call(reactor))),
            None => Box::new(call),
        };
        let mut calls = self.shared.lock();
        if calls.closed {
            drop(calls);
            return false;
        }
        calls.waiting.push_back(call);
        self.shared.any.store(true, Ordering::SeqCst);
        drop(calls);
        self.shared.wake();
        true
    }
}

impl fmt::Debug for ReactorRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReactorRemote")
    }
}

impl Remote {
    pub(crate) fn new(waker: Arc<dyn Wake>) -> Self {
        Self {
            calls: Mutex::default(),
            any: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            waker,
            thread: thread::current().id(),
        }
    }

    /// Ends the loop's wait, if it waits. While the loop works this costs no system call, and no
    /// write to memory that the threads share.
    ///
    /// The look before the swap misses no sleep. The caller has told of its work by a `SeqCst` write
    /// (`any`, or a task's own), and the loop looks for work by a `SeqCst` read after `fall_asleep`.
    /// In the one order of all of these, a `fall_asleep` after this look is followed by a read that
    /// finds the work; one before it is seen here, unless that sleep was ended since, and then the
    /// loop looks for work before it sleeps again.
    pub(crate) fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// The loop is about to wait. What is handed over after this wakes it; what was handed over
    /// before, it must look for once more.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    pub(crate) fn has_calls(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    pub(crate) fn take_calls(&self) -> VecDeque<Call> {
        let mut calls = self.lock();
        self.any.store(false, Ordering::SeqCst);
        std::mem::take(&mut calls.waiting)
    }

    /// The loop's thread.
    pub(crate) fn thread(&self) -> ThreadId {
        self.thread
    }

    /// A thread waits for this loop: `ended` is called when its run ends before
    /// [`end_blocking`](Self::end_blocking). `None` if it has ended.
    pub(crate) fn begin_blocking(&self, ended: Box<dyn FnOnce() + Send>) -> Option<u64> {
        let mut calls = self.lock();
        if calls.closed || calls.ended {
            return None;
        }
        let number = calls.blocked;
        calls.blocked += 1;
        calls.blocking.insert(number, ended);
        Some(number)
    }

    pub(crate) fn end_blocking(&self, number: u64) {
        let ended = self.lock().blocking.remove(&number);
        drop(ended);
    }

    /// A run begins.
    pub(crate) fn begin_run(&self) {
        self.lock().ended = false;
    }

    /// The run has ended: whoever waits for the loop need not any more.
    pub(crate) fn end_run(&self) {
        let mut calls = self.lock();
        calls.ended = true;
        let blocking = std::mem::take(&mut calls.blocking);
        drop(calls);
        for ended in blocking.into_values() {
            ended();
        }
    }

    /// Takes no more calls, and drops those that wait.
    pub(crate) fn close(&self) {
        let mut calls = self.lock();
        calls.closed = true;
        self.any.store(false, Ordering::SeqCst);
        let waiting = std::mem::take(&mut calls.waiting);
        drop(calls);
        // A call's destructor may be anything.
        drop(waiting);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
