//! The protocol of a connection that carries frames: each is told to an object of the user's.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::{
    Codec, DecodeError, EncodeError, Found, FrameBuffer, Int8Codec, Int16Codec, Int32Codec,
    NetstringCodec,
};
use crate::{Connection, Failure, Protocol, TimedOut, Transport};

/// What happens on a connection that carries frames, or "strings" as Twisted has it, told to one
/// object. The other callbacks are those of [`Protocol`].
///
/// ```
/// use ropewalk_core::framing::{FrameTransport, Int16StringReceiver, StringProtocol};
/// use ropewalk_core::{Protocol, testing::StringTransport};
///
/// struct Echo;
///
/// impl StringProtocol for Echo {
///     fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
///         transport.send_string(string);
///     }
/// }
///
/// let mut transport = StringTransport::new();
/// Int16StringReceiver::new(Echo).data_received(&mut transport, b"\0\x03one\0\x03tw");
/// assert_eq!(transport.value(), b"\0\x03one");
/// ```
pub trait StringProtocol: 'static {
    /// The connection is up.
    fn connection_made(&mut self, transport: &mut FrameTransport<'_>) {
        let _ = transport;
    }

    /// A frame has come: its content, lent for the length of this call.
    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]);

    /// A frame begins that is longer than the codec takes: of `length` bytes, where the format
    /// says that beforehand. Unless told otherwise, the connection is closed with
    /// [`DecodeError::TooLong`]; if it is left open, the frame is skipped.
    fn length_limit_exceeded(&mut self, transport: &mut FrameTransport<'_>, length: Option<u64>) {
        let limit = transport.codec.max_length();
        transport.lose_connection_with(DecodeError::TooLong { length, limit }.into());
    }

    /// See [`Protocol::read_closed`].
    fn read_closed(&mut self, transport: &mut FrameTransport<'_>) {
        transport.lose_connection();
    }

    /// See [`Protocol::write_paused`].
    fn write_paused(&mut self, transport: &mut FrameTransport<'_>) {
        let _ = transport;
    }

    /// See [`Protocol::write_resumed`].
    fn write_resumed(&mut self, transport: &mut FrameTransport<'_>) {
        let _ = transport;
    }

    /// See [`Protocol::timeout_connection`].
    fn timeout_connection(&mut self, transport: &mut FrameTransport<'_>) {
        transport.abort_with(TimedOut.into());
    }

    /// See [`Protocol::drain`].
    fn drain(&mut self, transport: &mut FrameTransport<'_>) {
        transport.lose_connection();
    }

    /// See [`Protocol::connection_lost`].
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}

/// The connection, lent to a [`StringProtocol`] for the length of a callback: a [`Transport`]
/// that sends frames.
pub struct FrameTransport<'a> {
    transport: &'a mut Transport,
    codec: &'a mut dyn Codec,
}

impl FrameTransport<'_> {
    /// Sends `string` as a frame. If the format cannot say it, nothing is sent of it and the
    /// connection is closed with the [`EncodeError`].
    pub fn send_string(&mut self, string: &[u8]) {
        if let Err(error) = self.try_send_string(string) {
            self.lose_connection_with(error.into());
        }
    }

    /// Sends `string` as a frame, for those who pass on what others say.
    ///
    /// # Errors
    /// When the format cannot say it; nothing is sent then.
    pub fn try_send_string(&mut self, string: &[u8]) -> Result<(), EncodeError> {
        send(self.transport, self.codec, string)
    }
}

impl Deref for FrameTransport<'_> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        self.transport
    }
}

impl DerefMut for FrameTransport<'_> {
    fn deref_mut(&mut self) -> &mut Transport {
        self.transport
    }
}

impl fmt::Debug for FrameTransport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport.fmt(f)
    }
}

/// Writes a frame straight into the output. One that cannot be sent leaves nothing there.
#[inline]
pub(super) fn send<C: Codec + ?Sized>(
    transport: &mut Transport,
    codec: &mut C,
    frame: &[u8],
) -> Result<(), EncodeError> {
    let encoded = transport.write_with(|output| {
        let start = output.len();
        let encoded = codec.encode(frame, output);
        if encoded.is_err() {
            output.truncate(start);
        }
        encoded
    });
    // A connection that is closing takes no more, and says nothing, as with `write`.
    encoded.unwrap_or(Ok(()))
}

/// The protocol of a connection that carries frames of codec `C`, which are told to a `P`.
///
/// See [`framing`](super) for what is promised of all receivers.
#[derive(Debug)]
pub struct StringReceiver<C, P> {
    protocol: P,
    codec: C,
    buffer: FrameBuffer,
}

/// Frames with their length in one byte in front. See [`Int8Codec`].
pub type Int8StringReceiver<P> = StringReceiver<Int8Codec, P>;
/// Frames with their length in two bytes in front. See [`Int16Codec`].
pub type Int16StringReceiver<P> = StringReceiver<Int16Codec, P>;
/// Frames with their length in four bytes in front. See [`Int32Codec`].
pub type Int32StringReceiver<P> = StringReceiver<Int32Codec, P>;
/// Netstrings. See [`NetstringCodec`].
pub type NetstringReceiver<P> = StringReceiver<NetstringCodec, P>;

impl<C: Codec + Default, P: StringProtocol> StringReceiver<C, P> {
    /// Tells frames to `protocol`, with the codec's usual longest length.
    #[must_use]
    pub fn new(protocol: P) -> Self {
        Self::with_codec(C::default(), protocol)
    }
}

impl<C: Codec, P: StringProtocol> StringReceiver<C, P> {
    /// Tells the frames of `codec` to `protocol`.
    #[must_use]
    pub fn with_codec(codec: C, protocol: P) -> Self {
        Self {
            protocol,
            codec,
            buffer: FrameBuffer::default(),
        }
    }

    /// Calls `action` with the protocol that is told the frames of `connection`: for sending from
    /// outside of its callbacks. When and whether it runs is as with [`Connection::with`], with
    /// this receiver as the connection's protocol.
    ///
    /// ```
    /// use ropewalk_core::framing::{FrameTransport, NetstringReceiver, StringProtocol};
    /// use ropewalk_core::testing::Pair;
    ///
    /// #[derive(Default)]
    /// struct Keep(Vec<u8>);
    ///
    /// impl StringProtocol for Keep {
    ///     fn string_received(&mut self, _: &mut FrameTransport<'_>, string: &[u8]) {
    ///         self.0.extend_from_slice(string);
    ///     }
    /// }
    ///
    /// let receiver = || NetstringReceiver::new(Keep::default());
    /// let pair = Pair::new(receiver(), receiver());
    /// NetstringReceiver::with(pair.client(), |_: &mut Keep, transport| transport.send_string(b"hi"));
    /// pair.run();
    /// let kept = pair.with_server(|server: &mut NetstringReceiver<Keep>| server.protocol().0.clone());
    /// assert_eq!(kept.unwrap(), b"hi");
    /// ```
    pub fn with(
        connection: &Connection,
        action: impl FnOnce(&mut P, &mut FrameTransport<'_>) + 'static,
    ) -> bool {
        connection.with(|receiver: &mut Self, transport| receiver.lend(transport, action))
    }

    /// The protocol that is told the frames.
    pub fn protocol(&mut self) -> &mut P {
        &mut self.protocol
    }

    fn lend(
        &mut self,
        transport: &mut Transport,
        action: impl FnOnce(&mut P, &mut FrameTransport<'_>),
    ) {
        let codec = &mut self.codec;
        action(&mut self.protocol, &mut FrameTransport { transport, codec });
        // It may have put another protocol or a layer in place.
        self.buffer.put_back(transport, &[]);
    }
}

impl<C: Codec, P: StringProtocol> Protocol for StringReceiver<C, P> {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.lend(transport, P::connection_made);
    }

    fn data_received(&mut self, transport: &mut Transport, mut data: &[u8]) {
        while transport.may_deliver() {
            let found = match self.buffer.next(&mut self.codec, &mut data) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(error) => return transport.lose_connection_with(error.into()),
            };
            let codec = &mut self.codec;
            let lent = &mut FrameTransport { transport, codec };
            match found {
                Found::Frame(string) => self.protocol.string_received(lent, string),
                Found::TooLong { length, .. } => self.protocol.length_limit_exceeded(lent, length),
            }
        }
        self.buffer.put_back(transport, data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
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
        self.protocol.connection_lost(reason);
    }
}
