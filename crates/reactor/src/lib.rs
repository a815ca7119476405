//! The event loop of Ropewalk, and its driver for real sockets.
//!
//! [`Reactor`] runs a loop; [`Handle`] is what those it runs may ask of it; [`ReactorRemote`] is
//! for other threads; [`ThreadPool`] is threads for what would block; [`Workers`] is a loop for
//! each core. What stands on it is written against
//! `ropewalk_core`, and does not know this crate.
//!
//! Those who embed this in a program whose `main` is not Rust's: SIGPIPE must be ignored, as
//! Rust's own start-up does. All sending but that of files asks not to be signalled, and
//! `sendfile` cannot ask.

mod connect;
mod connections;
mod datagrams;
mod dealing;
mod descriptors;
pub mod driver;
mod event_loop;
mod exec;
mod file_watcher;
mod guest;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod halt;
mod happy_eyeballs;
mod inherited;
mod keeping;
mod kinds;
mod ledger;
mod names;
mod poll;
mod ports;
mod processes;
mod react;
mod reactor;
mod remote;
mod shutdown;
mod signals;
mod stack;
mod stdio;
mod systemd;
mod threads;
mod watchdog;
mod workers;

pub use descriptors::raise_descriptor_limit;
pub use file_watcher::{FileChange, FileEvents, FileWatcher, WatchError, WatchOptions};
pub use guest::Guest;
pub use ledger::{Ledger, Live, LiveKind};
pub use poll::PollDriver;
pub use react::react;
pub use reactor::{Handle, Reactor, RunError};
pub use remote::ReactorRemote;
pub use shutdown::Phase;
pub use signals::{SignalGuard, stop_on_signals};
pub use threads::{
    Baton, BlockingCallError, PoolJob, PoolThread, PoolThreads, StillRunning, ThreadPool,
};
pub use workers::{Worker, Workers, WorkersError};
