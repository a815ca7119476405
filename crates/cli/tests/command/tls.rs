//! The real command over TLS: with curl, with many who never finish a handshake, and with a
//! certificate that is renewed.

#[expect(dead_code, reason = "the tests of the layer use more of it")]
#[path = "../../../tls/tests/tls/authority.rs"]
mod authority;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use self::authority::Authority;
use crate::foreign::{tool, tool_in};
use crate::running::{Running, command, inside, ropewalk, site};

/// A folder with `roots.pem`, `server.pem` for localhost, and `client.pem`.
fn certificates() -> (Authority, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    fs::write(inside(&folder, "roots.pem"), authority.roots()).unwrap();
    let server = authority.server(&["localhost"]);
    fs::write(inside(&folder, "server.pem"), server.pem()).unwrap();
    let client = authority.client("someone");
    fs::write(inside(&folder, "client.pem"), client.pem()).unwrap();
    (authority, folder)
}

fn serve(site: &TempDir, folder: &TempDir, options: &str) -> (Running, u16) {
    let certificate = inside(folder, "server.pem");
    let listen = format!("tls:0:interface=127.0.0.1:certificate={certificate}{options}");
    let running = Running::serve_at(site, 1, &["--listen", &listen]);
    let port = port(&running);
    (running, port)
}

/// The port, of `https://127.0.0.1:PORT/` or `tls:127.0.0.1:PORT`.
fn port(running: &Running) -> u16 {
    let place = running.listening()[0].trim_end_matches('/');
    place.rsplit(':').next().unwrap().parse().unwrap()
}

/// What curl gets from `https://localhost:PORT/`.
fn curl(port: u16, folder: &TempDir, args: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new(tool("curl")?);
    command.args(["--silent", "--show-error", "--cacert"]);
    command.arg(inside(folder, "roots.pem"));
    command.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
    command.args(args);
    command.arg(format!("https://localhost:{port}/"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    Some((output.status.success(), printed))
}

#[test]
fn curl_gets_a_page_in_both_versions() {
    let (_, folder) = certificates();
    let site = site();
    let (running, port) = serve(&site, &folder, ":alpn=http/1.1");
    assert!(running.listening()[0].starts_with("https://127.0.0.1:"));
    for version in [&["--tls-max", "1.2"], &["--tlsv1.3", "--no-alpn"]] {
        let Some(got) = curl(port, &folder, version) else {
            return;
        };
        assert_eq!(got, (true, "index".to_owned()));
    }
    let none = tempfile::tempdir().unwrap();
    fs::write(inside(&none, "roots.pem"), Authority::new().roots()).unwrap();
    let (success, _) = curl(port, &none, &[]).unwrap();
    assert!(!success);
    assert_eq!(running.stop(), "");
}

#[test]
fn curl_without_a_certificate_is_refused_where_one_is_required() {
    let (_, folder) = certificates();
    let site = site();
    // (With HTTP/2 curl has written already when it is refused, and finds the connection reset.)
    let roots = inside(&folder, "roots.pem");
    let options = format!(":client_roots={roots}:alpn=http/1.1");
    let (running, port) = serve(&site, &folder, &options);
    let own = inside(&folder, "client.pem");
    let Some(got) = curl(port, &folder, &["--cert", &own, "--key", &own]) else {
        return;
    };
    assert_eq!(got, (true, "index".to_owned()));
    let (success, complaint) = curl(port, &folder, &[]).unwrap();
    assert!(
        !success && complaint.contains("certificate required"),
        "{complaint}"
    );
    assert_eq!(running.stop(), "");
}

#[test]
fn three_hundred_who_never_finish_keep_nobody_waiting_and_are_closed_in_time() {
    let (_, folder) = certificates();
    let site = site();
    let (running, port) = serve(&site, &folder, ":handshake=1s");
    // Half of them say nothing, and half of them half of a hello.
    let mut half_open: Vec<_> = (0..300)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    for stream in half_open.iter_mut().step_by(2) {
        stream
            .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
            .unwrap();
    }
    let Some(got) = curl(port, &folder, &[]) else {
        return;
    };
    assert_eq!(got, (true, "index".to_owned()));
    for mut stream in half_open {
        let mut rest = Vec::new();
        // It may be reset, where it had sent something.
        let _ = stream.read_to_end(&mut rest);
    }
    assert_eq!(running.stop(), "");
}

#[test]
fn a_renewed_certificate_is_shown_and_who_is_connected_stays_so() {
    let Some(openssl) = tool("openssl") else {
        return;
    };
    let (authority, folder) = certificates();
    let site = site();
    let (running, port) = serve(&site, &folder, "");
    let connect = format!("127.0.0.1:{port}");
    let s_client = |args: &[&str]| {
        let mut command = Command::new(&openssl);
        command.args(["s_client", "-connect", &connect]).args(args);
        command
    };
    let shown = || {
        let output = s_client(&[]).stdin(Stdio::null()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let start = printed.find("-----BEGIN CERTIFICATE-----").unwrap();
        let end = printed.find("-----END CERTIFICATE-----").unwrap();
        printed[start..end].to_owned()
    };
    let old = shown();
    let mut connected = s_client(&["-quiet", "-ign_eof"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = connected.stdin.take().unwrap();
    let mut output = BufReader::new(connected.stdout.take().unwrap());
    let mut get = |close: &str| {
        write!(input, "GET / HTTP/1.1\r\nHost: localhost\r\n{close}\r\n").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        while !line.ends_with("\r\n\r\n") {
            output.read_line(&mut line).unwrap();
        }
        let mut body = [0; 5];
        output.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"index");
    };
    get("");
    // Whole or not at all.
    let renewed = authority.server(&["localhost"]);
    fs::write(inside(&folder, "new"), renewed.pem()).unwrap();
    fs::rename(inside(&folder, "new"), inside(&folder, "server.pem")).unwrap();
    while shown() == old {}
    assert!(renewed.certificate.starts_with(shown().trim_end()));
    get("Connection: close\r\n");
    assert!(connected.wait().unwrap().success());
    assert_eq!(running.stop(), "");
}

#[test]
fn tls_is_forwarded_to_a_unix_socket() {
    let (_, folder) = certificates();
    let behind = UnixListener::bind(inside(&folder, "behind.sock")).unwrap();
    let listen = format!(
        "tls:0:interface=127.0.0.1:certificate={}",
        inside(&folder, "server.pem")
    );
    let to = format!("unix:{}", inside(&folder, "behind.sock"));
    let args = ["forward", "--listen", &listen, "--to", &to];
    let running = Running::start(command(args), 1);
    assert!(running.listening()[0].starts_with("tls:127.0.0.1:"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = behind.accept().unwrap();
        let mut request = [0; 14];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"GET / HTTP/1.1");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nbehind";
        stream.write_all(answer).unwrap();
        // All of it, so that nothing is reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let Some(got) = curl(port(&running), &folder, &[]) else {
        return;
    };
    assert_eq!(got, (true, "behind".to_owned()));
    server.join().unwrap();
    assert_eq!(running.stop(), "");
}

#[test]
fn a_certificate_that_is_not_there_is_said_before_anything_is_served() {
    let site = site();
    let path = site.path().to_str().unwrap();
    let args = [
        "web",
        "--path",
        path,
        "--listen",
        "tls:0:certificate=/no/such.pem",
    ];
    let output = ropewalk(args);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains("/no/such.pem cannot be read: "),
        "{complaint}"
    );
}

#[test]
fn sslyze_finds_nothing_old_and_nothing_that_can_be_attacked() {
    let sslyze = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/sslyze/bin");
    let Some(sslyze) = tool_in(sslyze, "sslyze") else {
        return;
    };
    let (_, folder) = certificates();
    let site = site();
    let (running, port) = serve(&site, &folder, "");
    let all = [
        "sslv2",
        "sslv3",
        "tlsv1",
        "tlsv1_1",
        "tlsv1_2",
        "tlsv1_3",
        "compression",
        "openssl_ccs",
        "fallback",
        "heartbleed",
        "robot",
        "reneg",
        "ems",
    ];
    let output = Command::new(sslyze)
        .arg("--mozilla_config=disable")
        .args(all.map(|scan| format!("--{scan}")))
        .arg(format!("localhost:{port}{{127.0.0.1}}"))
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.matches("the server rejected all").count(), 4, "{told}");
    assert_eq!(told.matches("The server accepted the following").count(), 2);
    for good in [
        "Forward Secrecy                    OK",
        "OK - Compression disabled",
        "OK - Not vulnerable to OpenSSL CCS injection",
        "OK - Not vulnerable to Heartbleed",
        "OK - Not vulnerable, RSA cipher suites not supported",
        "Client Renegotiation DoS Attack:   OK",
        "Secure Renegotiation:              OK",
        "TLS_FALLBACK_SCSV:                 OK",
        "SCANS COMPLETED",
    ] {
        assert!(told.contains(good), "{good}: {told}");
    }
    for bad in ["VULNERABLE -", "FAILED", "ERROR"] {
        assert!(!told.contains(bad), "{bad}: {told}");
    }
    assert_eq!(running.stop(), "");
}
