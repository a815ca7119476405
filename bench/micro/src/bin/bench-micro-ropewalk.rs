//! The suites on Ropewalk.

use std::process::ExitCode;

use bench_micro::{Arguments, on_ropewalk};
use clap::Parser;

fn main() -> ExitCode {
    match on_ropewalk::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-micro-ropewalk: {error}");
            ExitCode::FAILURE
        }
    }
}
