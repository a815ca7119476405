//! Echo, closed and open, and lines.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    complaint, measure, number, run,
    servers::{echo, lines, serve, stall},
};

const WHOLE: &[usize] = &[usize::MAX];
const ODD: &[usize] = &[1, 63, 2, 65, 129, 7, 1000];

#[test]
fn an_echo_is_counted() {
    let to = echo(WHOLE, |_, _| {});
    let result = measure("echo", &to, &["--connections", "3", "--threads", "2"]);
    let requests = number(&result, "requests");
    assert!(requests > 10, "{result}");
    assert_eq!(number(&result, "bytes"), requests * 64);
    assert_eq!(number(&result, "errors"), 0);
    assert_eq!(result["seconds"], 0.3);
    assert!(result["cpu_seconds"].as_f64().unwrap() > 0.0);
    let latency = &result["latency_us"];
    assert!(latency["p50"].as_f64() > Some(0.0));
    assert!(latency["p50"].as_f64() <= latency["max"].as_f64());
    assert!(result.get("overload").is_none());
}

#[test]
fn messages_may_come_back_in_any_pieces() {
    let to = echo(ODD, |_, _| {});
    for (depth, size) in [("1", "64"), ("16", "64"), ("7", "1"), ("3", "16384")] {
        let arguments = ["--connections", "2", "--depth", depth, "--size", size];
        let result = measure("echo", &to, &arguments);
        assert!(number(&result, "requests") > 0, "{result}");
        assert_eq!(number(&result, "errors"), 0);
    }
}

#[test]
fn more_than_the_buffers_hold_can_be_in_flight() {
    let to = echo(WHOLE, |_, _| {});
    let arguments = ["--depth", "3", "--size", "2000000"];
    let result = measure("echo", &to, &arguments);
    assert!(number(&result, "requests") > 0, "{result}");
}

#[test]
fn a_byte_that_changed_ends_the_run() {
    let to = echo(WHOLE, |before, bytes| {
        if (before..before + bytes.len() as u64).contains(&1000) {
            bytes[1000 - before as usize] ^= 0x20;
        }
    });
    let said = complaint("echo", &to, &["--depth", "4"]);
    assert!(said.contains("wrong answer: byte 1000"), "{said}");
    let said = complaint("echo", &to, &["--rate", "1000"]);
    assert!(said.contains("wrong answer: byte 1000"), "{said}");
    let said = complaint("lines", &to, &[]);
    assert!(said.contains("wrong answer: byte 1000"), "{said}");
}

#[test]
fn more_than_was_sent_ends_the_run() {
    let to = serve(|mut stream| {
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).is_ok() {
            let _ = stream.write_all(&[&buffer[..], b"x"].concat());
        }
    });
    let said = complaint("echo", &to, &[]);
    assert!(said.contains("65 bytes came back of 64"), "{said}");
}

#[test]
fn a_close_in_the_middle_is_counted_and_the_rest_goes_on() {
    let first = Arc::new(AtomicBool::new(true));
    let to = serve(move |mut stream| {
        let mut buffer = [0; 64];
        let closes = first.swap(false, Ordering::Relaxed);
        for count in 0.. {
            if stream.read_exact(&mut buffer).is_err() {
                return;
            }
            let half = if closes && count == 3 { 32 } else { 64 };
            if stream.write_all(&buffer[..half]).is_err() || half == 32 {
                return;
            }
        }
    });
    let result = measure("echo", &to, &["--connections", "2"]);
    assert_eq!(number(&result, "errors"), 1);
    assert!(number(&result, "requests") > 10, "{result}");
}

#[test]
fn a_run_ends_when_no_connection_is_left() {
    let to = serve(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
    });
    let arguments = [
        "echo",
        "--to",
        &to,
        "--connections",
        "2",
        "--seconds",
        "600",
    ];
    let output = run(&arguments);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("2 errors, the first: "), "{said}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(number(&result, "errors"), 2);
    assert_eq!(number(&result, "requests"), 0);
}

#[test]
fn no_server_is_said_clearly() {
    // Bound, but not listening: nobody else can have it, and nothing answers.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let to = socket
        .local_addr()
        .unwrap()
        .as_socket()
        .unwrap()
        .to_string();
    for arguments in [
        &["echo"][..],
        &["echo", "--rate", "10"],
        &["lines"],
        &["churn", "--request", "echo"],
        &["download", "--path", "/", "--copy"],
        &["idle", "--connections", "2", "--bare"],
    ] {
        let said = complaint(arguments[0], &to, &arguments[1..]);
        assert!(said.contains(&format!("cannot connect to {to}")), "{said}");
    }
}

#[test]
fn lines_are_counted_by_the_batch() {
    let to = lines();
    let result = measure("lines", &to, &["--connections", "2", "--batch", "16"]);
    let requests = number(&result, "requests");
    assert!(requests > 100, "{result}");
    assert_eq!(requests % 16, 0);
    assert_eq!(number(&result, "bytes"), requests * 64);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let to = echo(WHOLE, |_, _| {});
    let arguments = ["--rate", "1000", "--connections", "3", "--threads", "2"];
    let result = measure("echo", &to, &arguments);
    let requests = number(&result, "requests");
    // 300 are due within the window.
    assert!((200..=350).contains(&requests), "{result}");
    assert_eq!(result["overload"], false);
    assert!(result["late_us"]["p50"].as_f64().is_some());
}

#[test]
fn an_open_loop_sees_the_queue_behind_a_stall() {
    // At a rate of 1000 for 350 ms: the stall of 200 ms is felt by 200 messages, not by one.
    let to = echo(WHOLE, |before, bytes| {
        let message = 100 * 64;
        if (before..before + bytes.len() as u64).contains(&message) {
            stall(200);
        }
    });
    let result = measure("echo", &to, &["--rate", "1000"]);
    let at = |name: &str| result["latency_us"][name].as_f64().unwrap();
    assert!(at("p99") > 150_000.0, "{result}");
    assert!(at("p50") > 10_000.0, "{result}");
    assert_eq!(result["overload"], false);
}

#[test]
fn an_open_loop_that_is_too_fast_says_overload() {
    let to = serve(|mut stream| {
        // Reads all, and answers nothing.
        while let Ok(1..) = stream.read(&mut [0; 4096]) {}
    });
    let arguments = ["--rate", "10000", "--outstanding", "100"];
    let result = measure("echo", &to, &arguments);
    assert_eq!(result["overload"], true);
    assert_eq!(number(&result, "unanswered"), 100);
    assert_eq!(number(&result, "requests"), 0);
    assert!(result["latency_us"]["p50"].as_f64() > Some(250_000.0));
}
