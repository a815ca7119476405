//! The small servers and the forwarder, on a reactor in memory: no socket, time by hand.

mod forward;
mod rig;
mod servers;
