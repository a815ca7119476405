//! What Ropewalk's Deferreds allocate. It takes no arguments.

use std::process::ExitCode;

use bench_micro::on_ropewalk::allocations;

fn main() -> ExitCode {
    match allocations::run(|work| allocation_counter::measure(work).count_total) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-micro-allocations: {error}");
            ExitCode::FAILURE
        }
    }
}
