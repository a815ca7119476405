//! Measures Ropewalk against its peers, all in one run on one machine.
//!
//! `compare` builds everybody, gives each the same work side by side, and prints ratios. What it
//! could not run it names, with the reason.

mod compare;
mod load;
mod machine;
mod plot;
mod report;
mod rounds;
mod secured;
mod servers;
mod still;
mod suites;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use time::OffsetDateTime;

use compare::{Bench, Effort, make_files};
use load::Tools;
use machine::{Cores, Machine};
use report::{Report, Table};
use servers::{Built, SERVERS};
use still::Idle;
use suites::{SUITES, WORKS};

/// The works that the plot of bars shows: all would be too many to look at.
const PLOTTED: [(&str, &str); 4] = [
    ("echo", "64 B, depth 1"),
    ("http", "hello, 64 connections"),
    ("http", "hello by 16, 64 connections"),
    ("http", "1 KiB file"),
];

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Builds all servers, loads them in turn, and prints a table for each work.
    Compare {
        /// Only these suites: echo, lines, http, churn, file, udp, tls, websocket, memory, start, timers,
        /// deferred, threads, simulation, counts, growth.
        #[arg(long, value_delimiter = ',')]
        suite: Vec<String>,
        /// Only these servers, and the references.
        #[arg(long, value_delimiter = ',')]
        server: Vec<String>,
        /// Fewer bursts: to see that all runs, not to quote.
        #[arg(long)]
        quick: bool,
        /// Rounds of bursts, instead of 5 (or 2 with --quick).
        #[arg(long)]
        rounds: Option<usize>,
        /// Also writes all that was measured to this file.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Keeps the results, with their plot, in this folder.
        #[arg(long)]
        save: Option<PathBuf>,
    },
    /// Writes the tables and plots of a run that was kept anew, beside its figures.
    Report {
        /// The JSON file that `compare --save` has written.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ropewalk-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Commands) -> Result<(), Box<dyn Error>> {
    let (suite, server, quick, rounds, json, save) = match command {
        Commands::Compare {
            suite,
            server,
            quick,
            rounds,
            json,
            save,
        } => (suite, server, quick, rounds, json, save),
        Commands::Report { file } => {
            let report: Report = serde_json::from_slice(&fs::read(&file)?)?;
            return write_tables(&report, &file);
        }
    };
    if let Some(unknown) = suite.iter().find(|name| !SUITES.contains(&name.as_str())) {
        return Err(format!("no suite {unknown}; there are {}", SUITES.join(", ")).into());
    }
    if let Some(unknown) = server
        .iter()
        .find(|name| !SERVERS.iter().any(|one| one.name == **name))
    {
        return Err(format!("no server {unknown}").into());
    }
    let wanted = |name: &str| suite.is_empty() || suite.iter().any(|suite| suite == name);
    let effort = match quick {
        true => (2, 1.0),
        false => (5, 1.0),
    };
    let effort = Effort {
        rounds: rounds.unwrap_or(effort.0).max(1),
        seconds: effort.1,
    };
    // For the servers, which inherit it.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Built::build(here)?;
    let files = tempfile::tempdir()?;
    make_files(files.path())?;
    let bench = Bench {
        built: &built,
        files: files.path().to_owned(),
        tools: Tools {
            generator: built.binary("bench-load")?.to_owned(),
            script: here.join("src/wrk.lua"),
            secured: built.secured().map(Path::to_owned).unwrap_or_default(),
        },
        effort,
        only: server,
    };
    let mut missing: Vec<String> = SERVERS
        .iter()
        .filter_map(|server| Some(format!("{}: {}", server.name, built.missing(server)?)))
        .collect();
    let tables = measure(&bench, wanted, hard, &mut missing)?;

    let report = Report {
        date: OffsetDateTime::now_utc().date().to_string(),
        machine: Machine::look()?,
        versions: versions(here)?,
        rounds: effort.rounds,
        seconds: effort.seconds,
        tables,
        missing,
    };
    println!("{}", report.markdown());
    if let Some(path) = json {
        fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(dir) = save {
        keep(&report, &dir)?;
    }
    Ok(())
}

fn measure(
    bench: &Bench<'_>,
    wanted: impl Fn(&str) -> bool,
    descriptors: u64,
    missing: &mut Vec<String>,
) -> Result<Vec<Table>, Box<dyn Error>> {
    let one =
        Cores::share(1).ok_or("this needs two cores: one for the server, one for the load")?;
    let mut tables = Vec::new();
    for workers in [1, 2, 4] {
        let Some(cores) = Cores::share(workers) else {
            if workers > 2 {
                break;
            }
            missing.push(format!(
                "{workers} cores for the servers: that leaves none for the load"
            ));
            continue;
        };
        for work in WORKS.iter().filter(|work| wanted(work.suite)) {
            match bench.compare(work, workers, &cores) {
                Ok(table) => {
                    eprintln!("{}", table.markdown());
                    tables.push(table);
                }
                Err(why) => missing.push(format!("{}, {}: {why}", work.suite, work.name)),
            }
        }
    }
    // A few descriptors are for other things.
    let most = usize::try_from(descriptors.saturating_sub(500))?.min(18_000);
    if wanted("memory") {
        for connections in [2000, most] {
            for idle in [Idle::Bare, Idle::Http] {
                tables.push(bench.memory("memory", connections, idle, &one));
            }
        }
        tables.push(bench.memory("memory", 2000, Idle::Tls, &one));
    }
    if wanted("growth") {
        for connections in [512, 4096, most] {
            tables.push(bench.memory("growth", connections, Idle::Http, &one));
        }
    }
    if wanted("counts") {
        for (app, reference) in [("echo", "c-epoll"), ("hello", "hyper")] {
            tables.push(bench.system_calls(app, reference));
            tables.push(bench.instructions(app, reference));
        }
        tables.push(bench.instructions("tls", "rustls"));
    }
    if wanted("start") {
        tables.push(bench.start_time(&one));
    }
    for suite in ["timers", "deferred", "threads", "simulation"] {
        if wanted(suite) {
            tables.extend(bench.within(suite, &one));
        }
    }
    Ok(tables)
}

/// The versions of all that takes part.
fn versions(here: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    const CRATES: [&str; 12] = [
        "tokio",
        "monoio",
        "ntex",
        "hyper",
        "axum",
        "actix-web",
        "may_minihttp",
        "mio",
        "rustls",
        "tokio-rustls",
        "turmoil",
        "tokio-tungstenite",
    ];
    let mut versions = Vec::new();
    let lock = fs::read_to_string(here.join("Cargo.lock"))?;
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
        } else if let Some(value) = line.strip_prefix("version = ")
            && CRATES.contains(&name)
        {
            versions.push((name.to_owned(), value.trim_matches('"').to_owned()));
        }
    }
    let list = fs::read_to_string(here.join("peers/python/requirements.txt"))?;
    let pinned = list.lines().filter_map(|line| line.split_once("=="));
    versions.extend(pinned.map(|(name, version)| (name.to_owned(), version.to_owned())));
    for (program, argument) in [
        ("rustc", "-V"),
        ("nginx", "-v"),
        ("openssl", "version"),
        ("node", "-v"),
        ("wrk", "-v"),
    ] {
        if let Ok(output) = Command::new(program).arg(argument).output() {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let line = said.lines().next().unwrap_or_default();
            versions.push((program.to_owned(), line.trim().to_owned()));
        }
    }
    Ok(versions)
}

/// Writes the figures, the tables and the plots.
fn keep(report: &Report, dir: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    let file = dir.join(format!("{}.json", report.date));
    fs::write(&file, serde_json::to_vec_pretty(report)?)?;
    write_tables(report, &file)
}

/// Writes tables and plots beside `file`.
fn write_tables(report: &Report, file: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(file.with_extension("md"), report.markdown())?;
    let alone = || report.tables.iter().filter(|table| table.cores == 1);
    let bars: Vec<&Table> = alone()
        .filter(|table| PLOTTED.contains(&(table.suite.as_str(), table.work.as_str())))
        .collect();
    let growth: Vec<&Table> = report
        .tables
        .iter()
        .filter(|table| table.suite == "growth")
        .collect();
    if !bars.is_empty() {
        plot::bars(&bars, &file.with_extension("svg"))?;
    }
    if !growth.is_empty() {
        plot::growth(&growth, &file.with_extension("growth.svg"))?;
    }
    Ok(())
}
