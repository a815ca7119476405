//! Messages that are compressed: RFC 7692, section 7.2, over DEFLATE (RFC 1951).
//!
//! Neither state is there before the first message that needs it, nor, without context takeover,
//! after it. What a message inflates to is bounded while it inflates.

use std::cell::RefCell;
use std::rc::Rc;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::WebSocketError;

/// What a sender leaves off the end of each message, and a receiver puts there again.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// zlib makes no raw stream for the window of 256 bytes that the RFC allows; it reads one.
const LEAST_BITS: u8 = 9;

/// How much more room is made for what a piece inflates to.
const ROOM: usize = 1024;

/// Decompresses the messages of one direction.
pub(crate) struct Inflater {
    window_bits: u8,
    takeover: bool,
    stream: Option<Decompress>,
    /// Nothing has come since the stream was begun.
    fresh: bool,
}

/// Compresses the messages of one direction.
pub(crate) struct Deflater {
    window_bits: u8,
    takeover: bool,
    level: u32,
    stream: Option<Compress>,
    spare: Spare,
}

/// A compressor that is not in use, kept by what connections have in common.
pub(crate) type Spare = Rc<RefCell<Option<(u8, u32, Compress)>>>;

impl Inflater {
    pub(crate) fn new(window_bits: u8, takeover: bool) -> Self {
        Self {
            window_bits,
            takeover,
            stream: None,
            fresh: true,
        }
    }

    /// Appends to `message` what `input`, more of a compressed message, inflates to.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        message: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), WebSocketError> {
        let bits = self.window_bits.max(LEAST_BITS);
        let stream = self
            .stream
            .get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        let mut rest = input;
        // What is full may have more behind it, with all of the input taken.
        while !rest.is_empty() || message.len() == message.capacity() {
            if message.len() == message.capacity() {
                let wanted = message.len().max(ROOM);
                // One more than is allowed, so that too much is seen.
                message.reserve_exact(
                    wanted.min(limit.saturating_add(1).saturating_sub(message.len()).max(1)),
                );
            }
            let (taken, given) = (stream.total_in(), message.len());
            let status = stream
                .decompress_vec(rest, message, FlushDecompress::None)
                .map_err(|_| WebSocketError::Deflate)?;
            if message.len() > limit {
                return Err(WebSocketError::MessageTooBig { limit });
            }
            let taken = (stream.total_in() - taken) as usize;
            rest = &rest[taken..];
            self.fresh &= taken == 0;
            if status == Status::StreamEnd {
                // A final block (section 7.2.3.4): what follows is another stream.
                stream.reset(false);
                self.fresh = true;
            } else if taken == 0 && message.len() == given && message.len() < message.capacity() {
                return match rest {
                    [] => Ok(()),
                    _ => Err(WebSocketError::Deflate),
                };
            }
        }
        Ok(())
    }

    /// The message has ended.
    pub(crate) fn finish(
        &mut self,
        message: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), WebSocketError> {
        if !self.fresh {
            self.inflate(&TAIL, message, limit)?;
        }
        if !self.takeover {
            self.stream = None;
            self.fresh = true;
        }
        Ok(())
    }
}

impl Deflater {
    /// `None` if nothing can be compressed for such a window: then messages go as they are, which
    /// is always allowed.
    pub(crate) fn new(window_bits: u8, takeover: bool, level: u32, spare: Spare) -> Option<Self> {
        (window_bits >= LEAST_BITS).then_some(Self {
            window_bits,
            takeover,
            level,
            stream: None,
            spare,
        })
    }

    pub(crate) fn window_bits(&self) -> u8 {
        self.window_bits
    }

    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// The payload of a message, or `None` if it is to go as it is: it does not get shorter.
    pub(crate) fn deflate(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let stream = self.stream.get_or_insert_with(|| {
            let spare = self.spare.borrow_mut().take();
            let fits =
                |(bits, level, _): &(u8, u32, _)| (*bits, *level) == (self.window_bits, self.level);
            match spare.filter(fits) {
                Some((_, _, stream)) => stream,
                None => compressor(self.window_bits, self.level),
            }
        });
        let payload = deflate(stream, message);
        if self.takeover && payload.is_some() {
            return payload;
        }
        // What the peer is not told must not be referred to, either.
        self.forget();
        payload.filter(|payload| payload.len() < message.len())
    }

    /// What comes next refers to nothing that was sent before.
    pub(crate) fn forget(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.reset();
            *self.spare.borrow_mut() = Some((self.window_bits, self.level, stream));
        }
    }
}

/// The payload of a message on its own.
pub(crate) fn deflate_once(message: &[u8], window_bits: u8, level: u32) -> Option<Vec<u8>> {
    deflate(&mut compressor(window_bits, level), message)
}

fn compressor(window_bits: u8, level: u32) -> Compress {
    Compress::new_with_window_bits(Compression::new(level.min(9)), false, window_bits)
}

fn deflate(stream: &mut Compress, message: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::with_capacity(message.len() / 2 + 64);
    let begun = stream.total_in();
    loop {
        let taken = (stream.total_in() - begun) as usize;
        if payload.len() == payload.capacity() {
            payload.reserve(payload.len().max(ROOM));
        }
        stream
            .compress_vec(&message[taken..], &mut payload, FlushCompress::Sync)
            .ok()?;
        let taken = (stream.total_in() - begun) as usize;
        if taken == message.len() && payload.len() < payload.capacity() {
            break;
        }
    }
    let end = payload.len().checked_sub(TAIL.len())?;
    if payload[end..] != TAIL {
        return None;
    }
    payload.truncate(end);
    Some(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn inflate(inflater: &mut Inflater, payload: &[u8]) -> Result<Vec<u8>, WebSocketError> {
        let mut message = Vec::new();
        inflater.inflate(payload, &mut message, LIMIT)?;
        inflater.finish(&mut message, LIMIT)?;
        Ok(message)
    }

    fn deflater(bits: u8, takeover: bool) -> Deflater {
        Deflater::new(bits, takeover, 6, Spare::default()).unwrap()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7692, section 7.2.3: one block; shared context; no compression; final block; two blocks.
        let mut inflater = Inflater::new(15, true);
        for payload in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ] {
            assert_eq!(
                inflate(&mut inflater, payload),
                Ok(b"Hello".to_vec()),
                "{payload:x?}"
            );
        }
    }

    #[test]
    fn a_final_block_without_the_byte_behind_it_leaves_nothing_behind() {
        let mut inflater = Inflater::new(15, true);
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate(&mut inflater, &last), Ok(b"Hello".to_vec()));
        let next = deflater(15, true).deflate(&[b'x'; 100]).unwrap();
        assert_eq!(inflate(&mut inflater, &next), Ok(vec![b'x'; 100]));
    }

    #[test]
    fn what_inflates_to_more_than_the_limit_is_refused_before_there_is_much_more() {
        let bomb = deflate_once(&vec![0; 64 << 20], 15, 9).unwrap();
        assert!(bomb.len() < 100_000);
        let mut message = Vec::new();
        let result = Inflater::new(15, true).inflate(&bomb, &mut message, LIMIT);
        assert_eq!(result, Err(WebSocketError::MessageTooBig { limit: LIMIT }));
        assert!(message.capacity() <= LIMIT + 64, "{}", message.capacity());
        let fits = deflate_once(&vec![0; LIMIT], 15, 9).unwrap();
        assert_eq!(
            inflate(&mut Inflater::new(15, true), &fits).map(|m| m.len()),
            Ok(LIMIT)
        );
    }

    #[test]
    fn a_limit_may_be_as_large_as_there_is() {
        let payload = deflate_once(b"Hello", 15, 9).unwrap();
        let mut message = Vec::new();
        let mut inflater = Inflater::new(15, true);
        inflater
            .inflate(&payload, &mut message, usize::MAX)
            .unwrap();
        inflater.finish(&mut message, usize::MAX).unwrap();
        assert_eq!(message, b"Hello");
    }

    #[test]
    fn what_is_no_deflate_stream_is_refused() {
        // A block of the reserved type; a distance to before the start; a stored block's length.
        for payload in [&[0x07_u8][..], &[0x02, 0x7f, 0xff, 0xff], &[0, 5, 0, 5, 5]] {
            let refused = inflate(&mut Inflater::new(15, false), payload);
            assert_eq!(refused, Err(WebSocketError::Deflate), "{payload:x?}");
        }
    }

    #[test]
    fn a_window_of_256_bytes_is_read_and_not_written() {
        assert!(Deflater::new(8, true, 6, Spare::default()).is_none());
        let payload = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(
            inflate(&mut Inflater::new(8, true), &payload),
            Ok(b"Hello".to_vec())
        );
    }

    #[test]
    fn with_takeover_what_was_said_before_is_referred_to_and_without_it_is_not() {
        let message: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(77)).collect();
        let mut kept = deflater(15, true);
        let first = kept.deflate(&message).unwrap();
        let second = kept.deflate(&message).unwrap();
        assert!(second.len() < first.len() / 4);
        kept.forget();
        assert_eq!(kept.deflate(&message).unwrap(), first);

        let text = "la".repeat(100);
        let mut fresh = deflater(15, false);
        let first = fresh.deflate(text.as_bytes());
        assert!(first.is_some());
        assert_eq!(fresh.deflate(text.as_bytes()), first);
        assert!(fresh.stream.is_none() && fresh.spare.borrow().is_some());
        // It does not get shorter.
        assert_eq!(fresh.deflate(&message), None);
    }

    proptest! {
        #[test]
        fn what_is_deflated_inflates_in_pieces_of_any_size(
            messages in prop::collection::vec(prop::collection::vec(0..4_u8, 1..2000), 1..6),
            bits in 9..=15_u8,
            takeover: bool,
            piece in 1..50_usize,
        ) {
            let mut deflater = deflater(bits, takeover);
            let mut inflater = Inflater::new(bits, takeover);
            for message in messages {
                let Some(payload) = deflater.deflate(&message) else { continue };
                let mut inflated = Vec::new();
                for piece in payload.chunks(piece) {
                    inflater.inflate(piece, &mut inflated, LIMIT).unwrap();
                }
                inflater.finish(&mut inflated, LIMIT).unwrap();
                prop_assert_eq!(inflated, message);
            }
        }
    }
}
