//! The bytes that are sent, and that must come back: endless, known at every position, compared as slices.
//!
//! The stream of a connection is the pattern, repeated for ever. So what is to be sent, and what must come, are slices of
//! one buffer, however reads and writes are cut: nothing is built for a message, nothing is copied.

/// A prime, so that no message size divides it: a message that is lost or comes twice shows. Small, so that
/// the pattern stays in the first cache.
const PERIOD: usize = 8191;

/// How many lines until they repeat: a prime too, for batches.
const LINES: usize = 127;

pub(crate) struct Pattern {
    /// The period, and as much of it again as the longest slice needs.
    bytes: Vec<u8>,
    period: usize,
    reach: usize,
}

impl Pattern {
    /// Any bytes. No slice is longer than `reach`.
    pub(crate) fn noise(reach: usize) -> Self {
        let mut noise = noise();
        Self::repeat((0..PERIOD).map(|_| noise()).collect(), reach)
    }

    /// Lines of `length` bytes, each ended by LF and different from those around it.
    pub(crate) fn lines(length: usize, reach: usize) -> Self {
        let mut noise = noise();
        let line = (1..=length).map(|at| at == length);
        let bytes = std::iter::repeat_n(line, LINES).flatten();
        let bytes = bytes.map(|last| if last { b'\n' } else { b'a' + noise() % 26 });
        Self::repeat(bytes.collect(), reach)
    }

    fn repeat(mut bytes: Vec<u8>, reach: usize) -> Self {
        let period = bytes.len();
        bytes.reserve_exact(reach);
        for at in 0..reach {
            bytes.push(bytes[at]);
        }
        Self {
            bytes,
            period,
            reach,
        }
    }

    /// The bytes of the stream from `position` on: `length` of them, or as many as the pattern reaches.
    pub(crate) fn at(&self, position: u64, length: u64) -> &[u8] {
        let start = (position % self.period as u64) as usize;
        let length = length.min(self.reach as u64) as usize;
        &self.bytes[start..start + length]
    }

    /// Compares what came at `position`; at most `reach` bytes.
    pub(crate) fn check(&self, position: u64, came: &[u8]) -> Result<(), String> {
        let sent = self.at(position, came.len() as u64);
        if sent == came {
            return Ok(());
        }
        let at = sent.iter().zip(came).take_while(|(a, b)| a == b).count();
        Err(format!(
            "byte {} of a connection came back as {:#04x}, and went as {:#04x}",
            position + at as u64,
            came[at],
            sent[at]
        ))
    }
}

/// The same bytes in each run.
fn noise() -> impl FnMut() -> u8 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let pattern = Pattern::noise(5000);
        let whole: Vec<u8> = (0..30_000).map(|at| pattern.at(at, 1)[0]).collect();
        for length in [1, 2, 64, 999, 5000] {
            for (index, piece) in whole.chunks(length).enumerate() {
                let position = (index * length) as u64;
                assert_eq!(pattern.at(position, piece.len() as u64), piece);
                pattern.check(position, piece).unwrap();
            }
        }
    }

    #[test]
    fn no_slice_is_longer_than_the_reach() {
        let pattern = Pattern::noise(100);
        assert_eq!(pattern.at(PERIOD as u64 - 1, 1_000_000).len(), 100);
    }

    #[test]
    fn each_wrong_byte_is_found_and_named() {
        let pattern = Pattern::noise(64);
        for at in 0..64 {
            let mut came = pattern.at(1000, 64).to_vec();
            came[at] ^= 1;
            let said = pattern.check(1000, &came).unwrap_err();
            assert!(said.starts_with(&format!("byte {} ", 1000 + at)), "{said}");
        }
    }

    #[test]
    fn a_message_that_is_skipped_shows() {
        let pattern = Pattern::noise(16_384);
        for size in [8, 64, 1024, 4096, 16_384_u64] {
            let next = pattern.at(7 * size, size);
            assert!(pattern.check(6 * size, next).is_err(), "{size}");
        }
    }

    #[test]
    fn lines_have_their_length_and_one_line_end() {
        let pattern = Pattern::lines(64, 16 * 64);
        for batch in 0..300 {
            let text = pattern.at(batch * 1024, 1024);
            for line in text.chunks(64) {
                assert_eq!(line.iter().position(|b| *b == b'\n'), Some(63));
            }
            assert!(pattern.check((batch + 1) * 1024, text).is_err());
        }
    }
}
