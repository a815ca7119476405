//! What does not vary, or hardly: memory of idle connections, system calls and instructions of a
//! request, the time of a start, and what runs within one process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;

use crate::compare::Bench;
use crate::machine::Cores;
use crate::report::{Row, Table};
use crate::rounds::median;
use crate::secured::{self, CERTIFICATE};
use crate::servers::{Running, Server};

/// Requests of a short run and of a long one: what they differ by is the requests' own.
const SHORT: usize = 500;
const LONG: usize = 2500;

/// A request with what `wrk` sends, and the start of its answer's end.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const ANSWER_ENDS: &[u8] = b"Hello, World!";

/// What idle connections have done before.
#[derive(Clone, Copy, Debug)]
pub enum Idle {
    /// One message that came back.
    Bare,
    /// One request.
    Http,
    /// A TLS handshake, and nothing more.
    Tls,
}

/// The unit of what an idle connection takes.
pub const BYTES_EACH: &str = "bytes each";

fn table(suite: &str, work: &str, unit: &str, reference: &str, cells: Cells) -> Table {
    let of = |name: &str| cells.figures.iter().find(|(server, _)| server == name);
    let reference_figure = of(reference).and_then(|(_, figures)| median(figures));
    let rows = cells.figures.iter();
    Table {
        suite: suite.to_owned(),
        work: work.to_owned(),
        unit: unit.to_owned(),
        reference: reference.to_owned(),
        cores: 1,
        less_is_better: true,
        rows: rows
            .map(|(server, figures)| Row::of_figures(server, figures.clone(), reference_figure))
            .collect(),
        missing: cells.missing,
    }
}

/// Figures by server, and what is missing.
#[derive(Default)]
struct Cells {
    figures: Vec<(String, Vec<f64>)>,
    missing: Vec<String>,
}

impl Cells {
    fn add(&mut self, server: &str, result: Result<Vec<f64>, String>) {
        match result {
            Ok(figures) => self.figures.push((server.to_owned(), figures)),
            Err(why) => self.missing.push(format!("{server}: {why}")),
        }
    }
}

impl Bench<'_> {
    /// Bytes for each of `connections` idle connections.
    pub fn memory(&self, suite: &str, connections: usize, idle: Idle, cores: &Cores) -> Table {
        let (app, reference, name) = match idle {
            Idle::Bare => ("echo", "c-epoll", "bare TCP"),
            Idle::Http => ("hello", "nginx", "HTTP keep-alive"),
            Idle::Tls => ("tls", "rustls", "TLS"),
        };
        let mut cells = Cells::default();
        for server in self.servers(suite, app, reference) {
            eprint!("memory, {name}: {}        \r", server.name);
            let bytes = self.idle_bytes(server, app, connections, idle, cores);
            cells.add(server.name, bytes.map(|bytes| vec![bytes]));
        }
        let work = format!("{connections} idle connections, {name}");
        table(suite, &work, BYTES_EACH, reference, cells)
    }

    fn idle_bytes(
        &self,
        server: &Server,
        app: &str,
        connections: usize,
        idle: Idle,
        cores: &Cores,
    ) -> Result<f64, String> {
        let pin = ["taskset", "-c", &cores.server];
        let running = self.built.start(server, app, 1, &self.files, &pin)?;
        // What is made for the first connections, and kept, is not theirs.
        self.hold(&running, 100, idle, |_| Ok(0))?;
        let before = running.memory().map_err(|error| error.to_string())?;
        let after = self.hold(&running, connections, idle, |running| {
            running.memory().map_err(|error| error.to_string())
        })?;
        running.end().map_err(|error| error.to_string())?;
        Ok((after as f64 - before as f64) / connections as f64)
    }

    /// Calls `look` while `connections` are open and idle.
    fn hold(
        &self,
        running: &Running,
        connections: usize,
        idle: Idle,
        look: impl FnOnce(&Running) -> Result<u64, String>,
    ) -> Result<u64, String> {
        #[derive(Deserialize)]
        struct Held {
            errors: u64,
        }
        let mut command = Command::new(&self.tools.generator);
        command
            .args(["idle", "--to", &running.address.to_string()])
            .args(["--connections", &connections.to_string()]);
        match idle {
            Idle::Bare => command.arg("--bare"),
            Idle::Http => command.arg("--http"),
            Idle::Tls => command
                .arg("--tls")
                .arg(self.tools.secured.join(CERTIFICATE)),
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|error| error.to_string())?;
        }
        let looked = match serde_json::from_str::<Held>(&line) {
            Ok(Held { errors: 0 }) => look(running),
            Ok(Held { errors }) => Err(format!("{errors} of {connections} connections failed")),
            Err(error) => Err(format!("{line:?}: {error}")),
        };
        // Its standard input ends: it closes all.
        drop(child.stdin.take());
        child.wait().map_err(|error| error.to_string())?;
        looked
    }

    /// From exec to the first answer, in milliseconds.
    pub fn start_time(&self, cores: &Cores) -> Table {
        let mut cells = Cells::default();
        for server in self.servers("start", "hello", "nginx") {
            let pin = ["taskset", "-c", &cores.server];
            let times = (0..5).map(|_| {
                let began = Instant::now();
                let running = self.built.start(server, "hello", 1, &self.files, &pin)?;
                exchange(running.address, "hello", 1)?;
                let took = began.elapsed().as_secs_f64() * 1000.0;
                running.end().map_err(|error| error.to_string())?;
                Ok(took)
            });
            cells.add(server.name, times.collect());
        }
        table(
            "start",
            "from exec to the first answer",
            "ms",
            "nginx",
            cells,
        )
    }

    /// System calls of a request, one at a time on one connection.
    pub fn system_calls(&self, app: &str, reference: &str) -> Table {
        let count = |server: &Server| {
            self.difference(server, app, &["strace", "-c", "-f", "-o"], calls_in_summary)
        };
        let mut cells = Cells::default();
        for server in self.servers("counts", app, reference) {
            eprint!("system calls, {app}: {}        \r", server.name);
            cells.add(server.name, count(server).map(|calls| vec![calls]));
        }
        let work = format!("system calls, {app}, one at a time");
        table("counts", &work, "calls", reference, cells)
    }

    /// Instructions of a request outside of the kernel, one at a time on one connection.
    pub fn instructions(&self, app: &str, reference: &str) -> Table {
        // Programs of one process that valgrind can run, and whose code is all theirs.
        let counted = [
            "ropewalk", "c-epoll", "rustls", "tokio", "hyper", "axum", "actix", "ntex",
        ];
        let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file"];
        let mut cells = Cells::default();
        let servers = self.servers("counts", app, reference);
        for server in servers.filter(|server| counted.contains(&server.name)) {
            eprint!("instructions, {app}: {}        \r", server.name);
            let count = self.difference(server, app, &tool, instructions_in_profile);
            cells.add(server.name, count.map(|count| vec![count]));
        }
        let work = format!("instructions, {app}, one at a time");
        table("counts", &work, "instructions", reference, cells)
    }

    /// What `counter` finds in the file that `tool` writes, for each request: the difference
    /// between a long run and a short one.
    fn difference(
        &self,
        server: &Server,
        app: &str,
        tool: &[&str],
        counter: fn(&str) -> Option<f64>,
    ) -> Result<f64, String> {
        let count = |requests| -> Result<f64, String> {
            let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
            let path = file.path().display().to_string();
            let (last, first) = tool.split_last().ok_or("no tool")?;
            // The name of the file stands beside the option, or in it.
            let option = format!("{last}={path}");
            let mut wrapper = first.to_vec();
            match last.starts_with("--") {
                true => wrapper.push(&option),
                false => wrapper.extend([*last, path.as_str()]),
            }
            let running = self.built.start(server, app, 1, &self.files, &wrapper)?;
            match app {
                "tls" => secured::handshakes(running.address, &self.tools.secured, requests)
                    .map_err(|error| format!("handshakes with {}: {error}", running.address))?,
                _ => exchange(running.address, app, requests)?,
            }
            running.end().map_err(|error| error.to_string())?;
            let text = fs::read_to_string(file.path()).map_err(|error| error.to_string())?;
            counter(&text).ok_or_else(|| format!("{} wrote nothing of use", tool[0]))
        };
        Ok((count(LONG)? - count(SHORT)?) / (LONG - SHORT) as f64)
    }

    /// What programs measure within themselves: lines of JSON, a figure each.
    pub fn within(&self, suite: &str, cores: &Cores) -> Vec<Table> {
        #[derive(Deserialize)]
        struct Line {
            work: String,
            nanoseconds: f64,
        }
        let mut works: BTreeMap<String, Cells> = BTreeMap::new();
        let mut missing = Vec::new();
        let binary = |name: &str| Ok(Command::new(self.built.binary(name)?));
        let twisted = || {
            let mut command = Command::new(self.built.python()?);
            command.arg(self.built.peers().join("python/micro_twisted.py"));
            Ok(command)
        };
        let programs: [(&str, Result<Command, String>); 3] = [
            ("ropewalk", binary("bench-micro-ropewalk")),
            ("tokio", binary("bench-micro-tokio")),
            ("twisted", twisted()),
        ];
        // There is no simulated network for Twisted.
        let reference = match suite {
            "simulation" => "tokio",
            _ => "twisted",
        };
        let takes_part = |name: &str| name != "twisted" || reference == "twisted";
        let programs = programs.into_iter().filter(|(name, _)| takes_part(name));
        for (name, program) in programs {
            eprint!("{suite}: {name}        \r");
            let output = program.and_then(|program| {
                Command::new("taskset")
                    // With these each Failure would take the time of a backtrace.
                    .env_remove("RUST_BACKTRACE")
                    .env_remove("RUST_LIB_BACKTRACE")
                    .args(["-c", &cores.server])
                    .arg(program.get_program())
                    .args(program.get_args())
                    .arg(suite)
                    .output()
                    .map_err(|error| error.to_string())
            });
            let output = match output {
                Ok(output) if output.status.success() => output,
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    missing.push(format!("{name}: {}: {}", output.status, said.trim()));
                    continue;
                }
                Err(why) => {
                    missing.push(format!("{name}: {why}"));
                    continue;
                }
            };
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                match serde_json::from_str::<Line>(line) {
                    Ok(line) => {
                        let cells = works.entry(line.work).or_default();
                        cells.add(name, Ok(vec![line.nanoseconds]));
                    }
                    Err(error) => missing.push(format!("{name}: {line:?}: {error}")),
                }
            }
        }
        works
            .into_iter()
            .map(|(work, mut cells)| {
                cells.missing.extend(missing.iter().cloned());
                table(suite, &work, "ns", reference, cells)
            })
            .collect()
    }
}

/// So many requests, one after the other.
fn exchange(address: SocketAddr, app: &str, requests: usize) -> Result<(), String> {
    let talk = || -> std::io::Result<()> {
        let mut peer = TcpStream::connect(address)?;
        peer.set_nodelay(true)?;
        let (message, end): (&[u8], &[u8]) = match app {
            "hello" => (REQUEST, ANSWER_ENDS),
            _ => (&[b'x'; 64], &[b'x'; 64]),
        };
        let mut buffer = vec![0; 4096];
        for _ in 0..requests {
            peer.write_all(message)?;
            let mut filled = 0;
            while !buffer[..filled].ends_with(end) {
                match peer.read(&mut buffer[filled..])? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    read => filled += read,
                }
            }
        }
        Ok(())
    };
    talk().map_err(|error| format!("asking {address}: {error}"))
}

/// The number of all calls in the summary of `strace -c`: the line of the total.
fn calls_in_summary(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// The number of all instructions in a profile of callgrind.
fn instructions_in_profile(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("totals:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_output_is_read() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
              60.00    0.000600           1      1001           sendto\n\
             100.00    0.001000           1      2003         3 total\n";
        assert_eq!(calls_in_summary(summary), Some(2003.0));
        assert_eq!(calls_in_summary("nothing"), None);
        let profile = "version: 1\nevents: Ir\n\nsummary: 5\n\ntotals: 1234567\n";
        assert_eq!(instructions_in_profile(profile), Some(1_234_567.0));
    }
}
