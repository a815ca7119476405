//! Handshakes that fail, and what is said of it at both ends.

use std::time::Duration;

use ropewalk_core::{Deadline, DeadlinePassed};
use ropewalk_tls::{ClientTls, HandshakeCutShort, HandshakeFailed, ServerTls};

use crate::authority::Authority;
use crate::rig::{At, Log, NAME, Talker, Wire, both};

/// What each end says when they meet. None of them is told of a connection, but for a client that
/// the server refuses when it has shown its own certificate, in TLS 1.3.
fn meet(server: ServerTls, client: ClientTls) -> [String; 2] {
    let (c, s) = (Log::default(), Log::default());
    let mut wire = Wire::tls(&(server, client), Talker::silent(&c), Talker::silent(&s));
    wire.connect();
    assert_eq!(s.told().made, 0);
    wire.reasons.map(|reason| reason.unwrap().to_string())
}

fn client(authority: &Authority) -> ClientTls {
    let builder = ClientTls::builder().roots_pem(authority.roots());
    builder.build().unwrap()
}

#[test]
fn a_certificate_for_another_name_is_refused_with_both_names() {
    let authority = Authority::new();
    let other = authority.server(&["other.example", "www.other.example"]);
    let server = ServerTls::builder().pem(other.pem()).build().unwrap();
    let [client, server] = meet(server, client(&authority));
    assert_eq!(
        client,
        "the TLS handshake failed: the server's certificate is for other.example, \
         www.other.example, not for example.com; connect by a name that it has, or say by `name` \
         which one to expect"
    );
    assert_eq!(
        server,
        "the TLS handshake failed: the client does not accept this side's certificate"
    );
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let expired = authority.expired(&[NAME]);
    let server = ServerTls::builder().pem(expired.pem()).build().unwrap();
    let [client, server] = meet(server, client(&authority));
    assert!(client.contains("the server's certificate has expired; have it renewed"));
    assert!(server.contains("the client finds this side's certificate expired"));
}

#[test]
fn a_certificate_from_an_unknown_authority_is_refused() {
    let stranger = Authority::new().server(&[NAME]);
    let server = ServerTls::builder().pem(stranger.pem()).build().unwrap();
    let [client, server] = meet(server, client(&Authority::new()));
    assert!(client.contains("was issued by none of the authorities that this side trusts"));
    assert!(server.contains("the client does not trust the authority"));
}

#[test]
fn a_server_that_requires_certificates_refuses_clients_without_one() {
    let authority = Authority::new();
    let server = ServerTls::builder()
        .pem(authority.server(&[NAME]).pem())
        .client_roots_pem(authority.roots(), true)
        .build()
        .unwrap();
    let [client, server] = meet(server, client(&authority));
    assert!(client.contains("the server wants a certificate, and got none"));
    assert!(server.contains("the client sent no certificate, and one is required"));
}

#[test]
fn a_client_whose_authority_is_not_among_the_roots_any_more_is_refused() {
    let authority = Authority::new();
    let client = ClientTls::builder()
        .roots_pem(authority.roots())
        .certificate_pem(Authority::new().client("someone").pem())
        .build()
        .unwrap();
    let server = ServerTls::builder()
        .pem(authority.server(&[NAME]).pem())
        .client_roots_pem(authority.roots(), false)
        .build()
        .unwrap();
    let [client, server] = meet(server, client);
    assert!(client.contains("the server does not trust the authority"));
    assert!(server.contains("the client's certificate was issued by none of the authorities"));
}

#[test]
fn a_certificate_is_optional_where_that_is_said() {
    let authority = Authority::new();
    let server = ServerTls::builder()
        .pem(authority.server(&[NAME]).pem())
        .client_roots_pem(authority.roots(), false)
        .build()
        .unwrap();
    let log = Log::default();
    let tls = (server, client(&authority));
    let mut wire = Wire::tls(&tls, Talker::silent(&Log::default()), Talker::silent(&log));
    wire.connect();
    assert!(log.told().info.unwrap().peer_certificates.is_empty());
}

#[test]
fn a_server_s_certificate_is_none_for_a_client() {
    let authority = Authority::new();
    let client = ClientTls::builder()
        .roots_pem(authority.roots())
        .certificate_pem(authority.server(&[NAME]).pem())
        .build()
        .unwrap();
    let server = ServerTls::builder()
        .pem(authority.server(&[NAME]).pem())
        .client_roots_pem(authority.roots(), true)
        .build()
        .unwrap();
    let [_, server] = meet(server, client);
    assert!(server.contains("the client's certificate was not issued for this purpose"));
}

#[test]
fn without_an_application_protocol_in_common_both_say_so() {
    let authority = Authority::new();
    let server = ServerTls::builder()
        .pem(authority.server(&[NAME]).pem())
        .alpn(["h2"])
        .build()
        .unwrap();
    let client = ClientTls::builder()
        .roots_pem(authority.roots())
        .alpn(["http/1.1"])
        .build()
        .unwrap();
    let [client, server] = meet(server, client);
    assert!(client.contains("the server has none of the application protocols"));
    assert!(server.contains("no application protocol (ALPN) that this side has"));
}

#[test]
fn plain_text_is_told_from_tls_and_answered_with_an_alert() {
    let log = Log::default();
    let tls = both();
    let mut wire = Wire::tls(&tls, Talker::silent(&Log::default()), Talker::silent(&log));
    wire.deaf = true;
    wire.connect();
    wire.inject(At::Server, b"GET / HTTP/1.1\r\n\r\n");
    let reason = wire.reasons[At::Server as usize].as_ref().unwrap();
    assert!(reason.check::<HandshakeFailed>().is_some());
    assert!(reason.to_string().contains("what came is not TLS"));
    // An alert, fatal: decode_error.
    assert_eq!(
        wire.sent[At::Server as usize],
        [21, 3, 3, 0, 2, 2, 50],
        "{reason}"
    );
}

#[test]
fn a_peer_that_goes_away_during_the_handshake_is_said_to() {
    let tls = both();
    let logs = [Log::default(), Log::default()];
    let mut wire = Wire::tls(&tls, Talker::silent(&logs[0]), Talker::silent(&logs[1]));
    wire.deaf = true;
    wire.connect();
    for at in [At::Client, At::Server] {
        wire.end_of_stream(at);
        let reason = wire.reasons[at as usize].as_ref().unwrap();
        assert!(reason.check::<HandshakeCutShort>().is_some(), "{reason}");
        assert_eq!(logs[at as usize].told().made, 0);
    }
}

#[test]
fn a_handshake_has_ten_seconds() {
    let tls = both();
    let log = Log::default();
    let mut wire = Wire::tls(&tls, Talker::silent(&Log::default()), Talker::silent(&log));
    wire.deaf = true;
    wire.connect();
    wire.advance(Duration::from_millis(9_999));
    assert!(wire.is_open(At::Server));
    wire.advance(Duration::from_secs(10));
    let reason = wire.reasons[At::Server as usize].as_ref().unwrap();
    let passed = reason.check::<DeadlinePassed>().unwrap();
    assert_eq!(passed.deadline, Deadline::Handshake);
}

#[test]
fn a_message_without_end_is_not_kept_without_end() {
    let tls = both();
    let mut wire = Wire::tls(
        &tls,
        Talker::silent(&Log::default()),
        Talker::silent(&Log::default()),
    );
    wire.deaf = true;
    wire.connect();
    // A handshake message of 16 MiB, in records of one byte each.
    wire.inject(At::Server, &[22, 3, 1, 0, 4, 1, 255, 255, 255]);
    let mut fed = 0;
    while wire.is_open(At::Server) {
        wire.inject(At::Server, &[22, 3, 1, 0, 1, 0].repeat(500));
        fed += 3000;
        assert!(fed < 1_000_000);
    }
    assert!(wire.reasons[At::Server as usize].is_some());
}
