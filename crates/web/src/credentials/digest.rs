//! Digests of passwords as HTTP has them (RFC 7616), and as SIP and others took them over.

use std::fmt::Write;

use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Which function a digest is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DigestAlgorithm {
    /// For clients that know no other. It is broken as a signature; that is not what it is used for here, but it
    /// is fast to try passwords with.
    Md5,
    /// What RFC 7616 wants.
    Sha256,
}

/// What a client has computed from its password. Each field is as in RFC 7616, section 3.4.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DigestCredentials {
    /// Who they say they are.
    pub username: String,
    /// Where they want to come in.
    pub realm: String,
    /// The function.
    pub algorithm: DigestAlgorithm,
    /// The server's part of what is new each time.
    pub nonce: String,
    /// How often the client has used that.
    pub nc: String,
    /// The client's part of what is new each time.
    pub cnonce: String,
    /// The method of the request.
    pub method: String,
    /// The target of the request.
    pub uri: String,
    /// What the client has computed.
    pub response: String,
}

impl DigestAlgorithm {
    /// Its name in challenges.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The digest of `text`, in small hexadecimal digits.
    #[must_use]
    pub fn digest(self, text: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }

    /// `H(A1)`: what a server may keep in the place of a password, for one realm.
    ///
    /// ```
    /// use ropewalk_web::credentials::DigestAlgorithm;
    /// // RFC 7616, section 3.9.1.
    /// let kept = DigestAlgorithm::Md5.ha1("Mufasa", "http-auth@example.org", "Circle of Life");
    /// assert_eq!(kept, "3d78807defe7de2157e2b0b6573a855f");
    /// ```
    #[must_use]
    pub fn ha1(self, username: &str, realm: &str, password: &str) -> String {
        self.digest(format!("{username}:{realm}:{password}").as_bytes())
    }
}

impl DigestCredentials {
    /// Whether they were made with this password: Twisted's `checkPassword`.
    #[must_use]
    pub fn check_password(&self, password: &str) -> bool {
        let ha1 = self.algorithm.ha1(&self.username, &self.realm, password);
        self.check_hash(&ha1)
    }

    /// Whether they were made with the password of this [`ha1`](DigestAlgorithm::ha1): Twisted's `checkHash`.
    #[must_use]
    pub fn check_hash(&self, ha1: &str) -> bool {
        let Self {
            nonce,
            nc,
            cnonce,
            method,
            uri,
            ..
        } = self;
        let ha2 = self.algorithm.digest(format!("{method}:{uri}").as_bytes());
        let all = format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}");
        let expected = self.algorithm.digest(all.as_bytes());
        expected.as_bytes().ct_eq(self.response.as_bytes()).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616, section 3.9.1.
    fn mufasa(algorithm: DigestAlgorithm, response: &str) -> DigestCredentials {
        DigestCredentials {
            username: "Mufasa".into(),
            realm: "http-auth@example.org".into(),
            algorithm,
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".into(),
            nc: "00000001".into(),
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ".into(),
            method: "GET".into(),
            uri: "/dir/index.html".into(),
            response: response.into(),
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_right() {
        let md5 = mufasa(DigestAlgorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec");
        let sha256 = mufasa(
            DigestAlgorithm::Sha256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        );
        for mut shown in [md5, sha256] {
            assert!(shown.check_password("Circle of Life"));
            assert!(!shown.check_password("Circle of life"));
            shown.uri.push('?');
            assert!(!shown.check_password("Circle of Life"));
        }
    }
}
