//! Bytes of a server's memory for each of very many connections: WebSockets that are idle, that were
//! broadcast to, that talked, that do not read; and readers that do not read what has no end.
//!
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-crowd -- [CONNECTIONS]`: 10,000 of
//! them, unless told. The server is a process of its own; its memory is the proportional set size (Pss) in
//! `/proc/PID/smaps_rollup`, less what it was after a hundred connections had come and gone, divided by
//! the number of connections. What the kernel keeps for its sockets is not in it.

mod server;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use server::{MESSAGE, message};
use socket2::{Domain, SockAddr, Socket, Type};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CONNECTIONS: usize = 10_000;

/// How often a message is broadcast to those who do not read.
const BROADCASTS: usize = 1000;

/// So many come and go before anything is measured: what is made for the first ones, and kept, is not
/// theirs.
const FIRST: usize = 100;

/// Connections that are opened before the first of them is read from.
const BATCH: usize = 256;

/// With the segments of an Ethernet and a small window, the kernels keep little for who does not read.
const SEGMENT: u32 = 1448;
const WINDOW: usize = 4096;

/// How often, a second apart, it is looked at what an answer without an end has taken: the most counts.
const LOOKS: usize = 10;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        let (deflate, slow) = (arguments.next(), arguments.next());
        let (deflate, slow) = (deflate.unwrap_or_default(), slow.unwrap_or_default());
        return server::serve(&deflate, &slow).map_err(|failure| failure.to_string().into());
    }
    let connections = match first {
        Some(count) => count.parse()?,
        None => CONNECTIONS,
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;

    println!("| {connections} connections | bytes each |\n|---|---:|");
    do_not_read("/stream", "answers without an end", "skip", connections)?;
    for deflate in ["none", "default", "lean"] {
        talk(deflate, connections)?;
    }
    for slow_reader in ["skip", "drop"] {
        for (path, what) in [("/socket", "WebSockets"), ("/events", "event streams")] {
            do_not_read(path, what, slow_reader, connections)?;
        }
    }
    Ok(())
}

/// WebSockets that read: idle, after a broadcast, and after each was answered.
fn talk(deflate: &str, connections: usize) -> Result<()> {
    let server = Server::start(deflate, "skip")?;
    let compressed = deflate != "none";
    let mut crowd = server.crowd("/socket", connections, false)?;
    let print = |server: &Server, what: &str| server.print(connections, deflate, what);
    print(&server, "idle")?;
    server.broadcast()?;
    for stream in &mut crowd {
        read_frame(stream)?;
    }
    print(&server, "after a broadcast that all have read")?;
    let said = frame_of_client(message().as_bytes(), compressed);
    for stream in &mut crowd {
        stream.write_all(&said)?;
        read_frame(stream)?;
    }
    print(&server, "after each has said something, and was answered")
}

/// Connections to what is always sent more than they read.
fn do_not_read(path: &str, what: &str, slow_reader: &str, connections: usize) -> Result<()> {
    let server = Server::start("none", slow_reader)?;
    let crowd = server.crowd(path, connections, true)?;
    let what = format!("{what} that do not read, {slow_reader}");
    if path == "/stream" {
        let mut most = 0;
        for _ in 0..LOOKS {
            std::thread::sleep(Duration::from_secs(1));
            most = most.max(server.memory()?);
        }
        server.print_taken(most, connections, &what);
    } else {
        let mut last = String::new();
        for _ in 0..BROADCASTS {
            last = server.broadcast()?;
        }
        let members = server.ask("/members")?;
        let told = format!("{what}: {members} left in the broadcast; the last message: {last}");
        server.print_taken(server.memory()?, connections, &told);
    }
    drop(crowd);
    Ok(())
}

/// A server that is killed when this is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    /// Its memory before there were any connections.
    before: u64,
    control: TcpStream,
}

impl Server {
    fn start(deflate: &str, slow_reader: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", deflate, slow_reader])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let address = line.trim().strip_prefix("listening on ");
        let address = address.ok_or("the server does not listen")?.parse()?;
        let control = TcpStream::connect(address)?;
        control.set_nodelay(true)?;
        let mut server = Self {
            child,
            address,
            before: 0,
            control,
        };
        for path in ["/socket", "/events"] {
            let first = server.crowd(path, FIRST, false)?;
            server.broadcast()?;
            drop(first);
            while server.ask("/members")? != "0" {
                server.broadcast()?;
            }
        }
        server.before = server.memory()?;
        Ok(server)
    }

    fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path)?;
        let line = text.lines().find(|line| line.starts_with("Pss:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kilobytes.ok_or("no Pss")?.parse::<u64>()? * 1024)
    }

    fn print(&self, connections: usize, of: &str, what: &str) -> Result<()> {
        self.print_taken(self.memory()?, connections, &format!("{of}: {what}"));
        Ok(())
    }

    fn print_taken(&self, memory: u64, connections: usize, what: &str) {
        let taken = memory.saturating_sub(self.before);
        println!("| {what} | {} |", taken / connections as u64);
    }

    fn broadcast(&self) -> Result<String> {
        self.ask("/broadcast")
    }

    /// What is answered to a GET, of few bytes.
    fn ask(&self, path: &str) -> Result<String> {
        let mut control = &self.control;
        write!(control, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let head = read_head(&mut control)?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        let mut body = vec![0; length.ok_or("an answer without a length")?];
        control.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }

    /// So many connections that have got the head of their answer. `slow` ones will not read more.
    fn crowd(&self, path: &str, count: usize, slow: bool) -> Result<Vec<TcpStream>> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        let plain = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let request = if path == "/socket" { request } else { plain };
        let mut crowd = Vec::with_capacity(count);
        for first in (0..count).step_by(BATCH) {
            for index in first..count.min(first + BATCH) {
                let mut stream = connect(self.address, index, slow)?;
                stream.write_all(request.as_bytes())?;
                crowd.push(stream);
            }
            for stream in &mut crowd[first..] {
                let head = read_head(stream)?;
                let is_good =
                    head.starts_with("HTTP/1.1 101 ") || head.starts_with("HTTP/1.1 200 ");
                is_good.then_some(()).ok_or(head)?;
            }
        }
        Ok(crowd)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From one of several addresses, so that there are ports enough.
fn connect(to: SocketAddr, index: usize, slow: bool) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if slow {
        socket.set_tcp_mss(SEGMENT)?;
        socket.set_recv_buffer_size(WINDOW)?;
    }
    let last = 2 + u8::try_from(index % 8)?;
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(&SockAddr::from(source))?;
    socket.connect(&SockAddr::from(to))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Byte by byte: what follows is not read.
fn read_head(stream: &mut impl Read) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head)?)
}

/// Reads a server's frame of up to 64 KiB (RFC 6455, section 5.2).
fn read_frame(stream: &mut TcpStream) -> Result<()> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut length = usize::from(head[1]);
    if length == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long)?;
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(())
}

/// A text in a client's frame, whose mask is zero; compressed, it is one stored block (RFC 7692,
/// section 7.2.3.3, and RFC 1951, section 3.2.4).
fn frame_of_client(text: &[u8], compressed: bool) -> Vec<u8> {
    let mut payload = Vec::with_capacity(MESSAGE + 6);
    if compressed {
        let length = u16::try_from(text.len()).unwrap_or_default();
        payload.push(0);
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(&(!length).to_le_bytes());
    }
    payload.extend_from_slice(text);
    if compressed {
        payload.push(0);
    }
    let mut frame = vec![if compressed { 0xc1 } else { 0x81 }, 0x80 | 126];
    let length = u16::try_from(payload.len()).unwrap_or_default();
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&payload);
    frame
}
