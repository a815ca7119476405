//! Masking, RFC 6455, section 5.3: what a client sends looks like chance to whatever stands between.
//!
//! The keys must not be foreseen by who writes the messages (section 10.3), so they come from
//! randomness that is lent.

use std::cell::Cell;
use std::io;

use crate::Randomness;

/// Keys are drawn so many bytes at a time.
const DRAWN: usize = 64;

/// The keys of one client's frames.
pub(crate) struct Masks {
    randomness: Randomness,
    drawn: Cell<[u8; DRAWN]>,
    used: Cell<usize>,
}

impl Masks {
    pub(crate) fn new(randomness: Randomness) -> Self {
        Self {
            randomness,
            drawn: Cell::new([0; DRAWN]),
            used: Cell::new(DRAWN),
        }
    }

    pub(crate) fn next(&self) -> io::Result<[u8; 4]> {
        if self.used.get() >= DRAWN {
            let mut drawn = [0; DRAWN];
            self.randomness.fill(&mut drawn)?;
            self.drawn.set(drawn);
            self.used.set(0);
        }
        let (drawn, at) = (self.drawn.get(), self.used.get());
        self.used.set(at + 4);
        Ok([drawn[at], drawn[at + 1], drawn[at + 2], drawn[at + 3]])
    }
}

/// Masks or unmasks, in place, bytes that begin `offset` bytes into the payload of their frame.
#[inline]
pub(crate) fn apply_mask(bytes: &mut [u8], mut key: [u8; 4], offset: u64) {
    key.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_masked_by_the_one_of_the_key_that_its_place_in_the_frame_says() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let payload: Vec<u8> = (0..100).collect();
        let by_hand = |at: usize| payload[at] ^ key[at % 4];
        let expected: Vec<u8> = (0..100).map(by_hand).collect();
        for first in 0..20 {
            for second in first..40 {
                let mut masked = payload.clone();
                apply_mask(&mut masked[..first], key, 0);
                apply_mask(&mut masked[first..second], key, first as u64);
                apply_mask(&mut masked[second..], key, second as u64);
                assert_eq!(masked, expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn no_key_is_used_twice() {
        let count = Cell::new(0_u8);
        let masks = Masks::new(Randomness::new(move |bytes| {
            count.set(count.get() + 1);
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = count.get().wrapping_mul(64).wrapping_add(at as u8);
            }
        }));
        let mut keys: Vec<_> = (0..40).map(|_| masks.next().unwrap()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 40);
    }
}
