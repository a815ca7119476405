//! Lines.

use std::borrow::Cow;

use super::delimiter::DelimiterCodec;
use super::{Codec, DecodeError, Decoded, EncodeError};

/// Lines, each with `\r\n` behind it, of at most [`MAX_LENGTH`](Self::MAX_LENGTH) bytes. As in
/// Twisted's `LineReceiver`.
///
/// ```
/// use ropewalk_core::framing::{Codec, Decoded, LineCodec};
///
/// let mut codec = LineCodec::default();
/// assert_eq!(codec.decode(b"a\nb\r\nc")?, Decoded::Frame { frame: 0..3, consumed: 5 });
///
/// // For peers that are typed at, and for programs that end lines as files do.
/// let mut codec = LineCodec::default().accept_bare_newline();
/// assert_eq!(codec.decode(b"a\nb\r\nc")?, Decoded::Frame { frame: 0..1, consumed: 2 });
/// assert_eq!(codec.decode(b"b\r\nc")?, Decoded::Frame { frame: 0..1, consumed: 3 });
/// # Ok::<_, ropewalk_core::framing::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LineCodec {
    /// With a bare newline it looks for that alone, and takes one byte more: the `\r`.
    codec: DelimiterCodec,
    bare_newline: bool,
}

impl LineCodec {
    /// The longest line that is taken unless told otherwise, in bytes.
    pub const MAX_LENGTH: usize = 16384;

    /// Lines with `delimiter` behind each.
    ///
    /// # Panics
    /// When `delimiter` is empty.
    #[must_use]
    pub fn new(delimiter: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            codec: DelimiterCodec::new(delimiter, Self::MAX_LENGTH),
            bare_newline: false,
        }
    }

    /// Takes lines of at most so many bytes, the delimiter not counted.
    #[must_use]
    pub fn with_max_length(mut self, bytes: usize) -> Self {
        self.codec.max_length = bytes.saturating_add(self.bare_newline.into());
        self
    }

    /// Lines that end with `\n` or with `\r\n`. Those that are sent end with `\r\n`.
    #[must_use]
    pub fn accept_bare_newline(self) -> Self {
        let max_length = self.max_length();
        let any = Self {
            codec: DelimiterCodec::new(b"\n", max_length),
            bare_newline: true,
        };
        any.with_max_length(max_length)
    }

    /// The next input is not what the last one was the front of.
    pub(super) fn reset(&mut self) {
        self.codec.reset();
    }
}

impl Default for LineCodec {
    fn default() -> Self {
        Self::new(b"\r\n")
    }
}

impl Codec for LineCodec {
    #[inline]
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
        let decoded = self.codec.decode(input)?;
        if !self.bare_newline {
            return Ok(decoded);
        }
        Ok(match decoded {
            Decoded::Frame { frame, consumed } => {
                let line = &input[frame];
                let end = line.strip_suffix(b"\r").unwrap_or(line).len();
                if end > self.max_length() {
                    self.codec.skip_frame();
                    return Ok(too_long(end));
                }
                Decoded::Frame {
                    frame: 0..end,
                    consumed,
                }
            }
            Decoded::TooLong { consumed, .. } => too_long(consumed - 1),
            decoded => decoded,
        })
    }

    #[inline]
    fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !self.bare_newline {
            return self.codec.encode(frame, output);
        }
        if memchr::memchr(b'\n', frame).is_some() {
            return Err(EncodeError::ContainsDelimiter);
        }
        output.extend_from_slice(frame);
        output.extend_from_slice(b"\r\n");
        Ok(())
    }

    #[inline]
    fn max_length(&self) -> usize {
        self.codec.max_length() - usize::from(self.bare_newline)
    }
}

fn too_long(consumed: usize) -> Decoded {
    Decoded::TooLong {
        length: None,
        consumed,
    }
}
