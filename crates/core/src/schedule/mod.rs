//! Deferreds and time: what is to happen later, again, little by little, or once more.
//!
//! All of it runs on what a reactor lends ([`ReactorTime`](crate::ReactorTime),
//! [`ReactorTasks`](crate::ReactorTasks)), so it runs on the manual clock of
//! [`testing`](crate::testing) as it does on a loop.

mod backoff;
mod cooperator;
mod defer_later;
mod from_future;
mod looping_call;
mod retry;
mod timeout;

pub use backoff::{Backoff, RetryBudget};
pub use cooperator::{CooperativeTask, Cooperator, TaskStopped};
pub use defer_later::defer_later;
pub use looping_call::{AlreadyRunning, LoopingCall};
pub use retry::Retry;
