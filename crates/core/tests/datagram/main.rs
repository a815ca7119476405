//! What a datagram port promises, whoever moves its bytes.

mod memory;
mod rig;
mod sending;
