//! Proxies by other people: haproxy and socat in front of us, microsocks and tinyproxy between us and
//! others.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::foreign::tool;
use super::running::{Running, command, inside, site};

/// A proxy that the test has started, killed when it ends.
struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    /// Starts what `make` makes for a port that was free, and waits until it listens there.
    fn start(make: impl Fn(u16) -> Command) -> Self {
        loop {
            let port = free_port();
            let mut command = make(port);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let child = command.stderr(Stdio::null()).spawn().unwrap();
            let mut proxy = Self { child, port };
            while proxy.child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return proxy;
                }
                thread::yield_now();
            }
            // Somebody else had the port in between.
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// These programs do not say which port they got.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A site whose access log is kept, behind a PROXY header.
struct Site {
    folder: TempDir,
    logs: TempDir,
}

impl Site {
    fn new() -> Self {
        Self {
            folder: site(),
            logs: tempfile::tempdir().unwrap(),
        }
    }

    fn serve(&self, listen: &str) -> Running {
        let log = inside(&self.logs, "access.log");
        let path = self.folder.path().to_str().unwrap();
        let args = [
            "web",
            "--path",
            path,
            "--listen",
            listen,
            "--access-log",
            &log,
        ];
        Running::start(command(args), 1)
    }

    /// Who has asked, by the log.
    fn peers(&self) -> Vec<String> {
        let log = fs::read_to_string(inside(&self.logs, "access.log")).unwrap();
        let peer = |line: &str| line.split(' ').next().unwrap().to_owned();
        log.lines().map(peer).collect()
    }
}

const BEHIND: &str = "proxy:tcp:0:interface=127.0.0.1";

#[test]
fn haproxy_in_front_tells_the_client_in_version_1_and_in_version_2() {
    let Some(haproxy) = tool("haproxy") else {
        return;
    };
    let Some(curl) = tool("curl") else { return };
    for how in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        let site = Site::new();
        let running = site.serve(BEHIND);
        let server = running.address();
        let conf = tempfile::tempdir().unwrap();
        let file = inside(&conf, "haproxy.cfg");
        let proxy = Proxy::start(|port| {
            let text = format!(
                "defaults\n  mode tcp\n  timeout connect 30s\n  timeout client 30s\n  \
                 timeout server 30s\nlisten front\n  bind 127.0.0.1:{port}\n  \
                 unique-id-format %pid\n  server us {server} {how}\n"
            );
            fs::write(&file, text).unwrap();
            let mut command = Command::new(&haproxy);
            command.args(["-db", "-f", &file]);
            command
        });
        let url = format!("http://127.0.0.1:{}/page.txt", proxy.port);
        for _ in 0..3 {
            let args = ["--silent", "--show-error", "--interface", "127.0.0.9", &url];
            let output = Command::new(&curl).args(args).output().unwrap();
            assert_eq!(output.stdout, b"0123456789", "{how}: {output:?}");
        }
        drop(proxy);
        running.stop();
        let peers = site.peers();
        let told = peers.iter().filter(|peer| *peer == "127.0.0.9").count();
        assert_eq!(told, 3, "{how}: {peers:?}");
    }
}

#[test]
fn socat_sends_a_header_that_was_written_by_hand_over_tcp_and_unix() {
    let Some(socat) = tool("socat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = inside(&folder, "site.sock");
    for listen in [BEHIND.to_owned(), format!("proxy:unix:{path}")] {
        let site = Site::new();
        let running = site.serve(&listen);
        let to = match listen.contains("unix") {
            true => format!("UNIX-CONNECT:{path}"),
            false => format!("TCP:{}", running.address()),
        };
        let mut client = Command::new(&socat)
            .args(["-t", "0.1", "-", &to])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = client.stdin.take().unwrap();
        says.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::1 4096 80\r\n")
            .unwrap();
        says.write_all(b"GET /page.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        client
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut answer)
            .unwrap();
        drop(says);
        client.wait().unwrap();
        assert!(answer.ends_with("\r\n\r\n0123456789"), "{answer}");
        running.stop();
        assert_eq!(site.peers(), ["2001:db8::7"]);
    }
}

#[test]
fn a_client_that_is_no_proxy_gets_nothing() {
    let site = Site::new();
    for listen in [
        BEHIND,
        "proxy:trusted=192.0.2.0/24:tcp:0:interface=127.0.0.1",
    ] {
        let mut command = command([
            "web",
            "--path",
            site.folder.path().to_str().unwrap(),
            "--listen",
            listen,
        ]);
        command.stderr(Stdio::null());
        let running = Running::start(command, 1);
        let mut client = running.connect();
        // It may be closed before this has come.
        let _ = client.write_all(b"GET /page.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert_eq!(answer, b"");
        running.stop();
    }
}

/// An echo server, and a forwarder to it by the name of this machine through `via`.
fn through(via: &str, stderr: Stdio) -> (Running, Running) {
    let listen = ["--listen", "tcp:0:interface=127.0.0.1"];
    let echo = [&["wire", "--protocol", "echo"][..], &listen].concat();
    let echo = Running::start(command(echo), 1);
    let port = echo.address().rsplit(':').next().unwrap();
    let to = format!("{via}:tcp:localhost:{port}");
    let mut forward = command([&["forward"], &listen[..], &["--to", &to]].concat());
    forward.stderr(stderr);
    (echo, Running::start(forward, 1))
}

fn echoes(forward: &Running) {
    let piece = vec![b'x'; 1_000_000];
    let client = forward.connect();
    let mut writes = client.try_clone().unwrap();
    let said = piece.clone();
    let writing = thread::spawn(move || writes.write_all(&said).unwrap());
    // These proxies know no half-close: the client closes when it has all.
    let mut heard = vec![0; piece.len()];
    (&client).read_exact(&mut heard).unwrap();
    writing.join().unwrap();
    assert!(heard == piece);
}

/// What is logged of a connection that comes to nothing.
fn complains(via: &str) -> String {
    let logs = tempfile::tempdir().unwrap();
    let log = inside(&logs, "stderr");
    let (echo, forward) = through(via, fs::File::create(&log).unwrap().into());
    let mut heard = Vec::new();
    let _ = forward.connect().read_to_end(&mut heard);
    assert_eq!(heard, b"");
    forward.stop();
    echo.stop();
    fs::read_to_string(log).unwrap()
}

#[test]
fn microsocks_is_asked_by_name_with_and_without_a_password() {
    let Some(microsocks) = tool("microsocks") else {
        return;
    };
    let start = |more: &[&str]| {
        Proxy::start(|port| {
            let mut command = Command::new(&microsocks);
            command
                .args(["-i", "127.0.0.1", "-p", &port.to_string()])
                .args(more);
            command
        })
    };
    let open = start(&[]);
    let via = format!("socks5:127.0.0.1:{}", open.port);
    let (echo, forward) = through(&via, Stdio::inherit());
    echoes(&forward);
    forward.stop();
    echo.stop();
    let guarded = start(&["-u", "ada", "-P", "secret"]);
    let via = format!("socks5:127.0.0.1:{}", guarded.port);
    let (echo, forward) = through(&format!("{via}:user=ada:password=secret"), Stdio::inherit());
    echoes(&forward);
    forward.stop();
    echo.stop();
    let log = complains(&format!("{via}:user=ada:password=wrong"));
    assert!(log.contains("refuses the user name and password"), "{log}");
    assert!(!log.contains("wrong"), "{log}");
    let log = complains(&via);
    assert!(log.contains("give it `user` and `password`"), "{log}");
    let dead = free_port();
    let through_dead = format!("socks5:127.0.0.1:{}:connect:127.0.0.1:{dead}", open.port);
    let log = complains(&through_dead);
    assert!(
        log.contains("the SOCKS5 proxy did not connect: the connection was refused"),
        "{log}"
    );
}

#[test]
fn tinyproxy_makes_a_tunnel_for_who_may_have_one() {
    let Some(tinyproxy) = tool("tinyproxy") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = inside(&folder, "tinyproxy.conf");
    let start = |more: &str| {
        Proxy::start(|port| {
            fs::write(
                &file,
                format!("Port {port}\nListen 127.0.0.1\nTimeout 60\n{more}\n"),
            )
            .unwrap();
            let mut command = Command::new(&tinyproxy);
            command.args(["-d", "-c", &file]);
            command
        })
    };
    let open = start("");
    let via = format!("connect:127.0.0.1:{}", open.port);
    let (echo, forward) = through(&via, Stdio::inherit());
    echoes(&forward);
    forward.stop();
    echo.stop();
    let guarded = start("BasicAuth ada secret");
    let via = format!("connect:127.0.0.1:{}", guarded.port);
    let (echo, forward) = through(&format!("{via}:user=ada:password=secret"), Stdio::inherit());
    echoes(&forward);
    forward.stop();
    echo.stop();
    let log = complains(&via);
    assert!(log.contains("the HTTP proxy did not connect: 407"), "{log}");
    let narrow = start("ConnectPort 443");
    let log = complains(&format!("connect:127.0.0.1:{}", narrow.port));
    assert!(log.contains("the HTTP proxy did not connect: 403"), "{log}");
}

/// A client of `running`, by whatever it listens at.
fn talk(running: &Running, says: &[u8]) -> Vec<u8> {
    let mut heard = vec![0; b"hello".len()];
    match running.listening()[0].strip_prefix("unix:") {
        Some(path) => {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            stream.write_all(says).unwrap();
            stream.read_exact(&mut heard).unwrap();
        }
        None => {
            let mut stream = running.connect();
            stream.write_all(says).unwrap();
            stream.read_exact(&mut heard).unwrap();
        }
    }
    heard
}

#[test]
fn a_forwarder_joins_any_kind_that_listens_to_any_kind_that_connects() {
    let (Some(microsocks), Some(tinyproxy)) = (tool("microsocks"), tool("tinyproxy")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let [echo_path, file] = ["echo.sock", "tinyproxy.conf"].map(|name| inside(&folder, name));
    let echo = [
        "wire",
        "--protocol",
        "echo",
        "--listen",
        "tcp:0:interface=127.0.0.1",
        "--listen",
        &format!("unix:{echo_path}"),
    ];
    let echo = Running::start(command(echo), 2);
    let socks = Proxy::start(|port| {
        let mut command = Command::new(&microsocks);
        command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    let http = Proxy::start(|port| {
        fs::write(
            &file,
            format!("Port {port}\nListen 127.0.0.1\nTimeout 60\n"),
        )
        .unwrap();
        let mut command = Command::new(&tinyproxy);
        command.args(["-d", "-c", &file]);
        command
    });
    let tcp = format!("tcp:{}", echo.address());
    let [socks, http] = [socks.port, http.port].map(|port| format!("127.0.0.1:{port}"));
    let targets = [
        tcp.clone(),
        format!("unix:{echo_path}"),
        format!("socks5:{socks}:{tcp}"),
        format!("connect:{http}:{tcp}"),
        format!("socks5:{socks}:connect:{http}:{tcp}"),
    ];
    let header = &b"PROXY TCP4 198.51.100.7 203.0.113.1 4096 443\r\n"[..];
    for (listen, says) in [
        ("tcp:0:interface=127.0.0.1".to_owned(), &b""[..]),
        ("tcp6:0:interface=[::1]".to_owned(), b""),
        (format!("unix:{}", inside(&folder, "front.sock")), b""),
        (
            format!("proxy:unix:{}", inside(&folder, "front.sock")),
            header,
        ),
        (
            "limit:connections=5:proxy:throttle:read=1m:write=1m:tcp:0:interface=127.0.0.1"
                .to_owned(),
            header,
        ),
    ] {
        for to in &targets {
            let running = Running::start(command(["forward", "--listen", &listen, "--to", to]), 1);
            let says = [says, b"hello"].concat();
            assert_eq!(talk(&running, &says), b"hello", "{listen} to {to}");
            running.stop();
        }
    }
    echo.stop();
}
