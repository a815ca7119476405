//! The kit, by tests that fail as they are meant to: what is looked at is what they report.

mod leaks;
mod logs;
mod outcomes;
mod seeds;
mod simulated;

use std::future::Future;

use ropewalk_core::{Address, Failure, Protocol, Transport};
use ropewalk_trial::{Driver, Problem, Test, TestFailed, Trial};

/// A protocol that answers with what it hears.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

fn echo(_: &Address) -> Echo {
    Echo
}

/// Runs a test on real sockets, as the attribute does.
fn run<F>(body: impl Fn(Test) -> F + 'static) -> Result<(), Box<TestFailed>>
where
    F: Future<Output = Result<(), Failure>> + 'static,
{
    let trial = Trial::new("kit::a_test").driver(Driver::Poll);
    trial.run_with([0], body)
}

/// The only thing that is wrong with a test.
fn problem<F>(body: impl Fn(Test) -> F + 'static) -> Problem
where
    F: Future<Output = Result<(), Failure>> + 'static,
{
    let mut failed = run(body).expect_err("the test is to fail");
    assert_eq!(failed.problems.len(), 1, "{failed}");
    failed.problems.remove(0)
}
