//! The reactor on real sockets.
//!
//! One program, so that it is linked once and its parts share [`support`]. Nothing here sleeps:
//! peers are blocking sockets on threads of their own, and tell the reactor when they are done.

mod calls;
mod connect;
mod connections;
mod descriptors;
mod files;
mod lifecycle;
mod listen;
mod panics;
mod pressure;
mod shutdown;
mod signals;
mod stress;
mod support;
mod unix;
mod workers;
