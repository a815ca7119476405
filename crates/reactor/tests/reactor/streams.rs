//! Async streams over real sockets.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;

use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_core::{ConnectError, ConnectionStream, StreamFactory, Transport};
use ropewalk_reactor::Reactor;

use crate::support::{
    On, loopback, narrow_client, nobody, once, pattern, reset, run_with, serve, socket_addr,
};

const LEN: usize = 3_000_000;

async fn echo(stream: ConnectionStream) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    loop {
        let data = reader.fill_buf().await?;
        let count = data.len();
        if count == 0 {
            return writer.shutdown().await;
        }
        writer.write_all(data).await?;
        reader.consume(count);
    }
}

fn endpoint(address: SocketAddr) -> ClientEndpoint {
    format!("tcp:{address}").parse().unwrap()
}

#[test]
fn a_task_echoes_megabytes_and_both_half_closes() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, Rc::new(StreamFactory::new(echo)));
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        let mut writer = peer.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            writer.write_all(&pattern(0, LEN)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        writing.join().unwrap();
        assert!(all == pattern(0, LEN), "{} bytes", all.len());
    });
}

#[test]
fn a_peer_that_does_not_read_holds_the_task_back() {
    let reactor = Reactor::new().unwrap();
    let most = Rc::new(RefCell::new(0));
    let seen = Rc::clone(&most);
    let factory = StreamFactory::new(move |mut stream: ConnectionStream| {
        let seen = Rc::clone(&seen);
        async move {
            for at in 0..LEN / 10_000 {
                stream.write_all(&pattern(at * 10_000, 10_000)).await?;
                let unsent = stream.connection().unsent().unwrap_or(0);
                seen.replace_with(|most| unsent.max(*most));
            }
            stream.flush().await?;
            assert_eq!(stream.connection().unsent(), Some(0));
            stream.shutdown().await
        }
    });
    let endpoint = "tcp:0:interface=127.0.0.1:send_buffer=64k".parse().unwrap();
    let port = reactor.listen(&endpoint, Rc::new(factory)).unwrap();
    let address = socket_addr(&port);
    run_with(&reactor, move || {
        let mut peer = narrow_client(address);
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert!(all == pattern(0, LEN), "{} bytes", all.len());
    });
    let most = *most.borrow();
    assert!((32 * 1024..=64 * 1024).contains(&most), "{most}");
}

#[test]
fn a_client_reads_what_a_plain_server_says_to_its_end() {
    let reactor = Reactor::new().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let connecting =
        ConnectionStream::connect(&reactor.handle(), &endpoint(server.local_addr().unwrap()));
    let (done, is_done) = mpsc::channel();
    reactor.spawn(async move {
        let mut stream = connecting.await.unwrap();
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
        done.send(all).unwrap();
    });
    let read = run_with(&reactor, move || {
        let mut peer = server.accept().unwrap().0;
        let mut question = String::new();
        peer.read_to_string(&mut question).unwrap();
        assert_eq!(question, "question");
        peer.write_all(&pattern(0, LEN)).unwrap();
        drop(peer);
        is_done.recv().unwrap()
    });
    assert!(read == pattern(0, LEN), "{} bytes", read.len());
}

#[test]
fn a_reset_is_an_error_of_the_read_that_waits() {
    let reactor = Reactor::new().unwrap();
    let (tell, told) = mpsc::channel();
    let factory = StreamFactory::new(move |mut stream: ConnectionStream| {
        let tell = tell.clone();
        async move {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            stream.write_all(&byte).await.unwrap();
            let error = stream.read(&mut byte).await.unwrap_err();
            tell.send(error.kind()).unwrap();
        }
    });
    let address = serve(&reactor, Rc::new(factory));
    let kind = run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        reset(peer);
        told.recv().unwrap()
    });
    assert_eq!(kind, ErrorKind::ConnectionReset);
}

#[test]
fn a_panic_of_a_task_is_a_reset_and_the_others_go_on() {
    let reactor = Reactor::new().unwrap();
    let factory = StreamFactory::new(|mut stream: ConnectionStream| async move {
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            assert_ne!(&byte, b"!", "as a bug would");
            stream.write_all(&byte).await.unwrap();
        }
    });
    let address = serve(&reactor, Rc::new(factory));
    run_with(&reactor, move || {
        let mut steady = TcpStream::connect(address).unwrap();
        let mut byte = [0];
        for _ in 0..3 {
            let mut bug = TcpStream::connect(address).unwrap();
            bug.write_all(b"!").unwrap();
            let error = bug.read(&mut byte).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            steady.write_all(b"x").unwrap();
            steady.read_exact(&mut byte).unwrap();
        }
    });
}

#[test]
fn a_connection_goes_from_callbacks_to_a_stream_and_back_in_the_middle_of_its_bytes() {
    let reactor = Reactor::new().unwrap();
    let switching = On::nothing().data(|transport: &mut Transport, data| {
        let mut stream = transport.exchange_for_stream(data);
        transport.reactor().spawn(Box::pin(async move {
            let mut begin = vec![0; LEN / 2];
            stream.read_exact(&mut begin).await.unwrap();
            stream.write_all(&begin).await.unwrap();
            assert!(stream.into_protocol(Box::new(On::held_back_echo())));
        }));
    });
    let address = serve(&reactor, once(switching));
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        let mut writer = peer.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            writer.write_all(&pattern(0, LEN)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        writing.join().unwrap();
        assert!(all == pattern(0, LEN), "{} bytes", all.len());
    });
}

#[test]
fn a_shutdown_ends_a_stream_that_waits_to_read() {
    let reactor = Reactor::new().unwrap();
    let port = reactor
        .listen(&loopback(), Rc::new(StreamFactory::new(echo)))
        .unwrap();
    let address = socket_addr(&port);
    let peer = run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        peer
    });
    // The run is over, without its deadline; the peer was told.
    let mut peer = peer;
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connect_that_nobody_answers_is_a_failure() {
    let reactor = Reactor::new().unwrap();
    let (_socket, address) = nobody();
    let connecting = ConnectionStream::connect(&reactor.handle(), &endpoint(address));
    let handle = reactor.handle();
    reactor.spawn(async move {
        let failure = connecting.await.unwrap_err();
        assert!(failure.check::<ConnectError>().is_some(), "{failure}");
        handle.stop();
    });
    reactor.run().unwrap();
}
