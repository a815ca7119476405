//! What a signal does.

use std::fs::File;
use std::io::{Read, Write};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::running::{Response, Running, request, site};

/// More than the kernel takes off a server's hands for a client that does not read.
const LARGE: u64 = 64 * 1024 * 1024;

/// A site with a large file in it.
fn large() -> TempDir {
    let site = site();
    let file = File::create(site.path().join("large")).unwrap();
    file.set_len(LARGE).unwrap();
    site
}

#[test]
fn both_signals_end_an_idle_server_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = site();
        let running = Running::serve(&site, &[]);
        running.signal(signal);
        assert_eq!(running.wait().0.code(), Some(0));
    }
}

#[test]
fn a_download_in_flight_is_finished_before_the_end() {
    let site = large();
    let running = Running::serve(&site, &[]);
    let mut stream = running.connect();
    request(&mut stream, "/large", &[]);
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");

    running.signal(Signal::TERM);
    running.wait_until_it_refuses();

    let response = Response::read(begin.chain(stream));
    assert_eq!(response.body.len() as u64, LARGE);
    assert_eq!(running.wait().0.code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let site = site();
    let running = Running::serve(&site, &[]);
    let mut idle = running.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nindex") {
        let mut byte = [0];
        idle.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    running.signal(Signal::TERM);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    assert_eq!(running.wait().0.code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let site = large();
    let running = Running::serve(&site, &[]);
    let mut stream = running.connect();
    request(&mut stream, "/large", &[]);
    stream.read_exact(&mut [0; 12]).unwrap();

    running.signal(Signal::TERM);
    running.wait_until_it_refuses();
    running.signal(Signal::TERM);

    let (status, _) = running.wait();
    assert!(!status.success(), "it finished the download: {status}");
    drop(stream);
}
