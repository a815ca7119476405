//! A WebSocket read and written by async code.
//!
//! Both directions are bounded: with 64 KiB unread the network is read no more until the task has
//! read, and with 64 KiB unsent a send waits until the peer has read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;

use super::{CloseCode, Closed, Message, PreparedMessage, WebSocket, WebSocketProtocol};

/// With so much unread, the peer is slowed down.
const READ_HIGH: usize = 64 * 1024;

/// With so little unread, it may go on.
const READ_LOW: usize = 16 * 1024;

/// What a message counts for, beside its bytes.
const MESSAGE: usize = 64;

/// A WebSocket as a stream of messages. It is one for `futures_core`, too.
///
/// - **The end.** [`recv`](Self::recv) gives `None` after a closing handshake, and before that an error if
///   there was none. [`closed`](Self::closed) tells how it was.
/// - **Dropping** it closes the WebSocket with 1000; within a panic, it resets the connection.
/// - **Shutdown of the program** closes it with 1001: the messages that have come can still be read.
/// - A task that does not receive does not answer pings either, once enough is unread.
///
/// ```
/// use http::Request;
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::ReactorTasks;
/// use ropewalk_web::websocket::{self, Message, Options, WebSocketClient};
/// use ropewalk_web::{Body, Site, handler_fn};
/// use std::rc::Rc;
///
/// let reactor = MemoryReactor::new();
/// let site = Site::new(handler_fn(|request: Request<Body>| {
///     websocket::upgrade_stream(&request, &Options::default(), |mut socket| async move {
///         while let Some(Ok(message)) = socket.recv().await {
///             let _ = socket.send(message).await;
///         }
///     })
/// }));
/// reactor.listen(&"tcp:80".parse().unwrap(), Rc::new(site)).unwrap();
///
/// let client = WebSocketClient::new();
/// let connecting = client.connect_stream(&*reactor, "ws://example.com/");
/// let task = reactor.spawn(Box::pin(async move {
///     let mut socket = connecting.await.unwrap();
///     socket.send("hello").await.unwrap();
///     assert_eq!(socket.recv().await.unwrap().unwrap(), Message::from("hello"));
/// }));
/// reactor.run();
/// assert!(task.is_finished());
/// ```
pub struct WebSocketStream {
    // In this order, the drop of the second one closes it.
    reader: WebSocketReader,
    writer: WebSocketWriter,
}

/// The half of a [`WebSocketStream`] that receives.
pub struct WebSocketReader {
    state: Rc<State>,
}

/// The half of a [`WebSocketStream`] that sends.
pub struct WebSocketWriter {
    state: Rc<State>,
}

impl WebSocketStream {
    fn of(state: &Rc<State>) -> Self {
        Self {
            reader: WebSocketReader {
                state: Rc::clone(state),
            },
            writer: WebSocketWriter {
                state: Rc::clone(state),
            },
        }
    }

    /// The next message, or `None` when both sides have said goodbye. Dropping the future takes no
    /// message away.
    ///
    /// # Errors
    /// Once, if the WebSocket ended in another way.
    pub async fn recv(&mut self) -> Option<Result<Message, Closed>> {
        self.reader.recv().await
    }

    /// Sends a message, and waits before that while much is unsent. When the future is
    /// dropped before it is done, the message is not sent.
    ///
    /// # Errors
    /// The WebSocket is being closed, or has ended.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.writer.send(message).await
    }

    /// As [`send`](Self::send), for what was encoded for many.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_prepared(&mut self, message: &PreparedMessage) -> Result<(), SendError> {
        self.writer.send_prepared(message).await
    }

    /// Says goodbye, and waits until the connection has ended. What still comes is dropped.
    pub async fn close(mut self, code: CloseCode, reason: &str) -> Option<Closed> {
        self.socket().lose_connection(code, reason);
        while self.recv().await.is_some() {}
        self.closed()
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.reader.state.closed.borrow().clone()
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<Rc<str>> {
        self.socket().subprotocol()
    }

    /// A handle to it: for pings, and for those who send without waiting.
    #[must_use]
    pub fn socket(&self) -> WebSocket {
        self.reader.state.socket()
    }

    /// Its two directions, for two tasks. The WebSocket is closed when both are dropped.
    #[must_use]
    pub fn into_split(self) -> (WebSocketReader, WebSocketWriter) {
        (self.reader, self.writer)
    }

    /// The stream of two halves.
    ///
    /// # Errors
    /// The halves, if they are not of one stream.
    pub fn unsplit(
        reader: WebSocketReader,
        writer: WebSocketWriter,
    ) -> Result<Self, (WebSocketReader, WebSocketWriter)> {
        match Rc::ptr_eq(&reader.state, &writer.state) {
            true => Ok(Self { reader, writer }),
            false => Err((reader, writer)),
        }
    }
}

impl WebSocketReader {
    /// See [`WebSocketStream::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Option<Result<Message, Closed>> {
        poll_fn(|cx| self.state.poll_recv(cx)).await
    }

    /// A handle to the WebSocket.
    #[must_use]
    pub fn socket(&self) -> WebSocket {
        self.state.socket()
    }
}

impl WebSocketWriter {
    /// See [`WebSocketStream::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        poll_fn(|cx| self.state.poll_writable(cx)).await;
        sent(self.state.socket().send(message))
    }

    /// See [`WebSocketStream::send_prepared`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_prepared(&mut self, message: &PreparedMessage) -> Result<(), SendError> {
        poll_fn(|cx| self.state.poll_writable(cx)).await;
        sent(self.state.socket().send_prepared(message))
    }

    /// A handle to the WebSocket.
    #[must_use]
    pub fn socket(&self) -> WebSocket {
        self.state.socket()
    }
}

fn sent(is_sent: bool) -> Result<(), SendError> {
    match is_sent {
        true => Ok(()),
        false => Err(SendError),
    }
}

impl Stream for WebSocketStream {
    type Item = Result<Message, Closed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.reader.state.poll_recv(cx)
    }
}

impl Stream for WebSocketReader {
    type Item = Result<Message, Closed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.state.poll_recv(cx)
    }
}

impl Drop for WebSocketReader {
    fn drop(&mut self) {
        self.state.reader_gone.set(true);
        let unread = self.state.messages.take();
        self.state.unread.set(0);
        drop(unread);
        self.state.half_dropped();
        // Close and pings are read on.
        self.state.read_on();
    }
}

impl Drop for WebSocketWriter {
    fn drop(&mut self) {
        self.state.writer_gone.set(true);
        self.state.half_dropped();
    }
}

impl fmt::Debug for WebSocketStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketStream")
            .field(&self.socket())
            .finish()
    }
}

impl fmt::Debug for WebSocketReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketReader")
            .field(&self.socket())
            .finish()
    }
}

impl fmt::Debug for WebSocketWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketWriter")
            .field(&self.socket())
            .finish()
    }
}

/// A message was not sent: the WebSocket is being closed, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError;

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot send a message: the WebSocket is being closed or has ended")
    }
}

impl std::error::Error for SendError {}

/// What a stream and the protocol under it share. Nothing is borrowed while a waker runs.
#[derive(Default)]
struct State {
    socket: RefCell<WebSocket>,
    messages: RefCell<VecDeque<Message>>,
    /// What they count for.
    unread: Cell<usize>,
    paused: Cell<bool>,
    closed: RefCell<Option<Closed>>,
    /// The reader was told how it ended.
    told: Cell<bool>,
    reader_gone: Cell<bool>,
    writer_gone: Cell<bool>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl State {
    fn socket(&self) -> WebSocket {
        self.socket.borrow().clone()
    }

    fn received(&self, message: Message) {
        if self.reader_gone.get() {
            return;
        }
        let unread = self.unread.get() + message.len() + MESSAGE;
        self.unread.set(unread);
        self.messages.borrow_mut().push_back(message);
        if unread >= READ_HIGH && !self.paused.replace(true) {
            self.socket().pause_producing();
        }
        wake(&self.reader);
    }

    fn read_on(&self) {
        if self.unread.get() <= READ_LOW && self.paused.replace(false) {
            self.socket().resume_producing();
        }
    }

    fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<Result<Message, Closed>>> {
        let next = self.messages.borrow_mut().pop_front();
        if let Some(message) = next {
            self.unread.set(self.unread.get() - message.len() - MESSAGE);
            self.read_on();
            return Poll::Ready(Some(Ok(message)));
        }
        let closed = self.closed.borrow().clone();
        match closed {
            Some(closed) if !closed.was_clean && !self.told.replace(true) => {
                Poll::Ready(Some(Err(closed)))
            }
            Some(_) => Poll::Ready(None),
            None => {
                self.reader.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// Ready also when nothing can be sent any more: then sending says so.
    fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        let socket = self.socket();
        if !socket.is_connected() || !socket.is_full() {
            return Poll::Ready(());
        }
        self.writer.set(Some(cx.waker().clone()));
        socket.await_drain();
        Poll::Pending
    }

    fn half_dropped(&self) {
        let socket = self.socket();
        if std::thread::panicking() {
            socket.abort_connection();
        } else if self.reader_gone.get() && self.writer_gone.get() {
            socket.lose_connection(CloseCode::NORMAL, "");
        }
    }
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Puts what comes where a stream finds it.
pub(crate) struct StreamProtocol {
    state: Rc<State>,
    start: Option<Start>,
}

type Start = Box<dyn FnOnce(WebSocketStream)>;

impl StreamProtocol {
    /// Gives the stream to a task.
    pub(crate) fn serving<F, T>(serve: F) -> Self
    where
        F: FnOnce(WebSocketStream) -> T + 'static,
        T: Future<Output = ()> + 'static,
    {
        Self::starting(Box::new(|stream| {
            let socket = stream.socket();
            let task = Box::pin(serve(stream));
            socket.act(|transport| transport.reactor().spawn(task));
        }))
    }

    /// Puts the stream where it is waited for.
    pub(crate) fn made(made: Rc<Cell<Option<WebSocketStream>>>) -> Self {
        Self::starting(Box::new(move |stream| made.set(Some(stream))))
    }

    fn starting(start: Start) -> Self {
        Self {
            state: Rc::default(),
            start: Some(start),
        }
    }
}

impl WebSocketProtocol for StreamProtocol {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        self.state.socket.replace(socket.clone());
        if let Some(start) = self.start.take() {
            start(WebSocketStream::of(&self.state));
        }
    }

    fn text_message_received(&mut self, _: &WebSocket, text: String) {
        self.state.received(Message::Text(text));
    }

    fn bytes_message_received(&mut self, _: &WebSocket, data: Bytes) {
        self.state.received(Message::Binary(data));
    }

    /// Whoever sends waits by itself, and who receives goes on.
    fn write_paused(&mut self, _: &WebSocket) {}

    fn write_resumed(&mut self, _: &WebSocket) {
        wake(&self.state.writer);
    }

    fn connection_lost(&mut self, closed: Closed) {
        self.state.closed.replace(Some(closed));
        wake(&self.state.reader);
        wake(&self.state.writer);
    }
}
