//! Netstrings: `5:hello,`.

use super::{Codec, DecodeError, Decoded, EncodeError};

/// More digits than any length has that can be counted.
const MAX_DIGITS: usize = 19;

/// Netstrings (D. J. Bernstein, 1997, <https://cr.yp.to/proto/netstrings.txt>): the length in
/// decimal digits, a colon, the bytes, a comma. Up to [`MAX_LENGTH`](Self::MAX_LENGTH) bytes
/// unless told otherwise, as in Twisted.
///
/// ```
/// use ropewalk_core::framing::{Codec, Decoded, NetstringCodec};
///
/// let mut codec = NetstringCodec::default();
/// assert_eq!(codec.decode(b"5:hello,")?, Decoded::Frame { frame: 2..7, consumed: 8 });
/// assert_eq!(codec.decode(b"5:hel")?, Decoded::NeedMore(8));
/// assert!(codec.decode(b"05:hello,").is_err());
/// # Ok::<_, ropewalk_core::framing::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct NetstringCodec {
    max_length: usize,
    /// How much is left of a string that was too long, before its comma.
    skipping: Option<u64>,
}

impl NetstringCodec {
    /// The longest string that is taken unless told otherwise, in bytes.
    pub const MAX_LENGTH: usize = 99_999;

    /// Takes strings of at most `max_length` bytes.
    #[must_use]
    pub fn new(max_length: usize) -> Self {
        Self {
            max_length,
            skipping: None,
        }
    }
}

impl Default for NetstringCodec {
    fn default() -> Self {
        Self::new(Self::MAX_LENGTH)
    }
}

impl Codec for NetstringCodec {
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
        match self.skipping {
            Some(0) => {
                expect_comma(input[0])?;
                self.skipping = None;
                return Ok(Decoded::Skip(1));
            }
            Some(left) => {
                let skipped = left.min(input.len() as u64);
                self.skipping = Some(left - skipped);
                return Ok(Decoded::Skip(skipped as usize));
            }
            None => {}
        }
        let Some((length, start)) = length(input)? else {
            return Ok(Decoded::NeedMore(input.len() + 1));
        };
        if length > self.max_length as u64 {
            self.skipping = Some(length);
            return Ok(Decoded::TooLong {
                length: Some(length),
                consumed: start,
            });
        }
        let end = start.saturating_add(length as usize);
        let Some(comma) = input.get(end) else {
            return Ok(Decoded::NeedMore(end.saturating_add(1)));
        };
        expect_comma(*comma)?;
        Ok(Decoded::Frame {
            frame: start..end,
            consumed: end + 1,
        })
    }

    fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut digits = [0; MAX_DIGITS];
        let mut start = digits.len();
        let mut left = frame.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        output.extend_from_slice(&digits[start..]);
        output.push(b':');
        output.extend_from_slice(frame);
        output.push(b',');
        Ok(())
    }

    fn max_length(&self) -> usize {
        self.max_length
    }
}

/// The length at the front of `input`, and where the string begins. `None` if it goes on.
fn length(input: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.take(MAX_DIGITS + 1).count();
    if digits > 1 && input[0] == b'0' {
        return Err(malformed("its length begins with 0"));
    }
    if digits > MAX_DIGITS {
        return Err(malformed("its length has more than 19 digits"));
    }
    match input.get(digits) {
        None => return Ok(None),
        Some(b':') if digits > 0 => {}
        Some(_) => return Err(malformed("it does not begin with a length and a colon")),
    }
    // 19 digits are less than 2^64.
    let push = |length, digit: &u8| length * 10 + u64::from(digit - b'0');
    Ok(Some((input[..digits].iter().fold(0, push), digits + 1)))
}

fn expect_comma(byte: u8) -> Result<(), DecodeError> {
    if byte == b',' {
        return Ok(());
    }
    Err(malformed("no comma stands behind it"))
}

fn malformed(what: &'static str) -> DecodeError {
    DecodeError::Malformed(format!("a netstring is wanted, and {what}").into())
}
