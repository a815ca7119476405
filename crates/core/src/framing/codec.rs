//! What a framing is: where a frame ends in a stream of bytes, and how one is written.

use std::ops::Range;

use super::{DecodeError, EncodeError};

/// A framing, with no I/O: bytes to frames and frames to bytes. Implement it for a format of
/// your own, and give it to a [`StringReceiver`](super::StringReceiver).
///
/// What is found must not depend on how the input was split, and looking for it must not start
/// anew with each piece: a codec keeps how far it has looked.
///
/// ```
/// use ropewalk_core::framing::{Codec, DecodeError, Decoded, EncodeError, FrameBuffer, Found};
///
/// /// A tag of one byte, then as many bytes as its low four bits say.
/// struct Tagged;
///
/// impl Codec for Tagged {
///     fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
///         let end = 1 + usize::from(input[0] & 15);
///         if input.len() < end {
///             return Ok(Decoded::NeedMore(end));
///         }
///         Ok(Decoded::Frame { frame: 0..end, consumed: end })
///     }
///     fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError> {
///         output.extend_from_slice(frame);
///         Ok(())
///     }
///     fn max_length(&self) -> usize {
///         16
///     }
/// }
///
/// let (mut codec, mut buffer) = (Tagged, FrameBuffer::default());
/// let mut input = &b"\x12ab\x03c"[..];
/// assert_eq!(buffer.next(&mut codec, &mut input)?, Some(Found::Frame(b"\x12ab")));
/// assert_eq!(buffer.next(&mut codec, &mut input)?, None);
/// assert_eq!(buffer.next(&mut codec, &mut &b"de"[..])?, Some(Found::Frame(b"\x03cde")));
/// # Ok::<_, DecodeError>(())
/// ```
pub trait Codec: 'static {
    /// What stands at the front of `input`, which is never empty.
    ///
    /// After [`Decoded::NeedMore`] it is called again with the same bytes and more behind them,
    /// after anything else with what follows the bytes that were consumed: perhaps with less of
    /// it than was there before.
    ///
    /// # Errors
    /// When nothing sensible can follow; it is not called again.
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError>;

    /// Appends `frame` to `output` as it is sent.
    ///
    /// # Errors
    /// When the format has no way to say it. What was appended is taken away again.
    fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// The longest frame that it takes, in bytes. A receiver keeps no more of an unfinished one
    /// than this and [`FrameBuffer::OVERHEAD`](super::FrameBuffer::OVERHEAD).
    fn max_length(&self) -> usize;
}

/// What [`Codec::decode`] found at the front of its input. All that is consumed is at least one
/// byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole frame.
    Frame {
        /// Where in the input its content stands.
        frame: Range<usize>,
        /// How many bytes it took, those of the format included.
        consumed: usize,
    },
    /// A frame that is longer than [`Codec::max_length`]. If the receiver lets the connection
    /// live, the codec goes on behind it, and says [`Skip`](Self::Skip) until it is there.
    TooLong {
        /// Its length in bytes, where the format says it beforehand.
        length: Option<u64>,
        /// How many bytes of it were looked at.
        consumed: usize,
    },
    /// So many bytes are in no frame.
    Skip(usize),
    /// Nothing yet: the input must grow to so many bytes in all, or at least by one.
    NeedMore(usize),
}
