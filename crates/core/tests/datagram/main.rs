//! What a datagram port promises, whoever moves its bytes.

mod memory;
#[path = "../connection/no_reactor.rs"]
mod no_reactor;
mod rig;
mod sending;
