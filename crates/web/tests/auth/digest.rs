//! Digest authentication: what is computed, and what is taken once.

use std::time::Duration;

use http::{Request, StatusCode};
use ropewalk_web::auth::{AuthParameters, DigestCredentialFactory, HttpAuth};
use ropewalk_web::credentials::{DigestAlgorithm, HtdigestFile, MemoryChecker};
use ropewalk_web::router::Router;
use ropewalk_web::{Body, Randomness, Rewrite};
use tower_layer::Layer;

use super::rig::{Answer, Rig};

fn rig(md5: bool) -> Rig {
    Rig::new(|reactor| {
        let checker = MemoryChecker::new()
            .user("Mufasa", "Circle of Life")
            .user("jörg", "p");
        let digest = DigestCredentialFactory::new(reactor, "the \"plain\"", &Randomness::system());
        HttpAuth::new(checker).scheme(digest.unwrap().allow_md5(md5))
    })
}

fn nonce(answer: &Answer) -> String {
    let challenge = answer.challenges()[0]
        .strip_prefix("Digest ")
        .unwrap()
        .to_owned();
    AuthParameters::parse(&challenge)
        .unwrap()
        .get("nonce")
        .unwrap()
        .to_owned()
}

/// What a client sends.
struct Client {
    username: &'static str,
    password: &'static str,
    algorithm: DigestAlgorithm,
    uri: &'static str,
    nonce: String,
}

impl Client {
    fn new(nonce: String) -> Self {
        Self {
            username: "Mufasa",
            password: "Circle of Life",
            algorithm: DigestAlgorithm::Sha256,
            uri: "/dir/index.html",
            nonce,
        }
    }

    fn header(&self, count: u32) -> String {
        let Self {
            username,
            password,
            algorithm,
            uri,
            nonce,
        } = self;
        let ha1 = algorithm.ha1(username, "the \"plain\"", password);
        let ha2 = algorithm.digest(format!("GET:{uri}").as_bytes());
        let all = format!("{ha1}:{nonce}:{count:08x}:c:auth:{ha2}");
        let response = algorithm.digest(all.as_bytes());
        format!(
            "Digest username=\"{username}\", realm=\"the \\\"plain\\\"\", uri=\"{uri}\", \
             algorithm={}, nonce=\"{nonce}\", nc={count:08x}, cnonce=\"c\", qop=auth, \
             response=\"{response}\"",
            algorithm.name()
        )
    }
}

#[test]
fn a_challenge_offers_sha_256_and_md5_only_where_it_is_allowed() {
    let answer = rig(false).ask(None);
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenges = answer.challenges();
    assert_eq!(challenges.len(), 1);
    assert!(
        challenges[0]
            .starts_with(r#"Digest realm="the \"plain\"", qop="auth", algorithm=SHA-256, nonce=""#)
    );
    assert!(!challenges[0].contains("stale"));
    let answer = rig(true).ask(None);
    assert!(answer.challenges()[1].contains("algorithm=MD5"));
}

#[test]
fn who_knows_the_password_is_let_through() {
    let rig = rig(true);
    let mut client = Client::new(nonce(&rig.ask(None)));
    assert_eq!(rig.ask(Some(&client.header(1))).text, "Mufasa by Digest");
    client.algorithm = DigestAlgorithm::Md5;
    assert_eq!(rig.ask(Some(&client.header(2))).text, "Mufasa by Digest");
    client.password = "circle of life";
    let answer = rig.ask(Some(&client.header(3)));
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(!answer.challenges()[0].contains("stale"));
}

#[test]
fn md5_is_not_taken_where_it_was_not_offered() {
    let rig = rig(false);
    let mut client = Client::new(nonce(&rig.ask(None)));
    client.algorithm = DigestAlgorithm::Md5;
    assert_eq!(
        rig.ask(Some(&client.header(1))).status,
        StatusCode::UNAUTHORIZED
    );
    let unnamed = client.header(1).replace("algorithm=MD5, ", "");
    assert_eq!(rig.ask(Some(&unnamed)).status, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_request_that_comes_again_is_stale() {
    let rig = rig(false);
    let client = Client::new(nonce(&rig.ask(None)));
    let header = client.header(1);
    assert_eq!(rig.ask(Some(&header)).status, StatusCode::OK);
    let answer = rig.ask(Some(&header));
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.challenges()[0].ends_with(", stale=true"));
    // Another count is another request, and the client may try with the new nonce.
    assert_eq!(rig.ask(Some(&client.header(2))).status, StatusCode::OK);
    let client = Client::new(nonce(&answer));
    assert_eq!(rig.ask(Some(&client.header(1))).status, StatusCode::OK);
}

#[test]
fn a_nonce_is_ours_and_five_minutes_old_at_most() {
    let rig = rig(false);
    let client = Client::new(nonce(&rig.ask(None)));
    rig.reactor.advance(Duration::from_millis(5 * 60_000 - 1));
    assert_eq!(rig.ask(Some(&client.header(1))).status, StatusCode::OK);
    rig.reactor.advance(Duration::from_millis(1));
    let answer = rig.ask(Some(&client.header(2)));
    assert!(answer.challenges()[0].ends_with(", stale=true"));
    let foreign = Client::new("dcd98b7102dd2f0e8b11d0f600bfb0c093".into());
    let answer = rig.ask(Some(&foreign.header(1)));
    assert!(answer.challenges()[0].ends_with(", stale=true"));
}

#[test]
fn what_was_computed_for_one_target_is_not_taken_for_another() {
    let rig = rig(false);
    let mut client = Client::new(nonce(&rig.ask(None)));
    for uri in ["/other", "/dir/index.html?", "/", ""] {
        client.uri = uri;
        assert_eq!(
            rig.ask(Some(&client.header(1))).status,
            StatusCode::BAD_REQUEST,
            "{uri}"
        );
    }
    client.uri = "http://example.com/dir/index.html";
    assert_eq!(rig.ask(Some(&client.header(2))).status, StatusCode::OK);
    let absolute =
        Request::get("http://192.0.2.1/dir/index.html").header("authorization", client.header(3));
    let answer = rig.send(absolute.body(Body::empty()).unwrap());
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[test]
fn what_counts_is_the_target_that_the_client_asked_for() {
    let rig = rig(false);
    let nested = Router::builder().nest("/dir", rig.service());
    let rewritten = Router::builder().fallback_service(rig.service());
    let alias = Rewrite::new().alias("/dir", "/other");
    let mut nested = nested.build().unwrap();
    let mut rewritten = alias.layer(rewritten.build().unwrap());
    let mut client = Client::new(nonce(&rig.ask(None)));
    let request = |header: String| {
        let request = Request::get("/dir/index.html").header("authorization", header);
        request.body(Body::empty()).unwrap()
    };
    let answer = rig.send_to(&mut nested, request(client.header(1)));
    assert_eq!(answer.text, "Mufasa by Digest");
    let answer = rig.send_to(&mut rewritten, request(client.header(2)));
    assert_eq!(answer.text, "Mufasa by Digest");
    client.uri = "/index.html";
    let answer = rig.send_to(&mut nested, request(client.header(3)));
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[test]
fn what_lacks_something_is_a_bad_request() {
    let rig = rig(false);
    let header = Client::new(nonce(&rig.ask(None))).header(1);
    for missing in [
        "username", "realm", "uri", "nonce", "nc", "cnonce", "qop", "response",
    ] {
        let without: Vec<&str> = header["Digest ".len()..]
            .split(", ")
            .filter(|part| !part.starts_with(&format!("{missing}=")))
            .collect();
        let answer = rig.ask(Some(&format!("Digest {}", without.join(", "))));
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{missing}");
    }
    for (from, to) in [
        ("nc=00000001", "nc=1"),
        ("qop=auth", "qop=auth-int"),
        ("qop=auth", "qop=auth, userhash=true"),
    ] {
        let answer = rig.ask(Some(&header.replace(from, to)));
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{to}");
    }
}

#[test]
fn a_name_that_is_not_ascii_may_be_sent_in_both_ways() {
    let rig = rig(false);
    let mut client = Client::new(nonce(&rig.ask(None)));
    (client.username, client.password) = ("jörg", "p");
    let request = |header: String| {
        let request = Request::get("/dir/index.html");
        let value = http::HeaderValue::from_bytes(header.as_bytes()).unwrap();
        request
            .header("authorization", value)
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(rig.send(request(client.header(1))).text, "jörg by Digest");
    let extended = client
        .header(2)
        .replace("username=\"jörg\"", "username*=UTF-8''j%C3%B6rg");
    assert_eq!(rig.send(request(extended)).text, "jörg by Digest");
    let both = client
        .header(3)
        .replace("username=", "username*=UTF-8''x, username=");
    assert_eq!(rig.send(request(both)).status, StatusCode::BAD_REQUEST);
}

#[test]
fn a_file_of_htdigest_lets_those_in_whom_it_has_for_this_realm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htdigest");
    let line = |algorithm: DigestAlgorithm, realm: &str| {
        let ha1 = algorithm.ha1("Mufasa", realm, "Circle of Life");
        format!("Mufasa:{realm}:{ha1}\n")
    };
    let realm = "the \"plain\"";
    std::fs::write(&path, line(DigestAlgorithm::Sha256, realm)).unwrap();
    let rig = Rig::new(|reactor| {
        let checker = HtdigestFile::new(reactor.clone(), &path).unwrap();
        let digest = DigestCredentialFactory::new(reactor, realm, &Randomness::system());
        HttpAuth::new(checker).scheme(digest.unwrap().allow_md5(true))
    });
    let ask = |algorithm, password| {
        let mut client = Client::new(nonce(&rig.ask(None)));
        client.algorithm = algorithm;
        client.password = password;
        rig.ask(Some(&client.header(1))).status
    };
    assert_eq!(ask(DigestAlgorithm::Sha256, "Circle of Life"), 200);
    assert_eq!(ask(DigestAlgorithm::Sha256, "Circle of life"), 401);
    assert_eq!(ask(DigestAlgorithm::Md5, "Circle of Life"), 401);
    // It is read again when it has changed.
    let lines = line(DigestAlgorithm::Md5, realm) + &line(DigestAlgorithm::Sha256, "another");
    std::fs::write(&path, lines).unwrap();
    rig.reactor.advance(Duration::from_secs(1));
    assert_eq!(ask(DigestAlgorithm::Md5, "Circle of Life"), 200);
    assert_eq!(ask(DigestAlgorithm::Sha256, "Circle of Life"), 401);
}

#[test]
fn auth_int_and_a_hashed_name_are_refused_in_words() {
    let rig = rig(false);
    let header = Client::new(nonce(&rig.ask(None))).header(1);
    let answer = rig.ask(Some(&header.replace("qop=auth", "qop=auth-int")));
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("qop is not auth"), "{}", answer.text);
    let answer = rig.ask(Some(&format!("{header}, userhash=true")));
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("hashed"), "{}", answer.text);
    let answer = rig.ask(Some(&format!("{header}, userhash=false")));
    assert_eq!(answer.status, StatusCode::OK);
}
