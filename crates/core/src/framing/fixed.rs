//! Frames that all have the same length.

use std::num::NonZeroUsize;

use super::{Codec, DecodeError, Decoded, EncodeError};

/// Frames of one length, with nothing between them.
///
/// ```
/// use ropewalk_core::framing::{Codec, Decoded, FixedCodec};
/// use std::num::NonZeroUsize;
///
/// let mut codec = FixedCodec::new(const { NonZeroUsize::new(4).unwrap() });
/// assert_eq!(codec.decode(b"onetwo")?, Decoded::Frame { frame: 0..4, consumed: 4 });
/// assert!(codec.encode(b"five!", &mut Vec::new()).is_err());
/// # Ok::<_, ropewalk_core::framing::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FixedCodec {
    length: usize,
}

impl FixedCodec {
    /// Frames of so many bytes.
    #[must_use]
    pub fn new(length: NonZeroUsize) -> Self {
        Self {
            length: length.get(),
        }
    }
}

impl Codec for FixedCodec {
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
        let length = self.length;
        Ok(if input.len() < length {
            Decoded::NeedMore(length)
        } else {
            Decoded::Frame {
                frame: 0..length,
                consumed: length,
            }
        })
    }

    fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError> {
        if frame.len() != self.length {
            return Err(EncodeError::WrongLength {
                length: frame.len(),
                expected: self.length,
            });
        }
        output.extend_from_slice(frame);
        Ok(())
    }

    fn max_length(&self) -> usize {
        self.length
    }
}
