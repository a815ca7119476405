//! Messages in, frames out. Each message is one frame; a client's is masked, and those that gain by
//! it are compressed.

use bytes::{Bytes, BytesMut};

use super::deflate::Deflater;
use super::frame_header::{EncodedHeader, FrameHeader, Opcode};
use super::masking::apply_mask;

pub(crate) struct Encoder {
    deflater: Option<Deflater>,
    threshold: usize,
}

/// A frame: its head, and its payload as it goes over the wire.
pub(crate) struct Frame {
    pub(crate) header: EncodedHeader,
    pub(crate) payload: Bytes,
}

impl Encoder {
    pub(crate) fn new(deflater: Option<Deflater>, threshold: usize) -> Self {
        Self {
            deflater,
            threshold,
        }
    }

    pub(crate) fn threshold(&self) -> usize {
        self.threshold
    }

    pub(crate) fn deflater(&mut self) -> Option<&mut Deflater> {
        self.deflater.as_mut()
    }

    /// The compressed payload of a message, where that is wanted and gains something.
    pub(crate) fn compress(&mut self, message: &[u8]) -> Option<Bytes> {
        let deflater = self.deflater.as_mut()?;
        if message.is_empty() || message.len() < self.threshold {
            return None;
        }
        deflater.deflate(message).map(Bytes::from)
    }
}

impl Frame {
    /// A frame that is a whole message, or a control frame.
    pub(crate) fn new(opcode: Opcode, rsv1: bool, payload: Bytes, mask: Option<[u8; 4]>) -> Self {
        let header = header(opcode, rsv1, payload.len(), mask);
        let payload = match mask {
            None => payload,
            Some(key) => {
                // In place, if it is nobody else's.
                let own = payload.try_into_mut();
                let mut payload = own.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                apply_mask(&mut payload, key, 0);
                payload.freeze()
            }
        };
        Self { header, payload }
    }
}

/// The head of a frame that is all of its message.
pub(crate) fn header(
    opcode: Opcode,
    rsv1: bool,
    length: usize,
    mask: Option<[u8; 4]>,
) -> EncodedHeader {
    let header = FrameHeader {
        fin: true,
        rsv1,
        opcode,
        mask,
        length: length as u64,
    };
    header.encode()
}
