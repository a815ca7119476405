//! What a network program is made of, with no network.
//!
//! This crate has no sockets, no clock of its own and no threads.
#![forbid(unsafe_code)]

mod failure;

pub use failure::Failure;
