//! What names a session: the identifier that its client has, and the key that its store has.

use std::fmt;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::Randomness;

const LENGTH: usize = 32;

/// What the client is to keep for itself. It is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SessionId([u8; LENGTH]);

impl SessionId {
    pub(super) fn new(randomness: &Randomness) -> io::Result<Self> {
        let mut bytes = [0; LENGTH];
        randomness.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// `None` if `text` is none that [`to_text`](Self::to_text) has written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == LENGTH).then_some(Self(bytes))
    }

    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn key(&self) -> SessionKey {
        SessionKey(Sha256::digest(self.0).into())
    }
}

/// The name of a session within its store: the SHA-256 of the identifier that its client has. Who
/// reads a store can therefore not take part in its sessions, and it may stand in a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// For those who try a store of their own: the key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// In hexadecimal digits.
impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_one_text_and_its_key_does_not_show_it() {
        let id = SessionId::new(&Randomness::system()).unwrap();
        let text = id.to_text();
        assert_eq!(text.len(), 43);
        assert!(SessionId::parse(&text) == Some(id.clone()));
        assert_ne!(
            SessionId::new(&Randomness::system()).unwrap().to_text(),
            text
        );
        for other in [
            "",
            "a",
            &text[1..],
            &format!("{text}A"),
            &format!("{text}="),
            "../../etc/passwd",
        ] {
            assert!(SessionId::parse(other).is_none(), "{other}");
        }
        assert_eq!(id.key().to_string().len(), 64);
    }
}
