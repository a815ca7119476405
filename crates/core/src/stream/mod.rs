//! A connection as an async stream: for application logic that reads better from top to bottom
//! than as callbacks.
//!
//! ```text
//!   Channel ──▶ StreamProtocol ──▶ State ──▶ StreamReader ┐
//!      ▲                             ▲                    ├ ConnectionStream
//!      └──────── Connection ◀────────┴────── StreamWriter ┘
//! ```
//!
//! Both directions are bounded: with 64 KiB unread the network is read no more until the task has
//! read, and with [`ConnectionLimits::high_water`](crate::ConnectionLimits::high_water) unsent a
//! write waits until the peer has read. The loop does the sending, so nothing has to be flushed
//! for it to go out. A future of a stream that is dropped has taken nothing away: what it would
//! have read is there for the next one.

mod error;
mod factory;
#[cfg(feature = "futures-io")]
mod futures_io;
mod protocol;
mod reader;
mod state;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod writer;

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;

pub use error::StreamError;
pub use factory::StreamFactory;
use protocol::StreamProtocol;
pub use reader::StreamReader;
use state::State;
pub use writer::StreamWriter;

use crate::endpoint::ClientEndpoint;
use crate::{Address, Connection, Deferred, Factory, Failure, Protocol, ReactorNet, Transport};

/// A connection that is read and written by `async` code, on the loop's thread.
///
/// A server gets them from a [`StreamFactory`], a client from [`connect`](Self::connect), and a
/// protocol turns its own connection into one by [`Transport::exchange_for_stream`]. With the
/// feature `futures-io` it has `AsyncRead`, `AsyncBufRead` and `AsyncWrite` of the crate
/// `futures-io`, with `tokio-io` those of `tokio::io`.
///
/// - **The end.** A read gives 0 bytes only when the peer has said that it sends no more. When the
///   connection ends in another way, by a reset or a time-out, reads and writes are errors that
///   hold a [`StreamError`] with the [`Failure`].
/// - **Half-close.** The peer's does not end the stream: it can still be written to.
/// - **Dropping** it sends what was written and closes the connection; within a panic, it resets
///   the connection instead, so that nobody takes half an answer for a whole one.
/// - **Shutdown of the program** is an error to whoever reads when all that has come is read, since
///   what would come may take for ever; writing goes on, so that an answer can be finished. See
///   [`read_while_draining`](Self::read_while_draining).
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{ConnectionStream, StreamFactory};
/// use std::rc::Rc;
///
/// let reactor = MemoryReactor::new();
/// let server = StreamFactory::new(|mut stream: ConnectionStream| async move {
///     let mut name = [0; 5];
///     stream.read_exact(&mut name).await?;
///     stream.write_all(b"hello, ").await?;
///     stream.write_all(&name).await
/// });
/// reactor.listen(&"tcp:7".parse().unwrap(), Rc::new(server)).unwrap();
///
/// let connecting = ConnectionStream::connect(&*reactor, &"tcp:example.com:7".parse().unwrap());
/// let task = reactor.spawn(Box::pin(async move {
///     let mut stream = connecting.await.unwrap();
///     stream.write_all(b"world").await.unwrap();
///     let mut answer = [0; 12];
///     stream.read_exact(&mut answer).await.unwrap();
///     assert_eq!(&answer, b"hello, world");
///     assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
/// }));
/// reactor.run();
/// assert!(task.is_finished());
/// ```
pub struct ConnectionStream {
    // In this order, the drop of the second one closes the connection whole.
    reader: StreamReader,
    writer: StreamWriter,
}

impl ConnectionStream {
    fn of(state: Rc<State>) -> Self {
        Self {
            reader: StreamReader::new(Rc::clone(&state)),
            writer: StreamWriter { state },
        }
    }

    /// Connects to `endpoint`. Cancelling the Deferred gives up, and a stream that nobody takes
    /// from it is closed.
    pub fn connect<R: ReactorNet + ?Sized>(
        reactor: &R,
        endpoint: &ClientEndpoint,
    ) -> Deferred<Self> {
        let made: Rc<Cell<Option<Self>>> = Rc::default();
        let factory = Rc::new(OneStream(Rc::clone(&made)));
        reactor.connect(endpoint, factory).add_callback(move |_| {
            made.take()
                .ok_or_else(|| Failure::msg("the reactor gave a connection that it had not made"))
        })
    }

    /// Reads what has come, at most as much as `buffer` holds; waits for the first byte. 0 when
    /// the peer has sent its last (or `buffer` has no room).
    ///
    /// # Errors
    /// The connection ended before the peer had said that it sends no more.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).await
    }

    /// Fills `buffer`. When this future is dropped, what it has put into `buffer` is gone from
    /// the stream.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the peer
    /// sends less.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer).await
    }

    /// What has come, without copying it; waits for the first byte. Empty when the peer has sent
    /// its last. It stays unread until [`consume`](Self::consume).
    ///
    /// ```
    /// # use ropewalk_core::ConnectionStream;
    /// /// Echoes until the peer has sent its last.
    /// async fn echo(mut stream: ConnectionStream) -> std::io::Result<()> {
    ///     let (mut reader, mut writer) = stream.into_split();
    ///     loop {
    ///         let data = reader.fill_buf().await?;
    ///         let count = data.len();
    ///         if count == 0 {
    ///             return writer.shutdown().await;
    ///         }
    ///         writer.write_all(data).await?;
    ///         reader.consume(count);
    ///     }
    /// }
    /// # let _ = echo;
    /// ```
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf().await
    }

    /// Takes `count` bytes, or as many as there are, off what [`fill_buf`](Self::fill_buf) gave.
    pub fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }

    /// Writes `data`, and waits while more is unsent than the connection may hold. What was
    /// written goes out by itself. When this future is dropped, part of `data` may be written.
    ///
    /// # Errors
    /// The connection has ended, or its writing side is closed.
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.writer.write_all(data).await
    }

    /// Waits until all that was written is handed to the operating system.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().await
    }

    /// Waits as [`flush`](Self::flush) does, and then tells the peer that nothing more will come.
    /// Reading goes on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }

    /// Its two directions, for two tasks, or to read and write at the same time. The connection
    /// is closed when both are dropped.
    #[must_use]
    pub fn into_split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// The stream of two halves.
    ///
    /// # Errors
    /// The halves, if they are not of one stream.
    pub fn unsplit(
        reader: StreamReader,
        writer: StreamWriter,
    ) -> Result<Self, (StreamReader, StreamWriter)> {
        match Rc::ptr_eq(&reader.state, &writer.state) {
            true => Ok(Self { reader, writer }),
            false => Err((reader, writer)),
        }
    }

    /// Gives the connection to `protocol`, as [`Transport::exchange_protocol`] does, with what
    /// has come and was not read. What was written goes out first. `false`, and `protocol` is
    /// dropped, if the connection has ended.
    ///
    /// ```
    /// use ropewalk_core::{ConnectionStream, Protocol, Transport};
    ///
    /// struct Echo;
    /// impl Protocol for Echo {
    ///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
    ///         transport.write(data);
    ///     }
    /// }
    ///
    /// /// Reads a greeting of one byte by hand; the rest is for a protocol.
    /// async fn greet(mut stream: ConnectionStream) -> std::io::Result<()> {
    ///     stream.read_exact(&mut [0]).await?;
    ///     stream.write_all(b"welcome").await?;
    ///     stream.into_protocol(Box::new(Echo));
    ///     Ok(())
    /// }
    /// # let _ = greet;
    /// ```
    pub fn into_protocol(mut self, protocol: Box<dyn Protocol>) -> bool {
        let unread = self.reader.take_unread();
        let connection = self.connection();
        // So that the drop of this stream closes nothing.
        self.reader.state.disconnect();
        let exchange = |transport: &mut Transport| {
            transport.exchange_protocol(protocol, &unread);
        };
        connection.act(exchange).is_some()
    }

    /// A handle to the connection: for its addresses, socket options and time-outs, by
    /// [`Connection::act`].
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.reader.state.connection()
    }

    /// Whether the program is shutting down, and waits for this connection to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.reader.state.is_draining()
    }

    /// Waits until the program is shutting down, or the connection has ended: for those who wait
    /// for other things than what the peer sends.
    pub async fn draining(&self) {
        poll_fn(|context| self.reader.state.poll_draining(context)).await;
    }

    /// Whether reads wait for the peer even when the program is shutting down. They do not,
    /// unless this is asked for; the shutdown then waits for the end of this stream until its
    /// own deadline.
    pub fn read_while_draining(&mut self, on: bool) {
        self.reader.state.read_while_draining.set(on);
    }
}

impl fmt::Debug for ConnectionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionStream")
            .field(&self.connection())
            .finish()
    }
}

impl Transport {
    /// Puts a stream in the place of the protocol that runs, as
    /// [`exchange_protocol`](Self::exchange_protocol) puts another one: `unread`, and what comes
    /// after it, is the stream's to read, and what it writes goes out behind what was written
    /// before. The stream can be used at once, by a task for instance.
    ///
    /// ```
    /// use ropewalk_core::testing::Pair;
    /// use ropewalk_core::{Protocol, Transport};
    ///
    /// /// Answers "up" by callbacks, and the rest by a task.
    /// struct Upgrade;
    /// impl Protocol for Upgrade {
    ///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
    ///         let Some(rest) = data.strip_prefix(b"up") else {
    ///             return transport.lose_connection();
    ///         };
    ///         let mut stream = transport.exchange_for_stream(rest);
    ///         transport.reactor().spawn(Box::pin(async move {
    ///             let mut number = [0; 2];
    ///             if stream.read_exact(&mut number).await.is_ok() {
    ///                 let _ = stream.write_all(&[number[0] + number[1]]).await;
    ///             }
    ///         }));
    ///     }
    /// }
    /// # #[derive(Default)]
    /// # struct Collect(Vec<u8>);
    /// # impl Protocol for Collect {
    /// #     fn data_received(&mut self, _: &mut Transport, data: &[u8]) { self.0.extend(data) }
    /// #     fn read_closed(&mut self, _: &mut Transport) {}
    /// # }
    ///
    /// let pair = Pair::new(Collect::default(), Upgrade);
    /// pair.client().write(b"up\x20\x22");
    /// pair.run();
    /// assert_eq!(pair.with_client(|client: &mut Collect| client.0.clone()).unwrap(), b"B");
    /// ```
    pub fn exchange_for_stream(&mut self, unread: &[u8]) -> ConnectionStream {
        let state = Rc::new(State::new(self.connection()));
        let protocol = StreamProtocol::of(Rc::clone(&state));
        self.exchange_protocol(Box::new(protocol), unread);
        ConnectionStream::of(state)
    }
}

/// Builds the protocol of one stream, which is put where it is waited for.
struct OneStream(Rc<Cell<Option<ConnectionStream>>>);

impl Factory for OneStream {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        let made = Rc::clone(&self.0);
        let start = Box::new(move |stream, _: &mut Transport| made.set(Some(stream)));
        Some(Box::new(StreamProtocol::starting(start)))
    }
}
