//! The head of a frame: RFC 6455, section 5.2.
//!
//! A head is refused as soon as the byte that is wrong with it is there. What depends on the
//! connection, the role, the message that is under way, an extension, is checked by the
//! [`decoder`](super::decoder).

use super::WebSocketError;

/// The longest head: two bytes, eight of length, four of mask.
pub(crate) const LONGEST_HEADER: usize = 14;

/// A control frame carries no more than this (section 5.5).
pub(crate) const LONGEST_CONTROL: usize = 125;

/// What a frame is (section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// The message is compressed (RFC 7692, section 6).
    pub(crate) rsv1: bool,
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub(crate) length: u64,
}

/// A head in bytes.
#[derive(Clone, Copy)]
pub(crate) struct EncodedHeader {
    bytes: [u8; LONGEST_HEADER],
    length: u8,
}

impl Opcode {
    fn of(byte: u8) -> Result<Self, WebSocketError> {
        Ok(match byte & 0x0f {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(WebSocketError::ReservedOpcode(other)),
        })
    }

    pub(crate) fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

impl FrameHeader {
    /// Reads the head at the start of `input`: it and its length, or `None` if more of it is to
    /// come.
    #[inline]
    pub(crate) fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, WebSocketError> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        if first & 0x30 != 0 {
            return Err(WebSocketError::ReservedBit);
        }
        let opcode = Opcode::of(first)?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(WebSocketError::FragmentedControl);
        }
        let Some(&second) = input.get(1) else {
            return Ok(None);
        };
        let (short, is_masked) = (second & 0x7f, second & 0x80 != 0);
        if opcode.is_control() && usize::from(short) > LONGEST_CONTROL {
            return Err(WebSocketError::LongControl);
        }
        let (length, at) = match short {
            126 => match input.get(2..4) {
                Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
                None => return Ok(None),
            },
            127 => match input[2..].first_chunk::<8>() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if length >> 63 != 0 {
            return Err(WebSocketError::LengthTooLarge);
        }
        if short == 126 && length < 126 || short == 127 && length <= u64::from(u16::MAX) {
            return Err(WebSocketError::LengthNotMinimal);
        }
        let (mask, at) = match (is_masked, input[at..].first_chunk::<4>()) {
            (false, _) => (None, at),
            (true, Some(mask)) => (Some(*mask), at + 4),
            (true, None) => return Ok(None),
        };
        let header = Self {
            fin,
            rsv1: first & 0x40 != 0,
            opcode,
            mask,
            length,
        };
        Ok(Some((header, at)))
    }

    #[inline]
    pub(crate) fn encode(&self) -> EncodedHeader {
        let mut bytes = [0; LONGEST_HEADER];
        bytes[0] = u8::from(self.fin) << 7 | u8::from(self.rsv1) << 6 | self.opcode as u8;
        let masked = u8::from(self.mask.is_some()) << 7;
        let mut at = 2;
        if self.length < 126 {
            bytes[1] = masked | self.length as u8;
        } else if let Ok(length) = u16::try_from(self.length) {
            bytes[1] = masked | 126;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            at = 4;
        } else {
            bytes[1] = masked | 127;
            bytes[2..10].copy_from_slice(&self.length.to_be_bytes());
            at = 10;
        }
        if let Some(mask) = self.mask {
            bytes[at..at + 4].copy_from_slice(&mask);
            at += 4;
        }
        EncodedHeader {
            bytes,
            length: at as u8,
        }
    }
}

impl EncodedHeader {
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(opcode: Opcode, length: u64, mask: Option<[u8; 4]>) -> FrameHeader {
        FrameHeader {
            fin: true,
            rsv1: false,
            opcode,
            mask,
            length,
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_no_part_of_it_is_a_head() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 32, (1 << 63) - 1];
        for (length, mask) in lengths
            .into_iter()
            .flat_map(|n| [(n, None), (n, Some([1, 2, 3, 4]))])
        {
            for (fin, rsv1) in [(true, false), (false, true), (false, false), (true, true)] {
                let header = FrameHeader {
                    fin,
                    rsv1,
                    ..header(Opcode::Binary, length, mask)
                };
                let encoded = header.encode();
                let bytes = encoded.as_bytes();
                for cut in 0..bytes.len() {
                    assert_eq!(
                        FrameHeader::parse(&bytes[..cut]),
                        Ok(None),
                        "{header:?} {cut}"
                    );
                }
                assert_eq!(FrameHeader::parse(bytes), Ok(Some((header, bytes.len()))));
            }
        }
    }

    #[test]
    fn lengths_are_written_in_the_fewest_bytes() {
        for (length, bytes) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let encoded = header(Opcode::Text, length, None).encode();
            assert_eq!(encoded.as_bytes().len(), bytes, "{length}");
        }
    }

    #[test]
    fn a_head_is_refused_at_the_first_byte_that_is_wrong() {
        use WebSocketError as E;
        let cases: [(&[u8], E); 13] = [
            (&[0xa1], E::ReservedBit),
            (&[0x91], E::ReservedBit),
            (&[0x83], E::ReservedOpcode(3)),
            (&[0x87], E::ReservedOpcode(7)),
            (&[0x8b], E::ReservedOpcode(11)),
            (&[0x8f], E::ReservedOpcode(15)),
            (&[0x08], E::FragmentedControl),
            (&[0x09], E::FragmentedControl),
            (&[0x88, 126], E::LongControl),
            (&[0x8a, 0x80 | 127], E::LongControl),
            (&[0x82, 126, 0, 125], E::LengthNotMinimal),
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                E::LengthNotMinimal,
            ),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], E::LengthTooLarge),
        ];
        for (bytes, error) in cases {
            assert_eq!(FrameHeader::parse(bytes), Err(error), "{bytes:x?}");
            assert_eq!(
                FrameHeader::parse(&bytes[..bytes.len() - 1]),
                Ok(None),
                "{bytes:x?}"
            );
        }
    }
}
