//! Framing: where a message ends in a stream of bytes.
//!
//! A [`Codec`] finds frames in bytes and writes them, with no I/O. A receiver is the protocol of
//! a connection, and tells each frame to an object of yours: a [`LineReceiver`] tells lines to a
//! [`LineProtocol`], a [`StringReceiver`] the frames of any codec to a [`StringProtocol`].
//!
//! Promised here: what is told does not depend on how the bytes were split; the work is in
//! proportion to them; a frame that comes whole is lent from the network's buffer, with no copy
//! and no allocation, and between frames a connection holds no memory; every frame has a longest
//! length, and one that is longer closes the connection unless its callback says otherwise. When
//! a callback pauses reading, no frame is told until it is resumed; when it closes, none at all;
//! when it puts another protocol or a layer in place, those get what was not told (so
//! [`exchange_protocol`](crate::Transport::exchange_protocol) is given no unread bytes here).
//!
//! | Twisted | here |
//! |---|---|
//! | `LineReceiver`, `LineOnlyReceiver` | [`LineReceiver`], [`LineCodec`] |
//! | `NetstringReceiver` | [`NetstringReceiver`], [`NetstringCodec`] |
//! | `Int8StringReceiver`, `Int16StringReceiver`, `Int32StringReceiver` | [`Int8StringReceiver`], [`Int16StringReceiver`], [`Int32StringReceiver`], [`LengthCodec`] |
//! | `StatefulStringProtocol` | [`StatefulStrings`] |
//! | `FileSender` | [`FileSender`](crate::FileSender) |
//! | (none) | [`DelimiterCodec`], [`FixedCodec`], a [`Codec`] of your own |
//!
//! ```
//! use ropewalk_core::framing::{LineProtocol, LineReceiver, LineTransport};
//! use ropewalk_core::testing::StringTransport;
//! use ropewalk_core::Protocol;
//!
//! struct Greeter;
//!
//! impl LineProtocol for Greeter {
//!     fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
//!         transport.send_line(&[b"hello, ", line].concat());
//!         if line == b"world" {
//!             transport.lose_connection();
//!         }
//!     }
//! }
//!
//! let mut transport = StringTransport::new();
//! let mut receiver = LineReceiver::new(Greeter);
//! receiver.data_received(&mut transport, b"wor");
//! receiver.data_received(&mut transport, b"ld\r\nand moon\r\n");
//! assert_eq!(transport.value(), b"hello, world\r\n");
//! assert!(transport.disconnecting());
//! ```

mod buffer;
mod codec;
mod delimiter;
mod error;
mod fixed;
mod length;
mod line;
mod line_receiver;
mod netstring;
mod stateful;
mod string_receiver;

pub use buffer::{Found, FrameBuffer};
pub use codec::{Codec, Decoded};
pub use delimiter::DelimiterCodec;
pub use error::{DecodeError, EncodeError};
pub use fixed::FixedCodec;
pub use length::{Int8Codec, Int16Codec, Int32Codec, LengthCodec};
pub use line::LineCodec;
pub use line_receiver::{LineProtocol, LineReceiver, LineTransport};
pub use netstring::NetstringCodec;
pub use stateful::{State, StatefulStringProtocol, StatefulStrings};
pub use string_receiver::{
    FrameTransport, Int8StringReceiver, Int16StringReceiver, Int32StringReceiver,
    NetstringReceiver, StringProtocol, StringReceiver,
};
