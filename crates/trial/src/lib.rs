//! The test kit: Twisted's trial.
//!
//! `#[ropewalk::test]` makes a test of an `async fn`, or of a function that returns a
//! [`Deferred`](ropewalk_core::Deferred). It runs on a reactor of its own, which is that of a host in
//! a simulated [`World`](ropewalk_sim::World) unless the test asks for real sockets, and fails
//!
//! - when it panics, or comes to a failure;
//! - when it has not ended after 120 s of the reactor's own time: what it was waiting for is named;
//! - when it leaves a timer, a task, a port, a connection, a process or a job in a thread behind:
//!   each is named, with the place where it was made ([`Ledger`](ropewalk_reactor::Ledger));
//! - when errors were logged that it has not [flushed](flush_logged_errors), a Deferred's unhandled
//!   failure among them.
//!
//! ```
//! # use ropewalk_trial as trial;
//! # mod ropewalk { pub(crate) use ropewalk_trial::run_when_called as test; }
//! use ropewalk_core::{Deferred, Failure};
//! use ropewalk_reactor::Handle;
//! use trial::flush_logged_errors;
//!
//! #[ropewalk::test]
//! async fn nobody_hears_of_it(reactor: Handle) -> Result<(), Failure> {
//!     reactor.defer_to_thread::<(), _>(|| ()).await?;
//!     drop(Deferred::<()>::fail("x".parse::<u8>().unwrap_err()));
//!     assert_eq!(flush_logged_errors::<std::num::ParseIntError>().len(), 1);
//!     Ok(())
//! }
//! # nobody_hears_of_it();
//! ```
//!
//! All of it is by thread: tests run beside each other. A program that has the kit elsewhere than
//! at `ropewalk::trial` says where: `#[ropewalk_trial::test(crate = "ropewalk_trial")]`.
//!
//! What needs no reactor is in [`ropewalk_core::testing`]: `StringTransport`, `Pair`, `MemoryReactor`,
//! `Clock`, and `success_result_of`, `failure_result_of` and `assert_no_result` for Deferreds.
//!
//! `test` is the part that a test sees, `trial` runs it, `report` says what was wrong, `capture`
//! and `log_event` are its log, `replay` is how it is run again.
#![forbid(unsafe_code)]

mod capture;
mod log_event;
mod replay;
mod report;
mod test;
mod trial;

#[doc(hidden)]
pub use ropewalk_macros::run_when_called;
pub use ropewalk_macros::test;

pub use self::capture::{LogCapture, flush_logged_errors, flush_logged_if, logged};
pub use self::log_event::LogEvent;
pub use self::replay::Target;
pub use self::report::{Problem, TestFailed};
pub use self::test::{Finish, FinishByText, FromTest, Outcome, Seed, Test, reactor};
pub use self::trial::{Driver, Trial};
