//! Frames with their length in front.

use super::{Codec, DecodeError, Decoded, EncodeError};

/// Frames with their length in front of each, as an unsigned integer of `WIDTH` bytes (1 to 8),
/// big-endian unless told otherwise.
///
/// ```
/// use ropewalk_core::framing::{Codec, Decoded, Int16Codec, LengthCodec};
///
/// let mut codec = Int16Codec::default();
/// assert_eq!(codec.decode(b"\0\x05hello")?, Decoded::Frame { frame: 2..7, consumed: 7 });
/// assert_eq!(codec.decode(b"\0\x05hel")?, Decoded::NeedMore(7));
///
/// let mut codec = LengthCodec::<3>::new(1000).little_endian();
/// let mut sent = Vec::new();
/// codec.encode(b"hello", &mut sent).unwrap();
/// assert_eq!(sent, b"\x05\0\0hello");
/// # Ok::<_, ropewalk_core::framing::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LengthCodec<const WIDTH: usize> {
    max_length: usize,
    little_endian: bool,
    /// How much is left of a frame that was too long.
    skipping: u64,
}

/// Frames of up to 255 bytes, with their length in one byte.
pub type Int8Codec = LengthCodec<1>;
/// Frames with their length in two bytes, the higher one first.
pub type Int16Codec = LengthCodec<2>;
/// Frames with their length in four bytes, the highest one first.
pub type Int32Codec = LengthCodec<4>;

impl<const WIDTH: usize> LengthCodec<WIDTH> {
    /// The longest frame that is taken unless told otherwise, in bytes. As in Twisted.
    pub const MAX_LENGTH: usize = 99_999;

    /// Takes frames of at most `max_length` bytes.
    #[must_use]
    pub fn new(max_length: usize) -> Self {
        const { assert!(1 <= WIDTH && WIDTH <= 8, "a length has 1 to 8 bytes") }
        Self {
            max_length,
            little_endian: false,
            skipping: 0,
        }
    }

    /// The lowest byte of a length comes first.
    #[must_use]
    pub fn little_endian(mut self) -> Self {
        self.little_endian = true;
        self
    }

    fn length(&self, prefix: &[u8; WIDTH]) -> u64 {
        let push = |length, byte: &u8| length << 8 | u64::from(*byte);
        if self.little_endian {
            prefix.iter().rev().fold(0, push)
        } else {
            prefix.iter().fold(0, push)
        }
    }
}

impl<const WIDTH: usize> Default for LengthCodec<WIDTH> {
    fn default() -> Self {
        Self::new(Self::MAX_LENGTH)
    }
}

impl<const WIDTH: usize> Codec for LengthCodec<WIDTH> {
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
        if self.skipping > 0 {
            let skipped = self.skipping.min(input.len() as u64);
            self.skipping -= skipped;
            return Ok(Decoded::Skip(skipped as usize));
        }
        let Some(prefix) = input.first_chunk::<WIDTH>() else {
            return Ok(Decoded::NeedMore(WIDTH));
        };
        let length = self.length(prefix);
        if length > self.max_length as u64 {
            self.skipping = length;
            return Ok(Decoded::TooLong {
                length: Some(length),
                consumed: WIDTH,
            });
        }
        let end = WIDTH.saturating_add(length as usize);
        Ok(if input.len() < end {
            Decoded::NeedMore(end)
        } else {
            Decoded::Frame {
                frame: WIDTH..end,
                consumed: end,
            }
        })
    }

    fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError> {
        let length = frame.len() as u64;
        let limit = u64::MAX >> (64 - 8 * WIDTH);
        if length > limit {
            return Err(EncodeError::TooLong {
                length: frame.len(),
                limit,
            });
        }
        if self.little_endian {
            output.extend_from_slice(&length.to_le_bytes()[..WIDTH]);
        } else {
            output.extend_from_slice(&length.to_be_bytes()[8 - WIDTH..]);
        }
        output.extend_from_slice(frame);
        Ok(())
    }

    fn max_length(&self) -> usize {
        self.max_length
    }
}
