//! Our servers and clients in a simulated world, under all faults: a line for each seed, and for one
//! that fails, what it takes to fail.
//!
//! `cargo run --release --example chaos -- --seed 7 --hours 1`

use std::env;
use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::process::ExitCode;

use ropewalk_chaos::{Report, Workload, run};

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
    let mut all = All::default();
    for seed in given.seeds {
        let report = run(seed, given.hours, given.only);
        if let Some(failure) = report.failure() {
            println!("{failure}");
            failed = true;
        }
        println!("{report}");
        all.add(&report);
        if failed && given.until_failure {
            break;
        }
    }
    if all.runs > 1 {
        eprintln!("{all}");
    }
    ExitCode::from(u8::from(failed))
}

/// What all runs come to.
#[derive(Default)]
struct All {
    runs: u64,
    faults: usize,
    events: u64,
    asked: u64,
    answered: u64,
    asked_under_faults: u64,
    cut_under_faults: u64,
}

impl All {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.faults += report.faults;
        self.events += report.outcome.events;
        self.asked += report.outcome.asked;
        self.answered += report.outcome.answered;
        self.asked_under_faults += report.outcome.asked_under_faults;
        self.cut_under_faults += report.outcome.cut_under_faults;
    }
}

impl fmt::Display for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.cut_under_faults as f64 / self.asked_under_faults.max(1) as f64;
        write!(
            f,
            "{} runs, {} faults, {} events; {} requests, of which {} were answered; {share:.1} % of \
             those under faults were cut off",
            self.runs, self.faults, self.events, self.asked, self.answered
        )
    }
}
