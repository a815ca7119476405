//! The log and the access log.

use std::fs;
use std::io::{Read, Write};

use rustix::process::Signal;

use crate::running::{Running, complaint, inside, ropewalk, site};

const FIELDS: [&str; 2] = ["Referer: http://example.com/from", "User-Agent: test/1.0"];

#[test]
fn the_access_log_has_a_combined_line_for_each_request() {
    let (site, logs) = (site(), tempfile::tempdir().unwrap());
    let path = inside(&logs, "access.log");
    let running = Running::serve(&site, &["--access-log", &path]);
    running.get("/page.txt?q=1", &FIELDS);
    running.get("/missing", &[]);
    running.stop();

    let text = fs::read_to_string(path).unwrap();
    let [first, second] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("not two lines: {text}")
    };
    assert!(first.starts_with("127.0.0.1 - - ["), "{first}");
    let end = r#"] "GET /page.txt?q=1 HTTP/1.1" 200 10 "http://example.com/from" "test/1.0""#;
    assert!(first.ends_with(end), "{first}");
    assert!(
        second.contains(r#"] "GET /missing HTTP/1.1" 404 "#),
        "{second}"
    );
    assert!(second.ends_with(r#" "-" "-""#), "{second}");
}

#[test]
fn what_is_no_request_has_its_line_in_the_access_log_too() {
    let (site, logs) = (site(), tempfile::tempdir().unwrap());
    let path = inside(&logs, "access.log");
    let running = Running::serve(&site, &["--access-log", &path]);
    let mut peer = running.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost : example.com\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    let (_, content) = answer.split_once("\r\n\r\n").unwrap();
    drop(peer);
    running.stop();

    let text = fs::read_to_string(path).unwrap();
    let end = format!("] \"-\" 400 {} \"-\" \"-\"\n", content.len());
    assert!(text.ends_with(&end), "{text}");
}

#[test]
fn the_access_log_is_json_where_logs_are() {
    let (site, logs) = (site(), tempfile::tempdir().unwrap());
    let path = inside(&logs, "access.log");
    let running = Running::serve(&site, &["--access-log", &path, "--log-format", "json"]);
    running.get("/page.txt", &FIELDS);
    running.stop();

    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with('{') && text.ends_with("}\n"), "{text}");
    for field in [
        r#""method":"GET""#,
        r#""target_uri":"/page.txt""#,
        r#""status":200"#,
        r#""bytes":10"#,
        r#""user_agent":"test/1.0""#,
    ] {
        assert!(text.contains(field), "no {field} in {text}");
    }
}

#[test]
fn the_access_log_can_be_standard_output() {
    let site = site();
    let running = Running::serve(&site, &["--access-log", "-"]);
    running.get("/", &[]);
    let rest = running.stop();
    assert_eq!(rest.lines().count(), 1, "{rest}");
    assert!(rest.contains(r#""GET / HTTP/1.1" 200 5"#), "{rest}");
}

#[test]
fn the_access_log_is_off_unless_asked_for() {
    let site = site();
    let running = Running::serve(&site, &[]);
    running.get("/", &[]);
    assert_eq!(running.stop(), "");
}

#[test]
fn an_access_log_that_cannot_be_opened_is_1_with_its_name() {
    let site = site();
    let path = inside(&site, "no/such/folder.log");
    let folder = site.path().to_str().unwrap();
    let output = ropewalk(["web", "--path", folder, "--access-log", &path]);
    assert_eq!(output.status.code(), Some(1));
    let line = complaint(&output);
    assert!(
        line.contains(&path) && line.contains("--access-log"),
        "{line}"
    );
}

#[test]
fn the_log_goes_to_a_file_where_one_is_given() {
    let (site, logs) = (site(), tempfile::tempdir().unwrap());
    let path = inside(&logs, "ropewalk.log");
    fs::write(&path, "before\n").unwrap();
    let running = Running::serve(&site, &["--log-file", &path]);
    running.get("/", &[]);
    running.stop();

    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("before\n"), "{text}");
    let is_it = |line: &str| line.contains(" INFO ") && line.ends_with("stopping signal=15");
    assert!(text.lines().any(is_it), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a file: {text}");
}

#[test]
fn a_log_file_of_json_has_an_object_in_each_line() {
    let (site, logs) = (site(), tempfile::tempdir().unwrap());
    let path = inside(&logs, "ropewalk.log");
    let args = [
        "--log-file",
        &path,
        "--log-format",
        "json",
        "--log-level",
        "trace",
    ];
    let running = Running::serve(&site, &args);
    running.get("/", &[]);
    running.stop();

    let text = fs::read_to_string(path).unwrap();
    let objects: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let stopping = objects
        .iter()
        .find(|object| object["message"] == "stopping");
    assert_eq!(stopping.expect(&text)["signal"], 15);
}

#[test]
fn sighup_opens_the_log_file_again() {
    let (site, logs) = (site(), tempfile::tempdir().unwrap());
    let (path, aside) = (inside(&logs, "ropewalk.log"), inside(&logs, "aside.log"));
    let running = Running::serve(&site, &["--log-file", &path]);
    fs::rename(&path, &aside).unwrap();
    running.signal(Signal::HUP);
    while !fs::exists(&path).unwrap() {
        std::thread::yield_now();
    }
    running.stop();

    assert!(fs::read_to_string(path).unwrap().contains("stopping"));
    assert!(!fs::read_to_string(aside).unwrap().contains("stopping"));
}

#[test]
fn a_log_file_that_cannot_be_opened_is_1_with_its_name() {
    let site = site();
    let path = inside(&site, "no/such/folder.log");
    let folder = site.path().to_str().unwrap();
    let output = ropewalk(["web", "--path", folder, "--log-file", &path]);
    assert_eq!(output.status.code(), Some(1));
    let line = complaint(&output);
    assert!(
        line.contains(&path) && line.contains("--log-file"),
        "{line}"
    );
}

#[test]
fn a_log_file_on_a_full_disk_is_said_once_and_the_site_is_served_on() {
    if !fs::exists("/dev/full").unwrap() {
        return;
    }
    let site = site();
    let path = inside(&site, "stderr.txt");
    let args = ["--log-file", "/dev/full", "--log-level", "trace"];
    let running = Running::serve_with_stderr(&site, &args, fs::File::create(&path).unwrap());
    for _ in 0..3 {
        assert_eq!(running.get("/", &[]).status, 200);
    }
    running.stop();
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("cannot write the log /dev/full: No space left"),
        "{text}"
    );
}

#[test]
fn a_log_that_can_be_neither_written_nor_complained_about_is_written_when_it_can_be() {
    if !fs::exists("/dev/full").unwrap() {
        return;
    }
    let (site, logs) = (site(), tempfile::tempdir().unwrap());
    let path = inside(&logs, "ropewalk.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let stderr = fs::OpenOptions::new().write(true).open("/dev/full");
    let args = ["--log-file", &path, "--log-level", "trace"];
    let running = Running::serve_with_stderr(&site, &args, stderr.unwrap());
    assert_eq!(running.get("/", &[]).status, 200);

    fs::remove_file(&path).unwrap();
    running.signal(Signal::HUP);
    while !fs::exists(&path).unwrap() {
        std::thread::yield_now();
    }
    running.stop();
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains("stopping"), "{text}");
}
