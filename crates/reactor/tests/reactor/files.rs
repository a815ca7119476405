//! Regions of files, which the kernel sends by itself.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, mpsc};

use ropewalk_core::{ConnectionLost, FileRegion, FileSender};
use ropewalk_reactor::Reactor;

use crate::support::{On, narrow_client, once, pattern, run_with, serve};

/// A file with `len` bytes of the pattern.
fn file(len: usize) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(0, len)).unwrap();
    Arc::new(file)
}

#[test]
fn regions_are_sent_in_their_place_among_bytes() {
    let reactor = Reactor::new().unwrap();
    let file = file(3_000_000);
    let region = move |offset, len| FileRegion {
        file: Arc::clone(&file),
        offset,
        len,
    };
    let protocol = On::nothing().made(move |transport| {
        transport.write(b"head");
        transport.write_file(region(10, 2_500_000));
        transport.write(b"between");
        transport.write_file(region(0, 5));
        transport.write(b"tail");
        transport.lose_connection();
    });
    let address = serve(&reactor, once(protocol));
    let received = run_with(&reactor, move || {
        let mut received = Vec::new();
        let mut peer = TcpStream::connect(address).unwrap();
        peer.read_to_end(&mut received).unwrap();
        received
    });
    let expected = [
        b"head".as_slice(),
        &pattern(10, 2_500_000),
        b"between",
        &pattern(0, 5),
        b"tail",
    ];
    assert!(received == expected.concat());
}

#[test]
fn a_file_sender_sends_all_of_a_file_in_pieces_and_tells_when_that_is_done() {
    for transformed in [false, true] {
        let reactor = Reactor::new().unwrap();
        let (file, offset, len) = (file(3_000_000), 10, 2_500_000);
        let region = FileRegion { file, offset, len };
        let protocol = On::nothing().made(move |transport| {
            let mut sender = FileSender::new(region.clone());
            if transformed {
                sender = sender.transform(|piece| piece);
            }
            let connection = transport.connection();
            let sent = sender.begin_file_transfer(&connection);
            drop(sent.add_callback(move |bytes| {
                connection.write(format!("{bytes} bytes").as_bytes());
                connection.lose_connection();
            }));
        });
        let address = serve(&reactor, once(protocol));
        let received = run_with(&reactor, move || {
            let mut received = Vec::new();
            let mut peer = TcpStream::connect(address).unwrap();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let expected = [&pattern(10, 2_500_000)[..], b"2500000 bytes"];
        assert!(received == expected.concat());
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection_as_lost() {
    let reactor = Reactor::new().unwrap();
    let file = file(10_000_000);
    let shrinking = Arc::clone(&file);
    let (paused, is_paused) = mpsc::channel();
    let (lost, is_lost) = mpsc::channel();
    let protocol = On::nothing()
        .made(move |transport| {
            let (file, offset, len) = (Arc::clone(&file), 0, 10_000_000);
            transport.write_file(FileRegion { file, offset, len });
        })
        .paused(move |_| paused.send(()).unwrap())
        .lost(move |reason| {
            let lossy = reason.check::<ConnectionLost>().map(|lost| lost.0.kind());
            lost.send(lossy).unwrap();
        });
    let address = serve(&reactor, once(protocol));
    let reason = run_with(&reactor, move || {
        let mut peer = narrow_client(address);
        is_paused.recv().unwrap();
        shrinking.set_len(1000).unwrap();
        let mut buffer = vec![0; 1 << 16];
        while let Ok(1..) = peer.read(&mut buffer) {}
        is_lost.recv().unwrap()
    });
    assert_eq!(reason, Some(std::io::ErrorKind::UnexpectedEof));
}
