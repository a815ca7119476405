//! The program shuts down while streams are open.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::testing::Pair;
use ropewalk_core::{ConnectionStream, Protocol, Transport};

use crate::rig::{Peer, failure, start, stream};

/// Tells the stream's end alone.
fn drain(pair: &Pair) {
    struct Done;
    impl Protocol for Done {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
        fn drain(&mut self, _: &mut Transport) {}
    }
    pair.client().act(|transport| {
        transport.exchange_protocol(Box::new(Done), b"");
    });
    pair.run();
    pair.reactor().drain();
    pair.run();
}

#[test]
fn a_read_that_waits_fails_and_an_answer_can_still_be_written() {
    let (pair, mut stream) = stream();
    let reading = start(pair.reactor(), async move {
        let error = stream.read(&mut [0]).await.unwrap_err();
        stream.write_all(b"bye").await.unwrap();
        stream.flush().await.unwrap();
        (error, stream)
    });
    drain(&pair);
    let (error, stream) = reading.get();
    assert!(stream.is_draining());
    assert_eq!(
        failure(&error).to_string(),
        "the program is shutting down",
        "{error}"
    );
}

#[test]
fn what_has_come_is_read_first() {
    let (pair, mut stream) = stream();
    pair.client().write(b"abc");
    pair.run();
    drain(&pair);
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 3];
        stream.read_exact(&mut buffer).await.unwrap();
        stream.read(&mut buffer).await.unwrap_err();
        buffer
    });
    assert_eq!(&reading.get(), b"abc");
}

#[test]
fn a_stream_that_asks_for_it_reads_on() {
    let (pair, mut stream) = stream();
    stream.read_while_draining(true);
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 3];
        stream.read_exact(&mut buffer).await.unwrap();
        (buffer, stream)
    });
    drain(&pair);
    assert!(reading.is_pending());
    pair.client().write(b"abc");
    pair.run();
    assert_eq!(&reading.get().0, b"abc");
}

#[test]
fn whoever_waits_for_it_hears_of_the_shutdown_and_of_the_end() {
    let waits = |stream: ConnectionStream| async move {
        stream.draining().await;
        stream.is_draining()
    };
    let (pair, shut) = stream();
    let waiting = start(pair.reactor(), waits(shut));
    assert!(waiting.is_pending());
    drain(&pair);
    assert!(waiting.get());

    let (pair, ended) = stream();
    let waiting = start(pair.reactor(), waits(ended));
    pair.client().abort_connection();
    pair.run();
    assert!(!waiting.get());
}

/// Goes on when the program shuts down, and becomes a stream with what comes next.
struct GoesOn(Rc<RefCell<Option<ConnectionStream>>>);

impl Protocol for GoesOn {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.0.replace(Some(transport.exchange_for_stream(data)));
    }

    fn drain(&mut self, _: &mut Transport) {}
}

#[test]
fn a_stream_that_is_made_in_a_shutdown_is_told_of_it() {
    let made = Rc::new(RefCell::new(None));
    let pair = Pair::new(Peer::default(), GoesOn(Rc::clone(&made)));
    drain(&pair);
    pair.client().write(b"abc");
    pair.run();
    let mut stream = made.take().unwrap();
    assert!(stream.is_draining());
    let reading = start(pair.reactor(), async move {
        let mut buffer = [0; 3];
        stream.read_exact(&mut buffer).await.unwrap();
        stream.read(&mut buffer).await.unwrap_err();
        buffer
    });
    assert_eq!(&reading.get(), b"abc");
}

#[test]
fn a_task_that_works_is_not_disturbed() {
    let (pair, mut stream) = stream();
    let done = Rc::new(Cell::new(false));
    let (resolver, work) = ropewalk_core::Deferred::<()>::pair();
    let set = Rc::clone(&done);
    start(pair.reactor(), async move {
        work.await.unwrap();
        stream.write_all(b"result").await.unwrap();
        set.set(true);
    });
    drain(&pair);
    assert_eq!(pair.reactor().connections(), 2);
    resolver.callback(());
    pair.run();
    assert!(done.get());
}
