//! `ropewalk wire`, as its clients see it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use crate::foreign::tool;
use crate::running::{Running, authority, command, inside};

const LISTEN: &str = "tcp:0:interface=127.0.0.1";

fn serve(protocol: &str) -> Running {
    let args = ["wire", "--protocol", protocol, "--listen", LISTEN];
    Running::start(command(args), 1)
}

/// All that a peer gets that says `question` and closes its side.
fn ask(running: &Running, question: &[u8]) -> Vec<u8> {
    let mut stream = running.connect();
    stream.write_all(question).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn echo_gives_everything_back_and_closes_after_its_peer() {
    let running = serve("echo");
    assert!(running.listening()[0].starts_with("tcp:127.0.0.1:"));
    let sent: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
    let mut stream = running.connect();
    let mut writer = stream.try_clone().unwrap();
    let data = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&data).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut echoed = Vec::new();
    stream.read_to_end(&mut echoed).unwrap();
    writing.join().unwrap();
    assert!(echoed == sent, "{} bytes", echoed.len());
    assert_eq!(running.stop(), "");
}

#[test]
fn echo_holds_little_for_peers_that_send_and_never_read() {
    let running = serve("echo");
    let before = running.peak_memory();
    let mut peers: Vec<TcpStream> = (0..20).map(|_| running.connect()).collect();
    for peer in &mut peers {
        // Until the kernel takes no more: then nothing is read on the other side, or the kernel
        // is about to be emptied into an echo that is held back all the same.
        peer.set_nonblocking(true).unwrap();
        while peer.write(&[7; 64 * 1024]).is_ok() {}
    }
    // Somebody else is served meanwhile.
    assert_eq!(ask(&running, b"hello"), b"hello");
    let grown = running.peak_memory() - before;
    assert!(grown < 20 * 512, "{grown} KiB");
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    let running = serve("discard");
    assert_eq!(ask(&running, &[7; 1_000_000]), b"");
    running.stop();
}

#[test]
fn chargen_sends_lines_as_long_as_they_are_read() {
    let running = serve("chargen");
    let mut stream = running.connect();
    let mut lines = vec![0; 74 * 50_000];
    stream.read_exact(&mut lines).unwrap();
    for (number, line) in lines.chunks(74).enumerate() {
        assert_eq!(line[0], b' ' + (number % 95) as u8);
        assert_eq!(&line[72..], b"\r\n");
    }
    assert!(running.peak_memory() < 64 * 1024);
    drop(stream);
    running.stop();
}

#[test]
fn the_others_say_one_thing_and_close() {
    let day = String::from_utf8(ask(&serve("daytime"), b"ignored")).unwrap();
    assert!(day.ends_with("-UTC\r\n") && day.contains("day, "), "{day}");
    let time: [u8; 4] = ask(&serve("time"), b"").try_into().unwrap();
    // Not before this was written, and not before 32 bits are full.
    let since_1970 = u64::from(u32::from_be_bytes(time)) - 2_208_988_800;
    assert!(since_1970 > 1_767_225_600, "{since_1970}");
    let quote = String::from_utf8(ask(&serve("qotd"), b"")).unwrap();
    assert!(quote.ends_with("\r\n") && quote.len() < 512, "{quote}");
}

#[test]
fn two_listeners_have_a_line_each() {
    let args = [
        "wire",
        "--protocol",
        "echo",
        "--listen",
        LISTEN,
        "--listen",
        LISTEN,
        "--workers",
        "2",
    ];
    let running = Running::start(command(args), 2);
    for place in running.listening() {
        let mut stream = TcpStream::connect(authority(place)).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(running.stop(), "");
}

#[test]
fn open_connections_do_not_hold_up_the_end() {
    for protocol in ["echo", "discard", "chargen"] {
        let running = serve(protocol);
        let mut stream = running.connect();
        stream.write_all(b"x").unwrap();
        if protocol != "discard" {
            stream.read_exact(&mut [0]).unwrap();
        }
        let reading = std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        running.stop();
        // However it ended.
        let _ = reading.join().unwrap();
    }
}

#[test]
fn socat_talks_to_them() {
    let Some(socat) = tool("socat") else { return };
    let running = serve("echo");
    let mut client = Command::new(socat)
        .args(["-", &format!("TCP:{}", running.address())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"hello");
    assert!(output.status.success());
}

#[test]
fn netcat_is_echoed_over_tcp_and_unix() {
    let Some(nc) = tool("nc") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = inside(&folder, "echo.sock");
    let unix = format!("unix:{path}");
    let mut echo = command(["wire", "--protocol", "echo", "--listen", LISTEN]);
    echo.args(["--listen", &unix]);
    let running = Running::start(echo, 2);
    let address = running.listening()[0].rsplit_once(':').unwrap();
    for to in [vec!["127.0.0.1", address.1], vec!["-U", &path]] {
        // It closes its side when its input has ended.
        let mut client = Command::new(&nc)
            .arg("-N")
            .args(&to)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let sent = [b"netcat ".as_slice(), &[b'x'; 100_000]].concat();
        let (mut says, said) = (client.stdin.take().unwrap(), sent.clone());
        let saying = std::thread::spawn(move || says.write_all(&said).unwrap());
        let output = client.wait_with_output().unwrap();
        saying.join().unwrap();
        assert!(
            output.stdout == sent,
            "{to:?}: {} bytes",
            output.stdout.len()
        );
    }
    running.stop();
}
