//! One contract for all drivers: a suite of behaviours, each of which is one test body that runs on
//! every driver.
//!
//! In the manner of Twisted's `ReactorBuilder`: what a [`Driver`](ropewalk_reactor::driver::Driver)
//! promises to the loop, and what a protocol on it may therefore rely on, is written down as
//! [`Body`]s. There are two kinds. Some drive the bare driver, and look at what it reports; the others
//! run a [`Reactor`](ropewalk_reactor::Reactor) on it, with protocols, timers, tasks and threads. In
//! both, all that the driver reports passes a check of the promises that hold everywhere: the order
//! of what is told of a connection, nothing of a name that was closed, no bytes while reading is off.
//!
//! A body knows no clock but the driver's own, waits for events, and gives up after 30 seconds of the
//! driver's time with words about what it waited for. So the suite takes as little time on a driver
//! that simulates a network as its computing takes.
//!
//! # A driver of one's own
//!
//! Say how the driver is made, and which [`Feature`]s it has; what needs another is left out, and
//! counted:
//!
//! ```
//! use std::io;
//! use std::rc::Rc;
//!
//! use ropewalk_conformance::{Feature, Subject, bodies};
//! use ropewalk_reactor::PollDriver;
//! use ropewalk_reactor::driver::Driver;
//!
//! struct Mine;
//!
//! impl Subject for Mine {
//!     fn name(&self) -> &str {
//!         "mine"
//!     }
//!     fn driver(&self) -> io::Result<Rc<dyn Driver>> {
//!         Ok(Rc::new(PollDriver::new()?))
//!     }
//!     fn offers(&self, feature: Feature) -> bool {
//!         feature == Feature::Threads
//!     }
//! }
//!
//! // One of them, for this example.
//! let order = bodies().find(|body| body.name() == "connection_made_is_first_and_connection_lost_is_last");
//! order.expect("it is in the suite").run(&Mine);
//! ```
//!
//! To have each as a test of `cargo test`, put [`run`] into a test target with `harness = false`:
//!
//! ```no_run
//! # use ropewalk_conformance::{Feature, Subject};
//! # struct Mine;
//! # impl Subject for Mine {
//! #     fn name(&self) -> &str { "mine" }
//! #     fn driver(&self) -> std::io::Result<std::rc::Rc<dyn ropewalk_reactor::driver::Driver>> {
//! #         Ok(std::rc::Rc::new(ropewalk_reactor::PollDriver::new()?))
//! #     }
//! #     fn offers(&self, _: Feature) -> bool { false }
//! # }
//! fn main() -> std::process::ExitCode {
//!     ropewalk_conformance::run(Mine)
//! }
//! ```
//!
//! The tests are named `mine::topic::behaviour`, and filtered, counted and listed as any others.

mod bare;
mod bodies;
mod body;
mod case;
mod datagram_script;
mod harness;
mod log;
mod names;
mod panics;
mod promises;
mod script;
mod subject;
mod watched;

pub use bodies::bodies;
pub use body::Body;
pub use harness::run;
pub use subject::{Feature, Place, Subject};
