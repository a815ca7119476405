//! The suite on the poll driver, with the real network of this machine.

mod subject;

use std::process::ExitCode;

fn main() -> ExitCode {
    ropewalk_conformance::run(subject::Poll)
}
