//! The command line. Its help is the manual.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Makes one kind of load on a server and prints one line of JSON about what came back.
#[derive(Debug, Parser)]
#[command(name = "bench-load")]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Messages that must come back as they are, over TCP.
    Echo(Echo),
    /// Batches of lines that must come back as they are; counts lines, its latency is a batch's.
    Lines(Lines),
    /// A connection for each request; latency is from the connect to the server's end of stream.
    Churn(Churn),
    /// GETs of one path over kept connections; where the server says that it closes one, over a new one.
    Download(Download),
    /// Opens connections, makes one exchange on each, prints, holds them until standard input ends.
    Idle(Idle),
    /// Datagrams that must come back as they are; one that takes 100 ms is given up as lost.
    Datagram(Datagram),
    /// A TLS 1.3 handshake for each request; latency is from the connect to the server's close_notify.
    Handshake(Handshake),
    /// GETs of one path over kept connections of TLS 1.3, two in flight on each.
    Bulk(Bulk),
    /// Messages that must come back as they are, over WebSockets, one in flight on each.
    #[command(name = "websocket")]
    WebSocket(WebSocket),
}

/// What all loads have.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The server's address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) to: SocketAddr,
    /// How long to measure.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// How long to load the server before that.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Threads, each with its share of the connections.
    #[arg(long, default_value = "1", value_parser = count(1..=256))]
    pub(crate) threads: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=1_000_000))]
    pub(crate) connections: usize,
    /// Messages in flight on each connection.
    #[arg(long, default_value = "1", conflicts_with = "rate", value_parser = count(1..=65_536))]
    pub(crate) depth: usize,
    /// Bytes in a message.
    #[arg(long, default_value = "64", value_parser = count(1..=16_777_216))]
    pub(crate) size: usize,
    /// Messages per second, sent when they are due whether or not earlier ones came back.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// With a rate: messages that may be in flight in all. At this bound the result says overload.
    #[arg(long, default_value = "1000000", requires = "rate", value_parser = count(1..=1_000_000))]
    pub(crate) outstanding: usize,
}

#[derive(Debug, Args)]
pub(crate) struct WebSocket {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=1_000_000))]
    pub(crate) connections: usize,
    /// Bytes in a message.
    #[arg(long, default_value = "64", value_parser = count(1..=crate::websocket::LONGEST))]
    pub(crate) size: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Lines {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=1_000_000))]
    pub(crate) connections: usize,
    /// Lines in one write.
    #[arg(long, default_value = "16", value_parser = count(1..=65_536))]
    pub(crate) batch: usize,
    /// Bytes of a line, with its LF.
    #[arg(long, default_value = "64", value_parser = count(2..=65_536))]
    pub(crate) length: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Churn {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections at a time, of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=100_000))]
    pub(crate) connections: usize,
    /// What each connection asks for.
    #[arg(long, value_enum)]
    pub(crate) request: Request,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Request {
    /// GET / with `Connection: close`, read until the server closes.
    Hello,
    /// 64 bytes and the same 64 back; then this side closes first.
    Echo,
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=1_000_000))]
    pub(crate) connections: usize,
    /// The path of the request.
    #[arg(long)]
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) body: Body,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Body {
    /// Read the body into a buffer.
    #[arg(long)]
    pub(crate) copy: bool,
    /// Have the kernel throw the body away, so that the generator costs next to nothing.
    #[arg(long)]
    pub(crate) discard: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Only the address is used; the rest is accepted so that all commands start alike.
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections to open.
    #[arg(long, value_parser = count(1..=1_000_000))]
    pub(crate) connections: usize,
    #[command(flatten)]
    pub(crate) exchange: Exchange,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Exchange {
    /// GET / over a kept connection.
    #[arg(long)]
    pub(crate) http: bool,
    /// 64 bytes and the same 64 back.
    #[arg(long)]
    pub(crate) bare: bool,
    /// A TLS 1.3 handshake and nothing more, with a server that has this certificate (PEM).
    #[arg(long, value_name = "CERTIFICATE")]
    pub(crate) tls: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Datagram {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Sockets of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=100_000))]
    pub(crate) sockets: usize,
    /// Datagrams in flight on each socket.
    #[arg(long, default_value = "1", value_parser = count(1..=65_536))]
    pub(crate) window: usize,
    /// Bytes in a datagram; the first 8 say which one it is.
    #[arg(long, default_value = "64", value_parser = count(8..=65_507))]
    pub(crate) size: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Handshake {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections at a time, of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=100_000))]
    pub(crate) connections: usize,
    /// The server's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: PathBuf,
    /// Each connection must resume the session of the one before; else none may.
    #[arg(long)]
    pub(crate) resume: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bulk {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Connections of all threads together.
    #[arg(long, default_value = "1", value_parser = count(1..=100_000))]
    pub(crate) connections: usize,
    /// The server's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: PathBuf,
    /// The path of the request.
    #[arg(long)]
    pub(crate) path: String,
    /// What each byte of the answer is compared with.
    #[arg(long, value_name = "FILE")]
    pub(crate) body: PathBuf,
}

fn count(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("seconds from 0 to 3600".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1e9).contains(&rate) => Ok(rate),
        _ => Err("messages per second from 0.01 to 1e9".to_owned()),
    }
}
