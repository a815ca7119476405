//! TLS in the simulated world: its own randomness does not reach the run.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use ropewalk_sim::{Link, World};
use tempfile::TempDir;

use crate::rig::{Log, ask, echo_at, pattern};

/// A folder with the certificate of `server`, and its key. A signature by Ed25519 has always the same
/// length (RFC 8032 section 5.1.6), which one by ECDSA has not.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let params = CertificateParams::new(["server".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.path().join("server.pem"), certificate.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    folder
}

fn run(folder: &Path, seed: u64) -> (u64, Vec<String>) {
    let world = World::new(seed);
    world.set_default_link(&Link {
        loss: 0.05,
        ..Link::default()
    });
    let (server, client) = (world.host("server"), world.host("client"));
    let file = |name| folder.join(name).display().to_string();
    let (certificate, key) = (file("server.pem"), file("key.pem"));
    let endpoint = format!("tls:443:certificate={certificate}:key={key}");
    server.start(move |reactor| echo_at(reactor, &endpoint));
    let log = Log::default();
    let endpoint = format!("tls:server:443:roots={certificate}");
    let noted = Rc::clone(&log);
    client.start(move |reactor| {
        for round in 0..5 {
            let (noted, again, endpoint) = (Rc::clone(&noted), reactor.clone(), endpoint.clone());
            let later = Duration::from_secs(10 * round);
            // A second connection resumes what the first has agreed on.
            drop(reactor.call_later(later, move || {
                ask(&again, &endpoint, pattern(100_000), &noted);
            }));
        }
    });
    world.run_for(Duration::from_secs(600));
    let log = log.borrow().clone();
    (world.hash(), log)
}

#[test]
fn two_runs_over_tls_are_the_same() {
    let folder = folder();
    for seed in 0..5 {
        let (hash, log) = run(folder.path(), seed);
        let answered = log.iter().filter(|line| *line == "answered").count();
        assert_eq!(answered, 5, "{log:?}");
        assert_eq!(run(folder.path(), seed), (hash, log));
    }
    // With other keys, too.
    let other = self::folder();
    assert_eq!(run(folder.path(), 7), run(other.path(), 7));
}
