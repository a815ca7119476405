//! Where connections come from: on loopback from several addresses in turn, so that ports do not run out.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use mio::net as mio_net;
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{setsockopt, sockopt::IpBindAddressNoPort},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::failure::Failure;

/// 127.0.0.2 to 127.0.0.9.
const ADDRESSES: usize = 8;

const PATIENCE: Duration = Duration::from_secs(5);

/// Takes as many open files as the system allows. If it refuses, a connect will say so.
pub(crate) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Connects and waits for it. The stream is a blocking one.
pub(crate) fn connect(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = socket(to, index, Type::STREAM)?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&SockAddr::from(to), PATIENCE)?;
    Ok(socket.into())
}

/// Connects, then hands the stream to a poll.
pub(crate) fn connect_ready(to: SocketAddr, index: usize) -> Result<mio_net::TcpStream, Failure> {
    let connected = connect(to, index).and_then(|stream| {
        stream.set_nonblocking(true)?;
        Ok(mio_net::TcpStream::from_std(stream))
    });
    connected.map_err(|error| Failure::Connect { to, error })
}

/// Begins to connect, and does not wait. Each request must be one write: a second one might be delayed.
pub(crate) fn begin_connect(to: SocketAddr, index: usize) -> io::Result<mio_net::TcpStream> {
    let socket = socket(to, index, Type::STREAM.nonblocking())?;
    match socket.connect(&SockAddr::from(to)) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => Ok(mio_net::TcpStream::from_std(socket.into())),
    }
}

fn socket(to: SocketAddr, index: usize, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    if let Some(source) = source(to, index) {
        // The port is chosen by the connect, which may take one again that only waits for its end.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SockAddr::from(source))?;
    }
    Ok(socket)
}

fn source(to: SocketAddr, index: usize) -> Option<SocketAddr> {
    let IpAddr::V4(address) = to.ip() else {
        return None;
    };
    let last = 2 + (index % ADDRESSES) as u8;
    address
        .is_loopback()
        .then(|| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_round_on_loopback_and_are_the_systems_choice_elsewhere() {
        let to = "127.0.0.1:80".parse().unwrap();
        let sources: Vec<_> = (0..9).map(|i| source(to, i).unwrap().to_string()).collect();
        assert_eq!(sources[0], "127.0.0.2:0");
        assert_eq!(sources[7], "127.0.0.9:0");
        assert_eq!(sources[8], sources[0]);
        assert_eq!(source("[::1]:80".parse().unwrap(), 0), None);
        assert_eq!(source("192.0.2.1:80".parse().unwrap(), 0), None);
    }
}
