//! Many connections doing what comes to mind, and every byte accounted for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use ropewalk_reactor::Reactor;

use crate::support::{On, factory, pattern, reset, run_with, serve};

/// The same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

struct Peer {
    stream: TcpStream,
    sent: usize,
    received: usize,
}

impl Peer {
    fn connect(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            sent: 0,
            received: 0,
        }
    }

    fn send(&mut self, len: usize) {
        match self.stream.write(&pattern(self.sent, len)) {
            Ok(taken) => self.sent += taken,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    fn receive(&mut self, len: usize) {
        let mut buffer = vec![0; len];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                assert!(buffer[..read] == pattern(self.received, read));
                self.received += read;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    /// Sends no more, and takes all that is owed.
    fn finish(mut self) {
        self.stream.set_nonblocking(false).unwrap();
        self.stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert!(rest == pattern(self.received, rest.len()));
        assert_eq!(self.received + rest.len(), self.sent);
    }
}

#[test]
fn whatever_fifty_peers_of_an_echo_do_each_gets_back_what_it_sent() {
    const PEERS: usize = 50;
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::held_back_echo));
    run_with(&reactor, move || {
        let mut random = Random(2);
        let mut peers: Vec<_> = (0..PEERS).map(|_| Peer::connect(address)).collect();
        for _ in 0..20_000 {
            let peer = random.below(PEERS);
            match random.below(100) {
                0 => std::mem::replace(&mut peers[peer], Peer::connect(address)).finish(),
                1 => {
                    let gone = std::mem::replace(&mut peers[peer], Peer::connect(address));
                    reset(gone.stream);
                }
                2..30 => {
                    let len = 1 + random.below(100_000);
                    peers[peer].send(len);
                }
                30..60 => peers[peer].send(1 + random.below(100)),
                _ => {
                    let len = 1 + random.below(150_000);
                    peers[peer].receive(len);
                }
            }
        }
        for peer in peers {
            peer.finish();
        }
    });
    assert_eq!(reactor.connections(), 0);
}
