//! The suites on tokio, with its current-thread runtime.

use std::process::ExitCode;

use bench_micro::{Arguments, on_tokio};
use clap::Parser;

fn main() -> ExitCode {
    match on_tokio::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-micro-tokio: {error}");
            ExitCode::FAILURE
        }
    }
}
