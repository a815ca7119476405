//! What a connection costs: bytes while it is idle, allocations for a message.

use allocation_counter::measure;

use ropewalk_core::{Protocol, Transport};
use ropewalk_tls::{ClientTls, ServerTls};

use crate::authority::Authority;
use crate::rig::{At, Log, NAME, Talker, Wire, both};

#[test]
fn ten_thousand_handshakes_leave_no_memory_behind() {
    let authority = Authority::new();
    let roots = authority.roots();
    let server = authority.server(&[NAME]);
    let client = ClientTls::builder().roots_pem(roots.clone()).build();
    let server = ServerTls::builder().pem(server.pem()).build();
    let tls = (server.unwrap(), client.unwrap());
    let handshakes = |count| {
        for number in 0..count {
            // A new client every other time, which has no session to resume.
            let fresh = || ClientTls::builder().roots_pem(roots.clone()).build();
            let tls = match number % 2 {
                0 => &tls,
                _ => &(tls.0.clone(), fresh().unwrap()),
            };
            let log = Log::default();
            let mut wire = Wire::tls(tls, Talker::silent(&log), Talker::echo(&Log::default()));
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

/// Two ends that are connected, and say nothing of what they get.
fn connected(tls: &(ServerTls, ClientTls)) -> Wire {
    let mut wire = Wire::tls(tls, Deaf, Deaf);
    wire.connect();
    wire
}

struct Deaf;

impl Protocol for Deaf {
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

/// Bytes that an open connection, idle after messages of `len` bytes each way, holds: what
/// `connected` leaves, without what the test itself keeps.
fn idle(tls: &(ServerTls, ClientTls), len: usize) -> i64 {
    let message = vec![0; len];
    let mut kept = None;
    let counted = measure(|| {
        let mut wire = connected(tls);
        for at in [At::Client, At::Server] {
            wire.connection(at).write(&message);
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
    let (little, much) = (idle(&tls, 10), idle(&tls, 10_000));
    println!("both ends of an idle connection: {little} bytes after 10, {much} after 10,000");
    // What is kept for the next writer, whoever that is, is one queue.
    assert!(much - little < 12_000, "{little}, {much}");
    let far = idle(&tls, 1_000_000);
    assert!(far - little < 12_000, "{little}, {far}");
}

#[test]
fn an_open_connection_and_a_half_open_one_hold_a_few_kilobytes() {
    let tls = both();
    drop(connected(&tls));
    for at in [At::Server, At::Client] {
        let mut wire = connected(&tls);
        let held = -measure(|| wire.forget(at)).bytes_current;
        println!("{at:?}: {held} bytes of an idle connection");
        assert!(held < 6 * 1024, "{at:?} {held}");
    }
    let mut wire = Wire::tls(&tls, Deaf, Deaf);
    wire.deaf = true;
    wire.connect();
    let held = -measure(|| wire.forget(At::Server)).bytes_current;
    println!("Server: {held} bytes of a connection whose peer says nothing");
    assert!(held < 3 * 1024, "{held}");
    let mut wire = Wire::tls(&tls, Deaf, Deaf);
    let hello = {
        wire.deaf = true;
        wire.connect();
        wire.sent[At::Client as usize].clone()
    };
    wire.inject(At::Server, &hello[..hello.len() / 2]);
    wire.inject(At::Server, &hello[hello.len() / 2..]);
    wire.sent = [Vec::new(), Vec::new()];
    let held = -measure(|| wire.forget(At::Server)).bytes_current;
    println!("Server: {held} bytes of a connection whose peer stops after its hello");
    assert!(held < 8 * 1024, "{held}");
}

#[test]
fn a_message_makes_a_few_allocations() {
    let tls = both();
    let mut wire = connected(&tls);
    let mut messages = |count: usize, len: usize| {
        let message = vec![0; len];
        let counted = measure(|| {
            for _ in 0..count {
                for at in [At::Client, At::Server] {
                    wire.connection(at).write(&message);
                    wire.run();
                }
            }
        });
        wire.sent = [Vec::new(), Vec::new()];
        counted
    };
    for len in [100, 16_384, 60_000] {
        messages(10, len);
        let (few, many) = (messages(100, len), messages(1100, len));
        let each = (many.count_total - few.count_total) as f64 / 2000.0;
        let bytes = (many.bytes_total - few.bytes_total) as f64 / 2000.0;
        println!("{each} allocations of {bytes} bytes to send and receive {len} bytes");
        let records = len.div_ceil(16_384) as f64;
        assert!(each < 20.0 + 6.0 * records, "{each}");
    }
}
