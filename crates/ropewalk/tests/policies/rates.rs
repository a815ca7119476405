//! How fast. What is measured is that it is never too fast: how slow a machine is says nothing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk::policies::{Bucket, Rate, Throttle, ThrottlingFactory};

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
