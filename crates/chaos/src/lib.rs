//! Our own servers and clients in a simulated world, under random faults.
//!
//! A run is a number: [`run`] lets servers and clients of all kinds meet for hours of virtual time
//! while hosts crash, links break and clocks drift, and checks all the while what must hold. A failure
//! is reduced to the fewest faults that still bring it about.
//!
//! ```
//! let report = ropewalk_chaos::run(1, 1, Some(ropewalk_chaos::Workload::Lines));
//! assert_eq!(report.violations(), 0, "{report}");
//! ```
#![forbid(unsafe_code)]

mod bulk;
mod certificates;
mod checker;
mod content;
mod datagrams;
mod files;
mod forward;
mod http;
mod http2;
mod lines;
mod log;
mod mistake;
mod names;
mod policies;
mod program;
mod questions;
mod report;
mod response;
mod run;
mod service;
mod store;
mod strings;
mod threads;
mod tls;
mod unix;
mod watched;
mod websocket;
mod workload;

pub use mistake::Mistake;
pub use report::{Report, run, run_plan};
pub use run::{Outcome, Plan};
pub use workload::{UnknownWorkload, Workload};
