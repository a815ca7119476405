//! The hashes that password files have, and whether a password is the one behind them.

use std::error::Error;
use std::fmt;

use argon2::password_hash::PasswordVerifier;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use super::apr1::apr1;

/// A password of more bytes is none: the time that some hashes take grows with it.
const LONGEST_PASSWORD: usize = 1024;

/// The hash of a password, in one of the formats that `htpasswd`, crypt(3) and others write.
///
/// | text | what it is |
/// |---|---|
/// | `$2y$…`, `$2b$…`, `$2a$…` | bcrypt: `htpasswd -B`. The first 72 bytes of a password count |
/// | `$argon2id$…`, `$argon2i$…`, `$argon2d$…` | Argon2 |
/// | `$5$…`, `$6$…` | crypt(3) with SHA-256 or SHA-512: `htpasswd -2`, `htpasswd -5` |
/// | `$apr1$…` | Apache's MD5: `htpasswd -m`. Fast to guess; take bcrypt for what is new |
/// | `{SHA}…` | a bare SHA-1: `htpasswd -s`. Only [where it is allowed](super::HtpasswdFile::allow_sha1) |
///
/// Others are refused: crypt(3) with DES, which looks at eight characters, and passwords as they are.
///
/// ```
/// use ropewalk_web::credentials::PasswordHash;
///
/// let hash: PasswordHash = "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/".parse()?;
/// assert!(hash.verify("myPassword"));
/// assert!(!hash.verify("mypassword"));
/// # Ok::<(), ropewalk_web::credentials::PasswordHashError>(())
/// ```
#[derive(Clone)]
pub struct PasswordHash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Bcrypt(String),
    Argon2(String),
    ShaCrypt(String),
    Apr1 { salt: String, digits: String },
    Sha1([u8; 20]),
}

/// Why a text is no hash of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordHashError {
    /// It is in none of the formats that are taken.
    Unknown,
    /// It is in this format, and malformed.
    Malformed(&'static str),
}

impl PasswordHash {
    /// Whether `password` is the one that it was made of. It takes as long as whoever made it wanted
    /// it to: a tenth of a second, perhaps; so it is for a thread, and not for the loop.
    #[must_use]
    pub fn verify(&self, password: &str) -> bool {
        if password.len() > LONGEST_PASSWORD {
            return false;
        }
        match &self.0 {
            Kind::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Kind::Argon2(text) => {
                let argon2 = argon2::Argon2::default();
                argon2
                    .verify_password(password.as_bytes(), text.as_str())
                    .is_ok()
            }
            Kind::ShaCrypt(text) => sha_crypt::PasswordHashRef::new(text).is_ok_and(|hash| {
                let sha_crypt = sha_crypt::ShaCrypt::default();
                sha_crypt.verify_password(password.as_bytes(), hash).is_ok()
            }),
            Kind::Apr1 { salt, digits } => {
                let made = apr1(password.as_bytes(), salt.as_bytes());
                made.as_bytes().ct_eq(digits.as_bytes()).into()
            }
            Kind::Sha1(digest) => {
                let made: [u8; 20] = Sha1::digest(password).into();
                made.ct_eq(digest).into()
            }
        }
    }

    /// Whether it is a bare SHA-1, with no salt: a table finds the password in no time.
    #[must_use]
    pub fn is_sha1(&self) -> bool {
        matches!(self.0, Kind::Sha1(_))
    }
}

impl std::str::FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        let malformed = PasswordHashError::Malformed;
        let is_one_of = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
        let kind = if is_one_of(&["$2y$", "$2b$", "$2a$"]) {
            let parts = text.parse::<bcrypt::HashParts>();
            parts.map_err(|_| malformed("bcrypt"))?;
            Kind::Bcrypt(text.to_owned())
        } else if is_one_of(&["$argon2id$", "$argon2i$", "$argon2d$"]) {
            let hash = argon2::password_hash::phc::PasswordHash::new(text);
            hash.map_err(|_| malformed("Argon2"))?;
            Kind::Argon2(text.to_owned())
        } else if is_one_of(&["$5$", "$6$"]) {
            let hash = sha_crypt::PasswordHashRef::new(text);
            hash.map_err(|_| malformed("crypt(3) with SHA-2"))?;
            Kind::ShaCrypt(text.to_owned())
        } else if let Some(rest) = text.strip_prefix("$apr1$") {
            let parts = rest.split_once('$');
            let (salt, digits) = parts
                .filter(|(_, digits)| digits.len() == 22)
                .ok_or(malformed("apr1"))?;
            Kind::Apr1 {
                salt: salt.to_owned(),
                digits: digits.to_owned(),
            }
        } else if let Some(rest) = text.strip_prefix("{SHA}") {
            let digest = STANDARD
                .decode(rest)
                .ok()
                .and_then(|digest| digest.try_into().ok());
            Kind::Sha1(digest.ok_or(malformed("SHA-1"))?)
        } else {
            return Err(PasswordHashError::Unknown);
        };
        Ok(Self(kind))
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Says which format it is in, and not what it is.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Bcrypt(_) => "PasswordHash(bcrypt)",
            Kind::Argon2(_) => "PasswordHash(Argon2)",
            Kind::ShaCrypt(_) => "PasswordHash(SHA-crypt)",
            Kind::Apr1 { .. } => "PasswordHash(apr1)",
            Kind::Sha1(_) => "PasswordHash(SHA-1)",
        })
    }
}

impl fmt::Display for PasswordHashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "it is no hash of a password that is taken here: make one by `htpasswd -B`",
            ),
            Self::Malformed(format) => write!(f, "it begins as a hash by {format}, and is none"),
        }
    }
}

impl Error for PasswordHashError {}
