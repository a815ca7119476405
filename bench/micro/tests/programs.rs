//! The real programs, with next to nothing to do: each line is what the runner reads.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

const ROPEWALK: &str = env!("CARGO_BIN_EXE_bench-micro-ropewalk");
const TOKIO: &str = env!("CARGO_BIN_EXE_bench-micro-tokio");

/// What the program has figures of.
fn figures(program: &str, suite: &str) -> BTreeSet<String> {
    works_of(Command::new(program).args([suite, "--quick"]))
}

fn works_of(command: &mut Command) -> BTreeSet<String> {
    let numbers = ["per_second", "nanoseconds", "operations"];
    let lines = lines(command);
    lines.iter().map(|line| work(line, &numbers)).collect()
}

fn lines(command: &mut Command) -> Vec<Value> {
    let output = command
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE")
        .output()
        .expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// What the line is about. All that it says of it is positive.
fn work(line: &Value, numbers: &[&str]) -> String {
    for name in numbers {
        let number = line[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} in {line}"));
        assert!(number > 0.0, "{line}");
    }
    line["work"]
        .as_str()
        .unwrap_or_else(|| panic!("work in {line}"))
        .to_owned()
}

#[test]
fn both_programs_measure_the_same_work() {
    for (suite, count) in [
        ("timers", 7),
        ("deferred", 6),
        ("threads", 3),
        ("simulation", 1),
    ] {
        let works = figures(ROPEWALK, suite);
        assert_eq!(works.len(), count, "{works:?}");
        assert_eq!(works, figures(TOKIO, suite));
    }
}

#[test]
fn an_unknown_suite_is_refused() {
    for program in [ROPEWALK, TOKIO] {
        let output = Command::new(program)
            .arg("network")
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn backtraces_are_refused_where_failures_are_measured() {
    let mut command = Command::new(ROPEWALK);
    command
        .args(["deferred", "--quick"])
        .env("RUST_BACKTRACE", "1");
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unset"));
}

#[test]
fn allocations_are_those_of_the_chains() {
    let lines = lines(&mut Command::new(env!(
        "CARGO_BIN_EXE_bench-micro-allocations"
    )));
    let works: BTreeSet<_> = lines
        .iter()
        .map(|line| work(line, &["allocations", "per_link"]))
        .collect();
    assert!(works.is_subset(&figures(ROPEWALK, "deferred")));
    assert_eq!(works.len(), 3);
}

/// Where `BENCH_PYTHON` names a Python that has `peers/python/requirements.txt`.
#[test]
fn twisted_measures_the_same_work() {
    let Some(python) = std::env::var_os("BENCH_PYTHON") else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "BENCH_PYTHON names no Python that has Twisted"
        );
        eprintln!("not tried with Twisted: BENCH_PYTHON names no Python that has it");
        return;
    };
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../peers/python/micro_twisted.py"
    );
    for suite in ["timers", "deferred", "threads"] {
        let works = works_of(Command::new(&python).args([program, suite, "--quick"]));
        assert_eq!(works, figures(ROPEWALK, suite));
    }
}
