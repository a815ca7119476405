//! One burst of load against a server, and what it gave.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Deserialize;

use crate::machine::{Cores, Disturbance, Usage};
use crate::secured::{BULK, CERTIFICATE};
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
    /// Datagrams that come back: so many sockets, so many in flight on each.
    Datagrams(usize, usize),
    /// A TLS handshake for each request, so many at a time; resumed ones, or full ones.
    Handshakes(usize, bool),
    /// Long answers over TLS, on so many connections.
    Bulk(usize),
    /// Messages of 64 bytes that come back over so many WebSockets, one at a time on each.
    WebSockets(usize),
}

/// What makes the load, and what it knows of the servers.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The program `bench-load`.
    pub generator: PathBuf,
    /// wrk's script.
    pub script: PathBuf,
    /// The folder of the apps with TLS.
    pub secured: PathBuf,
}

/// The figures of a burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Requests, lines or bytes a second.
    pub figure: f64,
    /// In microseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    /// Datagrams that did not come back.
    pub lost: Option<u64>,
    /// Of one core.
    pub server_cpu: f64,
    /// Of all the load's cores together.
    pub load_cpu: f64,
    pub disturbance: Disturbance,
}

/// What is in the line of a generator.
#[derive(Debug, PartialEq)]
struct Said {
    figure: f64,
    errors: u64,
    p50: Option<f64>,
    p99: Option<f64>,
    lost: Option<u64>,
}

#[derive(Deserialize)]
struct OfLoad {
    per_second: f64,
    bytes_per_second: f64,
    errors: u64,
    latency_us: Option<Latency>,
    lost: Option<u64>,
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
    /// Loads `server` for `seconds`.
    pub fn burst(
        self,
        server: &Running,
        cores: &Cores,
        seconds: f64,
        tools: &Tools,
    ) -> Result<Burst, String> {
        let mut command = Command::new("taskset");
        command.args(["-c", &cores.load]);
        self.arguments(&mut command, server.address, cores, seconds, tools);
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
        let Said {
            figure,
            errors,
            p50,
            p99,
            lost,
        } = self.read(line)?;
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
            lost,
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
        tools: &Tools,
    ) {
        let threads = |connections: usize| cores.load_count.min(connections).to_string();
        if let Self::Requests(connections, depth, path) = self {
            command.arg("wrk");
            command.args(["-t", &threads(connections), "-c", &connections.to_string()]);
            command.args(["-d", &format!("{}s", seconds.ceil())]);
            command.args(["--timeout", "10s", "-s"]).arg(&tools.script);
            command.arg(format!("http://{to}{path}"));
            command.args(["--", &depth.to_string()]);
            return;
        }
        command.arg(&tools.generator);
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
            Self::Datagrams(sockets, window) => {
                format!("datagram --sockets {sockets} --window {window} --size 64")
            }
            Self::Handshakes(connections, false) => {
                format!("handshake --connections {connections}")
            }
            Self::Handshakes(connections, true) => {
                format!("handshake --connections {connections} --resume")
            }
            Self::Bulk(connections) => {
                format!("bulk --connections {connections} --path /{BULK}")
            }
            Self::WebSockets(connections) => {
                format!("websocket --connections {connections} --size 64")
            }
            Self::Requests(..) => String::new(),
        };
        words += &format!(
            " --to {to} --seconds {seconds} --warmup 0.2 --threads {}",
            cores.load_count
        );
        command.args(words.split_whitespace());
        if let Self::Handshakes(..) | Self::Bulk(..) = self {
            command.arg("--certificate");
            command.arg(tools.secured.join(CERTIFICATE));
        }
        if let Self::Bulk(..) = self {
            command.arg("--body").arg(tools.secured.join(BULK));
        }
    }

    fn read(self, line: &str) -> Result<Said, String> {
        let bad = |error| format!("{line:?}: {error}");
        if let Self::Requests(..) = self {
            let of: OfWrk = serde_json::from_str(line).map_err(bad)?;
            return Ok(Said {
                figure: of.requests / of.seconds,
                errors: of.errors,
                p50: Some(of.p50),
                p99: Some(of.p99),
                lost: None,
            });
        }
        let of: OfLoad = serde_json::from_str(line).map_err(bad)?;
        let figure = match self.counts_bytes() {
            true => of.bytes_per_second,
            false => of.per_second,
        };
        let latency = of.latency_us.as_ref();
        Ok(Said {
            figure,
            errors: of.errors,
            p50: latency.map(|latency| latency.p50),
            p99: latency.map(|latency| latency.p99),
            lost: of.lost,
        })
    }

    /// Whether the figure is of bytes; else it is of requests.
    pub const fn counts_bytes(self) -> bool {
        matches!(
            self,
            Self::Download(..) | Self::Bulk(..) | Self::Echo(_, _, 4096..)
        )
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
        let said = Load::Requests(1, 1, "/").read(wrk).unwrap();
        assert_eq!((said.figure, said.errors), (1500.0, 1));
        assert_eq!((said.p50, said.lost), (Some(5.0), None));
        let own =
            r#"{"per_second":10.0,"bytes_per_second":40.0,"errors":0,"latency_us":null,"lost":3}"#;
        assert_eq!(Load::Echo(1, 1, 64).read(own).unwrap().figure, 10.0);
        assert_eq!(Load::Echo(1, 1, 16384).read(own).unwrap().figure, 40.0);
        assert_eq!(Load::Bulk(1).read(own).unwrap().figure, 40.0);
        assert_eq!(Load::Datagrams(1, 1).read(own).unwrap().lost, Some(3));
        assert!(Load::Lines(1).read("nonsense").is_err());
    }
}
