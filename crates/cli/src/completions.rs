//! `ropewalk completions`: a script that makes a shell complete the command's arguments.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit::Stop;

/// Prints the script for `shell` to standard output.
pub(crate) fn print(shell: Shell) -> Result<(), Stop> {
    // Made in memory first, because the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ropewalk", &mut script);
    let mut output = io::stdout().lock();
    output
        .write_all(&script)
        .and_then(|()| output.flush())
        .map_err(Stop::output)
}
