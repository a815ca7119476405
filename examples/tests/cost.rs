//! What does not vary from run to run, bounded: the system calls and the instructions that one
//! message costs, one at a time on one connection.
//!
//! `strace` and valgrind's callgrind count. A count is the difference between a long run and a
//! short one, so that the start of the program is left out. Where a tool is not on this machine a
//! test says so in one line; with `CI=true` it fails.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SHORT: usize = 200;
const LONG: usize = 1200;

/// An example, and one exchange with it.
struct Work {
    example: &'static str,
    message: &'static [u8],
    /// How its answer ends.
    end: &'static [u8],
}

const ECHO: Work = Work {
    example: "echo",
    message: &[b'x'; 64],
    end: &[b'x'; 64],
};
const HELLO: Work = Work {
    example: "hello",
    message: b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
    end: b"Hello, World!",
};

/// Cargo builds examples beside the folder of this test.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}

fn is_missing(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        let message = format!("{tool} is missing: what it would count is not counted");
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{message}"
        );
        eprintln!("{message}");
    }
    !found
}

/// Runs the example under `tool`, whose arguments end with the file that it writes; exchanges
/// messages; and returns that file.
fn profile(work: &Work, tool: &[&str], output: &Path, exchanges: usize) -> String {
    let mut child = Command::new(tool[0])
        .args(&tool[1..])
        .arg(example(work.example))
        .arg("tcp:0:interface=127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap();
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 4096];
    for _ in 0..exchanges {
        peer.write_all(work.message).unwrap();
        let mut filled = 0;
        while !buffer[..filled].ends_with(work.end) {
            let read = peer.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0, "it closed the connection");
            filled += read;
        }
    }
    terminate(&mut child);
    fs::read_to_string(output).unwrap()
}

/// Ends the example; the tool that runs it, or is it, then writes what it has counted.
fn terminate(child: &mut Child) {
    let own = child.id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    let target = children.split_whitespace().next();
    let target = target.map_or_else(|| own.to_string(), str::to_owned);
    let ended = Command::new("kill").args(["-TERM", &target]).status();
    assert!(ended.unwrap().success());
    child.wait().unwrap();
}

fn per_exchange(count: impl Fn(usize) -> f64) -> f64 {
    (count(LONG) - count(SHORT)) / (LONG - SHORT) as f64
}

fn system_calls(work: &Work) -> f64 {
    per_exchange(|exchanges| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let summary = profile(
            work,
            &["strace", "-c", "-f", "-o", path],
            file.path(),
            exchanges,
        );
        let total = summary.lines().find(|line| line.ends_with(" total"));
        let calls = total.unwrap().split_whitespace().nth(3);
        calls.unwrap().parse().unwrap()
    })
}

fn instructions(work: &Work) -> f64 {
    per_exchange(|exchanges| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let option = format!("--callgrind-out-file={}", file.path().display());
        let tool = ["valgrind", "--tool=callgrind", &option];
        let profile = profile(work, &tool, file.path(), exchanges);
        let totals = profile
            .lines()
            .find_map(|line| line.strip_prefix("totals: "));
        totals.unwrap().trim().parse().unwrap()
    })
}

#[test]
fn a_message_costs_one_read_one_write_and_one_wait() {
    if is_missing("strace") {
        return;
    }
    for work in [ECHO, HELLO] {
        let calls = system_calls(&work);
        // Once a second the date is made anew, and now and then a timer is moved.
        assert!((2.9..3.1).contains(&calls), "{}: {calls}", work.example);
    }
}

/// The bounds are those of the profile that tests are built with, with room for other versions of
/// the compiler; `bench` counts those of a release.
#[test]
fn a_message_costs_no_more_instructions_than_it_did() {
    if is_missing("valgrind") {
        return;
    }
    for (work, bound) in [(ECHO, 4_600.0), (HELLO, 15_500.0)] {
        let count = instructions(&work);
        assert!(count <= bound, "{}: {count}", work.example);
    }
}
