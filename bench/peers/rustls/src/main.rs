//! rustls in a tokio loop: the reference of the suite `tls`. A current-thread runtime per worker, which share the port
//! through `SO_REUSEPORT`.
//!
//! Provider, versions, tickets and their number are those that `ropewalk-tls` has.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bench_contract::{
    Arguments, HELLO_AND_CLOSE, Request, Requests, bulk, certificate, fail, listeners,
    thread_per_listener,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

/// Requests are short, and an idle connection is to be small.
const READ_BUFFER: usize = 1024;

fn main() {
    let arguments = Arguments::parse(&["tls", "tls-resumed"]);
    let dir = arguments.dir.unwrap_or_default();
    let config = config(&dir).unwrap_or_else(|error| fail("cannot set up TLS", error));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let bulk: Arc<[u8]> = bulk(&dir).into();
    let listeners = listeners(arguments.address, arguments.workers);
    thread_per_listener(listeners, move |listener| {
        Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(serve(listener, acceptor.clone(), Arc::clone(&bulk)))
    })
}

fn config(dir: &Path) -> Result<ServerConfig, Box<dyn Error>> {
    let [chain, key] = certificate(dir);
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// Accepts for good; a task for each connection.
async fn serve(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    bulk: Arc<[u8]>,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that fails is over; there is nothing else to do about it.
        tokio::spawn(answer(stream, acceptor.clone(), Arc::clone(&bulk)));
    }
}

async fn answer(stream: TcpStream, acceptor: TlsAcceptor, bulk: Arc<[u8]>) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = [0; READ_BUFFER];
    let mut requests = Requests::default();
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        for request in requests.take(&buffer[..read]) {
            match request {
                Request::Hello => {
                    stream.write_all(HELLO_AND_CLOSE.as_bytes()).await?;
                    return stream.shutdown().await;
                }
                Request::Bulk => {
                    stream.write_all(&bulk).await?;
                    stream.flush().await?;
                }
            }
        }
    }
}
