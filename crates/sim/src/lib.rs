//! A simulated world for network programs: hosts, links, faults, and time that passes only when
//! something happens.
//!
//! The very server that runs in production runs here unchanged, on the same loop, over a driver that
//! is a network in memory. All of it is on one thread, and one seed decides everything: a run that
//! has found a mistake can be run again.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod capture;
mod clock;
mod datagrams;
mod disk;
mod driver;
mod ending;
mod explore;
mod fault;
mod host;
mod link;
mod listeners;
mod machine;
mod names;
mod net;
mod opening;
mod packet;
mod random;
mod schedule;
mod socket;
mod streams;
mod threads;
mod timing;
mod trace;
mod waker;
mod world;

pub use disk::Disk;
pub use explore::{Found, Passed, explore};
pub use fault::Fault;
pub use host::Host;
pub use link::Link;
pub use random::Random;
pub use schedule::{Planned, Schedule};
pub use world::World;
