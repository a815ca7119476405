//! How many, and from where.

use std::net::TcpStream;
use std::rc::Rc;

use ropewalk::policies::{
    AccessListFactory, LimitConnectionsByPeer, LimitTotalConnectionsFactory, PeerPrefix,
};

use crate::protocols::{ALL, Peer};

/// A client from another address of this machine.
fn connect_from(from: [u8; 4], to: std::net::SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: std::net::SocketAddr = (from, 0).into();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[test]
fn the_total_limit_lets_n_in_and_the_next_when_one_has_gone() {
    for spoken in ALL {
        let ask = spoken.ask;
        spoken.serve(
            |factory, _| {
                let limited = LimitTotalConnectionsFactory::new(factory, 3);
                Rc::new(limited.overflow_text("too many\r\n"))
            },
            move |address| {
                let mut peers: Vec<_> = (0..3).map(|_| Peer::connect(address, ask)).collect();
                for peer in &mut peers {
                    assert!(peer.is_served(), "{}", spoken.name);
                }
                let mut fourth = Peer::connect(address, ask);
                assert_eq!(fourth.rest(), b"too many\r\n", "{}", spoken.name);
                drop(fourth);
                // The server has seen the end when it closes too.
                let mut gone = peers.pop().unwrap();
                gone.close_write();
                gone.rest();
                assert!(Peer::connect(address, ask).is_served(), "{}", spoken.name);
            },
        );
    }
}

#[test]
fn the_limit_by_peer_knows_peers_by_address_or_prefix() {
    for (prefix, others) in [(32, true), (8, false)] {
        for spoken in ALL {
            let ask = spoken.ask;
            spoken.serve(
                move |factory, _| {
                    let limited = LimitConnectionsByPeer::new(factory, 2);
                    Rc::new(limited.peer_prefix(PeerPrefix::new(prefix, 64)))
                },
                move |address| {
                    let mut peers: Vec<_> = (0..2).map(|_| Peer::connect(address, ask)).collect();
                    assert!(peers.iter_mut().all(Peer::is_served), "{}", spoken.name);
                    assert!(!Peer::connect(address, ask).is_served(), "{}", spoken.name);
                    let stream = connect_from([127, 0, 0, 2], address);
                    let mut other = Peer::on(stream, ask);
                    assert_eq!(other.is_served(), others, "{}", spoken.name);
                },
            );
        }
    }
}

#[test]
fn the_access_list_lets_in_whom_it_allows() {
    for spoken in ALL {
        let ask = spoken.ask;
        spoken.serve(
            |factory, _| {
                let list = "deny 127.0.0.2, allow 127.0.0.0/8".parse().unwrap();
                Rc::new(AccessListFactory::new(factory, list))
            },
            move |address| {
                let mut allowed = Peer::connect(address, ask);
                assert!(allowed.is_served(), "{}", spoken.name);
                let stream = connect_from([127, 0, 0, 2], address);
                let mut denied = Peer::on(stream, ask);
                assert!(!denied.is_served(), "{}", spoken.name);
            },
        );
    }
}
