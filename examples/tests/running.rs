//! Examples that run while a test talks to them.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// An example that runs until this is dropped.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Running {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_at(name, "tcp:0:interface=127.0.0.1")
    }

    pub(crate) fn start_at(name: &str, endpoint: &str) -> Self {
        Self::start_with(name, &[endpoint])
    }

    pub(crate) fn start_with(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(example(name));
        command.args(arguments);
        Self::start_as(command)
    }

    pub(crate) fn start_as(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        Self {
            child,
            output,
            address,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// The next line that it prints.
    pub(crate) fn printed(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Asks it to end, by SIGTERM, and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let process = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &process]).status();
        assert!(kill.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Cargo builds examples beside the folder of this test.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}
