//! The `ropewalk` command.
//!
//! It reads the arguments, sets up the logs, and runs the subcommand. What can go wrong ends here
//! as one line on standard error and an exit code; see [`exit`].

mod access_log;
mod args;
mod completions;
mod exit;
mod forward;
mod logging;
mod serving;
mod web;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use args::{AccessLog, Args, Command};
use exit::Stop;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}

fn run() -> Result<(), Stop> {
    let args = Args::try_parse().map_err(Stop::Arguments)?;
    match &args.command {
        Command::Web(web) => {
            let _log = logging::start(&args.logging, &web.access_log)?;
            web::run(web)
        }
        Command::Wire(wire) => {
            let _log = logging::start(&args.logging, &AccessLog::Off)?;
            wire::run(wire)
        }
        Command::Forward(forward) => {
            let _log = logging::start(&args.logging, &AccessLog::Off)?;
            forward::run(forward)
        }
        Command::Completions { shell } => completions::print(*shell),
    }
}
