//! TLS over real sockets, with other people's at the other end: OpenSSL and Twisted, both ways.
//!
//! What is missing on this machine is said in one line; with `CI=true` it fails.

#[expect(dead_code, reason = "the tests of the layer use more of it")]
#[path = "../../../tls/tests/tls/authority.rs"]
mod authority;

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use ropewalk::tls::TlsInfo;
use ropewalk::{
    Address, Connection, Deferred, Failure, Protocol, Reactor, ReactorRemote, Transport,
};
use tempfile::TempDir;

use authority::Authority;

/// A folder with `roots.pem`, `server.pem` for localhost, and `client.pem`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let put = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    put("roots.pem", authority.roots());
    put("server.pem", authority.server(&["localhost"]).pem());
    put("client.pem", authority.client("someone").pem());
    folder
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn missing(what: &str) {
    let message = format!("{what} is missing: what it would test is not tested");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{message}"
    );
    eprintln!("{message}");
}

fn openssl(args: &[&str]) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("openssl"));
    let Some(program) = found.into_iter().find(|file| file.is_file()) else {
        missing("openssl");
        return None;
    };
    let mut command = Command::new(program);
    command.args(args);
    Some(command)
}

fn twisted(args: &[&str]) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python: PathBuf = root.join("target/twisted/bin/python");
    let has_tls = Command::new(&python)
        .args(["-c", "import twisted.internet.ssl, service_identity"])
        .stderr(Stdio::null())
        .status();
    if !has_tls.is_ok_and(|status| status.success()) {
        missing("Twisted with TLS (CONTRIBUTING.md says how to get it)");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(root.join("crates/ropewalk/tests/tls/peer.py"));
    command.args(args);
    Some(command)
}

/// Sends back what comes, and writes down what was agreed on and how it ended.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<String>>>);

impl Seen {
    fn add(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    fn text(&self) -> String {
        self.0.borrow().join(", ")
    }
}

struct Echo(Seen);

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &mut Transport) {
        let tls = transport.fact::<TlsInfo>().unwrap();
        let alpn = tls.alpn.as_deref().map(String::from_utf8_lossy);
        self.0.add(format!(
            "{:?} {:?} {}",
            tls.version,
            alpn.unwrap_or_default(),
            // How many there are is the peer's choice.
            if tls.peer_certificates.is_empty() {
                "anonymous"
            } else {
                "known"
            },
        ));
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
        if data.ends_with(b"bye\n") {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.add(reason.to_string());
    }
}

/// Serves at a `tls:` endpoint of these options while `client` runs to its end; returns what it
/// printed, and whether it ended well.
fn serve(seen: &Seen, options: &str, client: impl FnOnce(u16) -> Command) -> (bool, String) {
    let reactor = Reactor::new().unwrap();
    let endpoint = format!("tls:0:interface=127.0.0.1:{options}");
    let shared = seen.clone();
    let factory = Rc::new(move |_: &Address| Echo(shared.clone()));
    let port = reactor.listen(&endpoint.parse().unwrap(), factory).unwrap();
    let number = port.address().socket_addr().unwrap().port();
    let child = client(number)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waiter = wait(child, reactor.remote());
    reactor.run().unwrap();
    waiter.join().unwrap()
}

/// Gives a child its input, and stops the reactor when it has ended.
fn wait(mut child: Child, remote: ReactorRemote) -> std::thread::JoinHandle<(bool, String)> {
    std::thread::spawn(move || {
        let mut input = child.stdin.take().unwrap();
        // It may have gone already.
        let _ = input.write_all(b"hello\nbye\n");
        let mut printed = String::new();
        let mut output = child.stdout.take().unwrap();
        output.read_to_string(&mut printed).unwrap();
        let mut complaint = String::new();
        let mut errors = child.stderr.take().unwrap();
        errors.read_to_string(&mut complaint).unwrap();
        let status = child.wait().unwrap();
        drop(input);
        remote.call_from_thread(|reactor| reactor.stop());
        (status.success(), printed + &complaint)
    })
}

#[test]
fn openssl_speaks_with_our_server_in_both_versions_with_and_without_a_certificate() {
    let folder = folder();
    let (roots, server, own) = (
        path(&folder, "roots.pem"),
        path(&folder, "server.pem"),
        path(&folder, "client.pem"),
    );
    for version in ["1_2", "1_3"] {
        for known in [false, true] {
            let seen = Seen::default();
            let mut options = format!("certificate={server}:alpn=echo,other");
            if known {
                options += &format!(":client_roots={roots}");
            }
            let mut present = true;
            let (ended_well, printed) = serve(&seen, &options, |port| {
                let connect = format!("127.0.0.1:{port}");
                let version = format!("-tls{version}");
                let mut args = vec!["s_client", "-connect", &connect, "-CAfile", &roots];
                args.extend(["-servername", "localhost", "-verify_return_error"]);
                args.extend(["-verify_hostname", "localhost", "-alpn", "echo", &version]);
                args.extend(["-quiet", "-ign_eof"]);
                if known {
                    args.extend(["-cert", &own, "-key", &own]);
                }
                openssl(&args).unwrap_or_else(|| {
                    present = false;
                    Command::new("true")
                })
            });
            if !present {
                return;
            }
            assert!(ended_well, "{printed}");
            assert!(printed.contains("hello\nbye\n"), "{printed}");
            let who = if known { "known" } else { "anonymous" };
            let expected = format!("TLSv{version} \"echo\" {who}, ");
            assert!(seen.text().starts_with(&expected), "{}", seen.text());
        }
    }
}

#[test]
fn openssl_without_a_certificate_is_refused_where_one_is_required() {
    let folder = folder();
    let (roots, server) = (path(&folder, "roots.pem"), path(&folder, "server.pem"));
    let seen = Seen::default();
    let options = format!("certificate={server}:client_roots={roots}");
    let mut present = true;
    let (_, printed) = serve(&seen, &options, |port| {
        let connect = format!("127.0.0.1:{port}");
        let args = ["s_client", "-connect", &connect, "-quiet", "-ign_eof"];
        openssl(&args).unwrap_or_else(|| {
            present = false;
            Command::new("true")
        })
    });
    if present {
        assert!(printed.contains("certificate required"), "{printed}");
        assert_eq!(seen.text(), "");
    }
}

#[test]
fn twisted_speaks_with_our_server_in_both_versions() {
    let folder = folder();
    let (roots, server) = (path(&folder, "roots.pem"), path(&folder, "server.pem"));
    for version in ["1.2", "1.3"] {
        let seen = Seen::default();
        let options = format!("certificate={server}:client_roots={roots}:alpn=echo");
        let mut present = true;
        let (ended_well, printed) = serve(&seen, &options, |port| {
            let folder = folder.path().to_str().unwrap();
            let args = ["connect", folder, &port.to_string(), version];
            twisted(&args).unwrap_or_else(|| {
                present = false;
                Command::new("true")
            })
        });
        if !present {
            return;
        }
        assert!(ended_well, "{version}: {printed}");
        let version = version.replace('.', "_");
        assert_eq!(
            seen.text(),
            format!("TLSv{version} \"echo\" known, the connection was closed cleanly")
        );
    }
}

/// Sends, wants it back turned around or not, and closes.
struct Client {
    seen: Seen,
    sent: Vec<u8>,
    expected: Vec<u8>,
    got: Vec<u8>,
}

impl Client {
    fn new(seen: &Seen, sent: &[u8], expected: &[u8]) -> Self {
        Self {
            seen: seen.clone(),
            sent: sent.to_vec(),
            expected: expected.to_vec(),
            got: Vec::new(),
        }
    }
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &mut Transport) {
        let tls = transport.fact::<TlsInfo>().unwrap();
        self.seen.add(format!("{:?}", tls.version));
        transport.write(&self.sent);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.got.extend_from_slice(data);
        if self.got == self.expected {
            self.seen.add("all");
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.seen.add(reason.to_string());
    }
}

/// Connects to `endpoint` and runs until that has ended.
fn connect(seen: &Seen, endpoint: &str, sent: &[u8], expected: &[u8]) {
    let reactor = Reactor::new().unwrap();
    let (shared, sent, expected) = (seen.clone(), sent.to_vec(), expected.to_vec());
    let factory = Rc::new(move |_: &Address| Client::new(&shared, &sent, &expected));
    let made: Deferred<Connection> = reactor.connect(&endpoint.parse().unwrap(), factory);
    let (failed, stop) = (seen.clone(), reactor.handle());
    let handle = reactor.handle();
    drop(made.add_callbacks(
        move |_: Connection| watch(&handle),
        move |failure: Failure| {
            failed.add(format!("not connected: {}", failure.brief_traceback()));
            stop.stop();
        },
    ));
    reactor.run().unwrap();
}

/// Stops when no connection is left.
fn watch(handle: &ropewalk::Handle) {
    let again = handle.clone();
    handle.call_later(std::time::Duration::from_millis(5), move || {
        match again.connections() {
            0 => again.stop(),
            _ => watch(&again),
        }
    });
}

/// A child that is ended when the test is.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `openssl s_server -rev`, which turns lines around, and its port.
fn s_server(args: &[&str]) -> Option<(Serving, u16)> {
    let first = ["s_server", "-accept", "127.0.0.1:0", "-rev"];
    let mut command = openssl(&[&first, args].concat())?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let lines = output.lines().map_while(Result::ok);
    let mut ports = lines.filter_map(|line| {
        line.strip_prefix("ACCEPT ")?
            .rsplit(':')
            .next()?
            .parse()
            .ok()
    });
    let port = ports.next().expect("s_server says where it listens");
    // Nobody else reads what it says; it is little.
    Some((Serving(child), port))
}

#[test]
fn our_client_speaks_with_openssl_in_both_versions_with_a_certificate() {
    let folder = folder();
    let (roots, server, own) = (
        path(&folder, "roots.pem"),
        path(&folder, "server.pem"),
        path(&folder, "client.pem"),
    );
    for version in ["1_2", "1_3"] {
        let flag = format!("-tls{version}");
        let args = ["-cert", &server, "-key", &server, "-CAfile", &roots];
        let more = ["-Verify", "1", "-verify_return_error", &flag, "-quiet"];
        let args = [&args[..], &more[..4]].concat();
        let Some((_server, port)) = s_server(&args) else {
            return;
        };
        let seen = Seen::default();
        let endpoint =
            format!("tls:127.0.0.1:{port}:roots={roots}:certificate={own}:name=localhost");
        connect(&seen, &endpoint, b"hello\n", b"olleh\n");
        let expected = format!("TLSv{version}, all, the connection was closed cleanly");
        assert_eq!(seen.text(), expected);
    }
}

#[test]
fn connecting_fails_where_the_server_cannot_be_verified() {
    let folder = folder();
    let (roots, server) = (path(&folder, "roots.pem"), path(&folder, "server.pem"));
    let Some((_server, port)) = s_server(&["-cert", &server, "-key", &server]) else {
        return;
    };
    let stranger = path(&folder, "stranger.pem");
    fs::write(&stranger, Authority::new().roots()).unwrap();
    for (options, said) in [
        (
            format!("roots={roots}"),
            "is for localhost, not for 127.0.0.1",
        ),
        (
            format!("roots={stranger}:name=localhost"),
            "issued by none of the authorities that this side trusts",
        ),
        ("name=localhost".to_owned(), "that this side trusts"),
        (
            format!("roots={}", path(&folder, "none.pem")),
            "none.pem cannot be read: ",
        ),
    ] {
        let seen = Seen::default();
        connect(&seen, &format!("tls:127.0.0.1:{port}:{options}"), b"", b"x");
        let text = seen.text();
        assert!(text.starts_with("not connected: "), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn our_client_speaks_with_twisted() {
    let folder = folder();
    let args = ["serve", folder.path().to_str().unwrap()];
    let Some(mut command) = twisted(&args) else {
        return;
    };
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut server = Serving(child);
    let mut port = String::new();
    output.read_line(&mut port).unwrap();
    let seen = Seen::default();
    let endpoint = format!(
        "tls:127.0.0.1:{}:roots={}:certificate={}:name=localhost:alpn=echo",
        port.trim(),
        path(&folder, "roots.pem"),
        path(&folder, "client.pem"),
    );
    let data: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
    connect(&seen, &endpoint, &data, &data);
    assert_eq!(
        seen.text(),
        "TLSv1_3, all, the connection was closed cleanly"
    );
    assert!(server.0.wait().unwrap().success());
}

/// Writes all that it has as soon as it can, and closes.
struct Hasty(Vec<u8>);

impl Protocol for Hasty {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(&self.0);
        transport.lose_connection();
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

/// Counts what comes, and stops the reactor when it is over.
struct Counter(Seen, usize, ropewalk::Handle);

impl Protocol for Counter {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.1 += data.len();
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.add(format!("{} bytes, {reason}", self.1));
        self.2.stop();
    }
}

#[test]
fn what_is_written_before_a_close_arrives_though_the_server_has_sent_tickets() {
    let folder = folder();
    for len in [
        10, 1000, 30_000, 60_000, 100_000, 150_000, 300_000, 1_000_000,
    ] {
        let seen = Seen::default();
        let reactor = Reactor::new().unwrap();
        let server = path(&folder, "server.pem");
        let listen = format!("tls:0:interface=127.0.0.1:certificate={server}");
        let (shared, handle) = (seen.clone(), reactor.handle());
        let factory = Rc::new(move |_: &Address| Counter(shared.clone(), 0, handle.clone()));
        let port = reactor.listen(&listen.parse().unwrap(), factory).unwrap();
        let port = port.address().port().unwrap();
        let roots = path(&folder, "roots.pem");
        let endpoint = format!("tls:127.0.0.1:{port}:roots={roots}:name=localhost");
        let factory = Rc::new(move |_: &Address| Hasty(vec![7; len]));
        drop(reactor.connect(&endpoint.parse().unwrap(), factory));
        reactor.run().unwrap();
        let expected = format!("{len} bytes, the connection was closed cleanly");
        assert_eq!(seen.text(), expected);
    }
}
