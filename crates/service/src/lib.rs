//! What a network service needs around its protocols.
//!
//! [`logging`] sets up where its log goes.
#![forbid(unsafe_code)]

pub mod logging;
