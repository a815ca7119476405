//! Endpoints that stand on others, and on descriptors.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;

use ropewalk_core::endpoint::{
    ClientEndpoint, Descriptor, LimitListen, ProxyListen, ServerEndpoint,
};
use ropewalk_core::handshake::Socks5Error;
use ropewalk_core::{Address, ConnectError, Connection, Deferred, Failure, ListenError, Transport};
use ropewalk_reactor::{Reactor, Workers};

use crate::support::{On, factory, loopback, run_with, socket_addr};

fn given(socket: impl Into<OwnedFd>) -> Descriptor {
    Descriptor::Given(Arc::new(socket.into()))
}

/// What came of a connection, when the reactor has run to it.
fn outcome(reactor: &Reactor, connecting: Deferred<Connection>) -> Result<(), Failure> {
    let outcome = Rc::new(std::cell::Cell::new(None));
    let (told, stop) = (Rc::clone(&outcome), reactor.handle());
    let done: Deferred<()> = connecting.add_both(move |result: Result<Connection, Failure>| {
        told.set(Some(result.map(drop)));
        stop.stop();
    });
    reactor.run().unwrap();
    drop(done);
    outcome.take().expect("it has fired")
}

#[test]
fn a_socket_that_is_connected_is_served_as_any_other() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let reactor = Reactor::new().unwrap();
    let endpoint = ClientEndpoint::Fd(given(ours));
    drop(reactor.connect(&endpoint, factory(On::echo)));
    // The endpoint's own descriptor would keep it open.
    drop(endpoint);
    let heard = run_with(&reactor, move || {
        theirs.write_all(b"hello").unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).unwrap();
        heard
    });
    assert_eq!(heard, "hello");
}

#[test]
fn a_tcp_socket_that_is_connected_tells_its_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ours = TcpStream::connect(address).unwrap();
    let reactor = Reactor::new().unwrap();
    let made = factory(move || {
        On::nothing().made(move |transport: &mut Transport| {
            assert_eq!(transport.peer(), Address::Tcp(address));
        })
    });
    let connecting = reactor.connect(&ClientEndpoint::Fd(given(ours)), made);
    outcome(&reactor, connecting).unwrap();
}

#[test]
fn what_is_not_connected_or_no_socket_is_an_error() {
    for (descriptor, expected) in [
        (
            given(std::fs::File::open("/dev/null").unwrap()),
            "is not a socket",
        ),
        (
            given(TcpListener::bind("127.0.0.1:0").unwrap()),
            "is not connected",
        ),
        (
            given(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()),
            "is not a stream socket",
        ),
        (
            Descriptor::Inherited(4000),
            "the descriptor 4000 is not open",
        ),
        (Descriptor::Inherited(-1), "is not negative"),
    ] {
        let reactor = Reactor::new().unwrap();
        let connecting = reactor.connect(&ClientEndpoint::Fd(descriptor), factory(On::echo));
        let failure = outcome(&reactor, connecting).unwrap_err();
        assert!(failure.to_string().contains(expected), "{failure}");
        assert_eq!(reactor.connections(), 0);
    }
}

#[test]
fn a_number_of_this_process_s_own_is_refused() {
    use std::os::fd::AsRawFd;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = ServerEndpoint::Fd(Descriptor::Inherited(listener.as_raw_fd()));
    let reactor = Reactor::new().unwrap();
    let error = reactor.listen(&endpoint, factory(On::echo)).unwrap_err();
    assert!(error.to_string().contains("was not inherited"), "{error}");
    // It is as it was.
    assert!(listener.local_addr().is_ok());
}

#[test]
fn a_descriptor_that_is_given_is_listened_at_as_often_as_wanted() {
    let endpoint = ServerEndpoint::Fd(given(TcpListener::bind("127.0.0.1:0").unwrap()));
    for _ in 0..2 {
        let reactor = Reactor::new().unwrap();
        let port = reactor.listen(&endpoint, factory(On::echo)).unwrap();
        let address = socket_addr(&port);
        let heard = run_with(&reactor, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"hi").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).unwrap();
            heard
        });
        assert_eq!(heard, "hi");
    }
}

#[test]
fn a_port_in_use_is_told_under_the_whole_endpoint() {
    let reactor = Reactor::new().unwrap();
    let first = reactor.listen(&loopback(), factory(On::echo)).unwrap();
    let port = socket_addr(&first).port();
    let text = format!("limit:connections=5:tcp:{port}:interface=127.0.0.1");
    let error = reactor.listen(&text.parse().unwrap(), factory(On::echo));
    match error.unwrap_err() {
        ListenError::AddressInUse { endpoint, .. } => assert_eq!(endpoint, text),
        other => panic!("{other}"),
    }
}

#[test]
fn workers_share_a_port_below_wrappers_and_each_wraps_its_own_factory() {
    let endpoint: ServerEndpoint =
        ProxyListen::new(LimitListen::new(loopback()).connections(100).into()).into();
    let peers = Arc::new(Mutex::new(Vec::new()));
    let two = NonZeroUsize::new(2).unwrap();
    let ports = Mutex::new(Vec::new());
    Workers::new(two)
        .run(|worker| {
            let peers = Arc::clone(&peers);
            let stop = worker.reactor().remote();
            let made = factory(move || {
                let (peers, stop) = (Arc::clone(&peers), stop.clone());
                On::nothing().made(move |transport: &mut Transport| {
                    peers.lock().unwrap().push(transport.peer().to_string());
                    stop.call_from_thread(|reactor| reactor.stop());
                })
            });
            let port = worker.listen(&endpoint, made)?;
            ports.lock().unwrap().push(socket_addr(&port));
            if worker.index() == 1 {
                let mut stream = TcpStream::connect(socket_addr(&port)).unwrap();
                stream
                    .write_all(b"PROXY TCP4 198.51.100.7 203.0.113.1 4096 443\r\n")
                    .unwrap();
                // It is read when the workers run.
                std::mem::forget(stream);
            }
            Ok(())
        })
        .unwrap();
    let ports = ports.into_inner().unwrap();
    assert_eq!(ports[0], ports[1]);
    assert_eq!(*peers.lock().unwrap(), ["198.51.100.7:4096"]);
}

#[test]
fn a_proxy_that_does_not_answer_has_the_time_of_the_endpoint_and_is_closed() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = proxy.local_addr().unwrap().port();
    let text = format!("socks5:127.0.0.1:{port}:tcp:example.com:80:timeout=50ms");
    let reactor = Reactor::new().unwrap();
    let connecting = reactor.connect(&text.parse().unwrap(), factory(On::echo));
    let failure = outcome(&reactor, connecting).unwrap_err();
    match failure.check::<ConnectError>() {
        Some(ConnectError::TimedOut { endpoint, .. }) => assert_eq!(*endpoint, text),
        _ => panic!("{failure}"),
    }
    let mut heard = Vec::new();
    let ended = proxy.accept().unwrap().0.read_to_end(&mut heard);
    // A close, or a reset.
    assert!(ended.is_ok() || ended.unwrap_err().kind() == ErrorKind::ConnectionReset);
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn a_proxy_that_refuses_is_told_under_the_whole_endpoint() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = proxy.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let mut stream = proxy.accept().unwrap().0;
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.write_all(&[5, 0xff]).unwrap();
    });
    let text = format!("socks5:127.0.0.1:{port}:tcp:example.com:80");
    let reactor = Reactor::new().unwrap();
    let connecting = reactor.connect(&text.parse().unwrap(), factory(On::echo));
    let failure = outcome(&reactor, connecting).unwrap_err();
    assert_eq!(failure.check(), Some(&Socks5Error::NoMethod));
    assert!(
        failure
            .to_string()
            .starts_with(&format!("cannot connect to {text}: ")),
        "{failure}"
    );
    answering.join().unwrap();
}
