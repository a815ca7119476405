//! What a peer can do wrong, and the code that it is told.

use std::error::Error;
use std::fmt;

use super::CloseCode;

/// What was wrong with what came. The peer is sent a Close with [`code`](Self::code), and the
/// connection ends (RFC 6455, section 7.1.7).
///
/// ```
/// use ropewalk_web::websocket::{CloseCode, WebSocketError};
///
/// let error = WebSocketError::MessageTooBig { limit: 1024 };
/// assert_eq!(error.code(), CloseCode::MESSAGE_TOO_BIG);
/// assert_eq!(error.to_string(), "a message is longer than the 1024 bytes allowed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketError {
    /// RSV2 or RSV3 is set, or RSV1 where no extension gives it a meaning (section 5.2).
    ReservedBit,
    /// An opcode that stands for nothing (section 5.2).
    ReservedOpcode(u8),
    /// A Close, Ping or Pong in several frames (section 5.5).
    FragmentedControl,
    /// A Close, Ping or Pong of more than 125 bytes (section 5.5).
    LongControl,
    /// A length in more bytes than it needs (section 5.2).
    LengthNotMinimal,
    /// A length of 2^63 or more (section 5.2).
    LengthTooLarge,
    /// A client's frame without a mask (section 5.1).
    Unmasked,
    /// A server's frame with one (section 5.1).
    Masked,
    /// A continuation of nothing (section 5.4).
    UnexpectedContinuation,
    /// A new message before the end of the last one (section 5.4).
    ExpectedContinuation,
    /// A Close with half a code (section 5.5.1).
    ShortClose,
    /// A Close with a code that may not be sent (section 7.4).
    CloseCode(CloseCode),
    /// A text, or the reason of a Close, is not UTF-8 (section 8.1).
    InvalidUtf8,
    /// A message cannot be decompressed (RFC 7692).
    Deflate,
    /// A frame is longer than [`Limits::frame`](super::Limits::frame).
    FrameTooBig {
        /// In bytes.
        limit: u64,
    },
    /// A message is longer than [`Limits::message`](super::Limits::message).
    MessageTooBig {
        /// In bytes.
        limit: usize,
    },
}

impl WebSocketError {
    /// What the peer is told (section 7.4.1).
    #[must_use]
    pub fn code(&self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::Deflate => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooBig { .. } | Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBit => "a reserved bit of a frame is set",
            Self::ReservedOpcode(opcode) => return write!(f, "the opcode {opcode} is reserved"),
            Self::FragmentedControl => "a control frame is fragmented",
            Self::LongControl => "a control frame is longer than 125 bytes",
            Self::LengthNotMinimal => "a length is written in more bytes than it needs",
            Self::LengthTooLarge => "a length is 2^63 or more",
            Self::Unmasked => "a frame of a client is not masked",
            Self::Masked => "a frame of a server is masked",
            Self::UnexpectedContinuation => "a frame continues a message that there is not",
            Self::ExpectedContinuation => "a message begins before the last one has ended",
            Self::ShortClose => "a close frame has one byte",
            Self::CloseCode(code) => return write!(f, "the close code {} may not be sent", code.0),
            Self::InvalidUtf8 => "a text is not UTF-8",
            Self::Deflate => "a message cannot be decompressed",
            Self::FrameTooBig { limit } => {
                return write!(f, "a frame is longer than the {limit} bytes allowed");
            }
            Self::MessageTooBig { limit } => {
                return write!(f, "a message is longer than the {limit} bytes allowed");
            }
        })
    }
}

impl Error for WebSocketError {}
