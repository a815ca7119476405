//! Frames out of a stream that comes in pieces.

use std::mem;

use super::{Codec, DecodeError, Decoded};
use crate::Transport;

/// A frame that came in pieces is put together in steps of at least so many bytes: what follows
/// it in the input is not copied.
const STEP: usize = 1024;

/// What of an unfinished frame has come so far, and how frames are taken out of that and of what
/// comes.
///
/// A frame that is whole in the input is lent from there, with no copy and no allocation. Between
/// frames nothing is kept, and no memory is held.
///
/// ```
/// use ropewalk_core::framing::{DecodeError, Found, FrameBuffer, LineCodec};
///
/// let (mut codec, mut buffer) = (LineCodec::default(), FrameBuffer::default());
/// let mut input = &b"one\r\ntwo\r"[..];
/// assert_eq!(buffer.next(&mut codec, &mut input)?, Some(Found::Frame(b"one")));
/// assert_eq!(buffer.next(&mut codec, &mut input)?, None);
/// assert_eq!(buffer.unfinished(), b"two\r");
/// assert_eq!(buffer.next(&mut codec, &mut &b"\n"[..])?, Some(Found::Frame(b"two")));
/// # Ok::<_, DecodeError>(())
/// ```
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// What was found last ends here.
    used: usize,
    /// How many bytes there must be before the codec is asked again.
    needed: usize,
}

/// What a [`FrameBuffer`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A whole frame.
    Frame(&'a [u8]),
    /// A frame that is longer than its codec takes. It is skipped.
    TooLong {
        /// Its length in bytes, where the format says it beforehand.
        length: Option<u64>,
        /// What was looked at of it, and is skipped first.
        start: &'a [u8],
    },
}

impl FrameBuffer {
    /// How many bytes are kept of an unfinished frame beyond [`Codec::max_length`], for what the
    /// format puts around it.
    pub const OVERHEAD: usize = 4096;

    /// The next frame in what is kept and then in `input`, whose front is taken off. `None` when
    /// there is none: all of `input` is kept then.
    ///
    /// # Errors
    /// What the codec says; [`DecodeError::Unfinished`] when it finds no frame in all that is
    /// kept for one.
    pub fn next<'a, 'i: 'a, C: Codec + ?Sized>(
        &'a mut self,
        codec: &mut C,
        input: &mut &'i [u8],
    ) -> Result<Option<Found<'a>>, DecodeError> {
        loop {
            self.drop_used();
            let before = *input;
            let added = self.fill(input);
            let kept = !self.bytes.is_empty();
            let front = if kept { &self.bytes } else { *input };
            if front.len() < self.needed.max(1) {
                return Ok(None);
            }
            let (found, consumed) = match codec.decode(front)? {
                Decoded::NeedMore(needed) => {
                    self.keep(codec, needed, kept, input)?;
                    continue;
                }
                Decoded::Frame { frame, consumed } => (Some(Ok(frame)), consumed),
                Decoded::TooLong { length, consumed } => (Some(Err(length)), consumed),
                Decoded::Skip(consumed) => (None, consumed),
            };
            if consumed == 0 {
                let what = "its codec consumed nothing of it";
                return Err(DecodeError::Malformed(what.into()));
            }
            if kept {
                // What was added and is not part of it is the input's again.
                let behind = self.bytes.len() - consumed;
                let back = behind.min(added);
                self.bytes.truncate(self.bytes.len() - back);
                *input = &before[added - back..];
                self.used = consumed;
            } else {
                *input = &before[consumed..];
            }
            let Some(found) = found else { continue };
            let front = if kept { &self.bytes[..] } else { before };
            return Ok(Some(match found {
                Ok(frame) => Found::Frame(&front[frame]),
                Err(length) => Found::TooLong {
                    length,
                    start: &front[..consumed],
                },
            }));
        }
    }

    /// What has come of a frame that is not whole.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// What is kept, and `input` behind it, for one who reads on without this buffer.
    pub(super) fn take_with(&mut self, input: &[u8]) -> Vec<u8> {
        self.drop_used();
        self.needed = 0;
        let mut all = mem::take(&mut self.bytes);
        all.extend_from_slice(input);
        all
    }

    /// Gives back to the connection what is not to be told now: when reading is paused, `input`,
    /// and when something else is to have the rest, all of it.
    pub(super) fn put_back(&mut self, transport: &mut Transport, input: &[u8]) {
        self.drop_used();
        if transport.is_handing_over() {
            transport.unread(self.take_with(input));
        } else if !input.is_empty() && !transport.is_closing() {
            transport.unread(input.to_vec());
        }
    }

    fn drop_used(&mut self) {
        if self.used == 0 {
            return;
        }
        if self.used == self.bytes.len() {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.used);
        }
        self.used = 0;
        self.needed = 0;
    }

    /// Moves what the codec waits for from the front of `input` to the bytes that are kept, if
    /// any are. Returns how many that were.
    fn fill(&mut self, input: &mut &[u8]) -> usize {
        let missing = self.needed.saturating_sub(self.bytes.len());
        if self.bytes.is_empty() || missing == 0 {
            return 0;
        }
        let (added, rest) = input.split_at(missing.max(STEP).min(input.len()));
        self.bytes.extend_from_slice(added);
        *input = rest;
        added.len()
    }

    /// Notes that the codec waits for `needed` bytes, and keeps those that there are.
    fn keep<C: Codec + ?Sized>(
        &mut self,
        codec: &C,
        needed: usize,
        kept: bool,
        input: &mut &[u8],
    ) -> Result<(), DecodeError> {
        if !kept {
            self.bytes.extend_from_slice(mem::take(input));
        }
        let limit = codec.max_length().saturating_add(Self::OVERHEAD);
        if self.bytes.len() > limit {
            return Err(DecodeError::Unfinished { limit });
        }
        // A codec that waits for more than that is asked again when the limit is passed.
        self.needed = needed.clamp(self.bytes.len() + 1, limit.saturating_add(1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::LineCodec;

    #[test]
    fn between_frames_no_memory_is_held() {
        let (mut codec, mut buffer) = (LineCodec::default(), FrameBuffer::default());
        let mut lines = |mut piece: &[u8]| {
            while buffer.next(&mut codec, &mut piece).unwrap().is_some() {}
            buffer.bytes.capacity()
        };
        assert_eq!(lines(b"whole\r\n"), 0);
        assert!(lines(b"in pie") > 0);
        assert_eq!(lines(b"ces\r\nwhole\r\n"), 0);
    }

    #[test]
    fn what_stands_behind_a_frame_that_came_in_pieces_is_not_copied() {
        let (mut codec, mut buffer) = (LineCodec::default(), FrameBuffer::default());
        let mut input = &b"in pie"[..];
        assert_eq!(buffer.next(&mut codec, &mut input), Ok(None));
        let mut rest = vec![b'x'; 60_000];
        rest[..5].copy_from_slice(b"ces\r\n");
        let mut input = &rest[..];
        let found = buffer.next(&mut codec, &mut input);
        assert_eq!(found, Ok(Some(Found::Frame(b"in pieces"))));
        assert_eq!(input, &rest[5..]);
        assert!(buffer.bytes.capacity() <= 2 * STEP);
    }
}
