//! Who is told what when a handshake is done, however the bytes come.

use ropewalk_tls::rustls::ProtocolVersion;
use ropewalk_tls::{ClientTls, ServerTls};

use crate::authority::Authority;
use crate::rig::{At, Log, NAME, Talker, Wire, both};

/// A whole conversation with a cut; returns how many bytes each end got.
fn converse(tls: &(ServerTls, ClientTls), cut: Option<(At, usize)>) -> [usize; 2] {
    let (client, server) = (Log::default(), Log::default());
    let mut wire = Wire::tls(
        tls,
        Talker::new(&client, |transport| {
            transport.write(b"hello");
            transport.lose_write_connection();
        }),
        Talker::echo(&server),
    );
    wire.cut = cut;
    wire.connect();
    assert_eq!(server.text(), "hello", "{cut:?}");
    assert_eq!(client.text(), "hello", "{cut:?}");
    for log in [client, server] {
        let told = log.told();
        assert_eq!(told.made, 1, "{cut:?}");
        assert!(told.read_closed, "{cut:?}");
        assert_eq!(told.lost.as_deref(), Some("done"), "{cut:?}");
    }
    wire.got
}

#[test]
fn a_conversation_is_the_same_wherever_the_bytes_are_cut() {
    let tls = both();
    for at in [At::Client, At::Server] {
        let mut cut = 1;
        // Sizes differ by a few bytes from one handshake to the next, by its signatures.
        while cut <= converse(&tls, Some((at, cut)))[at as usize] {
            cut += 1;
        }
        assert!(cut > 300, "{cut}");
    }
}

#[test]
fn a_conversation_with_tls_1_2_is_the_same_wherever_the_bytes_are_cut() {
    let authority = Authority::new();
    let server = authority.server(&[NAME]);
    let tls = (
        ServerTls::builder().pem(server.pem()).build().unwrap(),
        only_tls12(&authority),
    );
    for at in [At::Client, At::Server] {
        let mut cut = 1;
        while cut <= converse(&tls, Some((at, cut)))[at as usize] {
            cut += 1;
        }
    }
}

fn only_tls12(authority: &Authority) -> ClientTls {
    use ropewalk_tls::rustls::pki_types::CertificateDer;
    use ropewalk_tls::rustls::pki_types::pem::PemObject;
    use ropewalk_tls::rustls::{ClientConfig, RootCertStore, crypto::ring, version};

    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.roots().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientTls::from_config(config.into())
}

#[test]
fn both_versions_are_spoken_and_1_3_is_preferred() {
    let authority = Authority::new();
    let server = authority.server(&[NAME]);
    let server = ServerTls::builder().pem(server.pem()).build().unwrap();
    let new = ClientTls::builder()
        .roots_pem(authority.roots())
        .build()
        .unwrap();
    for (client, version) in [
        (new, ProtocolVersion::TLSv1_3),
        (only_tls12(&authority), ProtocolVersion::TLSv1_2),
    ] {
        let log = Log::default();
        let tls = (server.clone(), client);
        let mut wire = Wire::tls(&tls, Talker::silent(&log), Talker::silent(&Log::default()));
        wire.connect();
        assert_eq!(log.told().info.unwrap().version, version);
    }
}

#[test]
fn who_writes_when_half_of_a_message_has_come_writes_as_ever() {
    let tls = both();
    let converse = |cut: usize| {
        let (client, server) = (Log::default(), Log::default());
        let mut wire = Wire::tls(&tls, Talker::silent(&client), Talker::silent(&server));
        wire.connect();
        // Half of it, and nothing else for now.
        wire.connection(At::Server).write(&[b'x'; 1000]);
        let record = wire.take(At::Server);
        let cut = cut.min(record.len());
        wire.inject(At::Client, &record[..cut]);
        wire.connection(At::Client).write(b"meanwhile");
        wire.run();
        assert_eq!(server.text(), "meanwhile");
        wire.inject(At::Client, &record[cut..]);
        assert_eq!(client.told().data.len(), 1000);
        record.len()
    };
    for cut in 0..converse(0) {
        converse(cut);
    }
}

#[test]
fn nobody_is_told_of_a_connection_before_the_handshake_is_done() {
    let (client, server) = (Log::default(), Log::default());
    let tls = both();
    let mut wire = Wire::tls(&tls, Talker::silent(&client), Talker::silent(&server));
    wire.deaf = true;
    wire.connect();
    assert_eq!((client.told().made, server.told().made), (0, 0));
    assert!(wire.wants_read(At::Client) && wire.wants_read(At::Server));
    // Written before it is done, a thing waits.
    wire.connection(At::Client).write(b"early");
    wire.run();
    assert_eq!(wire.connection(At::Client).unsent(), Some(5));
}

#[test]
fn both_ends_know_what_was_agreed_on() {
    let authority = Authority::new();
    let server = authority.server(&[NAME]);
    let person = authority.client("someone");
    let tls = (
        ServerTls::builder()
            .pem(server.pem())
            .alpn(["h2", "http/1.1"])
            .client_roots_pem(authority.roots(), true)
            .build()
            .unwrap(),
        ClientTls::builder()
            .roots_pem(authority.roots())
            .certificate_pem(person.pem())
            .alpn(["http/1.1"])
            .build()
            .unwrap(),
    );
    let (client, server) = (Log::default(), Log::default());
    let mut wire = Wire::tls(&tls, Talker::silent(&client), Talker::silent(&server));
    wire.connect();
    for log in [&client, &server] {
        let info = log.told().info.unwrap();
        assert_eq!(info.version, ProtocolVersion::TLSv1_3);
        assert_eq!(info.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(info.server_name.as_deref(), Some(NAME));
        assert_eq!(info.peer_certificates.len(), 1);
        assert!(!info.resumed);
    }
}

#[test]
fn a_second_connection_resumes_the_session_of_the_first() {
    let tls = both();
    let resumed = || {
        let log = Log::default();
        let mut wire = Wire::tls(&tls, Talker::silent(&log), Talker::silent(&Log::default()));
        wire.connect();
        log.told().info.unwrap().resumed
    };
    assert_eq!([resumed(), resumed(), resumed()], [false, true, true]);
}

#[test]
fn the_name_that_was_asked_for_is_known_of_a_resumed_session_too() {
    let tls = both();
    for _ in 0..2 {
        let log = Log::default();
        let mut wire = Wire::tls(&tls, Talker::silent(&Log::default()), Talker::silent(&log));
        wire.connect();
        assert_eq!(log.told().info.unwrap().server_name.as_deref(), Some(NAME));
    }
}
