//! `Sec-WebSocket-Key` and its answer: RFC 6455, sections 4.1 and 4.2.2.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::Randomness;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 16 bytes that nobody can foresee.
pub(crate) fn new_key(randomness: &Randomness) -> io::Result<String> {
    let mut nonce = [0; 16];
    randomness.fill(&mut nonce)?;
    Ok(STANDARD.encode(nonce))
}

/// Whether it is 16 bytes.
pub(crate) fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

/// What shows that a server has read the key.
pub(crate) fn accept(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_answered_as_there() {
        assert_eq!(
            accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_key_is_16_bytes() {
        assert!(is_key(new_key(&Randomness::system()).unwrap().as_bytes()));
        for key in [
            &b""[..],
            b"AAAA",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ=!",
        ] {
            assert!(!is_key(key), "{key:?}");
        }
    }
}
