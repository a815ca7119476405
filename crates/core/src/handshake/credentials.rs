//! A user's name and password, for a proxy.

use std::fmt;

/// What a proxy wants to know of a user.
///
/// It is sent as it is: over a connection that is not encrypted, who listens can read it. It does
/// not appear in `Debug`.
///
/// ```
/// use ropewalk_core::handshake::Credentials;
///
/// let credentials = Credentials::new("ada", "secret");
/// assert_eq!(format!("{credentials:?}"), r#"Credentials("ada")"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// A user's name and password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// The name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.user).finish()
    }
}
