//! The works of the network, server by server in rounds: see [`rounds`](crate::rounds).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::load::{Burst, Tools};
use crate::machine::Cores;
use crate::report::{Row, Table};
use crate::rounds::{self, Series};
use crate::servers::{Built, Running, SERVERS, Server};
use crate::suites::{GROWING, Work};

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub seconds: f64,
}

/// A burst counts if the hypervisor took no more than this, in cores, ...
const STOLEN: f64 = 0.05;
/// ... and other programs no more than this.
const FOREIGN: f64 = 0.15;

/// The load is the limit when it uses more than this of its cores, and the server is not.
const SATURATED: f64 = 0.95;

/// What all works need.
pub struct Bench<'a> {
    pub built: &'a Built,
    /// The folder of the app `file`.
    pub files: PathBuf,
    pub tools: Tools,
    pub effort: Effort,
    /// The names of the servers to be measured; all, if there are none.
    pub only: Vec<String>,
}

/// One server in a work.
struct Contestant<'a> {
    server: &'a Server,
    running: Running,
    bursts: Vec<Burst>,
    failed: Option<String>,
}

impl Bench<'_> {
    /// All servers that have the app of `work`, on `workers` cores.
    pub fn compare(&self, work: &Work, workers: usize, cores: &Cores) -> Result<Table, String> {
        let mut missing = Vec::new();
        let mut contestants = Vec::new();
        // The reference comes first.
        let reference = |server: &&Server| server.name != work.reference;
        let mut servers: Vec<&Server> = self
            .servers(work.suite, work.app, work.reference)
            .filter(|server| workers == 1 || server.scales)
            .collect();
        servers.sort_by_key(reference);
        for server in servers {
            let pin = ["taskset", "-c", &cores.server];
            match self
                .built
                .start(server, work.app, workers, &self.files, &pin)
            {
                Ok(running) => contestants.push(Contestant {
                    server,
                    running,
                    bursts: Vec::new(),
                    failed: None,
                }),
                Err(why) => missing.push(format!("{}: {why}", server.name)),
            }
        }
        if contestants.first().map(|first| first.server.name) != Some(work.reference) {
            return Err(format!(
                "the reference, {}, is missing: {}",
                work.reference,
                missing.join("; ")
            ));
        }
        let mut random = fastrand::Rng::new();
        let mut figures = Vec::new();
        for round in 1..=self.effort.rounds {
            eprint!("{}, {}: round {round}\r", work.suite, work.name);
            for at in rounds::round(contestants.len(), &mut random) {
                figures.push((at, self.burst(&mut contestants[at], work, cores)));
            }
        }
        let series = rounds::pair(&figures, contestants.len());
        let mut rows = Vec::new();
        for (contestant, series) in contestants.into_iter().zip(series) {
            missing.extend(contestant.failed.iter().map(|why| {
                format!(
                    "{}, {} bursts: {why}",
                    contestant.server.name, series.dropped
                )
            }));
            rows.push(row(&contestant, series, cores));
            contestant
                .running
                .end()
                .map_err(|error| error.to_string())?;
        }
        Ok(Table {
            suite: work.suite.to_owned(),
            work: work.name.to_owned(),
            unit: work.unit.to_owned(),
            reference: work.reference.to_owned(),
            cores: workers,
            less_is_better: false,
            rows,
            missing,
        })
    }

    /// The servers that have `app`, belong to `suite` and are wanted.
    pub fn servers<'a>(
        &'a self,
        suite: &'a str,
        app: &'a str,
        reference: &'a str,
    ) -> impl Iterator<Item = &'static Server> + 'a {
        SERVERS.iter().filter(move |server| {
            let wanted = self.only.is_empty() || self.only.iter().any(|name| name == server.name);
            let belongs = suite != "growth" || GROWING.contains(&server.name);
            server.has(app) && belongs && (wanted || server.name == reference)
        })
    }

    /// The figure of one burst, if it counts.
    fn burst(&self, contestant: &mut Contestant<'_>, work: &Work, cores: &Cores) -> Option<f64> {
        let seconds = self.effort.seconds;
        let running = &contestant.running;
        let result = work.load.burst(running, cores, seconds, &self.tools);
        match result {
            Ok(burst) => {
                let disturbance = burst.disturbance;
                let counts = disturbance.stolen <= STOLEN && disturbance.foreign <= FOREIGN;
                if !counts {
                    contestant.failed = Some(format!(
                        "disturbed: {:.2} cores stolen, {:.2} foreign",
                        disturbance.stolen, disturbance.foreign
                    ));
                    return None;
                }
                contestant.bursts.push(burst);
                Some(burst.figure)
            }
            Err(why) => {
                contestant.failed = Some(why);
                None
            }
        }
    }
}

fn row(contestant: &Contestant<'_>, series: Series, cores: &Cores) -> Row {
    let middle = |of: fn(&Burst) -> Option<f64>| {
        let all: Vec<f64> = contestant.bursts.iter().filter_map(of).collect();
        rounds::median(&all)
    };
    let server_cpu = middle(|burst| Some(burst.server_cpu));
    let load_cpu = middle(|burst| Some(burst.load_cpu));
    let limit = "the load was the limit: at least";
    let full = load_cpu.is_some_and(|cpu| cpu > SATURATED * cores.load_count as f64);
    let idle = server_cpu.is_some_and(|cpu| cpu < 0.9 * SATURATED);
    Row {
        server: contestant.server.name.to_owned(),
        series,
        p50_us: middle(|burst| burst.p50),
        p99_us: middle(|burst| burst.p99),
        server_cpu,
        load_cpu,
        note: match (lost(&contestant.bursts), full && idle) {
            (Some(lost), true) => Some(format!("{lost}; {limit}")),
            (Some(lost), false) => Some(lost),
            (None, true) => Some(limit.to_owned()),
            (None, false) => None,
        },
    }
}

/// How many datagrams did not come back, where there were any.
fn lost(bursts: &[Burst]) -> Option<String> {
    let lost: Vec<u64> = bursts.iter().filter_map(|burst| burst.lost).collect();
    (!lost.is_empty()).then(|| format!("{} lost", lost.iter().sum::<u64>()))
}

/// The files of the app `file`, with bytes that do not compress.
pub fn make_files(dir: &Path) -> io::Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    for (name, len) in [
        ("1k.txt", 1 << 10),
        ("1m.bin", 1 << 20),
        ("100m.bin", 100 << 20),
    ] {
        let mut file = File::create(dir.join(name))?;
        let mut piece = vec![0; 1 << 10];
        for _ in 0..len / piece.len() {
            random.fill(&mut piece);
            file.write_all(&piece)?;
        }
    }
    Ok(())
}
