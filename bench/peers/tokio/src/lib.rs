//! The connections of the two tokio servers, which differ in their runtime only, and the datagrams of one.

use bench_contract::READ_BUFFER;
use std::convert::Infallible;
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Accepts for good; a task for each connection.
pub async fn serve(listener: std::net::TcpListener, app: &str) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let lines_wanted = app == "lines";
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that fails is over; there is nothing else to do about it.
        if lines_wanted {
            tokio::spawn(lines(stream));
        } else {
            tokio::spawn(echo(stream));
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

/// A write per line into a `BufWriter`, flushed when no whole line is left to read: tokio's idiom.
async fn lines(mut stream: TcpStream) -> io::Result<()> {
    let (input, output) = stream.split();
    let mut input = BufReader::with_capacity(READ_BUFFER, input);
    let mut output = BufWriter::with_capacity(READ_BUFFER, output);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).await? > 0 && line.ends_with(b"\n") {
        output.write_all(&line).await?;
        line.clear();
        if !input.buffer().contains(&b'\n') {
            output.flush().await?;
        }
    }
    Ok(())
}

/// Sends back each datagram; waits only when there is none left to take.
pub async fn datagrams(socket: std::net::UdpSocket) -> io::Result<Infallible> {
    let socket = UdpSocket::from_std(socket)?;
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        socket.readable().await?;
        // What an error says is about one datagram, or that there is none now.
        while let Ok((length, from)) = socket.try_recv_from(&mut buffer) {
            let datagram = &buffer[..length];
            if socket.try_send_to(datagram, from).is_err() {
                let _ = socket.send_to(datagram, from).await;
            }
        }
    }
}
