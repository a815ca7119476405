//! How connections end: said, or cut off.

use std::time::Duration;

use ropewalk_tls::{ClientTls, ServerTls, TlsBroken, Truncated};

use crate::authority::Authority;
use crate::rig::{At, Log, NAME, Talker, Wire, both};

#[test]
fn who_closes_says_so_and_the_other_ends_cleanly() {
    let (client, server) = (Log::default(), Log::default());
    let tls = both();
    let mut wire = Wire::tls(&tls, Talker::silent(&client), Talker::silent(&server));
    wire.connect();
    wire.connection(At::Client).write(b"the end");
    wire.connection(At::Client).lose_connection();
    wire.run();
    assert_eq!(server.text(), "the end");
    assert!(server.told().read_closed);
    assert_eq!(server.told().lost.as_deref(), Some("done"));
    assert_eq!(client.told().lost.as_deref(), Some("done"));
}

#[test]
fn a_closed_direction_leaves_the_other_one_open() {
    let (client, server) = (Log::default(), Log::default());
    let tls = both();
    let mut wire = Wire::tls(
        &tls,
        Talker::silent(&client),
        Talker::silent(&server).patient(),
    );
    wire.connect();
    wire.connection(At::Client)
        .act(|transport| transport.lose_write_connection());
    wire.run();
    assert!(server.told().read_closed);
    wire.connection(At::Server).write(b"an afterthought");
    wire.run();
    assert_eq!(client.text(), "an afterthought");
    wire.connection(At::Server).lose_connection();
    wire.run();
    assert_eq!(client.told().lost.as_deref(), Some("done"));
}

#[test]
fn a_client_that_closes_reads_on_until_the_server_closes_too_but_not_for_ever() {
    for answers in [true, false] {
        let (client, server) = (Log::default(), Log::default());
        let tls = both();
        let mut wire = Wire::tls(
            &tls,
            Talker::silent(&client),
            Talker::silent(&server).patient(),
        );
        wire.connect();
        wire.connection(At::Client).write(b"the end");
        wire.connection(At::Client).lose_connection();
        wire.run();
        // The server may have sent tickets meanwhile: unread, they would be answered by a reset.
        assert!(wire.wants_read(At::Client));
        assert!(server.told().read_closed);
        wire.connection(At::Server).write(b"what nobody wants");
        wire.run();
        if answers {
            wire.connection(At::Server).lose_connection();
            wire.run();
        } else {
            wire.advance(Duration::from_millis(4999));
            assert!(wire.is_open(At::Client));
            wire.advance(Duration::from_secs(5));
        }
        assert_eq!(client.told().lost.as_deref(), Some("done"));
        assert_eq!(
            (client.text(), server.text()),
            (String::new(), "the end".into())
        );
    }
}

#[test]
fn a_connection_that_is_cut_off_is_told_from_one_that_has_ended() {
    for at in [At::Client, At::Server] {
        let logs = [Log::default(), Log::default()];
        let tls = both();
        let mut wire = Wire::tls(&tls, Talker::silent(&logs[0]), Talker::silent(&logs[1]));
        wire.connect();
        wire.deaf = true;
        wire.end_of_stream(at);
        let reason = wire.reasons[at as usize].as_ref().unwrap();
        assert!(reason.check::<Truncated>().is_some(), "{reason}");
        let told = logs[at as usize].told();
        assert!(!told.read_closed);
        assert!(told.lost.unwrap().contains("close_notify"));
    }
}

#[test]
fn what_came_before_it_was_cut_off_is_told() {
    let server = Log::default();
    let tls = both();
    let mut wire = Wire::tls(
        &tls,
        Talker::silent(&Log::default()),
        Talker::silent(&server),
    );
    wire.connect();
    wire.connection(At::Client).write(b"half of i");
    wire.run();
    wire.deaf = true;
    wire.end_of_stream(At::Server);
    assert_eq!(server.text(), "half of i");
    assert!(server.told().lost.unwrap().contains("cut off"));
}

#[test]
fn an_end_that_is_not_said_is_one_for_who_tolerates_it() {
    let authority = Authority::new();
    let server = authority.server(&[NAME]);
    let tls = (
        ServerTls::builder()
            .pem(server.pem())
            .tolerate_truncation(true)
            .build()
            .unwrap(),
        ClientTls::builder()
            .roots_pem(authority.roots())
            .build()
            .unwrap(),
    );
    let server = Log::default();
    let mut wire = Wire::tls(
        &tls,
        Talker::silent(&Log::default()),
        Talker::silent(&server),
    );
    wire.connect();
    wire.deaf = true;
    wire.end_of_stream(At::Server);
    assert!(server.told().read_closed);
    assert_eq!(server.told().lost.as_deref(), Some("done"));
}

#[test]
fn what_follows_a_close_notify_is_ignored() {
    let server = Log::default();
    let tls = both();
    let mut wire = Wire::tls(
        &tls,
        Talker::silent(&Log::default()),
        Talker::silent(&server).patient(),
    );
    wire.connect();
    wire.connection(At::Client)
        .act(|transport| transport.lose_write_connection());
    wire.run();
    wire.inject(At::Server, b"and more");
    wire.inject(At::Server, &[23, 3, 3, 0, 1, 0]);
    assert_eq!(server.text(), "");
    assert_eq!(server.told().lost, None);
}

#[test]
fn a_record_that_was_changed_breaks_the_connection_and_the_peer_is_told() {
    let (client, server) = (Log::default(), Log::default());
    let tls = both();
    let mut wire = Wire::tls(&tls, Talker::silent(&client), Talker::silent(&server));
    wire.connect();
    let mut record = vec![23, 3, 3, 0, 32];
    record.extend([7; 32]);
    wire.inject(At::Server, &record);
    let reason = wire.reasons[At::Server as usize].as_ref().unwrap();
    assert!(reason.check::<TlsBroken>().is_some(), "{reason}");
    // The alert has come: it is not merely cut off.
    let told = client.told().lost.unwrap();
    assert!(told.contains("BadRecordMac"), "{told}");
}
