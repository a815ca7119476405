//! What Redis says and is told (RESP2): the kinds of answers that single keys have. Arrays, which none of our
//! commands is answered with, are refused; so nothing nests.

use memchr::memmem;

/// A value that is longer is no session of ours, nor is a line.
const MAX_BULK: usize = 1024 * 1024;
const MAX_LINE: usize = 64 * 1024;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(String),
    /// Why a command was refused.
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// There is no such key.
    Nil,
}

/// What came is no answer of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl Reply {
    /// The answer that `data` begins with, and its length; `None` if more is to come.
    pub(super) fn parse(data: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(end) = memmem::find(&data[..data.len().min(MAX_LINE)], b"\r\n") else {
            return match data.len() {
                0..MAX_LINE => Ok(None),
                _ => Err(Malformed("a line without end")),
            };
        };
        let Some((kind, line)) = data[..end].split_first() else {
            return Err(Malformed("an empty line"));
        };
        let after = end + 2;
        let text = || String::from_utf8_lossy(line).into_owned();
        let reply = match kind {
            b'+' => Self::Simple(text()),
            b'-' => Self::Error(text()),
            b':' => Self::Integer(number(line)?),
            b'$' => match number(line)? {
                -1 => Self::Nil,
                length => return Self::parse_bulk(data, after, length),
            },
            _ => return Err(Malformed("an answer of an unknown kind")),
        };
        Ok(Some((reply, after)))
    }

    fn parse_bulk(
        data: &[u8],
        start: usize,
        length: i64,
    ) -> Result<Option<(Self, usize)>, Malformed> {
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_BULK);
        let end = start + length.ok_or(Malformed("a value that is too long"))?;
        match data.get(end..end + 2) {
            None => Ok(None),
            Some(b"\r\n") => Ok(Some((Self::Bulk(data[start..end].to_vec()), end + 2))),
            Some(_) => Err(Malformed("a value that is longer than was said")),
        }
    }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(line).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or(Malformed("a number that is none"))
}

/// Writes a command of these parts.
pub(super) fn write_command(output: &mut Vec<u8>, parts: &[Vec<u8>]) {
    output.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        output.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        output.extend_from_slice(part);
        output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(data: &[u8]) -> Reply {
        let (reply, length) = Reply::parse(data).unwrap().unwrap();
        assert_eq!(length, data.len());
        reply
    }

    #[test]
    fn each_kind_is_read_once_it_is_whole() {
        for (data, reply) in [
            (&b"+OK\r\n"[..], Reply::Simple("OK".into())),
            (b"-ERR no\r\n", Reply::Error("ERR no".into())),
            (b":-7\r\n", Reply::Integer(-7)),
            (b"$5\r\na\r\nb\n\r\n", Reply::Bulk(b"a\r\nb\n".to_vec())),
            (b"$0\r\n\r\n", Reply::Bulk(Vec::new())),
            (b"$-1\r\n", Reply::Nil),
        ] {
            assert_eq!(whole(data), reply);
            for cut in 0..data.len() {
                assert_eq!(Reply::parse(&data[..cut]), Ok(None), "{reply:?} {cut}");
            }
            let followed = [data, b"+OK\r\n"].concat();
            assert_eq!(Reply::parse(&followed), Ok(Some((reply, data.len()))));
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for data in [
            &b"\r\n"[..],
            b"*1\r\n$1\r\na\r\n",
            b":x\r\n",
            b"$-2\r\n",
            b"$1048577\r\n",
            b"$1\r\nabc",
            b"HTTP/1.1 400\r\n",
        ] {
            assert!(Reply::parse(data).is_err(), "{data:?}");
        }
        assert!(Reply::parse(&[b'+'; MAX_LINE]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Some((_, length))) = Reply::parse(&data) {
                prop_assert!(length <= data.len());
            }
        }
    }
}
