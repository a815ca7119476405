//! TLS with no network: our client against our server, in memory.

mod authority;
mod closing;
mod data;
mod endpoints;
mod handshake;
mod memory;
mod pending;
mod refusals;
mod renewal;
mod rig;
mod start_tls;
