//! The simulated world, seen from the programs in it.

mod datagrams;
mod determinism;
mod faults;
mod hosts;
mod kernel;
mod rig;
mod streams;
mod threads;
mod tls;
