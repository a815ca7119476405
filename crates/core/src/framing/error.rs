//! Why bytes are no frame, and why a frame cannot be sent.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// Why what was received ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame is longer than this side takes.
    TooLong {
        /// Its length in bytes, where the format says it beforehand.
        length: Option<u64>,
        /// The longest that is taken.
        limit: usize,
    },
    /// The bytes are against the format.
    Malformed(Cow<'static, str>),
    /// The codec has neither found a frame nor refused it in all the bytes that are kept for one.
    Unfinished {
        /// How many are kept.
        limit: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong {
                length: Some(length),
                limit,
            } => write!(
                f,
                "the peer sent a frame of {length} bytes, and {limit} are taken; send shorter ones, or raise the codec's max_length"
            ),
            Self::TooLong {
                length: None,
                limit,
            } => write!(
                f,
                "the peer sent a frame of more than {limit} bytes; send shorter ones, or raise the codec's max_length"
            ),
            Self::Malformed(what) => write!(f, "what the peer sent is no frame: {what}"),
            Self::Unfinished { limit } => write!(
                f,
                "no frame ended within {limit} bytes; the codec must refuse what is longer than its max_length"
            ),
        }
    }
}

impl Error for DecodeError {}

/// Why a frame cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The format cannot say this length.
    TooLong {
        /// The frame's length in bytes.
        length: usize,
        /// The longest that the format can say.
        limit: u64,
    },
    /// The frame has the delimiter in it: the peer would see more than one.
    ContainsDelimiter,
    /// All frames of this format have the same length.
    WrongLength {
        /// The frame's length in bytes.
        length: usize,
        /// The one length that there is.
        expected: usize,
    },
    /// For formats of others.
    Refused(Cow<'static, str>),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => write!(
                f,
                "cannot send a frame of {length} bytes: the format's longest has {limit}; send it in parts"
            ),
            Self::ContainsDelimiter => f.write_str(
                "cannot send a frame with its delimiter in it: the peer would see more than one; split it or escape it",
            ),
            Self::WrongLength { length, expected } => write!(
                f,
                "cannot send a frame of {length} bytes: each has {expected} in this format"
            ),
            Self::Refused(what) => write!(f, "cannot send a frame: {what}"),
        }
    }
}

impl Error for EncodeError {}
