//! A handle to a WebSocket, that may be kept anywhere.

use std::fmt;
use std::rc::{Rc, Weak};

use ropewalk_core::{Address, Transport};

use super::frame_header::Opcode;
use super::sender::Sender;
use super::{CloseCode, Message, PreparedMessage, Role};

/// A handle to a WebSocket that may be kept anywhere on its thread: Twisted's `WebSocketTransport`.
///
/// It keeps nothing alive. Using one that has ended does nothing, and says so by returning `false` or
/// `None`. All of it can be called from anywhere, from within callbacks of the same WebSocket too.
///
/// Nothing waits here: a message is sent, or waits unsent in memory, and with more than
/// [`Limits::unsent`](super::Limits::unsent) the connection is ended. Who sends much looks at
/// [`unsent`](Self::unsent), or writes when
/// [`write_resumed`](super::WebSocketProtocol::write_resumed) says so.
#[derive(Clone, Default)]
pub struct WebSocket {
    sender: Weak<Sender>,
}

impl WebSocket {
    pub(crate) fn of(sender: &Rc<Sender>) -> Self {
        Self {
            sender: Rc::downgrade(sender),
        }
    }

    /// Sends a text. `false` if it was dropped, because the WebSocket is being closed, has ended or
    /// ends for having too much unsent.
    pub fn send_text_message(&self, text: &str) -> bool {
        self.with(|sender| sender.send_slice(Opcode::Text, text.as_bytes()))
    }

    /// Sends bytes. Returns what [`send_text_message`](Self::send_text_message) returns.
    pub fn send_bytes_message(&self, data: &[u8]) -> bool {
        self.with(|sender| sender.send_slice(Opcode::Binary, data))
    }

    /// Sends a message, without copying it if it is long. Returns what
    /// [`send_text_message`](Self::send_text_message) returns.
    pub fn send(&self, message: impl Into<Message>) -> bool {
        let message = message.into();
        self.with(|sender| sender.send(message))
    }

    /// Sends what was encoded for many. Returns what
    /// [`send_text_message`](Self::send_text_message) returns.
    pub fn send_prepared(&self, message: &PreparedMessage) -> bool {
        self.with(|sender| sender.send_prepared(message))
    }

    /// Asks the peer for a Pong with the same payload, of at most 125 bytes; `false` also if it has
    /// more. (What keeps the connection alive does that by itself.)
    pub fn ping(&self, payload: &[u8]) -> bool {
        self.with(|sender| sender.ping(payload))
    }

    /// Sends what was written, then says goodbye, and ends the connection when the peer has said it
    /// too, or has taken [too long](super::Limits::handshake). Messages that the peer has sent
    /// before it heard this are still told, unless reading is paused. `reason` is cut to 123 bytes; a
    /// code that may not be sent stands for none. `false` if that was done, or the WebSocket has ended.
    pub fn lose_connection(&self, code: CloseCode, reason: &str) -> bool {
        self.with(|sender| sender.close(code, reason))
    }

    /// Ends the connection at once, without a Close.
    pub fn abort_connection(&self) -> bool {
        self.with(|sender| sender.act(Transport::abort_connection).is_some())
    }

    /// Asks for no more messages until [`resume_producing`](Self::resume_producing): the peer is
    /// slowed down. Pings are not answered meanwhile, and the peer is not asked if it is there.
    pub fn pause_producing(&self) -> bool {
        self.with(Sender::pause_reading)
    }

    /// Asks for messages again.
    pub fn resume_producing(&self) -> bool {
        self.with(Sender::resume_reading)
    }

    /// Asks for one [`write_resumed`](super::WebSocketProtocol::write_resumed), as soon as little
    /// is unsent: for those who send one message after the other.
    pub fn await_drain(&self) -> bool {
        self.with(Sender::await_room)
    }

    /// Unsent bytes, or `None` if the WebSocket has ended.
    #[must_use]
    pub fn unsent(&self) -> Option<u64> {
        self.sender.upgrade()?.unsent()
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let is_open = |transport: &mut Transport| !transport.is_closing();
        self.with(|sender| !sender.is_close_sent() && sender.act(is_open) == Some(true))
    }

    /// Which end it is, or `None` if the WebSocket has ended.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        Some(self.sender.upgrade()?.role())
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<Rc<str>> {
        self.sender.upgrade()?.subprotocol().cloned()
    }

    /// The address of the other end, or `None` if the WebSocket has ended.
    #[must_use]
    pub fn peer(&self) -> Option<Address> {
        self.act(|transport| transport.peer())
    }

    /// Does something with the connection under it, as
    /// [`Connection::act`](ropewalk_core::Connection::act) does: asks for its reactor or what TLS has
    /// agreed on. What is written there is no message.
    pub fn act<R>(&self, action: impl FnOnce(&mut Transport) -> R) -> Option<R> {
        self.sender.upgrade()?.act(action)
    }

    fn with(&self, action: impl FnOnce(&Sender) -> bool) -> bool {
        self.sender.upgrade().is_some_and(|sender| action(&sender))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.with(Sender::is_full)
    }
}

/// Two are equal if they are of the same WebSocket.
impl PartialEq for WebSocket {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.sender, &other.sender)
    }
}

impl Eq for WebSocket {}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer() {
            Some(peer) => write!(f, "WebSocket({peer})"),
            None => f.write_str("WebSocket(ended)"),
        }
    }
}
