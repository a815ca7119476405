//! What is measured over the network: the works of each suite, and the reference of each.

use crate::load::Load;

/// One work that servers do side by side.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub suite: &'static str,
    pub name: &'static str,
    pub app: &'static str,
    pub unit: &'static str,
    /// All others are divided by it.
    pub reference: &'static str,
    pub load: Load,
}

const fn work(
    suite: &'static str,
    name: &'static str,
    app: &'static str,
    reference: &'static str,
    load: Load,
) -> Work {
    let unit = match load.counts_bytes() {
        true => "bytes/s",
        false => "/s",
    };
    Work {
        suite,
        name,
        app,
        unit,
        reference,
        load,
    }
}

pub const WORKS: &[Work] = &[
    work(
        "echo",
        "64 B, depth 1",
        "echo",
        "c-epoll",
        Load::Echo(64, 1, 64),
    ),
    work(
        "echo",
        "64 B, depth 16",
        "echo",
        "c-epoll",
        Load::Echo(64, 16, 64),
    ),
    work(
        "echo",
        "16 KiB stream",
        "echo",
        "c-epoll",
        Load::Echo(16, 4, 16384),
    ),
    work(
        "lines",
        "16 lines a read",
        "lines",
        "c-epoll",
        Load::Lines(64),
    ),
    work(
        "http",
        "hello, 64 connections",
        "hello",
        "nginx",
        Load::Requests(64, 1, "/"),
    ),
    work(
        "http",
        "hello, 256 connections",
        "hello",
        "nginx",
        Load::Requests(256, 1, "/"),
    ),
    work(
        "http",
        "hello by 16, 64 connections",
        "hello",
        "nginx",
        Load::Requests(64, 16, "/"),
    ),
    work(
        "http",
        "hello by 16, 256 connections",
        "hello",
        "nginx",
        Load::Requests(256, 16, "/"),
    ),
    work(
        "http",
        "JSON, routed, five headers",
        "json",
        "hyper",
        Load::Requests(64, 1, "/users/42/orders/7"),
    ),
    work(
        "http",
        "1 KiB file",
        "file",
        "nginx",
        Load::Requests(64, 1, "/1k.txt"),
    ),
    work(
        "churn",
        "a connection per request",
        "hello",
        "nginx",
        Load::Churn(64),
    ),
    work(
        "file",
        "1 MiB",
        "file",
        "nginx",
        Load::Download(8, "/1m.bin"),
    ),
    work(
        "file",
        "100 MiB",
        "file",
        "nginx",
        Load::Download(8, "/100m.bin"),
    ),
    work(
        "udp",
        "64 B, 16 sockets, window 1",
        "datagrams",
        "c-mmsg",
        Load::Datagrams(16, 1),
    ),
    work(
        "udp",
        "64 B, 16 sockets, window 8",
        "datagrams",
        "c-mmsg",
        Load::Datagrams(16, 8),
    ),
    work(
        "tls",
        "full handshakes",
        "tls",
        "rustls",
        Load::Handshakes(32, false),
    ),
    work(
        "tls",
        "resumed handshakes",
        "tls-resumed",
        "rustls",
        Load::Handshakes(32, true),
    ),
    work("tls", "bulk, 4 connections", "tls", "rustls", Load::Bulk(4)),
    work(
        "websocket",
        "echo, 64 B, 50 connections",
        "websocket",
        "tungstenite",
        Load::WebSockets(50),
    ),
    growth("1 connection", 1),
    growth("8 connections", 8),
    growth("64 connections", 64),
    growth("512 connections", 512),
    growth("4,096 connections", 4096),
    growth("18,000 connections", 18_000),
];

/// How the rate holds as connections become many, for a few servers.
const fn growth(name: &'static str, connections: usize) -> Work {
    work("growth", name, "hello", "nginx", Load::Crowd(connections))
}

/// The servers of the suite `growth`: all of them would take too long.
pub const GROWING: &[&str] = &["ropewalk", "hyper", "nginx"];

/// The names of all suites, those of other modules too.
pub const SUITES: &[&str] = &[
    "echo",
    "lines",
    "http",
    "churn",
    "file",
    "udp",
    "tls",
    "websocket",
    "memory",
    "start",
    "timers",
    "deferred",
    "threads",
    "simulation",
    "counts",
    "growth",
];
