//! Churn, downloads and idle connections.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

use serde_json::Value;

use crate::{
    command, complaint, measure, number,
    servers::{echo, http, http_with, serve},
};

#[test]
fn churn_counts_whole_cycles() {
    let to = http("200 OK", 12);
    let arguments = ["--connections", "4", "--request", "hello"];
    let result = measure("churn", &to, &arguments);
    assert!(number(&result, "requests") > 10, "{result}");
    assert_eq!(number(&result, "errors"), 0);

    let to = echo(&[1, 40], |_, _| {});
    let arguments = ["--connections", "4", "--request", "echo", "--threads", "2"];
    let result = measure("churn", &to, &arguments);
    let requests = number(&result, "requests");
    assert!(requests > 10, "{result}");
    assert_eq!(number(&result, "bytes"), requests * 64);
    assert_eq!(number(&result, "errors"), 0);
}

#[test]
fn churn_knows_a_wrong_answer() {
    let to = http("500 Internal Server Error", 0);
    let said = complaint("churn", &to, &["--request", "hello"]);
    assert!(said.contains("500 Internal Server Error"), "{said}");
    let to = echo(&[64], |_, bytes| bytes[bytes.len() - 1] ^= 1);
    let said = complaint("churn", &to, &["--request", "echo"]);
    assert!(said.contains("another message"), "{said}");
}

#[test]
fn churn_counts_answers_that_end_early() {
    let to = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
    });
    let result = measure("churn", &to, &["--request", "hello"]);
    assert_eq!(number(&result, "requests"), 0);
    assert!(number(&result, "errors") > 1, "{result}");
}

#[test]
fn downloads_count_answers_and_bytes() {
    for body in [0, 1, 300_000, 3_000_000] {
        let to = http("200 OK", body);
        for how in ["--copy", "--discard"] {
            let arguments = ["--connections", "2", "--path", "/file", how];
            let result = measure("download", &to, &arguments);
            let requests = number(&result, "requests");
            assert!(requests > 0, "{result}");
            assert_eq!(number(&result, "bytes"), requests * body as u64);
            assert_eq!(number(&result, "errors"), 0);
        }
    }
}

#[test]
fn a_download_knows_a_wrong_answer() {
    let to = http("404 Not Found", 0);
    let said = complaint("download", &to, &["--path", "/none", "--copy"]);
    assert!(said.contains("404 Not Found"), "{said}");
    let to = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello");
    });
    let said = complaint("download", &to, &["--path", "/", "--copy"]);
    assert!(said.contains("more came than the 4 bytes"), "{said}");
}

#[test]
fn a_download_goes_on_where_the_server_says_that_it_closes() {
    let to = http_with("Connection: close\r\n", "200 OK", 5000);
    for how in ["--copy", "--discard"] {
        let arguments = ["--connections", "3", "--path", "/", how];
        let result = measure("download", &to, &arguments);
        let requests = number(&result, "requests");
        assert!(requests > 3, "{result}");
        assert!(number(&result, "reconnects") >= requests, "{result}");
        assert_eq!(number(&result, "errors"), 0);
    }
}

#[test]
fn a_download_counts_a_connection_that_is_not_kept() {
    let to = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    });
    let arguments = ["--connections", "3", "--path", "/", "--discard"];
    let result = measure("download", &to, &arguments);
    assert_eq!(number(&result, "errors"), 3);
}

#[test]
fn idle_connections_are_held_until_standard_input_ends() {
    let cases = [
        (http("200 OK", 5000), "--http"),
        (echo(&[7], |_, _| {}), "--bare"),
    ];
    for (to, exchange) in cases {
        let mut child = command(&["idle", "--to", &to, "--connections", "300", exchange])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let result: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(number(&result, "connections"), 300);
        assert_eq!(number(&result, "errors"), 0);
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        line.clear();
        assert_eq!(out.read_line(&mut line).unwrap(), 0);
    }
}
