//! One burst of load against a server, and what it gave.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Deserialize;

use crate::machine::{Cores, Disturbance, Usage};
use crate::servers::Running;

/// What the load does.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Messages that come back: so many connections, messages in flight on each, bytes in one.
    Echo(usize, usize, usize),
    /// Batches of 16 lines of 64 bytes, on so many connections.
    Lines(usize),
    /// GETs of a path, on so many connections, so many at once.
    Requests(usize, usize, &'static str),
    /// A connection for each GET, so many at a time.
    Churn(usize),
    /// Whole files, on so many connections.
    Download(usize, &'static str),
    /// GETs of a short answer, one at a time on each of so many connections, which all stand before
    /// the time begins. (`wrk` counts from the first connect.)
    Crowd(usize),
}

/// The figures of a burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Requests, lines or bytes a second.
    pub figure: f64,
    /// In microseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    /// Of one core.
    pub server_cpu: f64,
    /// Of all the load's cores together.
    pub load_cpu: f64,
    pub disturbance: Disturbance,
}

#[derive(Deserialize)]
struct OfLoad {
    per_second: f64,
    bytes_per_second: f64,
    errors: u64,
    latency_us: Option<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

#[derive(Deserialize)]
struct OfWrk {
    requests: f64,
    seconds: f64,
    errors: u64,
    p50: f64,
    p99: f64,
}

impl Load {
    /// Loads `server` for `seconds`. `generator` is the program `bench-load`, `script` wrk's.
    pub fn burst(
        self,
        server: &Running,
        cores: &Cores,
        seconds: f64,
        generator: &Path,
        script: &Path,
    ) -> Result<Burst, String> {
        let mut command = Command::new("taskset");
        command.args(["-c", &cores.load]);
        self.arguments(
            &mut command,
            server.address,
            cores,
            seconds,
            generator,
            script,
        );
        let usage = Usage::now().map_err(|error| error.to_string())?;
        let began = Instant::now();
        let (server_before, load_before) = (server.cpu(), children_cpu()?);
        let output = command.output().map_err(|error| error.to_string())?;
        let elapsed = began.elapsed().as_secs_f64();
        let (server_used, load_used) = (
            server.cpu().saturating_sub(server_before),
            children_cpu()?.saturating_sub(load_before),
        );
        let disturbance = usage
            .since(server_used + load_used)
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.trim().lines().last().unwrap_or_default();
        if !output.status.success() || line.is_empty() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{:?}: {}", output.status, error.trim()));
        }
        let (figure, errors, p50, p99) = self.read(line)?;
        if errors > 0 {
            return Err(format!("{errors} errors"));
        }
        if figure <= 0.0 {
            return Err("nothing was answered".to_owned());
        }
        Ok(Burst {
            figure,
            p50,
            p99,
            server_cpu: server_used.as_secs_f64() / elapsed,
            load_cpu: load_used.as_secs_f64() / elapsed,
            disturbance,
        })
    }

    fn arguments(
        self,
        command: &mut Command,
        to: SocketAddr,
        cores: &Cores,
        seconds: f64,
        generator: &Path,
        script: &Path,
    ) {
        let threads = |connections: usize| cores.load_count.min(connections).to_string();
        if let Self::Requests(connections, depth, path) = self {
            command.arg("wrk");
            command.args(["-t", &threads(connections), "-c", &connections.to_string()]);
            command.args(["-d", &format!("{}s", seconds.ceil())]);
            command.args(["--timeout", "10s", "-s"]).arg(script);
            command.arg(format!("http://{to}{path}"));
            command.args(["--", &depth.to_string()]);
            return;
        }
        command.arg(generator);
        let mut words = match self {
            Self::Echo(connections, depth, size) => {
                format!("echo --connections {connections} --depth {depth} --size {size}")
            }
            Self::Lines(connections) => {
                format!("lines --connections {connections} --batch 16 --length 64")
            }
            Self::Churn(connections) => {
                format!("churn --connections {connections} --request hello")
            }
            Self::Download(connections, path) => {
                format!("download --connections {connections} --path {path} --discard")
            }
            Self::Crowd(connections) => {
                format!("download --connections {connections} --path / --copy")
            }
            Self::Requests(..) => String::new(),
        };
        words += &format!(
            " --to {to} --seconds {seconds} --warmup 0.2 --threads {}",
            cores.load_count
        );
        command.args(words.split_whitespace());
    }

    /// Figure, errors and latencies in the line of a generator.
    fn read(self, line: &str) -> Result<(f64, u64, Option<f64>, Option<f64>), String> {
        let bad = |error| format!("{line:?}: {error}");
        if let Self::Requests(..) = self {
            let of: OfWrk = serde_json::from_str(line).map_err(bad)?;
            return Ok((
                of.requests / of.seconds,
                of.errors,
                Some(of.p50),
                Some(of.p99),
            ));
        }
        let of: OfLoad = serde_json::from_str(line).map_err(bad)?;
        let figure = match self {
            Self::Download(..) | Self::Echo(_, _, 4096..) => of.bytes_per_second,
            _ => of.per_second,
        };
        let latency = of.latency_us.as_ref();
        Ok((
            figure,
            of.errors,
            latency.map(|latency| latency.p50),
            latency.map(|latency| latency.p99),
        ))
    }
}

/// The processor time of all processes that this one has waited for.
fn children_cpu() -> Result<Duration, String> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| error.to_string())?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_both_generators_are_read() {
        let wrk = r#"{"requests":3000,"seconds":2.0,"errors":1,"p50":5,"p99":9}"#;
        let (figure, errors, p50, _) = Load::Requests(1, 1, "/").read(wrk).unwrap();
        assert_eq!((figure, errors, p50), (1500.0, 1, Some(5.0)));
        let own = r#"{"per_second":10.0,"bytes_per_second":40.0,"errors":0,"latency_us":null}"#;
        assert_eq!(Load::Echo(1, 1, 64).read(own).unwrap().0, 10.0);
        assert_eq!(Load::Echo(1, 1, 16384).read(own).unwrap().0, 40.0);
        assert!(Load::Lines(1).read("nonsense").is_err());
    }
}
