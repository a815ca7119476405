//! A command that runs for the length of a test, and a client for it that knows no more HTTP than
//! the tests need.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Runs the command to its end.
pub(crate) fn ropewalk<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    command(args).stdin(Stdio::null()).output().unwrap()
}

/// The one line that the command printed to standard error.
pub(crate) fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(
        text.lines().count(),
        1,
        "more or less than one line: {text}"
    );
    assert!(text.starts_with("ropewalk: "), "{text}");
    assert!(output.stdout.is_empty(), "something on standard output");
    text
}

/// A folder to serve: an index of 5 bytes, and a page.
pub(crate) fn site() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "index").unwrap();
    fs::write(folder.path().join("page.txt"), "0123456789").unwrap();
    folder
}

fn web(folder: &TempDir, args: &[&str]) -> Command {
    let path = folder.path().to_str().unwrap();
    command([&["web", "--path", path], args].concat())
}

/// A command that serves, listening. It is killed when the test ends, however that is.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    listening: Vec<String>,
}

impl Running {
    /// Serves `folder` on a free port of this machine.
    pub(crate) fn serve(folder: &TempDir, args: &[&str]) -> Self {
        let listen = ["--listen", "tcp:0:interface=127.0.0.1"];
        Self::serve_at(folder, 1, &[&listen, args].concat())
    }

    /// Serves `folder`, and waits for as many listeners.
    pub(crate) fn serve_at(folder: &TempDir, listeners: usize, args: &[&str]) -> Self {
        Self::start(web(folder, args), listeners)
    }

    /// As [`serve`](Self::serve), with standard error in a file.
    pub(crate) fn serve_with_stderr(folder: &TempDir, args: &[&str], stderr: fs::File) -> Self {
        let listen = ["--listen", "tcp:0:interface=127.0.0.1"];
        let mut command = web(folder, &[&listen, args].concat());
        command.stderr(stderr);
        Self::start(command, 1)
    }

    /// Runs `command`, and waits for as many listeners.
    pub(crate) fn start(mut command: Command, listeners: usize) -> Self {
        command.stdin(Stdio::null());
        Self::start_with_stdin(command, listeners)
    }

    /// As [`start`](Self::start), with the standard input that `command` has.
    pub(crate) fn start_with_stdin(mut command: Command, listeners: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self {
            child,
            stdout,
            listening: Vec::new(),
        };
        for _ in 0..listeners {
            let line = running.line();
            let place = line.strip_prefix("listening on ").expect(&line);
            running.listening.push(place.to_owned());
        }
        running
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it said that it listens.
    pub(crate) fn listening(&self) -> &[String] {
        &self.listening
    }

    /// The next line of its standard output, without the line break.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "it ended after {line:?}");
        line.pop();
        line
    }

    /// `HOST:PORT` of the first listener.
    pub(crate) fn address(&self) -> &str {
        authority(&self.listening[0])
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    /// Asks for `target` with these fields besides.
    pub(crate) fn get(&self, target: &str, fields: &[&str]) -> Response {
        exchange(self.connect(), target, fields)
    }

    /// The most memory that it ever held, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let amount = line.unwrap().trim().trim_end_matches(" kB");
        amount.parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Returns when the listener is closed, which is the first thing that a signal does.
    pub(crate) fn wait_until_it_refuses(&self) {
        while TcpStream::connect(self.address()).is_ok() {
            std::thread::yield_now();
        }
    }

    /// Waits for the end, and gives what else was on standard output.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }

    /// Asks it to stop, and checks that it does so well.
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, rest) = self.wait();
        assert_eq!(status.code(), Some(0));
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Reads an answer that ends where the connection does.
    pub(crate) fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|at| at == b"\r\n\r\n");
        let body = bytes.split_off(end.expect("no end of the header") + 4);
        let head = String::from_utf8(bytes).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body }
    }

    /// The value of the field `name`, or nothing.
    pub(crate) fn field(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        values.next().map_or("", |(_, value)| value.trim())
    }
}

/// One request and its answer, over a connection of its own.
pub(crate) fn exchange(mut stream: impl Read + Write, target: &str, fields: &[&str]) -> Response {
    request(&mut stream, target, fields);
    Response::read(stream)
}

/// Sends a request, after which the server is to close.
pub(crate) fn request(stream: &mut impl Write, target: &str, fields: &[&str]) {
    let mut text = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n");
    for field in fields {
        text += &format!("{field}\r\n");
    }
    stream.write_all((text + "\r\n").as_bytes()).unwrap();
}

/// `HOST:PORT` of a link, or of an endpoint.
pub(crate) fn authority(place: &str) -> &str {
    if let Some(endpoint) = place.strip_prefix("tcp:") {
        return endpoint;
    }
    let rest = place.strip_prefix("http://").expect(place);
    rest.strip_suffix('/').expect(place)
}

/// The path of the one file in `folder` that a test is to make there.
pub(crate) fn inside(folder: &TempDir, name: &str) -> String {
    let path: &Path = folder.path();
    path.join(name).to_str().unwrap().to_owned()
}

/// The command with `args`, not started.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ropewalk"));
    command.args(args);
    command
}
