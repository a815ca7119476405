//! A connection that another one carries: a protocol over a byte stream that is no socket.
//!
//! A stream of HTTP/2 that became a tunnel is one, the channel of an SSH connection another. The same
//! [`Channel`] as on a socket is driven here by a task, so that a protocol has a true [`Transport`]:
//! the order of its callbacks, its back-pressure, half-close, limits and handles are as everywhere.
//!
//! ```text
//!   AsyncRead + AsyncWrite ──▶ Carrying (a task) ──▶ Channel ──▶ Protocol
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::context::{ConnectionId, LoopContext};
use crate::output::OutputQueue;
use crate::{
    Address, Channel, Connection, ConnectionLimits, DelayedCall, Failure, Protocol, ReactorCore,
    SendStatus, Step, Task,
};

/// So much is read at once.
const PIECE: usize = 16 * 1024;

/// So many pieces are read before others get their turn.
const PIECES_IN_A_ROW: u32 = 16;

/// A connection that runs over a byte stream.
///
/// It needs nobody to hold it: it lives until it is closed from either end, as one on a socket does.
/// Closing it shuts the stream's writing side down before the stream is dropped; aborting it drops
/// the stream as it is. Options of sockets have no effect on it.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Address, CarriedConnection, Protocol, Transport};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// struct Echo;
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let reactor = MemoryReactor::new();
/// let (mut near, far) = tokio::io::duplex(64);
/// let somewhere = Address::Unix(None);
/// CarriedConnection::start(
///     &reactor.handle(),
///     far,
///     Box::new(Echo),
///     Default::default(),
///     (somewhere.clone(), somewhere),
/// );
/// let task = reactor.spawn(Box::pin(async move {
///     near.write_all(b"hello").await.unwrap();
///     near.shutdown().await.unwrap();
///     let mut answer = String::new();
///     near.read_to_string(&mut answer).await.unwrap();
///     assert_eq!(answer, "hello");
/// }));
/// reactor.run();
/// assert!(task.is_finished());
/// ```
pub struct CarriedConnection {
    connection: Connection,
    events: Rc<Events>,
    task: Task,
}

/// What happens to the channel from elsewhere than its stream.
#[derive(Default)]
struct Events {
    draining: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Events {
    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl CarriedConnection {
    /// Runs `protocol` over `stream`, on the loop of `reactor`, as a connection from the first of
    /// `addresses` to the second. Its `connection_made` comes in this turn, after the running
    /// callback.
    pub fn start<S>(
        reactor: &Rc<dyn ReactorCore>,
        stream: S,
        protocol: Box<dyn Protocol>,
        limits: ConnectionLimits,
        addresses: (Address, Address),
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let events = Rc::new(Events::default());
        let touched = Rc::clone(&events);
        let context = Rc::new(LoopContext::carried(reactor, move || touched.wake()));
        let (peer, host) = addresses;
        let channel = Channel::new(
            Rc::clone(&context),
            ConnectionId::new(0, 0),
            protocol,
            Vec::new(),
            Rc::new(limits),
            peer,
            Rc::new(host),
        );
        let connection = channel.connection();
        let mut carrying = Carrying {
            stream,
            channel: Some(channel),
            context,
            events: Rc::clone(&events),
            timer: None,
            begun: false,
            shutting: false,
            closing: false,
        };
        let task = reactor.spawn(Box::pin(poll_fn(move |cx| carrying.poll(cx))));
        Self {
            connection,
            events,
            task,
        }
    }

    /// A handle to it.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Tells its protocol to [`drain`](Protocol::drain): the program is shutting down, or what
    /// carries the connection is.
    pub fn drain(&self) {
        self.events.draining.set(true);
        self.events.wake();
    }

    /// Whether it has ended, and its protocol has had `connection_lost`.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl fmt::Debug for CarriedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CarriedConnection")
            .field(&self.connection)
            .finish()
    }
}

/// What moves the bytes between a stream and a channel.
struct Carrying<S> {
    stream: S,
    /// `None` when it has ended.
    channel: Option<Channel>,
    context: Rc<LoopContext>,
    events: Rc<Events>,
    /// For the channel's deadline, and what that is.
    timer: Option<(u64, DelayedCall)>,
    begun: bool,
    /// The stream's writing side is to be shut down.
    shutting: bool,
    /// All is sent, and the connection closed.
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Carrying<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *self.events.waker.borrow_mut() = Some(cx.waker().clone());
        let Some(mut channel) = self.channel.take() else {
            return Poll::Ready(());
        };
        if !std::mem::replace(&mut self.begun, true) {
            channel.connected();
        }
        if self.events.draining.take() {
            channel.drain();
        }
        // Whether the stream takes more is asked of it.
        channel.writable();
        let mut pieces = 0;
        let ended = loop {
            if self.settle(&mut channel, cx).is_ready() {
                break true;
            }
            let now = self.context.now_nanos();
            if channel.deadline().is_some_and(|deadline| deadline <= now) {
                channel.deadline_passed();
            } else if self.closing || !channel.wants_read() {
                break false;
            } else if pieces == PIECES_IN_A_ROW {
                cx.waker().wake_by_ref();
                break false;
            } else if self.read(&mut channel, cx).is_pending() {
                break false;
            }
            pieces += 1;
        };
        if ended {
            self.stop_timer();
            channel.lost();
            return Poll::Ready(());
        }
        self.set_timer(&channel);
        self.channel = Some(channel);
        Poll::Pending
    }

    /// Does what the channel asks for. Ready when the connection is over.
    fn settle(&mut self, channel: &mut Channel, cx: &mut Context<'_>) -> Poll<()> {
        while !self.closing {
            match channel.next_step() {
                Step::Send => channel.send(|queue| write(&mut self.stream, cx, queue)),
                Step::ShutdownWrite => self.shutting = true,
                // There is no socket.
                Step::SetOption(_) => {}
                Step::Close => self.closing = true,
                Step::Abort => return Poll::Ready(()),
                Step::Wait => break,
            }
        }
        if self.shutting || self.closing {
            // If it cannot be shut down it is gone, and a read says so.
            let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            self.shutting = false;
        }
        match self.closing {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Reads a piece. Pending when there is none.
    fn read(&mut self, channel: &mut Channel, cx: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => channel.read_closed(),
            Ok(()) => channel.received(buffer.filled()),
            Err(error) => channel.failed(error),
        }
        Poll::Ready(())
    }

    fn set_timer(&mut self, channel: &Channel) {
        let deadline = channel.deadline();
        if deadline == self.timer.as_ref().map(|(deadline, _)| *deadline) {
            return;
        }
        self.stop_timer();
        let Some((deadline, reactor)) = deadline.zip(self.context.reactor()) else {
            return;
        };
        let delay = deadline.saturating_sub(self.context.now_nanos());
        let events = Rc::clone(&self.events);
        let call = reactor.call_later(Duration::from_nanos(delay), Box::new(move || events.wake()));
        self.timer = Some((deadline, call));
    }
}

impl<S> Carrying<S> {
    fn stop_timer(&mut self) {
        if let Some((_, call)) = self.timer.take() {
            call.cancel();
        }
    }
}

/// The loop ended before the connection did: its protocol is told.
impl<S> Drop for Carrying<S> {
    fn drop(&mut self) {
        self.stop_timer();
        if let Some(mut channel) = self.channel.take() {
            channel.end(Failure::msg("the loop has ended"));
            channel.lost();
        }
    }
}

/// Writes what the stream takes of `queue`.
fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    queue: &mut OutputQueue,
) -> io::Result<SendStatus> {
    while !queue.is_empty() {
        let front = queue.front()?;
        match Pin::new(&mut *stream).poll_write(cx, front) {
            Poll::Pending => return Ok(SendStatus::Blocked),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => queue.consume(count as u64),
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
    Ok(SendStatus::Ready)
}
