//! A stream and a peer that does what the test says.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;

use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{ConnectionStream, Failure, Protocol, StreamError, Task, Transport};

/// The other end of a stream's connection: it keeps what comes.
#[derive(Default)]
pub(crate) struct Peer {
    pub(crate) data: Vec<u8>,
    pub(crate) read_closed: bool,
    pub(crate) lost: Rc<RefCell<Option<Failure>>>,
}

impl Protocol for Peer {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.data.extend_from_slice(data);
    }

    fn read_closed(&mut self, _: &mut Transport) {
        self.read_closed = true;
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.lost.replace(Some(reason));
    }
}

/// Becomes a stream as soon as it is made.
struct Becomes(Rc<RefCell<Option<ConnectionStream>>>);

impl Protocol for Becomes {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.0.replace(Some(transport.exchange_for_stream(b"")));
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {
        panic!("the stream has it all");
    }
}

/// A stream on the server's end, and its peer on the client's.
pub(crate) fn stream() -> (Pair, ConnectionStream) {
    on(MemoryReactor::new())
}

pub(crate) fn on(reactor: MemoryReactor) -> (Pair, ConnectionStream) {
    let made = Rc::new(RefCell::new(None));
    let becomes = Becomes(Rc::clone(&made));
    let pair = Pair::on(reactor, Box::new(Peer::default()), Box::new(becomes));
    let stream = made.take().unwrap();
    (pair, stream)
}

/// What the peer has got.
pub(crate) fn got(pair: &Pair) -> Vec<u8> {
    pair.with_client(|peer: &mut Peer| peer.data.clone())
        .unwrap()
}

/// Where the peer keeps why it lost the connection.
pub(crate) fn peer_lost(pair: &Pair) -> Rc<RefCell<Option<Failure>>> {
    pair.with_client(|peer: &mut Peer| Rc::clone(&peer.lost))
        .unwrap()
}

/// What a task of the test's came to, when it has.
pub(crate) struct Outcome<T> {
    value: Rc<RefCell<Option<T>>>,
    pub(crate) task: Task,
}

impl<T> Outcome<T> {
    #[track_caller]
    pub(crate) fn get(self) -> T {
        self.value.take().expect("the task has not ended")
    }

    pub(crate) fn is_pending(&self) -> bool {
        !self.task.is_finished()
    }
}

/// Starts a task, and runs until nothing is left to do.
pub(crate) fn start<T: 'static>(
    reactor: &MemoryReactor,
    future: impl Future<Output = T> + 'static,
) -> Outcome<T> {
    let value = Rc::new(RefCell::new(None));
    let result = Rc::clone(&value);
    let task = reactor.spawn(Box::pin(async move {
        let output = future.await;
        result.replace(Some(output));
    }));
    reactor.run();
    Outcome { value, task }
}

/// Reads until the end.
pub(crate) async fn read_all(stream: &mut ConnectionStream) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The failure in an error of a stream.
#[track_caller]
pub(crate) fn failure(error: &io::Error) -> &Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let error: &StreamError = inner.expect("an error of a stream");
    error.failure()
}

/// Bytes that show when one is missing, doubled or out of order.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
