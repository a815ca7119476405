//! The stall detector: one thread that watches all loops of the process.
//!
//! A loop notes what it begins ([`Activity`]), with a few plain stores and no clock. The watchdog
//! looks at that four times in the length of the shortest threshold. What it finds unchanged for as
//! long as the threshold is a stall, and is reported at once, while it lasts, and once: what runs,
//! for how long, for which connection, and what the thread is doing as the kernel sees it. When all
//! loops wait, the watchdog waits too, until one of them wakes it.
//!
//! The report has the callers that [`stack`] finds: of the system call that the thread waits in, or,
//! on Linux on x86-64, of where it computes. Elsewhere the name of the callback and the type of the
//! protocol say which code to look at; a debugger or `perf` says the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ropewalk_core::{Activity, Doing, Mark};
use tracing::Dispatch;

use crate::remote::Remote;
use crate::stack;

/// A callback may run so long before it is reported, unless told otherwise.
const THRESHOLD: Duration = Duration::from_millis(100);

/// How often the watchdog looks while a threshold lasts.
const LOOKS: u32 = 4;

/// It looks so often at loops that wait before it waits too.
const IDLE_LOOKS: u32 = 8;

/// What the watchdog waits for.
static PARKED: AtomicU8 = AtomicU8::new(NOTHING);

/// It looks.
const NOTHING: u8 = 0;

/// There is another loop, or another threshold.
const CHANGE: u8 = 1;

/// As well, or a loop wakes.
const LOOP: u8 = 2;

static WATCHDOG: Mutex<Watchdog> = Mutex::new(Watchdog {
    loops: BTreeMap::new(),
    registered: 0,
    thread: None,
});

struct Watchdog {
    loops: BTreeMap<u64, Arc<Watched>>,
    registered: u64,
    /// `None` while there is nothing to watch.
    thread: Option<Thread>,
}

/// What the watchdog and a loop share for the loop's life.
pub(crate) struct Stalls {
    /// In nanoseconds; 0 is never.
    threshold: AtomicU64,
    count: AtomicU64,
}

/// A loop that runs.
struct Watched {
    stalls: Arc<Stalls>,
    activity: Arc<Activity>,
    remote: Arc<Remote>,
    /// Its thread: the name, and the number in /proc.
    thread: String,
    number: i32,
    /// An address in the frame that runs the loop.
    base: usize,
    /// Where its thread's events go.
    dispatch: Dispatch,
}

/// Ends the watch over a loop when it is dropped.
pub(crate) struct Watch(u64);

impl Stalls {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            threshold: AtomicU64::new(nanos(THRESHOLD)),
            count: AtomicU64::new(0),
        })
    }

    pub(crate) fn set_threshold(&self, threshold: Option<Duration>) {
        let threshold = threshold.map_or(0, nanos);
        self.threshold.store(threshold, Ordering::Relaxed);
        // It may have to look more often, or at all.
        wake();
        unpark();
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn threshold(&self) -> Option<Duration> {
        let nanos = self.threshold.load(Ordering::Relaxed);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }
}

/// Watches the loop that begins to run on this thread, in a frame with `base` in it.
pub(crate) fn watch(
    stalls: &Arc<Stalls>,
    activity: &Arc<Activity>,
    remote: &Arc<Remote>,
    base: usize,
) -> Watch {
    let current = thread::current();
    let watched = Watched {
        stalls: Arc::clone(stalls),
        activity: Arc::clone(activity),
        remote: Arc::clone(remote),
        thread: current
            .name()
            .unwrap_or("(a thread with no name)")
            .to_owned(),
        number: thread_number(),
        base,
        dispatch: tracing::dispatcher::get_default(Dispatch::clone),
    };
    let mut watchdog = lock();
    let number = watchdog.registered;
    watchdog.registered += 1;
    watchdog.loops.insert(number, Arc::new(watched));
    let mut failed = None;
    if watchdog.thread.is_none() {
        let started = thread::Builder::new().name("watchdog".to_owned());
        match started.spawn(run) {
            Ok(started) => watchdog.thread = Some(started.thread().clone()),
            Err(error) => failed = Some(error),
        }
    }
    drop(watchdog);
    if let Some(error) = failed {
        tracing::warn!(%error, "cannot start the watchdog; stalls are not reported");
    }
    wake();
    Watch(number)
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watched = lock().loops.remove(&self.0);
        drop(watched);
        wake();
    }
}

/// A loop has something to do. The caller has said before, by a `SeqCst` write, that it is awake:
/// either the watchdog sees that when it is about to wait, or this sees that it waits.
#[inline]
pub(crate) fn loop_woke() {
    if PARKED.load(Ordering::SeqCst) == LOOP {
        wake();
    }
}

#[cold]
fn wake() {
    if PARKED.swap(NOTHING, Ordering::SeqCst) != NOTHING {
        unpark();
    }
}

fn unpark() {
    let thread = lock().thread.clone();
    if let Some(thread) = thread {
        thread.unpark();
    }
}

/// The watchdog's life: as long as there are loops.
fn run() {
    let mut seen: BTreeMap<u64, Seen> = BTreeMap::new();
    let mut idle_looks = 0;
    let mut last_look = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        let mut watchdog = lock();
        if watchdog.loops.is_empty() {
            watchdog.thread = None;
            return;
        }
        let loops = watchdog.loops.clone();
        drop(watchdog);

        let thresholds = loops
            .values()
            .filter_map(|watched| watched.stalls.threshold());
        let Some(interval) = thresholds.min().map(|shortest| shortest / LOOKS) else {
            park(CHANGE, &loops);
            last_look = Instant::now();
            continue;
        };
        let now = Instant::now();
        // The whole process was stopped, or the machine has no time for it: that is no stall.
        let missed = now.duration_since(last_look).saturating_sub(pause * 2);
        pause = interval;
        last_look = now;
        seen.retain(|number, _| loops.contains_key(number));
        for (number, watched) in &loops {
            let seen = seen
                .entry(*number)
                .or_insert_with(|| Seen::new(watched, now));
            seen.since += missed;
            seen.look(watched, now);
        }
        let waiting = |watched: &Arc<Watched>| watched.activity.mark().doing() == Doing::Waiting;
        idle_looks = if loops.values().all(waiting) {
            idle_looks + 1
        } else {
            0
        };
        if idle_looks >= IDLE_LOOKS {
            idle_looks = 0;
            park(LOOP, &loops);
            last_look = Instant::now();
        } else {
            thread::park_timeout(interval);
        }
    }
}

/// Waits for `what`, if these are the loops that there are, and none of them needs to be watched.
fn park(what: u8, loops: &BTreeMap<u64, Arc<Watched>>) {
    PARKED.store(what, Ordering::SeqCst);
    let known = lock().loops.keys().eq(loops.keys());
    let is_unwatched =
        |watched: &Arc<Watched>| watched.stalls.threshold().is_none() || watched.remote.is_asleep();
    if !known || !loops.values().all(is_unwatched) {
        PARKED.store(NOTHING, Ordering::SeqCst);
    }
    while PARKED.load(Ordering::SeqCst) != NOTHING {
        thread::park();
    }
}

/// What was found at a loop.
struct Seen {
    mark: Mark,
    since: Instant,
    reported: bool,
}

impl Seen {
    fn new(watched: &Watched, now: Instant) -> Self {
        Self {
            mark: watched.activity.mark(),
            since: now,
            reported: false,
        }
    }

    fn look(&mut self, watched: &Watched, now: Instant) {
        let ran = now.saturating_duration_since(self.since);
        if watched.activity.mark() != self.mark {
            if self.reported {
                watched.report_end(self.mark, ran);
            }
            *self = Self::new(watched, now);
        } else if self.mark.doing() != Doing::Waiting
            && !self.reported
            && watched.stalls.threshold().is_some_and(|most| ran >= most)
        {
            self.reported = true;
            watched.report(self.mark, ran);
        }
    }
}

impl Watched {
    fn report(&self, mark: Mark, ran: Duration) {
        let served = self.activity.served(mark);
        let now = ThreadState::read(self.number);
        let callers = stack::callers(self.number, self.base);
        self.stalls.count.fetch_add(1, Ordering::Relaxed);
        tracing::dispatcher::with_default(&self.dispatch, || {
            tracing::warn!(
                target: "ropewalk::stall",
                callback = mark.doing().name(),
                ran = debug(ran),
                connection = served.as_ref().map(|served| display(served.connection)),
                peer = served.as_ref().map(|served| display(&served.peer)),
                protocol = served.as_ref().map(|served| served.protocol),
                thread = self.thread,
                state = now.state,
                system_call = now.system_call,
                wait_channel = now.wait_channel,
                callers = callers.map(|names| display(names.join("\n    "))),
                "a callback holds up the loop; what takes long is for a thread: defer_to_thread",
            );
        });
    }

    fn report_end(&self, mark: Mark, ran: Duration) {
        tracing::dispatcher::with_default(&self.dispatch, || {
            tracing::info!(
                target: "ropewalk::stall",
                callback = mark.doing().name(),
                ran = debug(ran),
                thread = self.thread,
                "the loop goes on",
            );
        });
    }
}

/// What the kernel says of a thread, where it says anything (proc(5)).
#[derive(Debug, Default)]
struct ThreadState {
    /// `R (running)`, `S (sleeping)` or `D (disk sleep)`, mostly.
    state: Option<String>,
    /// `running`, or the number of the system call that it waits in, and its arguments.
    system_call: Option<String>,
    /// The function of the kernel that it waits in.
    wait_channel: Option<String>,
}

impl ThreadState {
    fn read(thread: i32) -> Self {
        let file = |name: &str| -> io::Result<String> {
            fs::read_to_string(format!("/proc/self/task/{thread}/{name}"))
        };
        let state = |status: String| {
            let mut lines = status.lines();
            let state = lines.find_map(|line| line.strip_prefix("State:"));
            state.map(|state| state.trim().to_owned())
        };
        let channel = |text: &String| !text.is_empty() && text != "0";
        Self {
            state: file("status").ok().and_then(state),
            system_call: file("syscall").ok().map(|text| text.trim().to_owned()),
            wait_channel: file("wchan").ok().filter(channel),
        }
    }
}

/// The number of this thread in /proc.
#[cfg(target_os = "linux")]
fn thread_number() -> i32 {
    rustix::thread::gettid().as_raw_pid()
}

/// There is no /proc here.
#[cfg(not(target_os = "linux"))]
fn thread_number() -> i32 {
    0
}

fn lock() -> MutexGuard<'static, Watchdog> {
    WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}
