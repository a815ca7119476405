//! The real command against servers of a few lines, in threads of the test.

mod datagrams;
mod echoes;
mod http;
mod servers;
mod tls;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs the command to its end.
fn run(arguments: &[&str]) -> Output {
    command(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("bench-load runs")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-load"));
    command.args(arguments);
    command
}

/// Runs the command for a short time, and reads its one line.
fn measure(kind: &str, to: &str, arguments: &[&str]) -> Value {
    let short = ["--seconds", "0.3", "--warmup", "0.05"];
    let all = [&[kind, "--to", to], arguments, &short[..]].concat();
    let output = run(&all);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

fn number(result: &Value, name: &str) -> u64 {
    result[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} in {result}"))
}

/// Runs the command against a server that does wrong, and reads what it says of it.
fn complaint(kind: &str, to: &str, arguments: &[&str]) -> String {
    // It ends itself, long before.
    let long = ["--seconds", "30", "--warmup", "0"];
    let output = run(&[&[kind, "--to", to], arguments, &long[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    text
}
