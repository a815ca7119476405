//! The example `chat`, by its API and in two browsers.

mod api;
mod browser;
mod picture;
#[path = "../running.rs"]
mod running;
mod sockets;
mod talking;

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use running::{Running, example};
use tempfile::TempDir;

const ANY_PORT: &str = "tcp:0:interface=127.0.0.1";

/// The example, and what it logs.
struct Chat {
    running: Running,
    folder: TempDir,
}

impl Chat {
    fn start() -> Self {
        Self::start_at(ANY_PORT)
    }

    fn start_at(endpoint: &str) -> Self {
        Self::start_as(endpoint, Stdio::null())
    }

    /// On a port that is there before it, and stays there after it.
    fn start_on(listener: &TcpListener) -> Self {
        let listener = OwnedFd::from(listener.try_clone().unwrap());
        Self::start_as("fd:0", listener.into())
    }

    fn start_as(endpoint: &str, stdin: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(example("chat"));
        let log = File::create(folder.path().join("log")).unwrap();
        command
            .args(["--listen", endpoint])
            .stdin(stdin)
            .stderr(log);
        let running = Running::start_as(command);
        Self { running, folder }
    }

    fn address(&self) -> &str {
        &self.running.address
    }

    /// Ends it, as an administrator does. How it ended, and what it has logged.
    fn stop(self) -> (ExitStatus, String) {
        let status = self.running.terminate();
        let log = std::fs::read_to_string(self.folder.path().join("log"));
        (status, log.unwrap())
    }
}

/// A program, if it is on this machine.
fn tool(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&folders).map(|folder| folder.join(name));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        let message = format!("{name} is missing: what it would test is not tested");
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "{message}");
        eprintln!("{message}");
    }
    found
}
