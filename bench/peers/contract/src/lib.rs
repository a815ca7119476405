//! What every server that the benchmark starts has in common: its command line, its listeners, the
//! line that says it accepts, and the contents of its answers.
//!
//! `PROGRAM APP ADDRESS WORKERS [DIR]`. Nothing here runs once a connection is served, except the
//! making of an [`Order`].

use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use std::convert::Infallible;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread;

/// The answer to `GET /` of the app `hello`.
pub const HELLO: &str = "Hello, World!";

/// The whole answer to `GET /` of the apps `tls` and `tls-resumed`, after which the server closes.
pub const HELLO_AND_CLOSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, World!";

/// What the app `json` sends beside its `content-type`, as a small service of today would.
pub const JSON_HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("x-request-id", "0123456789abcdef"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("vary", "accept"),
];

/// How much an echo server reads at once.
pub const READ_BUFFER: usize = 64 * 1024;

/// How long an idle HTTP connection is kept where the framework asks; nginx's default.
pub const KEEP_ALIVE_SECONDS: u16 = 75;

const BACKLOG: i32 = 4096;

/// The command line of a server.
#[derive(Debug)]
pub struct Arguments {
    pub app: String,
    pub address: SocketAddr,
    pub workers: usize,
    /// The folder that the app `file` serves, and that has the certificate of those with TLS.
    pub dir: Option<PathBuf>,
}

/// The apps that need a DIR.
const WITH_DIR: [&str; 3] = ["file", "tls", "tls-resumed"];

impl Arguments {
    /// Reads the command line. If it is wrong, or names none of `apps`, says so and exits with 2.
    pub fn parse(apps: &[&str]) -> Self {
        let mut words = std::env::args().skip(1);
        let (Some(app), Some(address), Some(workers)) = (words.next(), words.next(), words.next())
        else {
            usage(apps, "too few arguments");
        };
        if !apps.contains(&app.as_str()) {
            usage(apps, &format!("no app {app:?} here"));
        }
        let Ok(address) = address.parse() else {
            usage(
                apps,
                &format!("{address:?} is no address such as 127.0.0.1:0"),
            );
        };
        let workers = match workers.parse() {
            Ok(workers) if workers > 0 => workers,
            _ => usage(
                apps,
                &format!("{workers:?} is no number of workers, 1 or more"),
            ),
        };
        let dir = words.next().map(PathBuf::from);
        if WITH_DIR.contains(&app.as_str()) && dir.is_none() {
            usage(apps, &format!("the app {app} needs a DIR"));
        }
        Self {
            app,
            address,
            workers,
            dir,
        }
    }
}

fn usage(apps: &[&str], problem: &str) -> ! {
    eprintln!("{problem}\nusage: PROGRAM APP ADDRESS WORKERS [DIR]");
    eprintln!("APP: {}", apps.join(", "));
    exit(2);
}

/// Ends the program with 1 for something that went wrong while it ran.
pub fn fail(doing: &str, error: impl Display) -> ! {
    eprintln!("{doing}: {error}");
    exit(1);
}

/// `count` listeners that share one port through `SO_REUSEPORT`, ready for an event loop.
///
/// They have `TCP_NODELAY`, which an accepted socket inherits on Linux.
pub fn listeners(address: SocketAddr, count: usize) -> Vec<TcpListener> {
    let first = listener(address);
    let port = local_address(&first);
    let others = (1..count).map(|_| listener(port)).collect::<Vec<_>>();
    std::iter::once(first).chain(others).collect()
}

/// The only listener of a framework that hands accepted sockets to its workers itself.
pub fn listener(address: SocketAddr) -> TcpListener {
    let listen = || -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listen().unwrap_or_else(|error| fail(&format!("cannot listen on {address}"), error))
}

/// `count` UDP sockets that share one port through `SO_REUSEPORT`, ready for an event loop.
pub fn datagram_sockets(address: SocketAddr, count: usize) -> Vec<UdpSocket> {
    let bind = |address: SocketAddr| -> io::Result<UdpSocket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    let mut address = address;
    let bind = |_| {
        let socket = bind(address).and_then(|socket| {
            // The others get the port that the first one got.
            address = socket.local_addr()?;
            Ok(socket)
        });
        socket.unwrap_or_else(|error| fail(&format!("cannot bind {address}"), error))
    };
    (0..count).map(bind).collect()
}

/// Where it listens, for a listener that was given port 0.
pub fn local_address(listener: &TcpListener) -> SocketAddr {
    listener
        .local_addr()
        .unwrap_or_else(|error| fail("cannot tell the port", error))
}

/// Prints the line that the benchmark waits for.
pub fn announce(address: SocketAddr) {
    let mut output = io::stdout();
    writeln!(output, "listening on {address}")
        .and_then(|()| output.flush())
        .unwrap_or_else(|error| fail("cannot print the address", error));
}

/// Says where it listens, and serves each listener on a thread of its own until the program is killed.
pub fn thread_per_listener(
    listeners: Vec<TcpListener>,
    serve: impl Fn(TcpListener) -> io::Result<Infallible> + Clone + Send + 'static,
) -> ! {
    let address = listeners.first().map(local_address);
    thread_per_socket(listeners, address, serve)
}

/// The same for any sockets, the first of which has this address.
pub fn thread_per_socket<S: Send + 'static>(
    sockets: Vec<S>,
    address: Option<SocketAddr>,
    serve: impl Fn(S) -> io::Result<Infallible> + Clone + Send + 'static,
) -> ! {
    let threads = sockets
        .into_iter()
        .map(|socket| {
            let serve = serve.clone();
            thread::spawn(move || match serve(socket) {
                Ok(never) => match never {},
                Err(error) => fail("cannot serve", error),
            })
        })
        .collect::<Vec<_>>();
    if let Some(address) = address {
        announce(address);
    }
    for thread in threads {
        // A panic has been printed already.
        if thread.join().is_err() {
            exit(1);
        }
    }
    exit(1);
}

/// The files of the apps with TLS, in their DIR.
pub fn certificate(dir: &Path) -> [PathBuf; 2] {
    ["site.pem", "site.key"].map(|name| dir.join(name))
}

/// The whole answer to `GET /bulk.bin` of the app `tls`, from the file of that name.
pub fn bulk(dir: &Path) -> Vec<u8> {
    let body = fs::read(dir.join("bulk.bin"))
        .unwrap_or_else(|error| fail("cannot read bulk.bin in DIR", error));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

/// A request of the apps with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Hello,
    Bulk,
}

/// The heads of requests as they come, in whatever pieces.
#[derive(Debug, Default)]
pub struct Requests(Vec<u8>);

impl Requests {
    /// Those that `bytes` complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Request> {
        self.0.extend_from_slice(bytes);
        let mut taken = Vec::new();
        let mut start = 0;
        while let Some(end) = self.0[start..]
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
        {
            taken.push(match self.0[start..].starts_with(b"GET / ") {
                true => Request::Hello,
                false => Request::Bulk,
            });
            start += end + 4;
        }
        self.0.drain(..start);
        if self.0.is_empty() {
            // An idle connection has no buffer.
            self.0 = Vec::new();
        }
        taken
    }
}

/// The body of the app `json`.
#[derive(Debug, Serialize)]
pub struct Order {
    user: u64,
    order: u64,
    state: &'static str,
    items: [Item; 2],
}

#[derive(Debug, Serialize)]
struct Item {
    name: &'static str,
    count: u32,
}

impl Order {
    pub fn new(user: u64, order: u64) -> Self {
        let item = |name, count| Item { name, count };
        Self {
            user,
            order,
            state: "shipped",
            items: [item("rope", 3), item("hemp", 12)],
        }
    }

    /// The order that `/users/42/orders/7` names, for a framework without a router.
    pub fn at(path: &str) -> Option<Self> {
        let (user, order) = path.strip_prefix("/users/")?.split_once("/orders/")?;
        Some(Self::new(user.parse().ok()?, order.parse().ok()?))
    }
}
