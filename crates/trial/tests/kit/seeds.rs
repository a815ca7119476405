//! Seeds: many of them, and one again.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::process::Command;
use std::rc::Rc;

use ropewalk_core::{Address, DatagramProtocol, DatagramTransport, Failure};
use ropewalk_reactor::Handle;
use ropewalk_trial::{Driver, Seed, Trial};

#[test]
fn a_body_runs_once_for_each_seed_on_a_reactor_of_its_own_until_one_fails() {
    let seen: Rc<RefCell<Vec<u64>>> = Rc::default();
    let noted = Rc::clone(&seen);
    let trial = Trial::new("kit::seeds").driver(Driver::Poll);
    let failed = trial.run_with(0..100, move |test| {
        noted.borrow_mut().push(test.seed());
        assert_eq!(test.reactor().connections(), 0);
        async move {
            match test.seed() {
                17 => Err(Failure::msg("17 is too many")),
                seed => {
                    tracing::info!(seed, "passed");
                    Ok(())
                }
            }
        }
    });
    let failed = failed.unwrap_err();
    assert_eq!(*seen.borrow(), (0..=17).collect::<Vec<_>>());
    assert_eq!(failed.seed, 17);
    assert_eq!(
        failed.log.len(),
        0,
        "what other runs have logged is not there"
    );
    let text = failed.to_string();
    assert!(
        text.ends_with("run it again: ROPEWALK_SEED=17 cargo test seeds -- --exact"),
        "{text}"
    );
}

/// Set in the processes that the tests below run.
const OTHER: &str = "ROPEWALK_KIT_OTHER_PROCESS";

/// Fails, in a process that a test below runs.
#[ropewalk_trial::test(crate = "ropewalk_trial", driver = "poll", seeds = 20)]
async fn fails_with_seed_13(Seed(seed): Seed) {
    println!("with seed {seed}.");
    assert!(seed != 13 || env::var_os(OTHER).is_none(), "unlucky");
}

/// What it sends is captured, in a process that a test below runs.
#[ropewalk_trial::test(crate = "ropewalk_trial")]
async fn sends_a_datagram(reactor: Handle) -> Result<(), Failure> {
    struct Deaf;
    impl DatagramProtocol for Deaf {
        fn datagram_received(&mut self, _: &mut DatagramTransport, _: &[u8], _: &Address) {}
    }
    let port = reactor.listen_datagram(&"udp:0".parse()?, Deaf)?;
    port.write_to(b"a bottle", &Address::Udp("127.0.0.1:9".parse()?));
    port.stop_listening();
    Ok(())
}

/// The first test above, run by the harness with `ROPEWALK_SEED` set so.
fn harness(seed: Option<&str>) -> (bool, String) {
    run("seeds::fails_with_seed_13", "ROPEWALK_SEED", seed)
}

/// A test, run by the harness with this variable set so.
fn run(test: &str, variable: &str, value: Option<&str>) -> (bool, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
        .env_remove("ROPEWALK_SEED")
        .env_remove("ROPEWALK_PCAP")
        .env_remove("RUST_BACKTRACE")
        .env(OTHER, "1");
    command.envs(value.map(|value| (variable, value)));
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_report_has_the_command_that_runs_the_seed_again() {
    let (passed, text) = harness(None);
    assert!(!passed, "{text}");
    assert_eq!(text.matches("with seed ").count(), 14 + 1, "{text}");
    assert!(
        text.contains("seeds::fails_with_seed_13 failed with seed 13"),
        "{text}"
    );
    let again = "run it again: ROPEWALK_SEED=13 cargo test -p ropewalk-trial --test kit \
                 seeds::fails_with_seed_13 -- --exact";
    assert!(text.contains(again), "{text}");
    assert!(text.contains("unlucky"), "{text}");
    // At the test, and not in the kit.
    assert!(
        text.contains("panicked at crates/trial/tests/kit/seeds.rs:"),
        "{text}"
    );
    assert!(!text.contains("panicked at crates/trial/src"), "{text}");
}

#[test]
fn the_environment_runs_one_seed_alone() {
    let (passed, text) = harness(Some("13"));
    assert!(!passed && text.contains("with seed 13."), "{text}");
    assert!(!text.contains("with seed 12."), "{text}");
    let (passed, text) = harness(Some("12"));
    assert!(passed && text.contains("with seed 12."), "{text}");
    let (passed, text) = harness(Some("1000000"));
    assert!(passed && text.contains("with seed 1000000."), "{text}");
}

#[test]
fn a_seed_that_is_no_number_is_told() {
    let (passed, text) = harness(Some("thirteen"));
    assert!(!passed, "{text}");
    assert!(text.contains("reading ROPEWALK_SEED=thirteen"), "{text}");
}

#[test]
fn what_the_world_has_sent_is_captured_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.pcap");
    let named = file.display().to_string();
    let (passed, text) = run("seeds::sends_a_datagram", "ROPEWALK_PCAP", Some(&named));
    assert!(passed, "{text}");
    let captured = fs::read(&file).unwrap();
    assert_eq!(captured[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    assert!(captured.ends_with(b"a bottle"), "{captured:?}");
    let nowhere = folder.path().join("no/such/folder").display().to_string();
    let (passed, text) = run("seeds::sends_a_datagram", "ROPEWALK_PCAP", Some(&nowhere));
    assert!(
        !passed && text.contains("writing what was sent to"),
        "{text}"
    );
}
