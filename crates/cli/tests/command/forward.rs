//! `ropewalk forward`, between clients and servers that the tests are themselves.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;

use crate::foreign::tool;
use crate::running::{Running, command, inside, site};

const LISTEN: &str = "tcp:0:interface=127.0.0.1";

/// A place to forward to, and a forwarder to it.
fn forwarding() -> (TcpListener, Running) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let running = forward_to(server.local_addr().unwrap().port(), &[]);
    (server, running)
}

fn forward_to(port: u16, more: &[&str]) -> Running {
    let to = format!("tcp:127.0.0.1:{port}");
    let args = ["forward", "--listen", LISTEN, "--to", &to];
    Running::start(command([&args, more].concat()), 1)
}

/// A client's end, and the server's end of what it was joined to.
fn join(server: &TcpListener, running: &Running) -> (TcpStream, TcpStream) {
    let client = running.connect();
    (client, server.accept().unwrap().0)
}

/// Makes the close of `stream` a reset.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
}

/// A socket with a port on which it does not listen: while it is held, nobody does.
fn nobody() -> (OwnedFd, u16) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}

fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map(|_| all)
}

#[test]
fn each_side_can_close_first_and_still_hear_the_other() {
    let (server, running) = forwarding();
    for client_first in [true, false] {
        let (mut client, mut behind) = join(&server, &running);
        let (first, second) = match client_first {
            true => (&mut client, &mut behind),
            false => (&mut behind, &mut client),
        };
        first.write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(second).unwrap(), b"question");
        second.write_all(b"answer").unwrap();
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(first).unwrap(), b"answer");
    }
    assert_eq!(running.stop(), "");
}

#[test]
fn a_hundred_mebibytes_pass_a_slow_reader_in_flat_memory() {
    const LEN: usize = 100 * 1024 * 1024;
    let (server, running) = forwarding();
    let (mut client, mut behind) = join(&server, &running);
    let before = running.peak_memory();
    let writing = thread::spawn(move || {
        let piece: Vec<u8> = (0..251 * 1024).map(|at| (at % 251) as u8).collect();
        let mut left = LEN;
        while left > 0 {
            let count = left.min(piece.len());
            client.write_all(&piece[..count]).unwrap();
            left -= count;
        }
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    let (mut at, mut piece) = (0, [0; 2000]);
    loop {
        let count = behind.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        let expected = |place: usize| ((at + place) % 251) as u8;
        assert!((0..count).all(|place| piece[place] == expected(place)));
        at += count;
    }
    assert_eq!(at, LEN);
    let grown = running.peak_memory() - before;
    assert!(grown < 4 * 1024, "{grown} KiB");
    drop(writing.join().unwrap());
    drop(behind);
    running.stop();
}

#[test]
fn a_reset_comes_out_as_a_reset_on_the_other_side() {
    let (server, running) = forwarding();
    for client_first in [true, false] {
        let (client, behind) = join(&server, &running);
        let (gone, mut stays) = match client_first {
            true => (client, behind),
            false => (behind, client),
        };
        // Both are joined by now.
        (&gone).write_all(b"x").unwrap();
        stays.read_exact(&mut [0]).unwrap();
        reset(gone);
        let error = read_all(&mut stays).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    running.stop();
}

#[test]
fn what_is_said_before_the_connection_is_made_arrives() {
    let (server, running) = forwarding();
    let mut client = running.connect();
    client.write_all(b"early").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut behind = server.accept().unwrap().0;
    assert_eq!(read_all(&mut behind).unwrap(), b"early");
}

#[test]
fn a_place_that_cannot_be_reached_closes_the_connection_with_a_line_in_the_log() {
    let (_nobody, port) = nobody();
    let logs = tempfile::tempdir().unwrap();
    let log = inside(&logs, "log");
    let to = format!("tcp:127.0.0.1:{port}");
    let mut forward = command(["forward", "--listen", LISTEN, "--to", &to]);
    forward.stderr(File::create(&log).unwrap());
    let running = Running::start(forward, 1);
    let mut client = running.connect();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let peer = client.local_addr().unwrap().to_string();
    running.stop();
    let log = std::fs::read_to_string(log).unwrap();
    let line = log.lines().find(|line| line.contains("not forwarded"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(&to) && line.contains(&peer), "{line}");
}

#[test]
fn a_forwarder_to_itself_gives_up_and_lives() {
    // The port is not known before it listens, so the way back is a name in the file system.
    let folder = tempfile::tempdir().unwrap();
    let itself = format!("unix:{}", inside(&folder, "itself"));
    let log = inside(&folder, "log");
    let mut forward = command(["forward", "--listen", &itself, "--to", &itself]);
    forward.stderr(File::create(&log).unwrap());
    let running = Running::start(forward, 1);
    let path = itself.strip_prefix("unix:").unwrap();
    let mut client = UnixStream::connect(path).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    running.stop();
    // Those that were made before it was known say nothing of their own.
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("it would come back here").count(), 1, "{log}");
}

#[test]
fn a_thousand_connections_at_a_time_each_get_their_own() {
    const COUNT: usize = 1000;
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: Some(4096),
            maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
        },
    );
    let echo = Running::start(
        command(["wire", "--protocol", "echo", "--listen", LISTEN]),
        1,
    );
    let port = echo.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let running = forward_to(port, &["--workers", "2"]);
    let mut clients: Vec<TcpStream> = (0..COUNT).map(|_| running.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        write!(client, "{number:04}").unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("{number:04}").as_bytes());
    }
    // All of them open, and idle: the end comes all the same.
    running.stop();
    echo.stop();
}

#[test]
fn what_moves_is_finished_before_the_end() {
    const LEN: usize = 32 * 1024 * 1024;
    let (server, running) = forwarding();
    let (client, mut behind) = join(&server, &running);
    let writing = thread::spawn(move || {
        behind.write_all(&vec![7; LEN]).unwrap();
        behind
    });
    let mut begin = [0; 1];
    (&client).read_exact(&mut begin).unwrap();
    running.signal(Signal::TERM);
    running.wait_until_it_refuses();
    let reading = thread::spawn(move || {
        let mut rest = vec![0; LEN - 1];
        (&client).read_exact(&mut rest).unwrap();
        rest.iter().all(|byte| *byte == 7)
    });
    assert!(reading.join().unwrap());
    drop(writing.join().unwrap());
    let (status, _) = running.wait();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (server, running) = forwarding();
    let (_client, behind) = join(&server, &running);
    let writing = thread::spawn(move || {
        // It is cut.
        let _ = (&behind).write_all(&vec![7; 64 * 1024 * 1024]);
    });
    running.signal(Signal::TERM);
    running.wait_until_it_refuses();
    running.signal(Signal::TERM);
    let (status, _) = running.wait();
    assert!(!status.success(), "{status}");
    writing.join().unwrap();
}

#[test]
fn a_site_behind_it_is_the_same_site() {
    let site = site();
    let web = Running::serve(&site, &[]);
    let port = web.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let running = forward_to(port, &[]);
    assert_eq!(running.get("/page.txt", &[]).body, b"0123456789");
    assert_eq!(running.get("/", &[]).body, b"index");
}

#[test]
fn socat_is_forwarded_to_socat() {
    let Some(socat) = tool("socat") else { return };
    let sockets = tempfile::tempdir().unwrap();
    let (front, back) = (inside(&sockets, "front"), inside(&sockets, "back"));
    let (listen, to) = (format!("unix:{front}"), format!("unix:{back}"));
    let mut server = Command::new(&socat)
        .args([&format!("UNIX-LISTEN:{back}"), "PIPE"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while !std::path::Path::new(&back).exists() {
        thread::yield_now();
    }
    let running = Running::start(command(["forward", "--listen", &listen, "--to", &to]), 1);
    let mut client = Command::new(&socat)
        .args(["-", &format!("UNIX-CONNECT:{front}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"hello");
    server.wait().unwrap();
    running.stop();
}
