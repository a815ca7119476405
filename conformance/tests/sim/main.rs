//! The suite on the simulated driver, in a world of the seed that `ROPEWALK_SEED` says; 1, unless told
//! otherwise.

mod subject;

use std::process::ExitCode;

fn main() -> ExitCode {
    let seed = match std::env::var_os("ROPEWALK_SEED") {
        Some(text) => text.to_string_lossy().parse(),
        None => Ok(1),
    };
    match seed {
        Ok(seed) => ropewalk_conformance::run(subject::Sim { seed }),
        Err(error) => {
            eprintln!("ROPEWALK_SEED is to be the number of a seed: {error}");
            ExitCode::FAILURE
        }
    }
}
