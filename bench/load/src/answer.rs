//! The head of an HTTP/1.1 answer: only what a load generator must know of it.

/// A head may be this long, with the rest of the read that ends it.
pub(crate) const LONGEST: usize = 16 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the head, with the empty line.
    pub(crate) length: usize,
    /// What `Content-Length` says.
    pub(crate) body: Option<u64>,
    /// Whether the server says that it closes after this answer.
    pub(crate) closes: bool,
}

/// Finds the head at the start of `bytes`; `None` while it is not whole.
///
/// The status must be 200.
pub(crate) fn scan(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut length = 0;
    let mut body = None;
    let mut closes = false;
    while let Some(end) = bytes[length..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[length..length + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let first = length == 0;
        length += end + 1;
        if first {
            if !line.starts_with(b"HTTP/1.1 200") {
                return Err(format!("{:?}, not 200", String::from_utf8_lossy(line)));
            }
        } else if line.is_empty() {
            return Ok(Some(Head {
                length,
                body,
                closes,
            }));
        } else if let Some(value) = field(line, b"content-length") {
            let number = str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok());
            body = Some(number.ok_or("a Content-Length that is no number")?);
        } else if let Some(value) = field(line, b"connection") {
            closes |= value.eq_ignore_ascii_case(b"close");
        }
    }
    if bytes.len() >= LONGEST {
        return Err(format!("a head of more than {LONGEST} bytes"));
    }
    Ok(None)
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (is, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    is.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"HTTP/1.1 200 OK\r\nServer: x\r\nCONTENT-length:  12 \r\nX-Content-Length: 9\r\n\r\n";

    #[test]
    fn the_head_is_found_once_it_is_whole() {
        for length in 0..HEAD.len() {
            assert_eq!(scan(&HEAD[..length]), Ok(None), "{length}");
        }
        let whole = Head {
            length: HEAD.len(),
            body: Some(12),
            closes: false,
        };
        assert_eq!(scan(HEAD).unwrap().unwrap(), whole);
        assert_eq!(scan(&[HEAD, b"hello\n\n"].concat()), Ok(Some(whole)));
    }

    #[test]
    fn a_length_need_not_be_said() {
        let head = scan(b"HTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.length, head.body), (19, None));
    }

    #[test]
    fn a_server_says_that_it_closes() {
        let head = scan(b"HTTP/1.1 200 OK\r\nconnection: Close\r\n\r\n");
        assert!(head.unwrap().unwrap().closes);
    }

    #[test]
    fn another_status_is_wrong() {
        let said = scan(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err();
        assert_eq!(said, "\"HTTP/1.1 404 Not Found\", not 200");
    }

    #[test]
    fn a_length_that_is_no_number_is_wrong() {
        assert!(scan(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").is_err());
    }

    #[test]
    fn a_head_without_end_is_wrong() {
        let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        head.resize(LONGEST, b'x');
        assert!(scan(&head).is_err());
    }
}
