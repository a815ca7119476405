//! Threads for what would block a loop.
//!
//! `pool` runs jobs on threads, and knows no reactor; `jobs` is what a loop keeps of the jobs whose
//! results it waits for; `blocking` is the way back: a thread that waits for a loop.

mod baton;
pub(crate) mod blocking;
pub(crate) mod jobs;
mod pool;

pub use baton::Baton;
pub use blocking::BlockingCallError;
pub(crate) use pool::run_guarded;
pub use pool::{PoolJob, PoolThread, PoolThreads, StillRunning, ThreadPool};
