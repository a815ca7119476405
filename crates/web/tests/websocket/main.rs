//! WebSockets, in memory.
#![allow(
    clippy::field_reassign_with_default,
    clippy::type_complexity,
    reason = "options are set one by one, and tables stand where they are used"
)]

mod broadcasts;
mod closing;
mod frames;
mod handles;
mod handshake;
mod limits;
mod memory;
mod rig;
mod streams;
mod talking;
