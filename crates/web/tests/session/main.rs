//! Sessions: what handlers put into them, what clients and stores get to see, and when they end.

mod cookies;
mod expiry;
mod fixation;
mod memory;
mod rig;
mod unreliable;
mod values;

#[cfg(feature = "redis")]
mod redis;
