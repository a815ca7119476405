//! Password files: those that Apache's `htpasswd` wrote, and writes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::Randomness;
use ropewalk_web::credentials::{
    AvatarId, Credentials, CredentialsChecker, HtpasswdFile, LoginCache, LoginError, PasswordHash,
    PasswordHashError,
};

use super::rig::check;

const FROM: &str = "192.0.2.7:4711";

/// Written by `htpasswd` of Apache 2.4.71, an entry in each of its formats.
fn fixture() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/auth/fixtures.htpasswd"
    ))
}

fn is_right(
    checker: &impl CredentialsChecker,
    reactor: &MemoryReactor,
    user: &str,
    password: &str,
) -> bool {
    match check(
        reactor,
        checker,
        &Credentials::password(user, password),
        FROM,
    ) {
        Ok(AvatarId::User(name)) => {
            assert_eq!(&*name, user);
            true
        }
        Err(LoginError::Unauthorized) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_format_is_taken_and_what_is_unsafe_is_not() {
    let reactor = MemoryReactor::new();
    let checker = HtpasswdFile::new(reactor.handle(), fixture()).unwrap();
    for user in ["bcrypt", "apr1", "sha256", "sha512"] {
        assert!(is_right(&checker, &reactor, user, "open sesame"), "{user}");
        for other in ["open Sesame", "", "open sesame "] {
            assert!(
                !is_right(&checker, &reactor, user, other),
                "{user} {other:?}"
            );
        }
    }
    assert!(is_right(&checker, &reactor, "jörg", "pässwörd"));
    for (user, password) in [
        ("sha1", "open sesame"),
        ("des", "opensesa"),
        ("plain", "open sesame"),
    ] {
        assert!(!is_right(&checker, &reactor, user, password), "{user}");
    }
    assert_eq!(checker.len(), 5);
    let checker = HtpasswdFile::allow_sha1(reactor.handle(), fixture()).unwrap();
    assert!(is_right(&checker, &reactor, "sha1", "open sesame"));
    assert!(!is_right(&checker, &reactor, "sha1", "open Sesame"));
    assert_eq!(checker.len(), 6);
}

#[test]
fn other_peoples_hashes_are_verified() {
    for (hash, password) in [
        // `openssl passwd -5` and `-6`, which do not write the usual number of rounds.
        (
            "$5$saltsalt$yrhPKxCqiWcCE9h0g86j6Ugz7SDFdFm.BjU.d8RaQnC",
            "open sesame",
        ),
        (
            "$6$saltsalt$e/5XKibXPLqVcfjpD.ouauaJrAOL5V0uo80Lt7n7EbRdRiCx3HbQ90yjOHr.G0T.mx79PEMRy8nmtr0qSYhQp1",
            "open sesame",
        ),
        // The reference implementation of Argon2.
        (
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "password",
        ),
    ] {
        let hash: PasswordHash = hash.parse().unwrap();
        assert!(hash.verify(password), "{hash:?}");
        assert!(!hash.verify("other"), "{hash:?}");
        assert!(!hash.verify(&"x".repeat(1025)));
    }
    for text in [
        "",
        "secret",
        "$1$abc$def",
        "13eMSN1exe.ck",
        "$y$j9T$x$y",
        "{SSHA}abc",
    ] {
        assert_eq!(
            text.parse::<PasswordHash>().unwrap_err(),
            PasswordHashError::Unknown,
            "{text}"
        );
    }
    for text in [
        "$2y$",
        "$2y$05$short",
        "$apr1$",
        "$apr1$salt",
        "$apr1$salt$short",
        "{SHA}",
        "{SHA}AAAA",
        "$argon2id$",
        "$5",
        "$5$",
    ] {
        assert!(text.parse::<PasswordHash>().is_err(), "{text}");
    }
}

#[test]
fn a_file_that_changes_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    let entry = "ada:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n";
    fs::write(
        &path,
        format!("# users\n\n{entry}no colon\nada:$apr1$x$y\n"),
    )
    .unwrap();
    let reactor = MemoryReactor::new();
    let checker = HtpasswdFile::new(reactor.handle(), &path).unwrap();
    let cache = LoginCache::new(reactor.handle(), checker.clone(), &Randomness::system()).unwrap();
    assert!(is_right(&cache, &reactor, "ada", "myPassword"));
    // Another user, in the same second.
    fs::write(&path, entry.replace("ada", "bob")).unwrap();
    assert!(is_right(&cache, &reactor, "ada", "myPassword"));
    reactor.advance(Duration::from_secs(1));
    // What was remembered of the old file is forgotten.
    assert!(!is_right(&cache, &reactor, "ada", "myPassword"));
    assert!(is_right(&cache, &reactor, "bob", "myPassword"));
    // A file that is gone changes nothing.
    fs::remove_file(&path).unwrap();
    reactor.advance(Duration::from_secs(2));
    assert!(is_right(&checker, &reactor, "bob", "myPassword"));
    fs::write(&path, "").unwrap();
    reactor.advance(Duration::from_secs(1));
    assert!(!is_right(&checker, &reactor, "bob", "myPassword"));
    assert!(checker.is_empty());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let reactor = MemoryReactor::new();
    let error = HtpasswdFile::new(reactor.handle(), "/nowhere/htpasswd").unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot read the password file /nowhere/htpasswd: "),
        "{text}"
    );
}

#[test]
fn digests_and_tokens_are_not_for_a_password_file() {
    let reactor = MemoryReactor::new();
    let checker = HtpasswdFile::new(reactor.handle(), fixture()).unwrap();
    for credentials in [Credentials::Token("bcrypt".into()), Credentials::Anonymous] {
        let checked = check(&reactor, &checker, &credentials, FROM);
        assert!(matches!(checked, Err(LoginError::Unhandled)));
    }
}

#[test]
fn what_htpasswd_writes_now_is_taken() {
    let Some(htpasswd) = super::clients::tool("htpasswd") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    fs::write(&path, "").unwrap();
    for (flags, user) in [("-bB", "a"), ("-bm", "b"), ("-b2", "c"), ("-b5", "d")] {
        let mut command = Command::new(&htpasswd);
        let output = command
            .arg(flags)
            .arg(&path)
            .args([user, "a password"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let reactor = MemoryReactor::new();
    let checker = HtpasswdFile::new(reactor.handle(), &path).unwrap();
    for user in ["a", "b", "c", "d"] {
        assert!(is_right(&checker, &reactor, user, "a password"), "{user}");
        assert!(!is_right(&checker, &reactor, user, "another"), "{user}");
    }
}
