//! The smallest servers there are, each one idea of the network, and a port forwarder.
//!
//! | | | |
//! |---|---|---|
//! | [`Echo`] | RFC 862 | sends back what it gets, and reads no faster than its peer does |
//! | [`Discard`] | RFC 863 | takes everything, and says nothing |
//! | [`Chargen`] | RFC 864 | sends characters as long as they are taken |
//! | [`Qotd`] | RFC 865 | a quote, and the end |
//! | [`Daytime`] | RFC 867 | the time as a line, and the end |
//! | [`Time`] | RFC 868 | the time in four bytes, and the end |
//! | [`Forward`] | | passes each connection on to another place |
//!
//! They are on `ropewalk-core` alone, and so run on every driver. All of them hold within bounds
//! what they hold, and a peer that takes nothing is let go of by the connection's own limits. None
//! of them asks who it talks to: a server for more than its own machine wants limits around it.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod answer;
mod chargen;
mod daytime;
mod discard;
mod echo;
mod forward;
mod qotd;
mod time;

pub use chargen::Chargen;
pub use daytime::Daytime;
pub use discard::Discard;
pub use echo::Echo;
pub use forward::Forward;
pub use qotd::{Qotd, QuoteError};
pub use time::Time;
