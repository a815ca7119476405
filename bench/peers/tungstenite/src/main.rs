//! tokio-tungstenite with a current-thread runtime per worker, which share the port through
//! `SO_REUSEPORT`.

use bench_contract::{Arguments, listeners, thread_per_listener};
use futures_util::{SinkExt, StreamExt};
use std::convert::Infallible;
use std::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Error;

fn main() {
    let arguments = Arguments::parse(&["websocket"]);
    let listeners = listeners(arguments.address, arguments.workers);
    thread_per_listener(listeners, |listener| {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(serve(listener))
    })
}

/// Accepts for good; a task for each connection.
async fn serve(listener: std::net::TcpListener) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that fails is over; there is nothing else to do about it.
        tokio::spawn(echo(stream));
    }
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
