//! The connections of the two monoio servers; they differ in their driver only.
//!
//! A runtime per worker, which share the port through `SO_REUSEPORT`.

use bench_contract::{Arguments, READ_BUFFER, listeners, thread_per_listener};
use monoio::io::{AsyncBufReadExt, AsyncReadRent, AsyncWriteRentExt, BufReader, Splitable};
use monoio::net::{TcpListener, TcpStream};
use monoio::{Buildable, Driver, RuntimeBuilder};
use std::convert::Infallible;
use std::io;

/// Whether the driver waits by itself for a listener that blocks (`io_uring`), or needs one that
/// does not (epoll).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Listening {
    Blocking,
    Nonblocking,
}

/// The program, on the driver `D`.
pub fn run<D: Buildable + Driver>(listening: Listening) -> ! {
    let arguments = Arguments::parse(&["echo", "lines"]);
    let lines_wanted = arguments.app == "lines";
    let listeners = listeners(arguments.address, arguments.workers);
    thread_per_listener(listeners, move |listener| {
        listener.set_nonblocking(listening == Listening::Nonblocking)?;
        D::build(RuntimeBuilder::new())?.block_on(serve(listener, lines_wanted))
    })
}

async fn serve(listener: std::net::TcpListener, lines_wanted: bool) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that fails is over; there is nothing else to do about it.
        if lines_wanted {
            monoio::spawn(lines(stream));
        } else {
            monoio::spawn(echo(stream));
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_BUFFER);
    loop {
        let read;
        (read, buffer) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let written;
        (written, buffer) = stream.write_all(buffer).await;
        written?;
    }
}

/// A write per line into a buffer, sent when no whole line is left to read.
///
/// The buffer is a `Vec`, since monoio's `BufWriter` (0.2.4) does not look at how full it is.
async fn lines(stream: TcpStream) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::with_capacity(READ_BUFFER, input);
    let mut gathered = Vec::with_capacity(READ_BUFFER);
    while input.read_until(b'\n', &mut gathered).await? > 0 && gathered.ends_with(b"\n") {
        if !input.buffer().contains(&b'\n') {
            let written;
            (written, gathered) = output.write_all(gathered).await;
            written?;
            gathered.clear();
        }
    }
    Ok(())
}
