//! The reactor in processes of their own.
//!
//! Apart from the tests of `reactor`, which close sockets and look that they are closed: from its
//! start to its exec, a new process has duplicates of all that this one has open.

mod datagrams;
mod descriptors;
mod faults;
mod signals;
#[expect(dead_code, reason = "these tests need a part of it")]
#[path = "../reactor/support.rs"]
mod support;
