//! Certificates on disk: chosen by name, and renewed.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ropewalk_tls::{ClientTls, ServerTls};

use crate::authority::{Authority, Issued};
use crate::rig::{At, Log, Talker, Wire};

/// When the time of all these wires begins.
static EPOCH: OnceLock<Instant> = OnceLock::new();

/// The certificate that a server shows at `time` to who asks for `name`.
fn shown(server: &ServerTls, client: &ClientTls, name: &str, time: Duration) -> Vec<u8> {
    let log = Log::default();
    let mut wire = Wire::begun_at(
        *EPOCH.get_or_init(Instant::now),
        (
            Box::new(Talker::silent(&log)),
            vec![Box::new(client.layer(name).unwrap())],
        ),
        (
            Box::new(Talker::silent(&Log::default())),
            vec![Box::new(server.layer())],
        ),
    );
    wire.advance(time);
    wire.connect();
    assert!(wire.is_open(At::Client), "{:?}", wire.reasons);
    let info = log.told().info.unwrap();
    info.peer_certificates[0].as_ref().to_vec()
}

fn der(issued: &Issued) -> Vec<u8> {
    use ropewalk_tls::rustls::pki_types::CertificateDer;
    use ropewalk_tls::rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(issued.certificate.as_bytes())
        .unwrap()
        .as_ref()
        .to_vec()
}

fn client(authority: &Authority) -> ClientTls {
    let builder = ClientTls::builder().roots_pem(authority.roots());
    builder.build().unwrap()
}

/// As a careful administrator does it: the file is there whole, or not at all.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_certificate_that_is_renewed_is_shown_a_second_later() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    let (old, new) = (
        authority.server(&["a.example"]),
        authority.server(&["a.example"]),
    );
    put(&chain, &old.certificate);
    put(&key, &old.key);
    let server = ServerTls::builder()
        .certificate(&chain, &key)
        .build()
        .unwrap();
    let shown = |time| {
        // Each a client of its own, so that no session is resumed.
        shown(&server, &client(&authority), "a.example", time)
    };
    assert_eq!(shown(secs(1)), der(&old));
    put(&chain, &new.certificate);
    // Half of it is renewed, so nothing is.
    assert_eq!(shown(secs(3)), der(&old));
    put(&key, &new.key);
    assert_eq!(shown(secs(5)), der(&new));
}

#[test]
fn what_is_broken_on_disk_leaves_the_old_one_in_use() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pem");
    let (old, new) = (
        authority.server(&["a.example"]),
        authority.server(&["a.example"]),
    );
    put(&path, &old.pem());
    for server in [
        ServerTls::builder().certificate(&path, &path).build(),
        ServerTls::builder().directory(folder.path()).build(),
    ] {
        let server = server.unwrap();
        let shown = |time| shown(&server, &client(&authority), "a.example", time);
        put(&path, &old.pem());
        assert_eq!(shown(secs(1)), der(&old));
        put(&path, "nothing of use");
        assert_eq!(shown(secs(3)), der(&old));
        fs::remove_file(&path).unwrap();
        assert_eq!(shown(secs(5)), der(&old));
        put(&path, &new.pem());
        assert_eq!(shown(secs(7)), der(&new));
    }
}

#[test]
fn files_are_looked_at_once_a_second_at_most() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pem");
    let (old, new) = (
        authority.server(&["a.example"]),
        authority.server(&["a.example"]),
    );
    put(&path, &old.pem());
    let server = ServerTls::builder()
        .directory(folder.path())
        .build()
        .unwrap();
    // Later than it is: the first look is that of the builder.
    let shown = |time| shown(&server, &client(&authority), "a.example", secs(3600) + time);
    assert_eq!(shown(secs(0)), der(&old));
    put(&path, &new.pem());
    assert_eq!(shown(Duration::from_millis(999)), der(&old));
    assert_eq!(shown(Duration::from_millis(1001)), der(&new));
}

#[test]
fn a_directory_serves_each_name_with_its_own_certificate() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, names: &[&str]| {
        let issued = authority.server(names);
        put(&folder.path().join(name), &issued.pem());
        der(&issued)
    };
    let first = put("10-first.pem", &["a.example", "*.a.example", "z.example"]);
    let second = put("20-second.pem", &["b.example", "www.a.example"]);
    let server = ServerTls::builder()
        .directory(folder.path())
        .build()
        .unwrap();
    // Each a client of its own, so that no session is resumed.
    let at = |name, time| shown(&server, &client(&authority), name, time);
    assert_eq!(at("a.example", secs(1)), first);
    assert_eq!(at("B.example", secs(1)), second);
    assert_eq!(at("other.a.example", secs(1)), first);
    // The whole name goes before a wildcard.
    assert_eq!(at("www.a.example", secs(1)), second);
    // Added, and preferred for those that have none of their own.
    let default = put("default.pem", &["c.example", "127.0.0.1"]);
    assert_eq!(at("c.example", secs(10)), default);
    assert_eq!(at("127.0.0.1", secs(10)), default);
    fs::remove_file(folder.path().join("20-second.pem")).unwrap();
    assert_eq!(at("www.a.example", secs(20)), first);
}

#[test]
fn what_cannot_be_used_at_the_start_is_said_with_its_file() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (one, other) = (authority.server(&["a"]), authority.server(&["b"]));
    fs::write(path("one.crt"), &one.certificate).unwrap();
    fs::write(path("one.key"), &one.key).unwrap();
    fs::write(path("other.key"), &other.key).unwrap();
    let error = |builder: ropewalk_tls::ServerTlsBuilder| builder.build().unwrap_err().to_string();
    let of = |chain: &str, key: &str| {
        let error = error(ServerTls::builder().certificate(path(chain), path(key)));
        error.replace(folder.path().to_str().unwrap(), "DIR")
    };
    assert!(of("one.crt", "other.key").starts_with("DIR/other.key has the key of another"));
    assert!(of("one.crt", "none").starts_with("DIR/none cannot be read: "));
    assert!(of("one.key", "one.key").starts_with("DIR/one.key has no certificate; "));
    assert!(of("one.crt", "one.crt").starts_with("DIR/one.crt has no private key; "));
    let empty = tempfile::tempdir().unwrap();
    let text = error(ServerTls::builder().directory(empty.path()));
    assert!(text.contains("put files `NAME.pem` there"), "{text}");
    let text = error(ServerTls::builder());
    assert!(text.contains("needs a certificate"), "{text}");
    let text = error(
        ServerTls::builder()
            .pem(one.pem())
            .client_roots(path("one.key"), true),
    );
    assert!(
        text.contains("one.key has no certificate to trust"),
        "{text}"
    );
}
