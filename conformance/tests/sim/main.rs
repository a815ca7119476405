//! The suite on the simulated driver, in a world of the seed that `ROPEWALK_SEED` says; 1, unless told
//! otherwise.

mod subject;

use std::process::ExitCode;

fn main() -> ExitCode {
    let seed = std::env::var("ROPEWALK_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    ropewalk_conformance::run(subject::Sim { seed })
}
