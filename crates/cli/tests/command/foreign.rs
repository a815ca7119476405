//! Other people's clients against a site of a few hundred files: curl, wrk, Chromium.
//!
//! A test whose client is not on this machine says so in one line; with `CI=true` it fails.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::running::{Running, inside, request};

/// The path of a program, if it is on this machine.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    tool_in(std::env::var_os("PATH").unwrap_or_default(), name)
}

/// As [`tool`], in the folders of `path`.
pub(crate) fn tool_in(path: impl AsRef<OsStr>, name: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(path.as_ref())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let message = format!("{name} is missing: what it would test is not tested");
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{message}"
        );
        eprintln!("{message}");
    }
    found
}

fn run(program: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {args:?}: {complaint}");
    output
}

/// What a file of the site holds: a length of its own, and no two alike.
fn content(number: usize) -> String {
    format!("file {number}\n").repeat(1 + number * 7)
}

/// 300 files in 10 folders, with names that are not plain.
fn large_site() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..300 {
        let within = folder.path().join(format!("folder {}", number % 10));
        fs::create_dir_all(&within).unwrap();
        fs::write(within.join(format!("ä {number}.txt")), content(number)).unwrap();
    }
    fs::write(folder.path().join("index.html"), "<title>Index</title>").unwrap();
    folder
}

#[test]
fn curl_gets_every_file_over_one_connection() {
    let Some(curl) = tool("curl") else { return };
    let site = large_site();
    let running = Running::serve(&site, &[]);
    let results = tempfile::tempdir().unwrap();
    let mut args = vec![
        "--silent",
        "--show-error",
        "--fail",
        "--write-out",
        "%{num_connects}\n",
    ];
    let files: Vec<_> = (0..300)
        .map(|number| {
            let url = format!(
                "http://{}/folder%20{}/%C3%A4%20{number}.txt",
                running.address(),
                number % 10
            );
            (url, inside(&results, &number.to_string()))
        })
        .collect();
    for (url, file) in &files {
        args.extend(["--output", file, url]);
    }
    let connects = String::from_utf8(run(&curl, &args).stdout).unwrap();
    assert_eq!(connects.lines().filter(|line| *line == "1").count(), 1);
    for (number, (_, file)) in files.iter().enumerate() {
        assert_eq!(fs::read_to_string(file).unwrap(), content(number));
    }
}

#[test]
fn curl_resumes_asks_conditionally_and_is_refused_what_is_outside() {
    let Some(curl) = tool("curl") else { return };
    let site = large_site();
    let secret = site.path().with_extension("secret");
    fs::write(&secret, "secret").unwrap();
    let running = Running::serve(&site, &[]);
    let results = tempfile::tempdir().unwrap();
    let url = |target: &str| format!("http://{}{target}", running.address());
    let status = |args: &[&str]| {
        let quiet = [
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ];
        String::from_utf8(run(&curl, &[&quiet, args].concat()).stdout).unwrap()
    };
    let file = url("/folder%207/%C3%A4%20297.txt");

    let half = inside(&results, "half");
    fs::write(&half, &content(297)[..1000]).unwrap();
    run(
        &curl,
        &[
            "--silent",
            "--fail",
            "--continue-at",
            "-",
            "--output",
            &half,
            &file,
        ],
    );
    assert_eq!(fs::read_to_string(&half).unwrap(), content(297));

    assert_eq!(status(&["--head", &file]), "200");
    assert_eq!(status(&["--http1.0", &file]), "200");
    assert_eq!(status(&["--range", "5-9", &file]), "206");
    let tag = inside(&results, "etag");
    assert_eq!(status(&["--etag-save", &tag, &file]), "200");
    assert_eq!(status(&["--etag-compare", &tag, &file]), "304");
    let tomorrow = "Wed, 01 Jan 2098 00:00:00 GMT";
    assert_eq!(status(&["--time-cond", tomorrow, &file]), "304");
    let put = [
        "--request",
        "PUT",
        "--data",
        "x",
        "--header",
        "Expect: 100-continue",
    ];
    assert_eq!(status(&[&put[..], &[&file]].concat()), "405");

    let outside = secret.file_name().unwrap().to_str().unwrap();
    for way in ["/../", "/%2e%2e/", "/..%2f", "/folder%200/../../"] {
        let status = status(&["--path-as-is", &url(&format!("{way}{outside}"))]);
        assert!(status.starts_with('4'), "{way}: {status}");
    }
    fs::remove_file(secret).unwrap();
}

#[test]
fn curl_talks_over_a_unix_socket() {
    let Some(curl) = tool("curl") else { return };
    let site = large_site();
    let sockets = tempfile::tempdir().unwrap();
    let socket = inside(&sockets, "site.sock");
    let listen = format!("unix:{socket}");
    let running = Running::serve_at(&site, 1, &["--listen", &listen]);
    let args = [
        "--silent",
        "--fail",
        "--unix-socket",
        &socket,
        "http://example.com/",
    ];
    assert_eq!(run(&curl, &args).stdout, b"<title>Index</title>");
    running.stop();
    assert!(!Path::new(&socket).exists());
}

#[test]
fn wrk_sees_neither_errors_nor_other_statuses() {
    let Some(wrk) = tool("wrk") else { return };
    let site = large_site();
    let running = Running::serve(&site, &["--workers", "2"]);
    let script = inside(&site, "pipelined.lua");
    let lua = "init = function() local r = {} for i = 1, 16 do r[i] = wrk.format() end \
               all = table.concat(r) end request = function() return all end";
    fs::write(&script, lua).unwrap();
    for more in [&[][..], &["-s", &script]] {
        let url = format!("http://{}/", running.address());
        let args = [&["-t2", "-c64", "-d1s"], more, &[&url]].concat();
        let report = String::from_utf8(run(&wrk, &args).stdout).unwrap();
        assert!(report.contains("requests in"), "{report}");
        assert!(!report.contains("Socket errors"), "{report}");
        assert!(!report.contains("Non-2xx"), "{report}");
    }
    running.stop();
}

#[test]
fn chromium_shows_the_projects_own_site() {
    let Some(chromium) = tool("chromium") else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/site");
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let logs = tempfile::tempdir().unwrap();
    let log = inside(&logs, "access.log");
    let running = Running::serve(&copy, &["--access-log", &log]);
    let profile = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", profile.path().display());
    let url = format!("http://{}/", running.address());
    let page = run(
        &chromium,
        &[
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &profile,
            "--dump-dom",
            &url,
        ],
    );
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("An event-driven"), "{page}");
    running.stop();
    let log = fs::read_to_string(log).unwrap();
    for file in ["/", "/style.css"] {
        assert!(
            log.contains(&format!("\"GET {file} HTTP/1.1\" 200 ")),
            "{log}"
        );
    }
}

/// Kilobytes of memory that a process holds.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[test]
fn a_file_of_over_a_gibibyte_goes_to_ten_slow_readers_in_flat_memory() {
    const LENGTH: u64 = 1_100 * 1024 * 1024;
    let site = large_site();
    let file = File::create(site.path().join("large")).unwrap();
    file.set_len(LENGTH).unwrap();
    file.write_all_at(b"the end", LENGTH - 7).unwrap();
    let running = Running::serve(&site, &[]);
    running.get("/", &[]);
    let before = resident(running.id());

    let mut readers: Vec<TcpStream> = (0..10).map(|_| running.connect()).collect();
    for reader in &mut readers {
        request(reader, "/large", &[]);
    }
    let mut piece = vec![0; 256 * 1024];
    for _ in 0..20 {
        for reader in &mut readers {
            reader.read_exact(&mut piece).unwrap();
        }
    }
    let grown = resident(running.id()).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} kB more for ten readers");

    let mut whole = running.connect();
    request(&mut whole, "/large", &[]);
    let (mut length, mut last) = (0, Vec::new());
    loop {
        let read = whole.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        length += read as u64;
        last.extend_from_slice(&piece[..read]);
        last.drain(..last.len().saturating_sub(7));
    }
    assert!(length > LENGTH);
    assert_eq!(last, b"the end");
}

#[test]
fn hundreds_of_unfinished_requests_keep_nobody_else_waiting() {
    let site = large_site();
    let running = Running::serve(&site, &[]);
    let mut slow: Vec<TcpStream> = (0..300).map(|_| running.connect()).collect();
    for byte in b"GET / HTTP/1.1\r\nHost: exam" {
        for stream in &mut slow {
            stream.write_all(&[*byte]).unwrap();
        }
    }
    assert_eq!(running.get("/", &[]).body, b"<title>Index</title>");
}
