//! Our servers and clients in a simulated world, under all faults: a line for each seed, and for one
//! that fails, what it takes to fail.
//!
//! `cargo run --release --example chaos -- --seed 7 --hours 1`

use std::env;
use std::error::Error;
use std::ops::Range;
use std::process::ExitCode;

use ropewalk_chaos::{Workload, run};

const USAGE: &str =
    "usage: chaos [--seed N | --seeds A..B] [--hours H] [--only WORKLOAD] [--until-failure]

  --seed N         the run of this seed; 1 unless told otherwise
  --seeds A..B     those from A up to, and without, B
  --hours H        how long each lasts, in the time of its world; 1 unless told otherwise
  --only WORKLOAD  nothing else is run
  --until-failure  goes on with the next seed until one fails";

struct Arguments {
    seeds: Range<u64>,
    hours: u32,
    only: Option<Workload>,
    until_failure: bool,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = Arguments {
        seeds: 1..2,
        hours: 1,
        only: None,
        until_failure: false,
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match &*word {
            "--seed" => {
                let seed: u64 = value()?.parse()?;
                given.seeds = seed..seed.saturating_add(1);
            }
            "--seeds" => {
                let value = value()?;
                let (from, to) = value.split_once("..").ok_or("--seeds needs A..B")?;
                given.seeds = from.parse()?..to.parse()?;
            }
            "--hours" => given.hours = value()?.parse()?,
            "--only" => given.only = Some(value()?.parse()?),
            "--until-failure" => given.until_failure = true,
            _ => return Err(format!("{word} is not known").into()),
        }
    }
    if given.until_failure {
        given.seeds.end = u64::MAX;
    }
    Ok(given)
}

fn main() -> ExitCode {
    let given = match arguments() {
        Ok(given) => given,
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for seed in given.seeds {
        let report = run(seed, given.hours, given.only);
        if let Some(failure) = report.failure() {
            println!("{failure}");
            failed = true;
        }
        println!("{report}");
        if failed && given.until_failure {
            break;
        }
    }
    ExitCode::from(u8::from(failed))
}
