//! The protocol of a connection that carries lines, and raw bytes between them.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::string_receiver::send;
use super::{Codec, DecodeError, EncodeError, Found, FrameBuffer, LineCodec};
use crate::{Connection, Failure, Protocol, TimedOut, Transport};

/// What happens on a connection that carries lines, told to one object. The other callbacks are
/// those of [`Protocol`].
///
/// ```
/// use ropewalk_core::framing::{LineProtocol, LineReceiver, LineTransport};
/// use ropewalk_core::{Protocol, testing::StringTransport};
///
/// /// Takes "put N" and N bytes.
/// #[derive(Default)]
/// struct Store {
///     missing: usize,
///     stored: Vec<u8>,
/// }
///
/// impl LineProtocol for Store {
///     fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
///         let length = line.strip_prefix(b"put ").and_then(|n| str::from_utf8(n).ok()?.parse().ok());
///         match length {
///             Some(length) => {
///                 self.missing = length;
///                 transport.set_raw_mode();
///             }
///             None => transport.send_line(b"what?"),
///         }
///     }
///
///     fn raw_data_received(&mut self, transport: &mut LineTransport<'_>, data: &[u8]) {
///         let (ours, extra) = data.split_at(self.missing.min(data.len()));
///         self.stored.extend_from_slice(ours);
///         self.missing -= ours.len();
///         if self.missing == 0 {
///             transport.set_line_mode(extra);
///             transport.send_line(b"stored");
///         }
///     }
/// }
///
/// let mut transport = StringTransport::new();
/// let mut receiver = LineReceiver::new(Store::default());
/// receiver.data_received(&mut transport, b"put 5\r\nabc");
/// receiver.data_received(&mut transport, b"\r\nget\r\n");
/// assert_eq!(receiver.protocol().stored, b"abc\r\n");
/// assert_eq!(transport.value(), b"stored\r\nwhat?\r\n");
/// ```
pub trait LineProtocol: 'static {
    /// The connection is up.
    fn connection_made(&mut self, transport: &mut LineTransport<'_>) {
        let _ = transport;
    }

    /// A line has come, lent for the length of this call, without what ends it.
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]);

    /// Bytes have come in raw mode: as many as there were, split anywhere.
    fn raw_data_received(&mut self, transport: &mut LineTransport<'_>, data: &[u8]) {
        let _ = (transport, data);
    }

    /// A line is longer than the codec takes: `start` is what was looked at of it, its first
    /// byte too many the last. Unless told otherwise, the connection is closed with
    /// [`DecodeError::TooLong`]; if it is left open, the rest of the line is skipped, or, in raw
    /// mode, comes as raw data.
    fn line_length_exceeded(&mut self, transport: &mut LineTransport<'_>, start: &[u8]) {
        let _ = start;
        let (length, limit) = (None, transport.codec.max_length());
        transport.lose_connection_with(DecodeError::TooLong { length, limit }.into());
    }

    /// Nothing more comes, and this is what came of a line that has no end. Told before
    /// `read_closed`, or before `connection_lost` when the connection ended without that; not at
    /// all if nothing is left over.
    fn line_unfinished(&mut self, rest: &[u8]) {
        let _ = rest;
    }

    /// See [`Protocol::read_closed`].
    fn read_closed(&mut self, transport: &mut LineTransport<'_>) {
        transport.lose_connection();
    }

    /// See [`Protocol::write_paused`].
    fn write_paused(&mut self, transport: &mut LineTransport<'_>) {
        let _ = transport;
    }

    /// See [`Protocol::write_resumed`].
    fn write_resumed(&mut self, transport: &mut LineTransport<'_>) {
        let _ = transport;
    }

    /// See [`Protocol::timeout_connection`].
    fn timeout_connection(&mut self, transport: &mut LineTransport<'_>) {
        transport.abort_with(TimedOut.into());
    }

    /// See [`Protocol::drain`].
    fn drain(&mut self, transport: &mut LineTransport<'_>) {
        transport.lose_connection();
    }

    /// See [`Protocol::connection_lost`].
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}

/// The connection, lent to a [`LineProtocol`] for the length of a callback: a [`Transport`] that
/// sends lines, and changes between lines and raw bytes.
pub struct LineTransport<'a> {
    transport: &'a mut Transport,
    codec: &'a mut LineCodec,
    raw: &'a mut bool,
    /// What the callback was given in raw mode.
    given: &'a [u8],
    extra: Extra,
}

/// What is to be received behind all that is there.
enum Extra {
    /// So many bytes at the end of what the callback was given. They stay where they are: a
    /// peer that makes us change modes often is not to make us copy all that follows each time.
    Given(usize),
    Bytes(Vec<u8>),
}

impl LineTransport<'_> {
    /// Sends `line`, and what ends it. If what ends a line is in it, nothing is sent of it and
    /// the connection is closed with [`EncodeError::ContainsDelimiter`].
    pub fn send_line(&mut self, line: &[u8]) {
        if let Err(error) = self.try_send_line(line) {
            self.lose_connection_with(error.into());
        }
    }

    /// Sends `line`, and what ends it: for those who pass on what others say.
    ///
    /// # Errors
    /// When what ends a line is in it; nothing is sent then.
    pub fn try_send_line(&mut self, line: &[u8]) -> Result<(), EncodeError> {
        send(self.transport, self.codec, line)
    }

    /// From here on, what comes is told as it comes, to `raw_data_received`. It begins with what
    /// has come already, behind the line of this callback.
    pub fn set_raw_mode(&mut self) {
        *self.raw = true;
    }

    /// From here on, lines are told again. `extra` is what was received as raw data and belongs
    /// to the lines.
    pub fn set_line_mode(&mut self, extra: &[u8]) {
        *self.raw = false;
        let len = extra.len();
        let is_given = extra.is_empty()
            || len <= self.given.len() && extra.as_ptr_range().end == self.given.as_ptr_range().end;
        self.extra = if is_given {
            Extra::Given(len)
        } else {
            Extra::Bytes(extra.to_vec())
        };
    }
}

impl Deref for LineTransport<'_> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        self.transport
    }
}

impl DerefMut for LineTransport<'_> {
    fn deref_mut(&mut self) -> &mut Transport {
        self.transport
    }
}

impl fmt::Debug for LineTransport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport.fmt(f)
    }
}

/// The protocol of a connection that carries lines, which are told to a `P`.
///
/// See [`framing`](super) for what is promised of all receivers.
#[derive(Debug)]
pub struct LineReceiver<P> {
    protocol: P,
    codec: LineCodec,
    raw: bool,
    buffer: FrameBuffer,
}

impl<P: LineProtocol> LineReceiver<P> {
    /// Tells lines that end with `\r\n` to `protocol`.
    #[must_use]
    pub fn new(protocol: P) -> Self {
        Self::with_codec(LineCodec::default(), protocol)
    }

    /// Tells the lines of `codec` to `protocol`.
    #[must_use]
    pub fn with_codec(codec: LineCodec, protocol: P) -> Self {
        Self {
            protocol,
            codec,
            raw: false,
            buffer: FrameBuffer::default(),
        }
    }

    /// Calls `action` with the protocol that is told the lines of `connection`: for sending from
    /// outside of its callbacks. When and whether it runs is as with [`Connection::with`], with
    /// this receiver as the connection's protocol.
    pub fn with(
        connection: &Connection,
        action: impl FnOnce(&mut P, &mut LineTransport<'_>) + 'static,
    ) -> bool {
        connection.with(|receiver: &mut Self, transport| receiver.lend(transport, action))
    }

    /// The protocol that is told the lines.
    pub fn protocol(&mut self) -> &mut P {
        &mut self.protocol
    }

    fn lend(
        &mut self,
        transport: &mut Transport,
        action: impl FnOnce(&mut P, &mut LineTransport<'_>),
    ) {
        let extra = self.call(transport, &[], action);
        // It may have changed modes, or put another protocol or a layer in place.
        match extra {
            Extra::Given(_) => self.deliver(transport, &[]),
            Extra::Bytes(extra) => self.deliver(transport, &extra),
        }
    }

    /// Tells `data`, behind what is kept.
    fn deliver(&mut self, transport: &mut Transport, data: &[u8]) {
        let mut own: Vec<u8>;
        let mut input = data;
        while transport.may_deliver() {
            if self.raw && !self.buffer.unfinished().is_empty() {
                own = self.buffer.take_with(input);
                input = &own;
            }
            let given = if self.raw { input } else { &[] };
            let extra = if self.raw {
                self.codec.reset();
                if input.is_empty() {
                    return;
                }
                input = &[];
                self.call(transport, given, |protocol, transport| {
                    protocol.raw_data_received(transport, given);
                })
            } else {
                match self.next_line(transport, &mut input) {
                    Some(extra) => extra,
                    None => return,
                }
            };
            match extra {
                Extra::Given(0) => {}
                Extra::Given(len) => input = &given[given.len() - len..],
                Extra::Bytes(bytes) => {
                    own = [input, &bytes].concat();
                    input = &own;
                }
            }
        }
        if self.raw {
            // All of it is told when more may be, and does not wait for what comes next.
            self.codec.reset();
            return transport.unread(self.buffer.take_with(input));
        }
        self.buffer.put_back(transport, input);
    }

    /// Tells the next line. `None` if there is none.
    fn next_line(&mut self, transport: &mut Transport, input: &mut &[u8]) -> Option<Extra> {
        let found = match self.buffer.next(&mut self.codec, input) {
            Ok(found) => found?,
            Err(error) => {
                transport.lose_connection_with(error.into());
                return None;
            }
        };
        let mut lent = LineTransport {
            transport,
            codec: &mut self.codec,
            raw: &mut self.raw,
            given: &[],
            extra: Extra::Given(0),
        };
        match found {
            Found::Frame(line) => self.protocol.line_received(&mut lent, line),
            Found::TooLong { start, .. } => self.protocol.line_length_exceeded(&mut lent, start),
        }
        Some(lent.extra)
    }

    /// Calls the protocol in between lines. `given` is the raw data that it gets.
    fn call(
        &mut self,
        transport: &mut Transport,
        given: &[u8],
        action: impl FnOnce(&mut P, &mut LineTransport<'_>),
    ) -> Extra {
        let mut lent = LineTransport {
            transport,
            codec: &mut self.codec,
            raw: &mut self.raw,
            given,
            extra: Extra::Given(0),
        };
        action(&mut self.protocol, &mut lent);
        lent.extra
    }

    fn tell_unfinished(&mut self) {
        let rest = self.buffer.take_with(&[]);
        if !rest.is_empty() {
            self.codec.reset();
            self.protocol.line_unfinished(&rest);
        }
    }
}

impl<P: LineProtocol> Protocol for LineReceiver<P> {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.lend(transport, P::connection_made);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.deliver(transport, data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.tell_unfinished();
        self.lend(transport, P::read_closed);
    }

    fn write_paused(&mut self, transport: &mut Transport) {
        self.lend(transport, P::write_paused);
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        self.lend(transport, P::write_resumed);
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        self.lend(transport, P::timeout_connection);
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.lend(transport, P::drain);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.tell_unfinished();
        self.protocol.connection_lost(reason);
    }
}
