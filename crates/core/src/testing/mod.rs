//! Doubles of what a reactor offers, for tests that need no network and no waiting.
//!
//! [`StringTransport`] for one protocol called by hand; [`Pair`] for two that talk to each other;
//! [`MemoryReactor`] for what listens, connects and starts tasks; [`Clock`] for time alone.

mod children;
mod clock;
mod memory;
mod memory_datagrams;
mod pair;
mod results;
mod string_transport;

pub use children::MemoryChild;
pub use clock::Clock;
pub use memory::{MemoryReactor, no_reactor};
pub use pair::Pair;
pub use results::{FailureKind, assert_no_result, failure_result_of, success_result_of};
pub use string_transport::StringTransport;
