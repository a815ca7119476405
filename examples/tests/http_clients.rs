//! Other people's HTTP clients send things to the example `store`, and get them back.
//!
//! Python's are looked for in `target/http-clients`, and so is undici, where `.ci/run` puts them. A test
//! whose client is missing says so in one line; with `CI=true` it fails.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The example, until this is dropped.
struct Store {
    child: Child,
    address: String,
}

impl Store {
    fn start() -> Self {
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.pop();
        let mut child = Command::new(path.join("examples/store"))
            .arg("tcp:0:interface=127.0.0.1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        Self {
            child,
            address: address.to_owned(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The program `name` in `folders`, if it is there.
fn tool_in(folders: &std::ffi::OsStr, name: &str) -> Option<PathBuf> {
    let mut files = std::env::split_paths(folders).map(|folder| folder.join(name));
    let found = files.find(|file| file.exists());
    if found.is_none() {
        let message = format!("{name} is missing: what it would test is not tested");
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "{message}");
        eprintln!("{message}");
    }
    found
}

fn tool(name: &str) -> Option<PathBuf> {
    tool_in(&std::env::var_os("PATH").unwrap_or_default(), name)
}

/// What `.ci/run` has installed for these tests.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/http-clients")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// Runs curl, and gives what it wrote.
fn curl(args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Who is refused does not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {complaint}");
    format!("{complaint}{}", String::from_utf8_lossy(&output.stdout))
}

const STATUS: [&str; 4] = ["--output", "/dev/null", "--write-out", "%{http_code}"];

#[test]
fn curl_uploads_with_and_without_a_length_and_waits_for_continue() {
    if tool("curl").is_none() {
        return;
    }
    let store = Store::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (sent, got) = (file("sent"), file("got"));
    let long = b"0123456789abcdef".repeat(200_000);
    fs::write(&sent, &long).unwrap();
    let url = store.url("/long");

    // It asks to be told to go on where there is much to send.
    let waits = ["--verbose", "--header", "Expect: 100-continue"];
    let said = curl(&[&waits[..], &["--upload-file", &sent, &url]].concat(), b"");
    assert!(said.contains("< HTTP/1.1 100 Continue"), "{said}");
    assert!(said.contains("< HTTP/1.1 201 Created"), "{said}");
    curl(&["--fail", "--output", &got, &url], b"");
    assert_eq!(fs::read(&got).unwrap(), long);

    // From a pipe, whose length it does not know, it sends chunks.
    let chunked = curl(&["--verbose", "--upload-file", "-", &url], &long[..100_000]);
    assert!(
        chunked.contains("> Transfer-Encoding: chunked"),
        "{chunked}"
    );
    assert!(chunked.contains("100000 bytes"), "{chunked}");
    assert_eq!(
        curl(&["--http1.0", "--data", "a=b", &url], b""),
        "3 bytes\n"
    );
    assert_eq!(curl(&["--http1.0", &url], b""), "a=b");

    let head = curl(&["--head", &url], b"");
    assert!(head.contains("content-length: 3\r\n"), "{head}");
    let delete = [&["--request", "DELETE", &url][..], &STATUS].concat();
    assert_eq!(curl(&delete, b""), "204");
    assert_eq!(curl(&delete, b""), "404");
}

#[test]
fn curl_is_told_that_a_thing_is_too_large_before_it_sends_it() {
    if tool("curl").is_none() {
        return;
    }
    let store = Store::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    let large = fs::File::create(&file).unwrap();
    large.set_len(65 * 1024 * 1024).unwrap();
    let report = ["--write-out", "%{http_code} %{size_upload}"];
    let args = [
        &report[..],
        &["--output", "/dev/null", "--header", "Expect: 100-continue"],
        &[
            "--upload-file",
            file.to_str().unwrap(),
            &store.url("/large"),
        ],
    ];
    assert_eq!(curl(&args.concat(), b""), "413 0");
}

#[test]
fn curl_comes_through_a_proxy_and_as_to_a_proxy() {
    let (Some(_), Some(tinyproxy)) = (tool("curl"), tool("tinyproxy")) else {
        return;
    };
    let store = Store::start();
    let url = store.url("/proxied");
    let (proxy, port) = start_proxy(&tinyproxy);
    let proxy_url = format!("http://127.0.0.1:{port}");
    let through = ["--proxy", &proxy_url];
    let put = [&through[..], &["--upload-file", "-", &url]].concat();
    assert_eq!(curl(&put, &[b'x'; 50_000]), "50000 bytes\n");
    let get = [&through[..], &[&url]].concat();
    assert_eq!(curl(&get, b"").len(), 50_000);
    let tunnel = [&through[..], &["--proxytunnel", &url]].concat();
    assert_eq!(curl(&tunnel, b"").len(), 50_000);
    drop(proxy);

    // What a proxy would get: the whole URL in the request line.
    let itself = store.url("");
    let direct = ["--proxy", &itself, "http://example.com/proxied"];
    assert_eq!(curl(&direct, b"").len(), 50_000);
}

/// A proxy, killed when it is dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts it at a port that was free, and waits until it listens there.
fn start_proxy(tinyproxy: &Path) -> (Proxy, u16) {
    loop {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tinyproxy.conf");
        fs::write(
            &file,
            format!("Port {port}\nListen 127.0.0.1\nTimeout 60\n"),
        )
        .unwrap();
        let mut command = Command::new(tinyproxy);
        command.arg("-d").arg("-c").arg(&file).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut proxy = Proxy(child.unwrap());
        while proxy.0.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return (proxy, port);
            }
            std::thread::yield_now();
        }
    }
}

/// Runs a script that checks all by itself.
fn run_script(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(output.stdout, b"all is well\n");
}

#[test]
fn requests_httpx_and_aiohttp_upload_and_download() {
    let Some(python) = tool_in(installed().join("bin").as_os_str(), "python") else {
        return;
    };
    let store = Store::start();
    let mut command = Command::new(python);
    command.arg(script("python.py")).arg(store.url(""));
    run_script(command);
}

#[test]
fn fetch_uploads_and_downloads_and_undici_pipelines() {
    let undici = tool_in(installed().join("node_modules").as_os_str(), "undici");
    let (Some(node), Some(_)) = (tool("node"), undici) else {
        return;
    };
    let store = Store::start();
    let mut command = Command::new(node);
    command.arg(script("node.mjs")).arg(store.url(""));
    command.arg(installed());
    run_script(command);
}
