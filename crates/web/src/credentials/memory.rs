//! Users in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::sync::Arc;

use ropewalk_core::Address;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{AvatarId, Checking, Credentials, CredentialsChecker, LoginError};

/// Knows users and their passwords, as they are, from the program: for tests, for tools, and for digests, which
/// need the password. Twisted's `InMemoryUsernamePasswordDatabaseDontUse`.
///
/// ```
/// use ropewalk_web::credentials::MemoryChecker;
///
/// let checker = MemoryChecker::new()
///     .user("ada", "lovelace")
///     .token("a long random text", "backup")
///     .allow_anonymous(true);
/// # let _ = checker;
/// ```
#[derive(Clone, Default)]
pub struct MemoryChecker {
    passwords: BTreeMap<String, String>,
    /// By the SHA-256 of the token, so that looking one up tells nothing of others.
    tokens: BTreeMap<[u8; 32], String>,
    anonymous: bool,
}

impl MemoryChecker {
    /// Knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows one more.
    #[must_use]
    pub fn user(mut self, username: &str, password: &str) -> Self {
        self.passwords
            .insert(username.to_owned(), password.to_owned());
        self
    }

    /// Takes `token` for `username`.
    #[must_use]
    pub fn token(mut self, token: &str, username: &str) -> Self {
        let digest = Sha256::digest(token).into();
        self.tokens.insert(digest, username.to_owned());
        self
    }

    /// Whether those who show nothing may come in; they may not, unless told.
    #[must_use]
    pub fn allow_anonymous(mut self, allow: bool) -> Self {
        self.anonymous = allow;
        self
    }

    fn check(&self, credentials: &Credentials) -> Result<AvatarId, LoginError> {
        let is_right = match credentials {
            Credentials::Anonymous if self.anonymous => return Ok(AvatarId::Anonymous),
            Credentials::Anonymous => return Err(LoginError::Unauthorized),
            Credentials::Token(token) => {
                let digest: [u8; 32] = Sha256::digest(token).into();
                let user = self.tokens.get(&digest).ok_or(LoginError::Unauthorized)?;
                return Ok(AvatarId::User(Arc::from(&**user)));
            }
            Credentials::UsernamePassword { username, password } => {
                let known = self.passwords.get(username);
                let digest = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
                let expected = digest(known.map_or("", String::as_str));
                known.is_some() & bool::from(expected.ct_eq(&digest(password)))
            }
            Credentials::UsernameDigest(shown) => {
                let known = self.passwords.get(&shown.username);
                known.is_some() & shown.check_password(known.map_or("", String::as_str))
            }
        };
        match credentials.username() {
            Some(username) if is_right => Ok(AvatarId::User(Arc::from(username))),
            _ => Err(LoginError::Unauthorized),
        }
    }
}

impl CredentialsChecker for MemoryChecker {
    fn request_avatar_id(&self, credentials: &Credentials, _: &Address) -> Checking {
        Box::pin(ready(self.check(credentials)))
    }
}

/// The names of its users.
impl fmt::Debug for MemoryChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryChecker")
            .field("users", &self.passwords.keys())
            .field("tokens", &self.tokens.len())
            .field("anonymous", &self.anonymous)
            .finish()
    }
}
