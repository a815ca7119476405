//! How fast. What is measured is that it is never too fast: how slow a machine is says nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk::policies::{Bucket, Rate, Throttle, ThrottlingFactory};
use ropewalk::{Address, FileRegion, Protocol, Reactor, Transport};

use crate::protocols::{ALL, Peer};

const BYTES: usize = 300_000;
const RATE: u64 = 1_000_000;

/// How long the burst's end and the rate let so many bytes take at least.
fn least(bytes: usize) -> Duration {
    let rate = Rate::per_second(RATE);
    Duration::from_secs(1) * (bytes as u32 - rate.burst() as u32) / RATE as u32
}

#[test]
fn what_is_written_goes_at_its_rate_and_is_whole() {
    for spoken in ALL {
        let ask = spoken.ask;
        let took = spoken.serve(
            |factory, _| {
                let throttle = Throttle::new().per_connection(Rate::per_second(RATE));
                Rc::new(ThrottlingFactory::new(factory).writes(throttle))
            },
            move |address| {
                let began = Instant::now();
                let mut peer = Peer::connect(address, ask);
                peer.exchange(BYTES);
                began.elapsed()
            },
        );
        assert!(took >= least(BYTES), "{}: {took:?}", spoken.name);
    }
}

#[test]
fn what_is_read_comes_at_its_rate_and_is_whole() {
    for spoken in ALL {
        let ask = spoken.ask;
        let name = spoken.name;
        let (took, paid) = spoken.serve(
            |factory, _| {
                let rate = Rate::per_second(2_000).with_burst(1);
                let throttle = Throttle::new().per_connection(rate);
                Rc::new(ThrottlingFactory::new(factory).reads(throttle))
            },
            move |address| {
                let mut peer = Peer::connect(address, ask);
                let began = Instant::now();
                for _ in 0..4 {
                    peer.exchange(100);
                }
                // The end is read when all before it is paid for.
                peer.close_write();
                peer.rest();
                (began.elapsed(), 4 * ask(100).0.len())
            },
        );
        let least = Duration::from_secs(1) * (paid as u32 - 1) / 2000;
        assert!(took >= least, "{name}: {took:?} for {paid}");
    }
}

#[test]
fn connections_share_what_is_for_all_of_them() {
    for spoken in ALL {
        let ask = spoken.ask;
        let took = spoken.serve(
            |factory, _| {
                let throttle = Throttle::new().total(&Bucket::new(Rate::per_second(RATE)));
                Rc::new(ThrottlingFactory::new(factory).writes(throttle))
            },
            move |address| {
                let began = Instant::now();
                let clients = (0..3).map(|_| {
                    std::thread::spawn(move || Peer::connect(address, ask).exchange(BYTES / 3))
                });
                let clients: Vec<_> = clients.collect();
                for client in clients {
                    client.join().unwrap();
                }
                began.elapsed()
            },
        );
        assert!(took >= least(BYTES), "{}: {took:?}", spoken.name);
    }
}

/// Sends a file, and closes.
struct SendFile(FileRegion);

impl Protocol for SendFile {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(b"head");
        transport.write_file(self.0.clone());
        transport.write(b"tail");
        transport.lose_connection();
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

#[test]
fn a_file_comes_whole_and_at_its_rate() {
    let content: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let region = FileRegion {
        file: Arc::new(file),
        offset: 0,
        len: BYTES as u64,
    };
    let throttle = Throttle::new().per_connection(Rate::per_second(RATE));
    let factory = ThrottlingFactory::new(move |_: &Address| SendFile(region.clone()));
    let reactor = Reactor::new().unwrap();
    let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
    let port = reactor
        .listen(&endpoint, Rc::new(factory.writes(throttle)))
        .unwrap();
    let address = port.address().socket_addr().unwrap();
    let remote = reactor.remote();
    let client = std::thread::spawn(move || {
        let began = Instant::now();
        let mut bytes = Vec::new();
        let read = TcpStream::connect(address).and_then(|mut peer| peer.read_to_end(&mut bytes));
        remote.call_from_thread(|reactor| reactor.stop());
        read.map(|_| (bytes, began.elapsed()))
    });
    reactor.run().unwrap();
    let (bytes, took) = client.join().unwrap().unwrap();
    assert!(bytes == [&b"head"[..], &content, b"tail"].concat());
    assert!(took >= least(BYTES), "{took:?}");
}
