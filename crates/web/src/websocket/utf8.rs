//! Whether a text that grows is UTF-8, told at the first byte that cannot be: RFC 6455, section 8.1.

use super::WebSocketError;

/// How far a growing text was checked.
#[derive(Default)]
pub(crate) struct Utf8Check {
    /// Up to here it is whole characters.
    checked: usize,
}

impl Utf8Check {
    /// Checks what was appended to `text` since the last time. What it ends with may be the
    /// beginning of a character.
    pub(crate) fn advance(&mut self, text: &[u8]) -> Result<(), WebSocketError> {
        match std::str::from_utf8(&text[self.checked..]) {
            Ok(_) => self.checked = text.len(),
            Err(error) if error.error_len().is_some() => return Err(WebSocketError::InvalidUtf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where it fails, byte by byte.
    fn fails_at(text: &[u8]) -> Option<usize> {
        let mut check = Utf8Check::default();
        (1..=text.len()).find(|end| check.advance(&text[..*end]).is_err())
    }

    #[test]
    fn it_fails_at_the_first_byte_that_cannot_be() {
        for (text, at) in [
            (
                &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80"[..],
                Some(13),
            ),
            (b"\xed\xa0\x80", Some(2)),
            (b"\xc0\x80", Some(1)),
            (b"\xe0\x80", Some(2)),
            (b"\xf0\x80", Some(2)),
            (b"\xf5", Some(1)),
            (b"ok\xff", Some(3)),
            (b"\xe2\x82", None),
            ("κόσμε 𐍈".as_bytes(), None),
        ] {
            assert_eq!(fails_at(text), at, "{text:x?}");
        }
    }

    proptest! {
        #[test]
        fn it_says_what_the_standard_library_says(text: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(text.len() + 1);
            let mut check = Utf8Check::default();
            let whole = check.advance(&text[..cut]).and_then(|()| check.advance(&text));
            let refused = std::str::from_utf8(&text).is_err_and(|error| error.error_len().is_some());
            prop_assert_eq!(whole.is_err(), refused);
        }
    }
}
