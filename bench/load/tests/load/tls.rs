//! TLS: handshakes, long answers and idle connections.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
    sync::Arc,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::{CryptoProvider, ring},
    pki_types::PrivateKeyDer,
    server::NoServerSessionStorage,
    version::TLS13,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{command, complaint, measure, number, servers::serve};

/// A server's settings, and the folder with its certificate and with what it sends in bulk.
struct Site {
    config: ServerConfig,
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(ring::default_provider())
    }

    fn with(provider: CryptoProvider) -> Self {
        let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("site.pem"), made.cert.pem()).unwrap();
        let bulk: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(dir.path().join("bulk.bin"), bulk).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.ticketer = ring::Ticketer::new().unwrap();
        Self { config, dir }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Answers each request by the function, and closes where that says so; says where.
    fn serve(&self, answer: impl Fn(&str) -> (Vec<u8>, bool) + Clone + Send + 'static) -> String {
        let config = Arc::new(self.config.clone());
        serve(move |stream: TcpStream| {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(tls, stream));
            let (mut line, mut request) = (String::new(), None);
            while let Ok(1..) = stream.read_line(&mut line) {
                let first = request.get_or_insert_with(|| line.clone());
                if line == "\r\n" {
                    let (bytes, closes) = answer(first);
                    let stream = stream.get_mut();
                    let sent = stream.write_all(&bytes);
                    if closes {
                        stream.conn.send_close_notify();
                    }
                    if sent.is_err() || stream.flush().is_err() || closes {
                        return;
                    }
                    request = None;
                }
                line.clear();
            }
        })
    }

    /// A short answer, after which the connection is closed.
    fn hello(&self, body: &'static str) -> String {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n";
        self.serve(move |_| (format!("{head}{body}").into_bytes(), true))
    }

    /// The long answer, with a change.
    fn bulk(&self, change: impl Fn(&mut Vec<u8>)) -> String {
        let mut body = std::fs::read(self.file("bulk.bin")).unwrap();
        change(&mut body);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = [head.into_bytes(), body].concat();
        self.serve(move |_| (answer.clone(), false))
    }
}

const HELLO: &str = "Hello, World!";

#[test]
fn handshakes_are_counted_by_their_answers() {
    let site = Site::new();
    let to = site.hello(HELLO);
    for resume in [&[][..], &["--resume"]] {
        let certificate = site.file("site.pem");
        let arguments = ["--connections", "3", "--certificate", &certificate];
        let arguments = [&arguments, resume, &["--threads", "2"]].concat();
        let result = measure("handshake", &to, &arguments);
        let requests = number(&result, "requests");
        assert!(requests > 3, "{result}");
        assert_eq!(number(&result, "errors"), 0);
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!".len() as u64;
        assert_eq!(number(&result, "bytes"), requests * answer);
    }
}

#[test]
fn a_session_that_is_not_resumed_ends_the_run() {
    let mut site = Site::new();
    site.config.ticketer = Arc::new(NoTickets);
    site.config.session_storage = Arc::new(NoServerSessionStorage {});
    let to = site.hello(HELLO);
    let arguments = ["--resume", "--certificate", &site.file("site.pem")];
    let said = complaint("handshake", &to, &arguments);
    assert!(said.contains("Some(Full)"), "{said}");
    assert!(said.contains("Some(Resumed)) was due"), "{said}");
}

#[test]
fn only_one_suite_and_one_group_are_spoken() {
    let mut others = ring::default_provider();
    others.kx_groups = vec![ring::kx_group::SECP256R1];
    let mut suites = ring::default_provider();
    suites.cipher_suites = vec![ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    for provider in [others, suites] {
        let site = Site::with(provider);
        let to = site.hello(HELLO);
        let arguments = ["--certificate", &site.file("site.pem")];
        let said = complaint("handshake", &to, &arguments);
        assert!(said.contains("HandshakeFailure"), "{said}");
    }
}

#[test]
fn another_certificate_is_not_trusted() {
    let (site, other) = (Site::new(), Site::new());
    let to = site.hello(HELLO);
    let arguments = ["--certificate", &other.file("site.pem")];
    let said = complaint("handshake", &to, &arguments);
    assert!(said.contains("UnknownIssuer"), "{said}");
}

#[test]
fn a_handshake_knows_a_wrong_answer_and_counts_one_that_ends_early() {
    let site = Site::new();
    let certificate = site.file("site.pem");
    let arguments = ["--certificate", &certificate];
    let said = complaint("handshake", &site.hello("Hello, world!"), &arguments);
    assert!(said.contains("a body of \"Hello, world!\""), "{said}");
    let result = measure("handshake", &site.hello("Hello"), &arguments);
    assert_eq!(number(&result, "requests"), 0);
    assert!(number(&result, "errors") > 1, "{result}");
}

#[test]
fn long_answers_are_counted_by_their_bytes() {
    let site = Site::new();
    let to = site.bulk(|_| {});
    let (certificate, body) = (site.file("site.pem"), site.file("bulk.bin"));
    let arguments = ["--connections", "3", "--path", "/bulk.bin", "--body", &body];
    let arguments = [&arguments[..], &["--certificate", &certificate]].concat();
    let result = measure("bulk", &to, &arguments);
    let requests = number(&result, "requests");
    assert!(requests > 3, "{result}");
    assert_eq!(number(&result, "bytes"), requests * 100_000);
    assert_eq!(number(&result, "errors"), 0);
}

#[test]
fn each_byte_of_a_long_answer_is_compared() {
    let site = Site::new();
    let (certificate, body) = (site.file("site.pem"), site.file("bulk.bin"));
    let arguments = [
        "--path",
        "/",
        "--body",
        &body,
        "--certificate",
        &certificate,
    ];
    let said = complaint("bulk", &site.bulk(|body| body[77_777] ^= 1), &arguments);
    assert!(said.contains("byte 77777 of a body is another"), "{said}");
    let said = complaint("bulk", &site.bulk(|body| body.push(0)), &arguments);
    assert!(said.contains("not 100000"), "{said}");
}

#[test]
fn idle_connections_have_made_their_handshake() {
    let site = Site::new();
    let to = site.hello(HELLO);
    let certificate = site.file("site.pem");
    let mut child = command(&[
        "idle",
        "--to",
        &to,
        "--connections",
        "20",
        "--tls",
        &certificate,
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let result: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(number(&result, "connections"), 20);
    assert_eq!(number(&result, "errors"), 0);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());

    // Who does not speak TLS has made none.
    let to = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
    });
    let arguments = ["--connections", "2", "--tls", &certificate];
    let result = measure("idle", &to, &arguments);
    assert_eq!(number(&result, "connections"), 0);
    assert_eq!(number(&result, "errors"), 2);
}

#[test]
fn no_server_of_tls_is_said_clearly() {
    let site = Site::new();
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
    let (certificate, body) = (site.file("site.pem"), site.file("bulk.bin"));
    let bulk = [
        "--path",
        "/",
        "--body",
        &body,
        "--certificate",
        &certificate,
    ];
    for (kind, arguments) in [("handshake", &bulk[4..]), ("bulk", &bulk[..])] {
        let said = complaint(kind, &to, arguments);
        assert!(said.contains(&format!("cannot connect to {to}")), "{said}");
    }
    let said = complaint("handshake", &to, &["--certificate", "/none"]);
    assert!(
        said.contains("reading the server's certificate: /none: "),
        "{said}"
    );
}

/// Makes no tickets.
#[derive(Debug)]
struct NoTickets;

impl rustls::server::ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
