//! Content that is all there: bytes and regions of files, in order.

use std::collections::VecDeque;

use bytes::Bytes;
use ropewalk_core::Segment;

use super::BODY_BUFFER;

/// Segments in order. A single one takes no allocation.
#[derive(Default)]
pub(crate) enum Segments {
    #[default]
    None,
    One(Segment),
    Many(VecDeque<Segment>),
}

impl Segments {
    /// Bytes in all.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::One(segment) => segment.len(),
            Self::Many(segments) => segments.iter().map(Segment::len).sum(),
        }
    }

    /// All bytes, if none are in files.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::None => Some(Bytes::new()),
            Self::One(Segment::Bytes(bytes)) => Some(bytes.clone()),
            Self::One(Segment::File(_)) => None,
            Self::Many(segments) => {
                let bytes = segments.iter().map(|segment| match segment {
                    Segment::Bytes(bytes) => Some(&bytes[..]),
                    Segment::File(_) => None,
                });
                Some(bytes.collect::<Option<Vec<_>>>()?.concat().into())
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(segments) => segments.is_empty(),
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<Segment> {
        match self {
            Self::Many(segments) => segments.pop_front(),
            _ => match std::mem::take(self) {
                Self::One(segment) => Some(segment),
                _ => None,
            },
        }
    }

    pub(crate) fn push_front(&mut self, segment: Segment) {
        match self {
            Self::None => *self = Self::One(segment),
            Self::Many(segments) => segments.push_front(segment),
            Self::One(_) => {
                if let Self::One(second) = std::mem::take(self) {
                    *self = Self::Many([segment, second].into());
                }
            }
        }
    }
}

/// For those who read a body of segments as a stream: a region of a file is read in pieces.
pub(super) fn next_segment(segments: &mut Segments) -> Option<std::io::Result<Bytes>> {
    use std::os::unix::fs::FileExt;
    let next = std::iter::from_fn(|| segments.pop_front()).find(|segment| !segment.is_empty())?;
    match next {
        Segment::Bytes(bytes) => Some(Ok(bytes)),
        Segment::File(mut region) => {
            let mut piece = vec![0; region.len.min(BODY_BUFFER as u64) as usize];
            if let Err(error) = region.file.read_exact_at(&mut piece, region.offset) {
                *segments = Segments::default();
                return Some(Err(error));
            }
            region.offset += piece.len() as u64;
            region.len -= piece.len() as u64;
            if region.len > 0 {
                segments.push_front(Segment::File(region));
            }
            Some(Ok(piece.into()))
        }
    }
}
