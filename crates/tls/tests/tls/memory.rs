//! What a connection costs: bytes while it is idle, allocations for a message.

use allocation_counter::measure;

use crate::rig::{At, Log, Talker, Wire, both};

#[test]
fn ten_thousand_handshakes_leave_no_memory_behind() {
    let tls = both();
    let handshakes = |count| {
        for _ in 0..count {
            let log = Log::default();
            let mut wire = Wire::tls(&tls, Talker::silent(&log), Talker::echo(&Log::default()));
            wire.connect();
            wire.connection(At::Client).lose_connection();
            wire.run();
            assert_eq!(log.told().lost.as_deref(), Some("done"));
        }
    };
    // What is kept for resumption has its bound by then.
    handshakes(50);
    let counted = measure(|| handshakes(10_000));
    assert!(counted.bytes_current.abs() < 16 * 1024, "{counted:?}");
}

/// Bytes that an open connection, idle after an exchange of `len` bytes, holds at both ends.
fn idle(tls: &(ropewalk_tls::ServerTls, ropewalk_tls::ClientTls), len: usize) -> i64 {
    let mut kept = None;
    let counted = measure(|| {
        let mut wire = Wire::tls(
            tls,
            Talker::silent(&Log::default()),
            Talker::silent(&Log::default()),
        );
        wire.connect();
        for at in [At::Client, At::Server] {
            wire.connection(at).write(&vec![0; len]);
            wire.run();
        }
        wire.sent = [Vec::new(), Vec::new()];
        kept = Some(wire);
    });
    drop(kept);
    counted.bytes_current
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let tls = both();
    idle(&tls, 10);
    let (little, much) = (idle(&tls, 10), idle(&tls, 100_000));
    println!("bytes of both ends of an idle connection: {little} after 10 B, {much} after 100 kB");
    // The test keeps what was received itself.
    let received = 2 * 100_000;
    assert!(much - little < received + 70_000, "{little}, {much}");
}
