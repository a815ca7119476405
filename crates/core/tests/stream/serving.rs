//! Servers of streams, and clients.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ropewalk_core::endpoint::{ClientEndpoint, ServerEndpoint};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{ConnectError, ConnectionStream, StreamFactory};

use crate::rig::{read_all, start};

fn listen() -> ServerEndpoint {
    "tcp:7".parse().unwrap()
}

fn there() -> ClientEndpoint {
    "tcp:example.com:7".parse().unwrap()
}

/// Echoes lines of three bytes; panics at "bug", and fails at "err".
async fn threes(mut stream: ConnectionStream) -> io::Result<()> {
    let mut line = [0; 3];
    loop {
        stream.read_exact(&mut line).await?;
        assert_ne!(&line, b"bug");
        if &line == b"err" {
            return Err(io::Error::other("asked for"));
        }
        stream.write_all(&line).await?;
    }
}

async fn ask(mut stream: ConnectionStream, question: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(question).await?;
    stream.shutdown().await?;
    read_all(&mut stream).await
}

#[test]
fn each_connection_has_a_task_and_a_panic_ends_its_own_alone() {
    let reactor = MemoryReactor::new();
    reactor
        .listen(&listen(), Rc::new(StreamFactory::new(threes)))
        .unwrap();
    let asking = |question: &'static [u8]| {
        let connecting = ConnectionStream::connect(&*reactor, &there());
        start(&reactor, async move {
            ask(connecting.await.unwrap(), question).await
        })
    };
    let waiting = {
        let connecting = ConnectionStream::connect(&*reactor, &there());
        start(&reactor, async move {
            let mut stream = connecting.await.unwrap();
            stream.write_all(b"ab").await.unwrap();
            stream
        })
    };
    let panicked = asking(b"onebug");
    assert!(panicked.get().is_err());
    assert_eq!(asking(b"onetwo").get().unwrap(), b"onetwo");
    let mut stream = waiting.get();
    let rest = start(&reactor, async move {
        stream.write_all(b"c").await.unwrap();
        let mut line = [0; 3];
        stream.read_exact(&mut line).await.unwrap();
        line
    });
    assert_eq!(&rest.get(), b"abc");
    reactor.run();
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn a_task_that_fails_closes_its_connection() {
    let reactor = MemoryReactor::new();
    reactor
        .listen(&listen(), Rc::new(StreamFactory::new(threes)))
        .unwrap();
    let connecting = ConnectionStream::connect(&*reactor, &there());
    let asking = start(&reactor, async move {
        ask(connecting.await.unwrap(), b"oneerr").await
    });
    assert_eq!(asking.get().unwrap(), b"one");
}

#[test]
fn a_panic_before_the_task_starts_ends_the_connection_alone() {
    let reactor = MemoryReactor::new();
    let factory = StreamFactory::new(|stream: ConnectionStream| {
        assert!(!stream.is_draining(), "never");
        if true {
            panic!("no task");
        }
        async move { drop(stream) }
    });
    reactor.listen(&listen(), Rc::new(factory)).unwrap();
    let connecting = ConnectionStream::connect(&*reactor, &there());
    let asking = start(&reactor, async move {
        ask(connecting.await.unwrap(), b"one").await
    });
    assert!(asking.get().is_err());
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn a_connect_that_is_refused_is_a_failure() {
    let reactor = MemoryReactor::new();
    let connecting = ConnectionStream::connect(&*reactor, &there());
    let failed = start(&reactor, async move { connecting.await.map(|_| ()) });
    let failure = failed.get().unwrap_err();
    assert!(failure.check::<ConnectError>().is_some(), "{failure}");
}

#[test]
fn a_stream_that_nobody_takes_is_closed() {
    let reactor = MemoryReactor::new();
    let ended = Rc::new(Cell::new(false));
    let end = Rc::clone(&ended);
    let factory = StreamFactory::new(move |mut stream: ConnectionStream| {
        let end = Rc::clone(&end);
        async move { end.set(stream.read(&mut [0]).await.is_ok_and(|count| count == 0)) }
    });
    reactor.listen(&listen(), Rc::new(factory)).unwrap();
    drop(ConnectionStream::connect(&*reactor, &there()));
    reactor.run();
    assert!(ended.get());
    assert_eq!(reactor.connections(), 0);
}
