//! Frames that end with a delimiter.

use std::borrow::Cow;

use super::{Codec, DecodeError, Decoded, EncodeError};

/// Frames with a delimiter behind each.
///
/// A frame that has the delimiter in it cannot be sent: the peer would see more than one.
///
/// ```
/// use ropewalk_core::framing::{Codec, Decoded, DelimiterCodec, EncodeError};
///
/// let mut codec = DelimiterCodec::new(b"\0", 100);
/// assert_eq!(codec.decode(b"one\0two")?, Decoded::Frame { frame: 0..3, consumed: 4 });
/// assert_eq!(codec.decode(b"two")?, Decoded::NeedMore(4));
/// let mut sent = Vec::new();
/// codec.encode(b"three", &mut sent).unwrap();
/// assert_eq!(sent, b"three\0");
/// assert_eq!(codec.encode(b"a\0b", &mut sent), Err(EncodeError::ContainsDelimiter));
/// # Ok::<_, ropewalk_core::framing::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct DelimiterCodec {
    delimiter: Cow<'static, [u8]>,
    pub(super) max_length: usize,
    /// No delimiter ends in so many bytes at the front of the input.
    searched: usize,
    /// The frame was too long: its end is looked for.
    skipping: bool,
}

impl DelimiterCodec {
    /// Frames of at most `max_length` bytes, with `delimiter` behind each.
    ///
    /// # Panics
    /// When `delimiter` is empty.
    #[must_use]
    pub fn new(delimiter: impl Into<Cow<'static, [u8]>>, max_length: usize) -> Self {
        let delimiter = delimiter.into();
        assert!(!delimiter.is_empty(), "a delimiter has at least one byte");
        Self {
            delimiter,
            max_length,
            searched: 0,
            skipping: false,
        }
    }

    /// What stands behind each frame.
    #[must_use]
    pub fn delimiter(&self) -> &[u8] {
        &self.delimiter
    }

    /// The next input is not what the last one was the front of.
    pub(super) fn reset(&mut self) {
        self.searched = 0;
        self.skipping = false;
    }

    /// Skips the rest of the frame that the input is in.
    pub(super) fn skip_frame(&mut self) {
        self.searched = 0;
        self.skipping = true;
    }

    /// Where the first delimiter in `window`, the front of the input, ends.
    #[inline]
    fn find(&mut self, window: &[u8]) -> Option<usize> {
        let end = end_of(&self.delimiter, window, self.searched);
        self.searched = window.len();
        end
    }

    fn skip(&mut self, input: &[u8]) -> Decoded {
        if let Some(end) = self.find(input) {
            self.reset();
            return Decoded::Skip(end);
        }
        // The last of these bytes may be the front of the delimiter.
        let kept = self.delimiter.len() - 1;
        if input.len() <= kept {
            return Decoded::NeedMore(input.len() + 1);
        }
        self.searched = 0;
        Decoded::Skip(input.len() - kept)
    }
}

/// Where the first `delimiter` in `bytes` ends, if none ends in the first `searched` of them.
#[inline]
fn end_of(delimiter: &[u8], bytes: &[u8], searched: usize) -> Option<usize> {
    if let [byte] = delimiter {
        return memchr::memchr(*byte, &bytes[searched..]).map(|at| searched + at + 1);
    }
    let (last, _) = delimiter.split_last()?;
    let ends = memchr::memchr_iter(*last, &bytes[searched..]).map(|at| searched + at + 1);
    ends.into_iter()
        .find(|end| bytes[..*end].ends_with(delimiter))
}

impl Codec for DelimiterCodec {
    #[inline]
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
        if self.skipping {
            return Ok(self.skip(input));
        }
        let longest = self.max_length.saturating_add(self.delimiter.len());
        let window = &input[..input.len().min(longest)];
        Ok(if let Some(end) = self.find(window) {
            self.searched = 0;
            Decoded::Frame {
                frame: 0..end - self.delimiter.len(),
                consumed: end,
            }
        } else if window.len() == longest {
            self.skip_frame();
            Decoded::TooLong {
                length: None,
                consumed: self.max_length + 1,
            }
        } else {
            Decoded::NeedMore(input.len() + 1)
        })
    }

    #[inline]
    fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = output.len();
        output.extend_from_slice(frame);
        output.extend_from_slice(&self.delimiter);
        // One that begins in the frame may end behind it.
        let sent = &output[start..];
        if end_of(&self.delimiter, sent, 0) == Some(sent.len()) {
            return Ok(());
        }
        Err(EncodeError::ContainsDelimiter)
    }

    fn max_length(&self) -> usize {
        self.max_length
    }
}
