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

pub(super) const HEAD: usize = 9;

/// So many bytes of a payload are looked at, where any are.
const LOOK: usize = 24;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

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

    /// Whether five bytes of priority stand before the fields.
    pub(super) fn has_priority(self) -> bool {
        self.flags & WITH_PRIORITY != 0
    }

    pub(super) fn is_padded(self) -> bool {
        self.flags & PADDED != 0
    }

    fn parse(bytes: &[u8; HEAD + LOOK]) -> Self {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0, ..] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
        }
    }
}

/// Finds the heads of frames, wherever the bytes are split. It keeps a few bytes.
pub(super) struct FrameScan {
    /// What has come of a head, and of what is looked at behind it.
    held: [u8; HEAD + LOOK],
    filled: usize,
    needed: usize,
    /// Bytes that are not looked at: the rest of a payload, or the preface.
    skip: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) head: FrameHead,
    /// The first bytes of a payload that says more than its head does.
    pub(super) payload: &'a [u8],
}

impl Found<'_> {
    /// Whether it is DATA that carries nothing.
    pub(super) fn is_empty(&self) -> bool {
        let padding = match self.payload {
            [padding, ..] if self.head.is_padded() => usize::from(*padding) + 1,
            _ => 0,
        };
        self.head.length <= padding
    }
}

impl FrameScan {
    /// For bytes whose first frame stands after `preface` others.
    pub(super) fn new(preface: usize) -> Self {
        Self {
            held: [0; HEAD + LOOK],
            filled: 0,
            needed: HEAD,
            skip: preface,
        }
    }

    /// Whether a frame has begun, and its head is not complete, nor what is looked at behind it.
    pub(super) fn is_within_head(&self) -> bool {
        self.filled > 0
    }

    /// Whether a frame has begun, and not all of it has gone by.
    pub(super) fn is_within(&self) -> bool {
        self.is_within_head() || self.skip > 0
    }

    /// Looks at `data` up to the next frame; takes off it what was looked at. `None` when it has no
    /// more.
    pub(super) fn next(&mut self, data: &mut &[u8]) -> Option<Found<'_>> {
        let skipped = self.skip.min(data.len());
        self.skip -= skipped;
        *data = &data[skipped..];
        if self.skip > 0 {
            return None;
        }
        self.fill(data)?;
        let head = FrameHead::parse(&self.held);
        if self.needed == HEAD {
            self.needed += looked_at(head);
            self.fill(data)?;
        }
        let end = std::mem::replace(&mut self.needed, HEAD);
        self.filled = 0;
        self.skip = head.length - (end - HEAD);
        let payload = &self.held[HEAD..end];
        Some(Found { head, payload })
    }

    /// Holds what is needed. `None` while it has not come.
    fn fill(&mut self, data: &mut &[u8]) -> Option<()> {
        let taken = (self.needed - self.filled).min(data.len());
        self.held[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
        self.filled += taken;
        *data = &data[taken..];
        (self.filled == self.needed).then_some(())
    }
}

/// How much of a payload is looked at: the length of padding, how a block of fields begins, and by how
/// much a window grows.
fn looked_at(head: FrameHead) -> usize {
    match head.kind {
        DATA if head.is_padded() => head.length.min(1),
        HEADERS => head.length.min(LOOK),
        WINDOW_UPDATE => head.length.min(4),
        _ => 0,
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

    fn scan(pieces: &[&[u8]]) -> Vec<(u8, u32, bool, Vec<u8>)> {
        let mut scan = FrameScan::new(7);
        let mut found = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(frame) = scan.next(&mut piece) {
                let head = frame.head;
                found.push((
                    head.kind,
                    head.stream,
                    frame.is_empty(),
                    frame.payload.to_vec(),
                ));
            }
        }
        assert!(!scan.is_within());
        found
    }

    #[test]
    fn heads_are_found_wherever_the_bytes_are_split() {
        let expected = [
            (6, 0, false, vec![]),
            (0, 5, true, vec![]),
            (0, 7, true, vec![2]),
            (1, 9, false, b"abc".to_vec()),
        ];
        assert_eq!(scan(&[BYTES]), expected);
        let bytes: Vec<_> = BYTES.chunks(1).collect();
        assert_eq!(scan(&bytes), expected);
        for at in 0..BYTES.len() {
            let (one, two) = BYTES.split_at(at);
            assert_eq!(scan(&[one, two]), expected, "split at {at}");
        }
        proptest!(|(size in 1..20_usize)| {
            let pieces: Vec<_> = BYTES.chunks(size).collect();
            prop_assert_eq!(scan(&pieces), expected.clone());
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
