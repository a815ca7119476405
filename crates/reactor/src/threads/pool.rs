//! A pool of threads, and a bounded queue of jobs for them.
//!
//! Threads are started as jobs need them, and end when they have had nothing to do for a while.
//! A panic ends its job and no thread. Stopping refuses new jobs and lets the queue be worked off;
//! no thread is ever killed, so who waits for the end does so for a bounded time, and is told
//! which jobs are still at work.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk_core::{ContextSnapshot, Failure, JobName, Panicked, ThreadJobError};

use super::baton::{self, Baton};

/// How many jobs may wait for a thread.
const QUEUE_LIMIT: usize = 1024;

/// How long a thread stays with nothing to do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

type Run = Box<dyn FnOnce() + Send>;

/// Threads that run jobs.
///
/// All of it may be called from any thread. When it is dropped it is [stopped](Self::stop).
///
/// ```
/// use ropewalk_reactor::ThreadPool;
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// let pool = ThreadPool::new("squares", 1..=4);
/// let (tell, told) = mpsc::channel();
/// for n in 1..=3 {
///     let tell = tell.clone();
///     pool.call_in_thread(move || tell.send(n * n).unwrap())?;
/// }
/// pool.stop();
/// pool.join(Duration::from_secs(10))?;
/// drop(tell);
/// assert_eq!(told.iter().sum::<i32>(), 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPool {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    name: String,
    /// What starts its threads, unless they are the operating system's.
    threads: Option<Arc<dyn PoolThreads>>,
    state: Mutex<State>,
    /// There is a job, or the pool was stopped, or its size has changed.
    work: Condvar,
    /// A thread has ended.
    thread_ended: Condvar,
}

struct State {
    threads: RangeInclusive<usize>,
    queue_limit: usize,
    idle_timeout: Duration,
    queue: VecDeque<Job>,
    running: BTreeMap<u64, JobName>,
    /// Threads that have not ended, and those of them that have no job.
    alive: usize,
    idle: usize,
    /// How many threads and jobs there have been.
    started: u64,
    given: u64,
    stopped: bool,
    /// Called when the pool is stopped and its last job is done.
    when_done: Vec<Run>,
}

struct Job {
    number: u64,
    name: JobName,
    run: Run,
}

impl ThreadPool {
    /// A pool of at least and at most so many threads, which are called `name-0` and so on. The
    /// first ones are started when there are jobs for them; beyond the least number they end when
    /// they were idle for a minute. There is at least one thread for a job, whatever is said here.
    ///
    /// Up to 1024 jobs wait when all threads are at work.
    #[must_use]
    pub fn new(name: impl Into<String>, threads: RangeInclusive<usize>) -> Self {
        Self::on(None, name, threads)
    }

    pub(crate) fn on(
        starts: Option<Arc<dyn PoolThreads>>,
        name: impl Into<String>,
        threads: RangeInclusive<usize>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: name.into(),
                threads: starts,
                state: Mutex::new(State {
                    threads: sensible(&threads),
                    queue_limit: QUEUE_LIMIT,
                    idle_timeout: IDLE_TIMEOUT,
                    queue: VecDeque::new(),
                    running: BTreeMap::new(),
                    alive: 0,
                    idle: 0,
                    started: 0,
                    given: 0,
                    stopped: false,
                    when_done: Vec::new(),
                }),
                work: Condvar::new(),
                thread_ended: Condvar::new(),
            }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// At least and at most how many threads there are to be from now on. Threads that are too many
    /// end when their jobs have.
    pub fn adjust_pool_size(&self, threads: RangeInclusive<usize>) {
        let mut state = self.shared.lock();
        state.threads = sensible(&threads);
        self.shared.start_threads_for_waiting(&mut state);
        drop(state);
        self.shared.work.notify_all();
    }

    /// How many jobs may wait when all threads are at work. 1024.
    pub fn set_queue_limit(&self, jobs: usize) {
        self.shared.lock().queue_limit = jobs;
    }

    /// How long a thread beyond the least number stays with nothing to do. A minute.
    pub fn set_idle_timeout(&self, after: Duration) {
        self.shared.lock().idle_timeout = after;
        self.shared.work.notify_all();
    }

    /// Runs `job` on a thread, with the values and in the span that hold here
    /// ([`ContextKey`](ropewalk_core::ContextKey)). A panic in it is logged.
    ///
    /// # Errors
    /// The queue is full, the pool was stopped, or there is no thread.
    #[track_caller]
    pub fn call_in_thread(
        &self,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), ThreadJobError> {
        let name = JobName::here();
        let shown = name.clone();
        let logged = move || {
            if let Err(panicked) = run_guarded(job) {
                let panic = panicked.as_error();
                tracing::error!(job = %shown, panic, "a job in a thread panicked");
            }
        };
        self.start(name, Box::new(logged)).map(drop)
    }

    /// As [`call_in_thread`](Self::call_in_thread); then calls `on_result`, on the thread, with
    /// what came of it: the value, or the failure of a panic.
    ///
    /// ```
    /// use ropewalk_reactor::ThreadPool;
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPool::new("pool", 0..=1);
    /// let (tell, told) = mpsc::channel();
    /// pool.call_in_thread_with_callback(|| 6 * 7, move |result| tell.send(result).unwrap())?;
    /// assert_eq!(told.recv()??, 42);
    /// # Ok::<(), ropewalk_core::Failure>(())
    /// ```
    ///
    /// # Errors
    /// As [`call_in_thread`](Self::call_in_thread). `on_result` is dropped then.
    #[track_caller]
    pub fn call_in_thread_with_callback<T>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
        on_result: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) -> Result<(), ThreadJobError> {
        self.call_in_thread(move || on_result(run_guarded(job).map_err(Failure::from)))
    }

    /// Refuses jobs from now on. Those that wait are still run; then the threads end.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        let done = state.take_done();
        drop(state);
        self.shared.work.notify_all();
        run_all(done);
    }

    /// Waits until all threads of a stopped pool have ended. Not for the thread of a loop: it would
    /// stand still.
    ///
    /// # Errors
    /// `timeout` has passed, and jobs are still at work or waiting. They go on.
    pub fn join(&self, timeout: Duration) -> Result<(), StillRunning> {
        let state = self.shared.lock();
        let running = |state: &mut State| state.alive > 0 || !state.queue.is_empty();
        let ended = &self.shared.thread_ended;
        let (state, _) = ended
            .wait_timeout_while(state, timeout, running)
            .unwrap_or_else(PoisonError::into_inner);
        match state.alive {
            0 => Ok(()),
            _ => Err(StillRunning {
                pool: self.shared.name.clone(),
                after: timeout,
                jobs: state.unfinished(),
            }),
        }
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.lock().alive
    }

    /// How many jobs wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// The names of the jobs that are at work, the oldest first.
    #[must_use]
    pub fn working(&self) -> Vec<String> {
        let state = self.shared.lock();
        state.running.values().map(JobName::to_string).collect()
    }

    /// Gives `run`, which guards itself against panics, to a thread. Returns its number.
    pub(crate) fn start(&self, name: JobName, run: Run) -> Result<u64, ThreadJobError> {
        let run = match ContextSnapshot::capture_any() {
            Some(context) => Box::new(move || context.run(run)),
            None => run,
        };
        self.shared.start(name, run)
    }

    pub(crate) fn downgrade(&self) -> std::sync::Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    /// Takes jobs again after [`stop`](Self::stop).
    pub(crate) fn reopen(&self) {
        self.shared.lock().stopped = false;
    }

    /// Calls `call`, on any thread, when the pool is stopped and its last job is done.
    pub(crate) fn when_done(&self, call: Run) {
        let mut state = self.shared.lock();
        state.when_done.push(call);
        let done = state.take_done();
        drop(state);
        run_all(done);
    }

    /// Stops, drops the jobs that wait, and returns the names of all that have not ended.
    pub(crate) fn abandon(&self) -> Vec<String> {
        let mut state = self.shared.lock();
        state.stopped = true;
        let unfinished = state.unfinished();
        let dropped = mem::take(&mut state.queue);
        let done = mem::take(&mut state.when_done);
        drop(state);
        self.shared.work.notify_all();
        // A job's destructor may be anything.
        drop(dropped);
        drop(done);
        unfinished
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("ThreadPool")
            .field("name", &self.shared.name)
            .field("threads", &state.alive)
            .field("working", &state.running.len())
            .field("waiting", &state.queue.len())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, name: JobName, run: Run) -> Result<u64, ThreadJobError> {
        let mut state = self.lock();
        let pool = || self.name.clone();
        if state.stopped {
            return Err(ThreadJobError::Stopped {
                job: name,
                pool: pool(),
            });
        }
        // An idle thread may not have taken the job yet that it was woken for.
        if state.queue.len() >= state.idle {
            let limit = state.queue_limit;
            let started = self.start_thread(&mut state);
            match started {
                Ok(true) => {}
                Err(source) if state.alive == 0 => {
                    return Err(ThreadJobError::NoThread {
                        job: name,
                        pool: pool(),
                        source,
                    });
                }
                _ if state.queue.len() - state.idle >= limit => {
                    return Err(ThreadJobError::QueueFull {
                        job: name,
                        pool: pool(),
                        limit,
                    });
                }
                _ => {}
            }
        }
        let number = state.given;
        state.given += 1;
        state.queue.push_back(Job { number, name, run });
        drop(state);
        self.work.notify_one();
        Ok(number)
    }

    /// Takes a job back that no thread has begun with.
    pub(crate) fn take_back(&self, number: u64) -> bool {
        let mut state = self.lock();
        let at = state.queue.iter().position(|job| job.number == number);
        let job = at.and_then(|at| state.queue.remove(at));
        let done = state.take_done();
        drop(state);
        run_all(done);
        job.is_some()
    }

    /// Starts a thread, if there may be one more.
    fn start_thread(self: &Arc<Self>, state: &mut State) -> std::io::Result<bool> {
        if state.alive >= *state.threads.end() {
            return Ok(false);
        }
        let shared = Arc::clone(self);
        match &self.threads {
            Some(threads) => threads.start(PoolThread { shared }),
            None => {
                let name = format!("{}-{}", self.name, state.started);
                let thread = thread::Builder::new().name(name);
                thread.spawn(move || shared.work())?;
            }
        }
        state.started += 1;
        state.alive += 1;
        state.idle += 1;
        Ok(true)
    }

    /// More threads are allowed than before.
    fn start_threads_for_waiting(self: &Arc<Self>, state: &mut State) {
        while state.queue.len() > state.idle && matches!(self.start_thread(state), Ok(true)) {}
    }

    /// A thread's life.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.begin_job() {
                drop(state);
                // What runs here guards itself; but a thread must not be lost, whatever happens.
                let _ = catch_unwind(AssertUnwindSafe(job.run));
                state = self.end_job(job.number);
                if state.alive <= *state.threads.end() {
                    continue;
                }
                break;
            }
            if state.stopped || state.alive > *state.threads.end() {
                break;
            }
            match self.wait(state) {
                (woken, true) => state = woken,
                (tired, false) => {
                    state = tired;
                    break;
                }
            }
        }
        self.end_thread(state);
    }

    /// A thread is idle again. What was waiting for the last job is called.
    fn end_job(&self, number: u64) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.running.remove(&number);
        state.idle += 1;
        let done = state.take_done();
        if done.is_empty() {
            return state;
        }
        drop(state);
        run_all(done);
        self.lock()
    }

    /// An idle thread ends.
    fn end_thread(&self, mut state: MutexGuard<'_, State>) {
        state.alive -= 1;
        state.idle -= 1;
        drop(state);
        self.thread_ended.notify_all();
    }

    /// Waits for something to do; `false` if there was nothing for so long that the thread is to
    /// end.
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        if state.alive <= *state.threads.start() {
            let state = self.work.wait(state);
            return (state.unwrap_or_else(PoisonError::into_inner), true);
        }
        let idle_timeout = state.idle_timeout;
        let begun = Instant::now();
        let state = self.work.wait_timeout(state, idle_timeout);
        let (state, _) = state.unwrap_or_else(PoisonError::into_inner);
        let tired = begun.elapsed() >= state.idle_timeout
            && state.queue.is_empty()
            && state.alive > *state.threads.start();
        (state, !tired)
    }
}

impl State {
    /// A thread takes the first job.
    fn begin_job(&mut self) -> Option<Job> {
        let job = self.queue.pop_front()?;
        self.idle -= 1;
        self.running.insert(job.number, job.name.clone());
        Some(job)
    }

    /// Who waits for the last job, if it is done.
    fn take_done(&mut self) -> Vec<Run> {
        if self.stopped && self.queue.is_empty() && self.running.is_empty() {
            return mem::take(&mut self.when_done);
        }
        Vec::new()
    }

    fn unfinished(&self) -> Vec<String> {
        let waiting = self.queue.iter().map(|job| &job.name);
        let all = self.running.values().chain(waiting);
        all.map(JobName::to_string).collect()
    }
}

/// What starts the threads of a loop's own pool where they are not the operating system's: for
/// those who implement a driver whose time is its own.
pub trait PoolThreads: Send + Sync {
    /// A thread begins. It is called with the pool's lock held: `thread` is to be put aside, and
    /// used, or dropped, later.
    fn start(&self, thread: PoolThread);
}

/// A thread of a pool, to be given its jobs by a driver. Dropping it ends it.
pub struct PoolThread {
    shared: Arc<Shared>,
}

impl PoolThread {
    /// The job that it is to run next; `None` if there is nothing to do, and it may end.
    #[must_use]
    pub fn next_job(&mut self) -> Option<PoolJob> {
        let job = self.shared.lock().begin_job()?;
        Some(PoolJob {
            shared: Arc::clone(&self.shared),
            number: job.number,
            run: Some(job.run),
        })
    }
}

impl Drop for PoolThread {
    fn drop(&mut self) {
        self.shared.end_thread(self.shared.lock());
    }
}

impl fmt::Debug for PoolThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolThread({})", self.shared.name)
    }
}

/// A job that a thread has begun with. Dropping it unrun loses it.
pub struct PoolJob {
    shared: Arc<Shared>,
    number: u64,
    run: Option<Run>,
}

impl PoolJob {
    /// Runs it, on this thread, which holds `baton`, and gives it away while it waits for a loop. A
    /// panic in it is logged, or told to whoever waits for its result.
    pub fn run(mut self, baton: Arc<dyn Baton>) {
        if let Some(run) = self.run.take() {
            // What runs here guards itself.
            let _ = catch_unwind(AssertUnwindSafe(|| baton::run_by(baton, run)));
        }
    }
}

impl Drop for PoolJob {
    fn drop(&mut self) {
        let lost = self.run.take();
        drop(lost);
        drop(self.shared.end_job(self.number));
    }
}

impl fmt::Debug for PoolJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolJob({} of {})", self.number, self.shared.name)
    }
}

/// Runs a job. A panic in it is an error.
pub(crate) fn run_guarded<T>(job: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(job))
        .map_err(|payload| Panicked::new("a job in a thread", &*payload))
}

/// At least one thread, and no fewer at most than at least.
fn sensible(threads: &RangeInclusive<usize>) -> RangeInclusive<usize> {
    let most = (*threads.end()).max(*threads.start()).max(1);
    *threads.start()..=most
}

fn run_all(calls: Vec<Run>) {
    for call in calls {
        call();
    }
}

/// The threads of a pool have not ended in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillRunning {
    /// The pool.
    pub pool: String,
    /// How long was waited.
    pub after: Duration,
    /// The names of the jobs that have not ended.
    pub jobs: Vec<String>,
}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, after, jobs } = self;
        match &jobs[..] {
            [] => write!(
                f,
                "the pool {pool} has not ended in {after:?}; was it stopped?"
            ),
            jobs => write!(
                f,
                "jobs of the pool {pool} have not ended in {after:?}: {}",
                jobs.join(", ")
            ),
        }
    }
}

impl std::error::Error for StillRunning {}
