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

#[test]
fn two_runs_of_a_seed_in_two_processes_are_the_same() {
    let itself = std::env::current_exe().unwrap();
    let arguments = ["--exact", "--nocapture", "--ignored", "tells_its_line"];
    let told = Command::new(itself).args(arguments).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&line()), "{told}");
}

#[test]
#[ignore = "what the other process of the test above does"]
fn tells_its_line() {
    println!("\n{}", line());
}

#[test]
fn two_seeds_are_two_runs() {
    assert_ne!(run(1, 1, None).outcome.hash, run(2, 1, None).outcome.hash);
}
