//! The simulated world, seen from the programs in it.

mod rig;
mod streams;
