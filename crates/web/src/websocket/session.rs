//! One WebSocket after its opening handshake: the protocol over decoder and sender.
//!
//! ```text
//!   data_received ──▶ Decoder ──▶ WebSocketProtocol ─┐
//!                                                    ├─▶ Sender ──▶ Transport
//!   other code ───────────────▶ WebSocket ───────────┘
//! ```
//!
//! It holds to the closing handshake of RFC 6455, section 7: each side says goodbye once, the server
//! ends the connection, and whoever takes too long is cut off.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Connection, Failure, Protocol, Resolver, TimedOut, Transport};

use super::close::CloseFrame;
use super::decoder::{Decoder, Incoming};
use super::deflate_offer::Agreed;
use super::encoder::Encoder;
use super::masking::Masks;
use super::sender::Sender;
use super::{CloseCode, Closed, Options, Role, WebSocket, WebSocketError, WebSocketProtocol};

/// One WebSocket, as the protocol of a connection whose opening handshake was done:
/// [`upgrade`](super::upgrade) and [`WebSocketClient`](super::WebSocketClient) make them. For those
/// who do the handshake in another way.
///
/// ```
/// use bytes::Bytes;
/// use ropewalk_core::testing::Pair;
/// use ropewalk_web::websocket::{Options, Session, WebSocket, WebSocketProtocol};
///
/// struct Echo;
/// impl WebSocketProtocol for Echo {
///     fn text_message_received(&mut self, socket: &WebSocket, text: String) {
///         socket.send(text);
///     }
///     fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
///         socket.send(data);
///     }
/// }
/// struct Greeter;
/// impl WebSocketProtocol for Greeter {
///     fn negotiation_finished(&mut self, socket: &WebSocket) {
///         socket.send_text_message("hello");
///     }
///     fn text_message_received(&mut self, socket: &WebSocket, text: String) {
///         assert_eq!(text, "hello");
///         socket.lose_connection(ropewalk_web::websocket::CloseCode::NORMAL, "");
///     }
///     fn bytes_message_received(&mut self, _: &WebSocket, _: Bytes) {}
/// }
///
/// let options = Options::default();
/// let server = Session::server(&options, Echo);
/// let client = Session::client(&options, Greeter);
/// let pair = Pair::new(client, server);
/// pair.run();
/// assert!(!pair.client().is_connected());
/// ```
pub struct Session<P> {
    protocol: P,
    role: Role,
    decoder: Decoder,
    sender: Rc<Sender>,
    socket: WebSocket,
    interval: Option<Duration>,
    timeout: Duration,
    patience: Duration,
    /// What has come while reading was paused.
    held: Vec<u8>,
    /// The peer will send no more.
    read_closed: bool,
    /// The peer's Close has come.
    peer_close: Option<Option<CloseFrame>>,
    /// What the peer did wrong.
    error: Option<WebSocketError>,
    /// It was asked whether it is there.
    pinged: bool,
    /// When an answer of the peer was due last, what asks for it was still to be sent.
    was_sending: bool,
    /// The protocol was told to send no more.
    write_paused: bool,
    /// Who waits for it to be open.
    opened: Option<Resolver<WebSocket>>,
}

impl<P: WebSocketProtocol> Session<P> {
    /// The server's end, without extensions.
    #[must_use]
    pub fn server(options: &Options, protocol: P) -> Self {
        Self::new(Role::Server, options, None, None, protocol)
    }

    /// The client's end, without extensions.
    #[must_use]
    pub fn client(options: &Options, protocol: P) -> Self {
        Self::new(Role::Client, options, None, None, protocol)
    }

    /// Both ends of a connection that is compressed as these options ask, each for its part.
    #[doc(hidden)]
    #[must_use]
    pub fn compressed(role: Role, options: &Options, protocol: P) -> Self {
        let agreed = options.deflate.as_ref().and_then(Agreed::with_itself);
        Self::new(role, options, None, agreed, protocol)
    }

    pub(crate) fn new(
        role: Role,
        options: &Options,
        subprotocol: Option<Rc<str>>,
        agreed: Option<Agreed>,
        protocol: P,
    ) -> Self {
        let deflate = options.deflate.clone().unwrap_or_default();
        let inflater = agreed.map(|agreed| agreed.inflater(role));
        let deflater =
            agreed.and_then(|agreed| agreed.deflater(role, deflate.level, deflate.spare));
        let sender = Rc::new(Sender::new(
            subprotocol,
            (role == Role::Client).then(|| Masks::new(options.randomness.clone())),
            Encoder::new(deflater, deflate.threshold),
            options.limits.unsent,
            options.limits.handshake,
            |connection: &Connection| {
                connection.with(|session: &mut Self, transport| session.settle(transport));
            },
        ));
        Self {
            protocol,
            role,
            decoder: Decoder::new(role, &options.limits, inflater),
            socket: WebSocket::of(&sender),
            sender,
            interval: options.keep_alive.interval,
            timeout: options.keep_alive.timeout,
            patience: options.limits.handshake,
            held: Vec::new(),
            read_closed: false,
            peer_close: None,
            error: None,
            pinged: false,
            was_sending: false,
            write_paused: false,
            opened: None,
        }
    }

    /// Tells who waits for it when it is open.
    pub(crate) fn opens_for(&mut self, opened: Option<Resolver<WebSocket>>) {
        self.opened = opened;
    }

    /// A handle to it, which acts when it is connected.
    #[must_use]
    pub fn socket(&self) -> WebSocket {
        self.socket.clone()
    }

    /// Nothing more that comes is of account.
    fn is_over(&self) -> bool {
        self.peer_close.is_some() || self.error.is_some()
    }

    /// Works on what was held and on `data`, which follows it.
    fn advance(&mut self, transport: &mut Transport, data: &[u8]) {
        if self.held.is_empty() {
            let left = self.consume(transport, data);
            self.held = left.to_vec();
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(data);
            let left = self.consume(transport, &held).len();
            held.drain(..held.len() - left);
            self.held = held;
        }
        if self.read_closed && self.held.is_empty() {
            self.hang_up(transport);
        }
    }

    /// Tells what was said, until reading is paused. Returns the bytes that are left for later.
    fn consume<'a>(&mut self, transport: &mut Transport, mut input: &'a [u8]) -> &'a [u8] {
        loop {
            if self.is_over() || transport.is_closing() {
                return &[];
            }
            if self.sender.is_reading_paused() {
                return input;
            }
            match self.decoder.decode(&mut input) {
                Ok(Some(incoming)) => self.tell(transport, incoming),
                Ok(None) => return &[],
                Err(error) => self.fail(transport, error),
            }
        }
    }

    fn tell(&mut self, transport: &mut Transport, incoming: Incoming) {
        let discards = self.sender.discards.get();
        match incoming {
            Incoming::Text(text) if !discards => {
                self.protocol.text_message_received(&self.socket, text);
            }
            Incoming::Binary(data) if !discards => {
                self.protocol.bytes_message_received(&self.socket, data);
            }
            Incoming::Text(_) | Incoming::Binary(_) => {}
            Incoming::Ping(payload) => {
                self.sender.pong(payload.clone());
                self.protocol.ping_received(&self.socket, payload);
            }
            Incoming::Pong(payload) => self.protocol.pong_received(&self.socket, payload),
            Incoming::Close(frame) => {
                // The answer has the same code (section 5.5.1).
                let code = frame
                    .as_ref()
                    .map_or(CloseCode::NO_STATUS, |frame| frame.code);
                self.sender.close(code, "");
                self.peer_close = Some(frame);
                transport.set_timeout(Some(self.patience));
                self.end_if_sent(transport);
            }
        }
    }

    /// Refuses what came (section 7.1.7).
    fn fail(&mut self, transport: &mut Transport, error: WebSocketError) {
        tracing::debug!(peer = %transport.peer(), %error, "a WebSocket is failed");
        self.error = Some(error);
        self.sender.close(error.code(), &error.to_string());
        transport.set_timeout(Some(self.patience));
        self.end_if_sent(transport);
    }

    /// Ends the connection, when all was said and nothing waits to be sent. The server does
    /// (section 7.1.1); and who was refused is not cut off before it has read why.
    fn end_if_sent(&self, transport: &mut Transport) {
        if !self.sender.is_queue_empty() {
            return;
        }
        if self.error.is_some() {
            transport.lose_write_connection();
        } else if self.peer_close.is_some() && self.role == Role::Server {
            transport.lose_connection();
        }
    }

    /// The peer has ended the connection.
    fn hang_up(&self, transport: &mut Transport) {
        if self.sender.is_queue_empty() || !self.is_over() {
            transport.lose_connection();
        }
    }

    /// Does what came up while no callback could be told.
    fn settle(&mut self, transport: &mut Transport) {
        self.sender.settling.set(false);
        if !self.sender.is_queue_empty() && !std::mem::replace(&mut self.write_paused, true) {
            self.protocol.write_paused(&self.socket);
        }
        self.advance(transport, &[]);
    }
}

impl<P: WebSocketProtocol> Protocol for Session<P> {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.sender.connected(transport.connection());
        transport.set_timeout(self.interval);
        self.protocol.negotiation_finished(&self.socket);
        if let Some(opened) = self.opened.take() {
            opened.callback(self.socket.clone());
        }
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        if !self.sender.is_close_sent() {
            match std::mem::take(&mut self.pinged) {
                true => transport.set_timeout(self.interval),
                false => transport.reset_timeout(),
            }
        }
        self.advance(transport, data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.read_closed = true;
        self.advance(transport, &[]);
    }

    fn write_paused(&mut self, _: &mut Transport) {
        if !std::mem::replace(&mut self.write_paused, true) {
            self.protocol.write_paused(&self.socket);
        }
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        self.sender.feed(transport);
        if self.is_over() && self.sender.is_queue_empty() {
            self.end_if_sent(transport);
            if self.read_closed {
                transport.lose_connection();
            }
        }
        if self.sender.is_full() {
            // What waited has just followed.
            return transport.await_drain();
        }
        self.write_paused = false;
        self.protocol.write_resumed(&self.socket);
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        if self.sender.is_close_sent() || self.pinged {
            let unsent = self.sender.unsent().is_some_and(|unsent| unsent > 0);
            if !std::mem::replace(&mut self.was_sending, unsent) && !unsent {
                return transport.abort_with(TimedOut.into());
            }
            // It cannot answer what it has not got; and then it has its time. (If it takes nothing, the
            // write stalls.)
            return transport.set_timeout(Some(match self.sender.is_close_sent() {
                true => self.patience,
                false => self.timeout,
            }));
        }
        if self.sender.is_reading_paused() {
            // It may have said something; and whether it reads is seen to elsewhere.
            return transport.set_timeout(self.interval);
        }
        self.pinged = true;
        self.was_sending = false;
        self.sender.rest();
        self.sender.ping(b"");
        transport.set_timeout(Some(self.timeout));
    }

    fn drain(&mut self, _: &mut Transport) {
        self.sender.close(CloseCode::GOING_AWAY, "");
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<P>()
    }

    fn connection_lost(&mut self, failure: Failure) {
        let (code, reason) = match (&self.error, self.peer_close.take()) {
            (Some(error), _) => (error.code(), error.to_string()),
            (None, Some(Some(frame))) => (frame.code, frame.reason),
            (None, Some(None)) => (CloseCode::NO_STATUS, String::new()),
            (None, None) => (CloseCode::ABNORMAL, String::new()),
        };
        let was_clean = self.error.is_none() && code != CloseCode::ABNORMAL;
        self.protocol.connection_lost(Closed {
            code,
            reason,
            was_clean,
            failure,
        });
    }
}
