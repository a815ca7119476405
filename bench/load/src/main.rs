//! `bench-load`: see the library. Exit code 0 with a result, 1 with a line on standard error.

use std::process::ExitCode;

use bench_load::Arguments;
use clap::Parser;

fn main() -> ExitCode {
    match bench_load::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench-load: {failure}");
            ExitCode::FAILURE
        }
    }
}
