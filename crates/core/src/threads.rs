//! Work that blocks, given to threads: what a reactor offers of it, as protocols see it.
//!
//! A loop stands still while a callback waits for a disk, a database or a long computation. Such
//! work is a job for a thread of the reactor's pool; its result comes back to the loop's thread as
//! a [`Deferred`]. The threads themselves, and how many there are, are the reactor's.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Deferred, Failure, IntoDeferred};

/// Threads for what would block the loop.
pub trait ReactorThreads {
    /// Runs `job` on a thread of the reactor's pool. The Deferred fires on the loop's thread when
    /// it has been run; it fails with a [`Panicked`](crate::Panicked) if it panicked, and with a
    /// [`ThreadJobError`] if it was not run. Cancelling it takes the job back, if no thread has
    /// begun with it; otherwise the job goes on, and nobody hears of it.
    ///
    /// The job has the values of its [`ContextKey`](crate::ContextKey)s, and runs in the `tracing`
    /// span, of where it was given. [`defer_to_thread`] brings its result along.
    fn run_in_thread(&self, name: JobName, job: Box<dyn FnOnce() + Send>) -> Deferred<()>;
}

/// Runs `job` on a thread of the reactor's pool, and brings its result to the loop's thread:
/// Twisted's `deferToThread`. What the job returns may be a value, or a `Result` whose error
/// becomes the [`Failure`]. How it may fail besides, and what cancelling does, says
/// [`ReactorThreads::run_in_thread`]. The job's name is the place of this call.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Deferred, defer_to_thread};
///
/// let reactor = MemoryReactor::new();
/// let sum: Deferred<u64> = defer_to_thread(&*reactor, || (1..=1000).sum::<u64>());
/// let shown = sum.add_callback(|sum: u64| assert_eq!(sum, 500_500));
/// reactor.run();
/// assert!(shown.is_fired());
/// ```
#[track_caller]
pub fn defer_to_thread<T, R>(
    reactor: &(impl ReactorThreads + ?Sized),
    job: impl FnOnce() -> R + Send + 'static,
) -> Deferred<T>
where
    T: 'static,
    R: IntoDeferred<T> + Send + 'static,
{
    let result = Arc::new(Mutex::new(None));
    let filled = Arc::clone(&result);
    let job = move || {
        let value = job();
        *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    };
    let ran = reactor.run_in_thread(JobName::here(), Box::new(job));
    ran.add_callback(move |()| {
        let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match value {
            Some(value) => value.into_deferred(),
            None => Deferred::fail(Failure::msg("the reactor has not run the job in a thread")),
        }
    })
}

/// What a job is called in logs and errors: the place where it was made, unless it was given a
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobName(Name);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Given(Cow<'static, str>),
    Place(&'static Location<'static>),
}

impl JobName {
    /// The place of the caller.
    ///
    /// ```
    /// use ropewalk_core::JobName;
    /// assert!(JobName::here().to_string().contains(".rs:"));
    /// assert_eq!(JobName::from("resize").to_string(), "resize");
    /// ```
    #[must_use]
    #[track_caller]
    pub fn here() -> Self {
        Self(Name::Place(Location::caller()))
    }
}

impl From<&'static str> for JobName {
    fn from(name: &'static str) -> Self {
        Self(Name::Given(name.into()))
    }
}

impl From<String> for JobName {
    fn from(name: String) -> Self {
        Self(Name::Given(name.into()))
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Given(name) => f.write_str(name),
            Name::Place(place) => place.fmt(f),
        }
    }
}

/// Why a job was not run on a thread, or why nobody will hear of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ThreadJobError {
    /// All threads are at work, and as many jobs wait as may.
    QueueFull {
        /// The job that was refused.
        job: JobName,
        /// The pool that refused it.
        pool: String,
        /// How many jobs wait.
        limit: usize,
    },
    /// The pool was stopped, and takes no more jobs.
    Stopped {
        /// The job that was refused.
        job: JobName,
        /// The pool that refused it.
        pool: String,
    },
    /// The pool has no thread, and the operating system gives none.
    NoThread {
        /// The job that was refused.
        job: JobName,
        /// The pool that refused it.
        pool: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The reactor's run ended before the job did.
    ReactorStopped {
        /// The job whose result is lost.
        job: JobName,
    },
}

impl fmt::Display for ThreadJobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull { job, pool, limit } => write!(
                f,
                "cannot run the job {job}: all threads of the pool {pool} are at work and {limit} \
                 jobs wait, as many as may; start fewer at a time, or give the pool more threads \
                 or a longer queue"
            ),
            Self::Stopped { job, pool } => write!(
                f,
                "cannot run the job {job}: the pool {pool} was stopped, and takes no more jobs"
            ),
            Self::NoThread { job, pool, source } => write!(
                f,
                "cannot run the job {job}: the pool {pool} has no thread, and cannot start one \
                 ({source})"
            ),
            Self::ReactorStopped { job } => write!(
                f,
                "the result of the job {job} is lost: the run of the reactor has ended"
            ),
        }
    }
}

impl Error for ThreadJobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread { source, .. } => Some(source),
            _ => None,
        }
    }
}
