//! The reactor on real sockets.
//!
//! One program, so that it is linked once and its parts share [`support`]. Nothing here sleeps:
//! peers are blocking sockets on threads of their own, and tell the reactor when they are done.
//! Nothing here starts a process: those tests are in `processes`.

mod calls;
mod connect;
mod connections;
mod datagrams;
mod files;
mod happy_eyeballs;
mod kinds;
mod lifecycle;
mod listen;
mod panics;
mod pressure;
mod react;
mod shutdown;
mod stalls;
mod streams;
mod stress;
mod support;
mod threads;
mod unix;
mod watching;
mod workers;
