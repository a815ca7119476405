//! Doubles of what a reactor offers, for tests that need no network and no waiting.
//!
//! | double | for | time |
//! |---|---|---|
//! | [`StringTransport`] | one protocol, whose methods the test calls by hand: what it answers to which bytes | stands still |
//! | [`Pair`] | two protocols that talk to each other | when the test advances it |
//! | [`MemoryReactor`] | what listens, connects, starts tasks, processes or jobs, and opens datagram ports | when the test advances it |
//! | [`Clock`] | what needs nothing but time | when the test advances it |
//!
//! None of them is a network: nothing is late, lost or refused by chance. For that there is a
//! simulated world, and for the kernel's own habits there are real sockets. Tests on both are written
//! with `#[ropewalk::test]`; its guide, *Testing a protocol*, shows one protocol tested in all of
//! these ways.
//!
//! [`success_result_of`], [`failure_result_of`] and [`assert_no_result`] look at what a Deferred has come
//! to by now.

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
