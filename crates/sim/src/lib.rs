//! A simulated world for network programs: hosts, links, faults, and time that passes only when
//! something happens.
//!
//! The very server that runs in production runs here unchanged, on the same loop, over a driver that
//! is a network in memory. All of it is on one thread, and one seed decides everything: a run that
//! has found a mistake can be run again.
//!
//! - [`World`] has the hosts and the time; [`Host`] runs a program, and can be stopped, killed,
//!   crashed, paused, started again.
//! - [`Link`] says what the way between two hosts is like; a [`Fault`] is what goes wrong, and a
//!   [`Schedule`] many of them, by chance. [`explore`] runs a scenario under one, and leaves out of it
//!   what is not needed to make it fail.
//! - [`World::trace`] tells what has happened, [`World::hash`] whether two runs were the same, and
//!   [`World::take_capture`] what was sent, for Wireshark.
//!
//! In tests, `#[ropewalk::test]` makes the world, and prints the seed of a failure with the command
//! that runs it again.
//!
//! # What is simulated, and what is not
//!
//! TCP, UDP with multicast, Unix sockets, names, timers, both clocks, the threads of a reactor's own
//! pool, and a [`Disk`]. Numbers and states are Linux's; congestion is simpler than Linux's, and what
//! was lost is sent again only when its time is over (RFC 6298), not when others have come behind it.
//! A system call takes no time, a turn of a loop some microseconds.
//!
//! Not part of the world, and of the seed: threads and thread pools that a program makes itself,
//! processes, descriptors and files of the system (but those that are sent as regions of a file), and
//! the order of a standard `HashMap`, which takes its seed from the system. The order in which a loop
//! runs its woken tasks is the order of their waking, as it promises, and so follows from the seed.
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
