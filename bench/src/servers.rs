//! The servers: which there are, how they are built, and one that runs.
//!
//! All but nginx keep one contract (`peers/README.md`): `PROGRAM APP ADDRESS WORKERS [DIR]`, and a
//! line that says where they listen.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::machine::TICKS_A_SECOND;
use crate::secured;

/// How a server is started.
#[derive(Clone, Debug)]
enum Kind {
    /// A binary of this workspace.
    Binary(&'static str),
    /// A program in `peers/c`.
    C(&'static str),
    Node,
    Python(&'static str, &'static [(&'static str, &'static str)]),
    Nginx,
}

/// A server that there may be.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: &'static str,
    kind: Kind,
    pub apps: &'static [&'static str],
    /// Whether it can use more than one core.
    pub scales: bool,
}

const STREAMS: &[&str] = &["echo", "lines"];
const SOCKETS: &[&str] = &["echo", "lines", "datagrams"];
const SECURED: &[&str] = &["tls", "tls-resumed"];
const WEBSOCKET: &[&str] = &["websocket"];
const WEB: &[&str] = &["hello", "json"];
const FILES: &[&str] = &["hello", "json", "file"];
const STREAMS_AND_FILES: &[&str] = &["echo", "lines", "hello", "json", "file"];
const ALL: &[&str] = &[
    "echo",
    "lines",
    "hello",
    "json",
    "file",
    "datagrams",
    "tls",
    "tls-resumed",
];
const OURS: &[&str] = &[
    "echo",
    "lines",
    "hello",
    "json",
    "file",
    "datagrams",
    "tls",
    "tls-resumed",
    "websocket",
];

pub const SERVERS: &[Server] = &[
    Server::new("ropewalk", Kind::Binary("bench-ropewalk"), OURS, true),
    Server::new("c-epoll", Kind::C("bench-c"), STREAMS, true),
    Server::new("c-mmsg", Kind::C("bench-c-datagrams"), &["datagrams"], true),
    Server::new("rustls", Kind::Binary("bench-rustls"), SECURED, true),
    Server::new(
        "tungstenite",
        Kind::Binary("bench-tungstenite"),
        WEBSOCKET,
        true,
    ),
    Server::new(
        "websockets",
        Kind::Python("websockets_server.py", &[]),
        WEBSOCKET,
        false,
    ),
    Server::new("tokio", Kind::Binary("bench-tokio"), SOCKETS, true),
    Server::new("tokio-mt", Kind::Binary("bench-tokio-mt"), STREAMS, true),
    Server::new("monoio", Kind::Binary("bench-monoio"), STREAMS, true),
    Server::new(
        "monoio-epoll",
        Kind::Binary("bench-monoio-epoll"),
        STREAMS,
        true,
    ),
    Server::new("ntex", Kind::Binary("bench-ntex"), STREAMS_AND_FILES, true),
    Server::new("hyper", Kind::Binary("bench-hyper"), WEB, true),
    Server::new("axum", Kind::Binary("bench-axum"), FILES, true),
    Server::new("actix", Kind::Binary("bench-actix"), FILES, true),
    Server::new("may", Kind::Binary("bench-may"), WEB, true),
    Server::new(
        "nginx",
        Kind::Nginx,
        &["hello", "file", "tls", "tls-resumed"],
        true,
    ),
    Server::new(
        "node",
        Kind::Node,
        &["echo", "lines", "hello", "json", "datagrams"],
        true,
    ),
    Server::new(
        "uvloop",
        Kind::Python("asyncio_server.py", &[("BENCH_UVLOOP", "1")]),
        SOCKETS,
        false,
    ),
    Server::new(
        "asyncio",
        Kind::Python("asyncio_server.py", &[]),
        SOCKETS,
        false,
    ),
    Server::new(
        "twisted",
        Kind::Python("twisted_server.py", &[]),
        ALL,
        false,
    ),
];

impl Server {
    const fn new(
        name: &'static str,
        kind: Kind,
        apps: &'static [&'static str],
        scales: bool,
    ) -> Self {
        Self {
            name,
            kind,
            apps,
            scales,
        }
    }

    pub fn has(&self, app: &str) -> bool {
        self.apps.contains(&app)
    }
}

/// What could be built, and why the rest could not.
pub struct Built {
    /// The folder of this workspace.
    bench: PathBuf,
    binaries: BTreeMap<String, PathBuf>,
    /// The folder of the programs in C.
    c: Result<PathBuf, String>,
    secured: Result<PathBuf, String>,
    python: Result<PathBuf, String>,
    node: Result<(), String>,
    nginx: Result<(), String>,
}

impl Built {
    /// Builds whatever can be built on this machine.
    pub fn build(bench: &Path) -> io::Result<Self> {
        let target = bench.join("target");
        fs::create_dir_all(&target)?;
        Ok(Self {
            bench: bench.to_owned(),
            binaries: build_rust(bench)?,
            c: build_c(bench, &target),
            secured: secured::make(&target),
            python: build_python(bench, &target),
            node: is_there("node", "--version"),
            nginx: is_there("nginx", "-v"),
        })
    }

    /// The path of a binary of this workspace.
    pub fn binary(&self, name: &str) -> Result<&Path, String> {
        let path = self.binaries.get(name);
        path.map(PathBuf::as_path)
            .ok_or_else(|| format!("cargo did not build {name}: its output says why"))
    }

    /// The Python with the packages of the peers.
    pub fn python(&self) -> Result<&Path, String> {
        self.python.as_deref().map_err(Clone::clone)
    }

    /// The folder of the apps with TLS.
    pub fn secured(&self) -> Result<&Path, String> {
        self.secured.as_deref().map_err(Clone::clone)
    }

    pub fn peers(&self) -> PathBuf {
        self.bench.join("peers")
    }

    /// The command of a server without its arguments, or why there is none.
    fn program(&self, server: &Server) -> Result<Command, String> {
        Ok(match server.kind {
            Kind::Binary(name) => Command::new(self.binary(name)?),
            Kind::C(name) => Command::new(self.c.as_ref()?.join(name)),
            Kind::Node => {
                self.node.as_ref().map_err(Clone::clone)?;
                let mut command = Command::new("node");
                command.arg(self.peers().join("node/server.js"));
                command
            }
            Kind::Python(script, environment) => {
                let mut command = Command::new(self.python()?);
                command.arg(self.peers().join("python").join(script));
                command.envs(environment.iter().copied());
                command
            }
            Kind::Nginx => {
                self.nginx.as_ref().map_err(Clone::clone)?;
                Command::new("nginx")
            }
        })
    }

    /// Why there is no `server` here, if there is none.
    pub fn missing(&self, server: &Server) -> Option<String> {
        self.program(server).err()
    }

    /// Starts a server under `wrapper`, a program and its arguments that start the rest of their
    /// line (`taskset`, `strace`, ...). `files` is the folder of the app `file`.
    pub fn start(
        &self,
        server: &Server,
        app: &str,
        workers: usize,
        files: &Path,
        wrapper: &[&str],
    ) -> Result<Running, String> {
        let program = self.program(server)?;
        let dir = match app {
            "tls" | "tls-resumed" => self.secured()?,
            _ => files,
        };
        let work = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let mut arguments: Vec<String> = Vec::new();
        let mut nginx_port = None;
        if matches!(server.kind, Kind::Nginx) {
            let port = free_port().map_err(|error| format!("no port: {error}"))?;
            nginx_port = Some(port);
            let conf = self.nginx_conf(app, port, workers, dir, work.path())?;
            arguments.extend(["-e", "stderr", "-p"].map(str::to_owned));
            arguments.push(work.path().display().to_string());
            arguments.extend(["-c".to_owned(), conf.display().to_string()]);
        } else {
            let workers = workers.to_string();
            arguments.extend([app, "127.0.0.1:0", &workers].map(str::to_owned));
            if matches!(app, "file" | "tls" | "tls-resumed") {
                arguments.push(dir.display().to_string());
            }
        }
        let (first, rest) = wrapper.split_first().ok_or("no wrapper")?;
        let mut command = Command::new(first);
        command
            .args(rest)
            .arg(program.get_program())
            .args(program.get_args())
            .args(arguments);
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", server.name))?;
        let mut running = Running {
            child,
            traced: *first == "strace",
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            _output: None,
            _work: work,
        };
        running.address = match nginx_port {
            Some(port) => running.wait_for_port(port)?,
            None => running.wait_for_line()?,
        };
        Ok(running)
    }

    fn nginx_conf(
        &self,
        app: &str,
        port: u16,
        workers: usize,
        files: &Path,
        work: &Path,
    ) -> Result<PathBuf, String> {
        let template = self.peers().join(match app {
            "tls" | "tls-resumed" => "nginx/tls.conf.in",
            _ => "nginx/nginx.conf.in",
        });
        let (sessions, cache) = match app {
            "tls-resumed" => ("on", "shared:tls:10m"),
            _ => ("off", "off"),
        };
        let text = fs::read_to_string(&template)
            .map_err(|error| format!("{}: {error}", template.display()))?;
        let text = text
            .replace("@PORT@", &port.to_string())
            .replace("@WORKERS@", &workers.to_string())
            .replace("@DIR@", &files.display().to_string())
            .replace("@TMP@", &work.display().to_string())
            .replace("@SESSIONS@", sessions)
            .replace("@CACHE@", cache);
        let conf = work.join("nginx.conf");
        fs::write(&conf, text).map_err(|error| format!("{}: {error}", conf.display()))?;
        Ok(conf)
    }
}

/// A server that runs until this is dropped.
pub struct Running {
    child: Child,
    /// The server is a child of a tracer, which goes on to write what it saw.
    traced: bool,
    pub address: SocketAddr,
    _output: Option<BufReader<ChildStdout>>,
    _work: tempfile::TempDir,
}

impl Running {
    fn wait_for_line(&mut self) -> Result<SocketAddr, String> {
        let output = self.child.stdout.take().ok_or("no standard output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let address = line.trim().strip_prefix("listening on ");
        let address = address.and_then(|address| address.parse().ok());
        // Kept open: who writes to it must not be killed by that.
        self._output = Some(output);
        address.ok_or_else(|| format!("it did not say where it listens: {line:?}"))
    }

    fn wait_for_port(&mut self, port: u16) -> Result<SocketAddr, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..10_000 {
            if TcpStream::connect(address).is_ok() {
                return Ok(address);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended at once: {status}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(format!("nobody listens on port {port} after 10 s"))
    }

    /// The processor time of all its processes so far.
    pub fn cpu(&self) -> Duration {
        let processes = family(self.child.id());
        let seconds: f64 = processes.iter().filter_map(|id| cpu_of(*id)).sum();
        Duration::from_secs_f64(seconds)
    }

    /// The memory of all its processes, in bytes: what only they have, and their share of the rest.
    pub fn memory(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for id in family(self.child.id()) {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
            let line = text.lines().find(|line| line.starts_with("Pss:"));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            bytes += kib.ok_or_else(|| io::Error::other("no Pss in smaps_rollup"))? * 1024;
        }
        Ok(bytes)
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) -> io::Result<()> {
        let processes = family(self.child.id());
        let server = processes.get(usize::from(self.traced));
        if let Some(id) = server.and_then(|id| i32::try_from(*id).ok()) {
            kill(Pid::from_raw(id), Signal::SIGTERM)?;
        }
        self.child.wait().map(|_| ())
    }
}

impl Drop for Running {
    /// Ends the whole group: the wrapper, the server, and what that started.
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // It may be gone already, which is what is wanted.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A process and all that descend from it.
fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let mut at = 0;
    while let Some(id) = all.get(at).copied() {
        at += 1;
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    all
}

/// User and system time of a process, in seconds (proc(5)).
fn cpu_of(id: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold spaces and brackets: what counts comes behind the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_A_SECOND)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// All binaries of this workspace that could be built.
fn build_rust(bench: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--workspace",
            "--bins",
            "--keep-going",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(bench)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text)?;
    }
    // A binary that could not be built is missed by whoever wants it.
    child.wait()?;
    let artifacts = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    Ok(artifacts
        .filter_map(|artifact| Some((artifact.target?.name, artifact.executable?)))
        .collect())
}

fn build_c(bench: &Path, target: &Path) -> Result<PathBuf, String> {
    for (program, source) in [
        ("bench-c", "epoll_echo.c"),
        ("bench-c-datagrams", "datagram_echo.c"),
    ] {
        let source = bench.join("peers/c").join(source);
        run(Command::new("cc")
            .args(["-O2", "-pthread", "-o"])
            .args([target.join(program), source]))?;
    }
    Ok(target.to_owned())
}

/// A virtual environment with the peers' packages, made anew when their list has changed.
fn build_python(bench: &Path, target: &Path) -> Result<PathBuf, String> {
    let list = bench.join("peers/python/requirements.txt");
    let wanted = fs::read_to_string(&list).map_err(|error| error.to_string())?;
    let venv = target.join("python");
    let python = venv.join("bin/python");
    let mark = venv.join("requirements.txt");
    if fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&list))?;
    fs::write(&mark, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

fn is_there(program: &str, argument: &str) -> Result<(), String> {
    run(Command::new(program).arg(argument))
}

/// Runs a command to its end. What it said is in the error.
pub fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim().lines().last().unwrap_or_default();
    Err(format!("{name}: {}: {last}", output.status))
}
