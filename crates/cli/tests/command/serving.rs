//! What a client gets.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::{fs, net::TcpStream};

use crate::running::{Running, authority, exchange, inside, site};

#[test]
fn a_folder_is_answered_with_its_index() {
    let site = site();
    let running = Running::serve(&site, &[]);
    let response = running.get("/", &[]);
    assert_eq!(response.status, 200);
    assert_eq!(response.body, b"index");
    assert!(response.field("content-type").starts_with("text/html"));
}

#[test]
fn the_default_index_can_be_another_file() {
    let site = site();
    let running = Running::serve(&site, &["--index", "page.txt"]);
    assert_eq!(running.get("/", &[]).body, b"0123456789");
}

#[test]
fn what_is_not_there_is_404() {
    let site = site();
    let running = Running::serve(&site, &[]);
    assert_eq!(running.get("/missing", &[]).status, 404);
}

#[test]
fn a_range_is_answered_with_that_part() {
    let site = site();
    let running = Running::serve(&site, &[]);
    let response = running.get("/page.txt", &["Range: bytes=2-4"]);
    assert_eq!(response.status, 206);
    assert_eq!(response.body, b"234");
    assert_eq!(response.field("content-range"), "bytes 2-4/10");
}

#[test]
fn folders_are_listed_only_when_asked_for() {
    let site = site();
    fs::create_dir(site.path().join("plain")).unwrap();
    fs::write(site.path().join("plain/entry.txt"), "").unwrap();

    let without = Running::serve(&site, &[]);
    assert_eq!(without.get("/plain/", &[]).status, 404);

    let with = Running::serve(&site, &["--listing"]);
    let response = with.get("/plain/", &[]);
    assert_eq!(response.status, 200);
    let page = String::from_utf8(response.body).unwrap();
    assert!(page.contains("entry.txt"), "{page}");
}

#[test]
fn port_0_is_announced_with_the_real_port() {
    let site = site();
    let running = Running::serve(&site, &[]);
    let port = running.address().strip_prefix("127.0.0.1:").unwrap();
    assert_ne!(port.parse::<u16>().unwrap(), 0);
}

#[test]
fn a_unix_socket_serves_under_the_mode_that_was_asked_for() {
    let site = site();
    let folder = tempfile::tempdir().unwrap();
    let path = inside(&folder, "site.sock");
    let endpoint = format!("unix:{path}:mode=640");
    let running = Running::serve_at(&site, 1, &["--listen", &endpoint]);
    assert_eq!(running.listening(), [format!("unix:{path}")]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let response = exchange(UnixStream::connect(&path).unwrap(), "/", &[]);
    assert_eq!(response.body, b"index");
}

#[test]
fn two_listeners_serve_the_same_site() {
    let site = site();
    let listen = ["--listen", "tcp:0:interface=127.0.0.1"];
    let running = Running::serve_at(&site, 2, &[listen, listen].concat());
    let [first, second] = running.listening() else {
        panic!("not two")
    };
    assert_ne!(first, second);
    for link in [first, second] {
        let stream = TcpStream::connect(authority(link)).unwrap();
        assert_eq!(exchange(stream, "/", &[]).body, b"index");
    }
}

#[test]
fn two_workers_share_one_port_and_one_line() {
    let site = site();
    let running = Running::serve(&site, &["--workers", "2"]);
    // Enough for both of them to get some, whichever way the connections are dealt out.
    for _ in 0..32 {
        assert_eq!(running.get("/", &[]).body, b"index");
    }
    assert_eq!(running.stop(), "");
}
