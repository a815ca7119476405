//! Peers that do too much of HTTP/2, over real sockets: their connections end, what they cost is bounded, and
//! others go on being served. (Alone in its process, whose memory is looked at.)

#[expect(dead_code, reason = "the tests of crate `web` use more of them")]
#[path = "../../web/tests/h2/frames.rs"]
mod frames;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use frames::*;
use http::{Request, Response};
use ropewalk::Reactor;
use ropewalk::web::{Body, Site, handler_fn};

/// So often an attack repeats itself, if it is let.
const MOST: u32 = 100_000;

/// Frames after the handshake, by their number.
type Attack = fn(u32) -> Vec<u8>;

fn stream(n: u32) -> u32 {
    2 * n + 1
}

const ATTACKS: [(&str, Attack); 14] = [
    ("rapid reset", |n| {
        [get(stream(n), "/"), rst(stream(n), CANCEL)].concat()
    }),
    ("made to reset, by a window", |n| {
        let large = window_update(stream(n), 0x7fff_ffff);
        [
            headers(stream(n), 0, request("POST", "/echo", &[])),
            large.repeat(2),
        ]
        .concat()
    }),
    ("made to reset, by a dependency", |n| {
        let on_itself = [&stream(n).to_be_bytes()[..], &[1]].concat();
        let priority = frame(PRIORITY, 0, stream(n), on_itself);
        [
            headers(stream(n), 0, request("POST", "/echo", &[])),
            priority,
        ]
        .concat()
    }),
    ("made to reset, by data after the end", |n| {
        [get(stream(n), "/"), data(stream(n), END_STREAM, "more")].concat()
    }),
    ("CONTINUATION", |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, request("GET", "/", &[])),
        _ => frame(CONTINUATION, 0, 1, block(&[("x", "y")])),
    }),
    ("SETTINGS", |n| settings(&[(4, n)])),
    ("PING", |_| ping(b"flooding").repeat(100)),
    ("empty DATA", |n| match n {
        0 => headers(1, 0, request("POST", "/echo", &[])),
        _ => data(1, 0, []).repeat(100),
    }),
    ("WINDOW_UPDATE", |_| window_update(0, 1).repeat(100)),
    ("PRIORITY", |n| {
        frame(PRIORITY, 0, stream(n), [0, 0, 0, 0, 1])
    }),
    ("an unknown type", |_| frame(0xfa, 0, 0, [0; 1000])),
    ("malformed requests", |n| {
        headers(stream(n), END_STREAM, block(&[("X", "")]))
    }),
    ("too many streams", |n| {
        headers(stream(n), 0, request("POST", "/echo", &[]))
    }),
    // A field of 4,000 bytes in the dynamic table, and 8,000 references to it.
    ("HPACK bombs", |n| {
        let mut all = request("GET", "/", &[]);
        all.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
        all.extend(vec![b'y'; 4000]);
        all.extend(vec![0xbe; 8000]);
        // It could do this for ever, at the cost of its own bytes.
        match n {
            0..500 => headers(stream(n), END_STREAM, all),
            _ => ping(b"flooding").repeat(100),
        }
    }),
];

/// Attacks until the connection is ended. How often it has.
fn attack(port: u16, attack: Attack) -> u32 {
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut reads = peer.try_clone().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    // (An end by reset is one too.)
    let reader = std::thread::spawn(move || {
        let _ = std::io::copy(&mut reads, &mut std::io::sink());
        is_over.store(true, Ordering::Relaxed);
    });
    peer.write_all(&[PREFACE, &settings(&[]), &settings_ack()].concat())
        .unwrap();
    let mut count = 0;
    while count < MOST && !over.load(Ordering::Relaxed) && peer.write_all(&attack(count)).is_ok() {
        count += 1;
    }
    let _ = peer.shutdown(Shutdown::Both);
    reader.join().unwrap();
    count
}

/// Asks again and again until it is told to stop. How often it was answered.
fn ask(port: u16, stop: &AtomicBool) -> u32 {
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        peer.write_all(b"GET /tea HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"GET /tea HTTP/1.1\n") {
            let mut piece = [0; 1024];
            let length = peer.read(&mut piece).unwrap();
            assert_ne!(length, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend(&piece[..length]);
        }
        count += 1;
    }
    count
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Answers with what was asked, and `/echo` with what was sent.
fn answer(request: Request<Body>) -> Response<Body> {
    let text = format!("GET {} {:?}\n", request.uri().path(), request.version());
    Response::new(match request.uri().path() {
        "/echo" => request.into_body(),
        _ => Body::from(text),
    })
}

#[test]
fn floods_end_their_connections_and_others_are_served() {
    let reactor = Reactor::new().unwrap();
    let site = Rc::new(Site::new(handler_fn(answer)));
    let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
    let port = reactor.listen(&endpoint, site).unwrap();
    let port = port.address().socket_addr().unwrap().port();
    let remote = reactor.remote();
    let clients = std::thread::spawn(move || {
        let result = std::panic::catch_unwind(|| flood(port));
        remote.call_from_thread(|reactor| reactor.stop());
        result
    });
    reactor.run().unwrap();
    if let Err(panic) = clients.join().unwrap() {
        std::panic::resume_unwind(panic);
    }
}

fn flood(port: u16) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let bystander = std::thread::spawn(move || ask(port, &told));
    let before = resident();
    for (name, frames) in ATTACKS {
        let attackers: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(move || attack(port, frames)))
            .collect();
        for attacker in attackers {
            let count = attacker.join().unwrap();
            assert!(count < MOST, "{name}");
            eprintln!("{name}: ended after {count}");
        }
    }
    let grown = resident().saturating_sub(before) / 1024;
    stop.store(true, Ordering::Relaxed);
    let answered = bystander.join().unwrap();
    eprintln!("{answered} answers meanwhile, {grown} KiB more");
    assert!(answered > 100, "{answered}");
    assert!(grown < 64 * 1024, "{grown} KiB");
}
