//! A seed is a run: here, in another process, and after another run.

use std::process::Command;

use ropewalk_chaos::run;

const SEED: u64 = 4;

fn line() -> String {
    run(SEED, 1, None).to_string()
}

#[test]
fn two_runs_of_a_seed_in_one_process_are_the_same() {
    let first = line();
    let _ = run(SEED + 1, 1, None);
    assert_eq!(first, line());
}

/// Set in the other process, which is this very test once more.
const OTHER: &str = "ROPEWALK_CHAOS_OTHER_PROCESS";

#[test]
fn two_runs_of_a_seed_in_two_processes_are_the_same() {
    if std::env::var_os(OTHER).is_some() {
        return println!("\n{}", line());
    }
    let name = "two_runs_of_a_seed_in_two_processes_are_the_same";
    let told = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", name])
        .env(OTHER, "1")
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&line()), "{told}");
}

#[test]
fn two_seeds_are_two_runs() {
    assert_ne!(run(1, 1, None).outcome.hash, run(2, 1, None).outcome.hash);
}
