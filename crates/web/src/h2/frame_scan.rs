//! Where frames begin, in bytes that go by (RFC 9113, section 4.1).

/// The nine bytes before each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Without the reserved bit.
    pub(super) stream: u32,
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

const HEAD: usize = 9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

impl FrameHead {
    pub(super) fn is_ack(self) -> bool {
        self.flags & ACK != 0
    }

    pub(super) fn ends_stream(self) -> bool {
        self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub(super) fn is_padded(self) -> bool {
        self.flags & PADDED != 0
    }

    fn parse(bytes: &[u8; HEAD]) -> Self {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
        }
    }
}

/// Finds the heads of frames, wherever the bytes are split. It keeps at most ten bytes.
pub(super) struct FrameScan {
    /// What has come of a head, and behind it the first byte of a padded frame.
    held: [u8; HEAD],
    filled: usize,
    /// Bytes that belong to no head: of a payload, or of the preface.
    skip: usize,
    /// A padded DATA frame whose first byte, the length of the padding, is to come.
    padded: Option<FrameHead>,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) head: FrameHead,
    /// Bytes of the payload that are no padding, as far as DATA is concerned.
    pub(super) content: usize,
}

impl FrameScan {
    /// For bytes whose first frame stands after `preface` others.
    pub(super) fn new(preface: usize) -> Self {
        Self {
            held: [0; HEAD],
            filled: 0,
            skip: preface,
            padded: None,
        }
    }

    /// Whether a frame has begun, and not all of it has gone by.
    pub(super) fn is_within(&self) -> bool {
        self.filled > 0 || self.skip > 0 || self.padded.is_some()
    }

    /// Looks at `data` up to the next head; takes off it what was looked at. `None` when it has no
    /// more.
    pub(super) fn next(&mut self, data: &mut &[u8]) -> Option<Found> {
        loop {
            let skipped = self.skip.min(data.len());
            self.skip -= skipped;
            *data = &data[skipped..];
            if let Some(head) = self.padded.filter(|_| !data.is_empty()) {
                self.padded = None;
                self.skip = head.length;
                let padding = usize::from(data[0]) + 1;
                let content = head.length.saturating_sub(padding);
                return Some(Found { head, content });
            }
            if data.is_empty() {
                return None;
            }
            let taken = (HEAD - self.filled).min(data.len());
            self.held[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
            self.filled += taken;
            *data = &data[taken..];
            if self.filled < HEAD {
                return None;
            }
            self.filled = 0;
            let head = FrameHead::parse(&self.held);
            if head.kind == DATA && head.is_padded() && head.length > 0 {
                self.padded = Some(head);
                continue;
            }
            self.skip = head.length;
            let content = head.length;
            return Some(Found { head, content });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A PING, an empty DATA frame, padding alone, and HEADERS of three bytes.
    const BYTES: &[u8] = b"preface\
        \x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong\
        \x00\x00\x00\x00\x01\x00\x00\x00\x05\
        \x00\x00\x03\x00\x08\x80\x00\x00\x07\x02\x00\x00\
        \x00\x00\x03\x01\x04\x00\x00\x00\x09abc";

    fn scan(pieces: &[&[u8]]) -> Vec<(u8, u8, u32, usize)> {
        let mut scan = FrameScan::new(7);
        let mut found = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(frame) = scan.next(&mut piece) {
                let head = frame.head;
                found.push((head.kind, head.flags, head.stream, frame.content));
            }
        }
        assert!(!scan.is_within());
        found
    }

    #[test]
    fn heads_are_found_wherever_the_bytes_are_split() {
        let expected = [(6, 0, 0, 8), (0, 1, 5, 0), (0, 8, 7, 0), (1, 4, 9, 3)];
        assert_eq!(scan(&[BYTES]), expected);
        let bytes: Vec<_> = BYTES.chunks(1).collect();
        assert_eq!(scan(&bytes), expected);
        for at in 0..BYTES.len() {
            let (one, two) = BYTES.split_at(at);
            assert_eq!(scan(&[one, two]), expected, "split at {at}");
        }
        proptest!(|(size in 1..20_usize)| {
            let pieces: Vec<_> = BYTES.chunks(size).collect();
            prop_assert_eq!(scan(&pieces), expected);
        });
    }

    #[test]
    fn a_frame_that_has_begun_is_known_to_have() {
        let mut scan = FrameScan::new(0);
        assert!(!scan.is_within());
        scan.next(&mut &b"\0\0\x01"[..]);
        assert!(scan.is_within());
    }
}
