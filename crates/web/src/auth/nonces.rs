//! Nonces of Digest authentication: which are ours, how old they are, and how often they were used.
//!
//! A nonce says itself when it was made, under a MAC; so none is kept before it is used. Of those that were, a
//! window of the last 64 counts is kept, so that requests may overtake one another and none is taken twice.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Randomness;

/// So many that were used are remembered.
const MAX_USED: usize = 65_536;

/// Time, number and MAC of a nonce.
const LENGTH: usize = 8 + 8 + 16;

pub(super) struct Nonces {
    /// As long as a block of SHA-256, which is what HMAC takes.
    key: [u8; 64],
    since: Instant,
    lifetime: Duration,
    made: u64,
    /// By their numbers, which grow with time.
    used: BTreeMap<u64, Used>,
    /// Those up to this number count as used up: what was known of them is forgotten.
    forgotten: u64,
}

struct Used {
    highest: u32,
    /// Which of the 64 counts up to the highest were used; the lowest bit is the highest count.
    window: u64,
    until: Instant,
}

impl Nonces {
    pub(super) fn new(
        now: Instant,
        lifetime: Duration,
        randomness: &Randomness,
    ) -> io::Result<Self> {
        let mut key = [0; 64];
        randomness.fill(&mut key)?;
        Ok(Self {
            key,
            since: now,
            lifetime,
            made: 0,
            used: BTreeMap::new(),
            forgotten: 0,
        })
    }

    pub(super) fn make(&mut self, now: Instant) -> String {
        self.made += 1;
        let age = now.saturating_duration_since(self.since).as_millis() as u64;
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&age.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.made.to_be_bytes());
        let mac = self.mac(&bytes[..16]).finalize().into_bytes();
        bytes[16..].copy_from_slice(&mac[..16]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Uses `nonce` for the time that `count` says. `false` if it is not ours, too old, or was used so
    /// before.
    pub(super) fn take(&mut self, nonce: &str, count: u32, now: Instant) -> bool {
        let Some((made_at, number)) = self.read(nonce) else {
            return false;
        };
        let until = made_at + self.lifetime;
        if now >= until || number <= self.forgotten {
            return false;
        }
        while let Some(first) = self.used.first_entry()
            && first.get().until <= now
        {
            first.remove();
        }
        let used = self.used.entry(number).or_insert(Used {
            highest: 0,
            window: 0,
            until,
        });
        let is_new = used.take(count);
        while self.used.len() > MAX_USED {
            if let Some((number, _)) = self.used.pop_first() {
                self.forgotten = number;
            }
        }
        is_new
    }

    /// When it was made, and its number.
    fn read(&self, nonce: &str) -> Option<(Instant, u64)> {
        let mut bytes = [0; LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).ok()?;
        if length != LENGTH {
            return None;
        }
        let mac = self.mac(&bytes[..16]);
        mac.verify_truncated_left(&bytes[16..]).ok()?;
        let (age, rest) = bytes.split_first_chunk::<8>()?;
        let (number, _) = rest.split_first_chunk::<8>()?;
        let age = Duration::from_millis(u64::from_be_bytes(*age));
        let made_at = self.since.checked_add(age)?;
        Some((made_at, u64::from_be_bytes(*number)))
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&self.key).into());
        mac.update(bytes);
        mac
    }
}

impl Used {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            self.window = self.window.checked_shl(step).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let back = self.highest - count;
        let bit = 1_u64.checked_shl(back).unwrap_or(0);
        let is_new = count > 0 && bit != 0 && self.window & bit == 0;
        self.window |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(now: Instant) -> Nonces {
        Nonces::new(now, Duration::from_secs(60), &Randomness::system()).unwrap()
    }

    #[test]
    fn a_count_is_taken_once_in_any_order_within_the_window() {
        let now = Instant::now();
        let mut nonces = nonces(now);
        let nonce = nonces.make(now);
        for count in [1, 3, 2, 66, 4] {
            assert!(nonces.take(&nonce, count, now), "{count}");
        }
        for count in [0, 1, 2, 3, 4, 66] {
            assert!(!nonces.take(&nonce, count, now), "{count}");
        }
        assert!(nonces.take(&nonce, u32::MAX, now));
        assert!(!nonces.take(&nonce, 67, now));
    }

    #[test]
    fn a_nonce_is_ours_and_young() {
        let now = Instant::now();
        let mut ours = nonces(now);
        let nonce = ours.make(now);
        assert_ne!(nonce, ours.make(now));
        assert!(!nonces(now).take(&nonce, 1, now), "of another key");
        for at in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(!ours.take(&forged, 1, now), "{at}");
        }
        let last = now + Duration::from_millis(59_999);
        assert!(ours.take(&nonce, 1, last));
        assert!(!ours.take(&nonce, 2, now + Duration::from_secs(60)));
    }

    #[test]
    fn what_was_forgotten_counts_as_used() {
        let now = Instant::now();
        let mut nonces = nonces(now);
        let first = nonces.make(now);
        assert!(nonces.take(&first, 1, now));
        for _ in 0..MAX_USED {
            let nonce = nonces.make(now);
            assert!(nonces.take(&nonce, 1, now));
        }
        assert_eq!(nonces.used.len(), MAX_USED);
        assert!(!nonces.take(&first, 1, now));
        assert!(!nonces.take(&first, 2, now));
    }
}
