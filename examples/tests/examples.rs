//! Each example is run, and does what it says over a real socket.

mod running;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::Command;

use running::{Running, example};

#[test]
fn echo_sends_back_what_it_gets() {
    let echo = Running::start("echo");
    let mut peer = echo.connect();
    peer.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn hello_answers_a_request() {
    let hello = Running::start("hello");
    let mut peer = hello.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nHello, World!"), "{answer}");
}

#[test]
fn lines_sends_back_each_line_that_is_whole() {
    let mut lines = Running::start("lines");
    let mut peer = lines.connect();
    peer.write_all(b"hello\r\nwor").unwrap();
    let mut answers = BufReader::new(peer.try_clone().unwrap());
    assert_eq!(read_line(&mut answers), "hello\r\n");
    peer.write_all(b"ld\r\nunfinished").unwrap();
    assert_eq!(read_line(&mut answers), "world\r\n");
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_line(&mut answers), "");
    assert!(lines.printed().starts_with("client connected: 127.0.0.1:"));
    assert_eq!(lines.printed(), "received: hello");
    assert_eq!(lines.printed(), "received: world");
}

#[test]
fn key_value_confirms_pairs_and_reports_what_is_none() {
    let mut key_value = Running::start("key_value");
    let mut peer = key_value.connect();
    let mut answers = BufReader::new(peer.try_clone().unwrap());
    peer.write_all("name:Ann\n城市:巴黎\r\n".as_bytes())
        .unwrap();
    assert_eq!(read_line(&mut answers), "确认:name = Ann\r\n");
    assert_eq!(read_line(&mut answers), "确认:城市 = 巴黎\r\n");
    for bad in [&b"no pair\n"[..], b"a:b:c\n", b"\xff:\xff\n"] {
        peer.write_all(bad).unwrap();
        assert_eq!(read_line(&mut answers), "格式不正确,应为 key:value\r\n");
    }
    // It is still there for what is right.
    peer.write_all(b"k:v\n").unwrap();
    assert_eq!(read_line(&mut answers), "确认:k = v\r\n");
    drop((peer, answers));
    let printed: Vec<String> = (0..8).map(|_| key_value.printed()).collect();
    let bad = "接收到的数据格式不正确";
    assert_eq!(
        printed,
        [
            "客户端已连接",
            "接收到键值对:name = Ann",
            "接收到键值对:城市 = 巴黎",
            bad,
            bad,
            bad,
            "接收到键值对:k = v",
            "客户端已断开连接",
        ]
    );
}

fn read_line(answers: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    line
}

/// What an example prints, which ends by itself.
fn output(name: &str, args: &[&str]) -> String {
    let output = Command::new(example(name)).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn thread_pool_runs_each_of_its_jobs_and_ends() {
    let output = output("thread_pool", &[]);
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    let expected: Vec<_> = (0..10)
        .map(|number| format!("Task running in thread: {number}"))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn processes_runs_a_program_for_its_output_and_talks_to_another() {
    let expected = "Hello from a process\nWords: 8\nwc exited with code 0\n";
    assert_eq!(output("processes", &[]), expected);
}

#[test]
fn thread_context_finds_the_value_in_the_thread_and_nowhere_else() {
    assert_eq!(
        output("thread_context", &[]),
        "Data in thread reactor-0: Hello World\nData in thread main: nothing\n"
    );
}

#[test]
fn logging_writes_errors_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.log");
    assert_eq!(output("logging", &[path.to_str().unwrap()]), "");
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].ends_with("ERROR logging: Server error: x"),
        "{text}"
    );
    assert!(
        lines[1].ends_with("ERROR logging: a library speaks up"),
        "{text}"
    );
}

#[test]
fn datagram_echo_sends_each_datagram_back() {
    let echo = Running::start_at("datagram_echo", "udp:0:interface=127.0.0.1");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(&echo.address).unwrap();
    for size in [0, 1, 1000, 60_000] {
        peer.send(&vec![7; size]).unwrap();
        let mut back = vec![0; 65_536];
        let read = peer.recv(&mut back).unwrap();
        assert_eq!(back[..read], vec![7; size]);
    }
}

#[test]
fn datagram_storm_counts_what_comes_back_and_what_is_lost() {
    let output = Command::new(example("datagram_storm"))
        .args(["20000", "64"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<u64> = text
        .lines()
        .last()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(numbers[0], 20_000, "{text}");
    assert!(
        numbers[1] <= 20_000 && numbers[1] + numbers[2] >= 20_000,
        "{text}"
    );
}
