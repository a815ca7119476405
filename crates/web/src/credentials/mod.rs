//! Who somebody is: credentials, and what checks them. It is the place of Twisted's `cred`.
//!
//! [`Credentials`] are what a client has shown, whatever the protocol; a [`CredentialsChecker`] says
//! whose they are. Around a checker stand others: [`LoginCache`] spares the slow hashing to those who
//! have shown the same a moment ago, [`LoginLimit`] makes those wait who guess.
//!
//! ```
//! use ropewalk_core::Address;
//! use ropewalk_core::testing::MemoryReactor;
//! use ropewalk_web::credentials::{Credentials, CredentialsChecker, LoginLimit, MemoryChecker};
//!
//! let reactor = MemoryReactor::new();
//! let checker = MemoryChecker::new().user("ada", "lovelace");
//! let checker = LoginLimit::new(reactor.handle(), checker);
//!
//! let shown = Credentials::password("ada", "lovelace");
//! let checking = checker.request_avatar_id(&shown, &Address::Unix(None));
//! let task = reactor.spawn(Box::pin(async move {
//!     assert_eq!(checking.await.unwrap().user(), Some("ada"));
//! }));
//! reactor.run();
//! assert!(task.is_finished());
//! ```

#[cfg(feature = "password-files")]
mod apr1;
mod digest;
mod htdigest;
#[cfg(feature = "password-files")]
mod htpasswd;
mod login_cache;
mod login_limit;
mod memory;
#[cfg(feature = "password-files")]
mod password_hash;
mod running_checks;
mod watched_file;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_core::{Address, Failure};

pub use digest::{DigestAlgorithm, DigestCredentials};
pub use htdigest::HtdigestFile;
#[cfg(feature = "password-files")]
pub use htpasswd::HtpasswdFile;
pub use login_cache::LoginCache;
pub use login_limit::LoginLimit;
pub use memory::MemoryChecker;
#[cfg(feature = "password-files")]
pub use password_hash::{PasswordHash, PasswordHashError};
pub use watched_file::PasswordFileError;

/// What somebody shows to say who they are.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// A name and a password, as they are.
    UsernamePassword {
        /// Who they say they are.
        username: String,
        /// How they show it.
        password: String,
    },
    /// A name, and what can be computed by those alone who know the password.
    UsernameDigest(DigestCredentials),
    /// Something that stands for a login made elsewhere.
    Token(String),
    /// Nothing.
    Anonymous,
}

/// Whom credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AvatarId {
    /// A user, by name.
    User(Arc<str>),
    /// Nobody in particular, who may come in all the same.
    Anonymous,
}

/// Why a login is refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoginError {
    /// The credentials are wrong: there is no such user, or the password is another. Which of them is not told.
    Unauthorized,
    /// The checker knows nothing of credentials of this kind.
    Unhandled,
    /// The credentials are right, and not enough for this. The text says what would be (RFC 6750: a
    /// list of scopes).
    Insufficient(String),
    /// There were too many wrong ones.
    TooManyTries {
        /// When the next may be tried.
        retry_after: Duration,
    },
    /// They could not be checked.
    Unavailable(Failure),
}

/// A checker's work: a future on the loop's thread.
pub type Checking = Pin<Box<dyn Future<Output = Result<AvatarId, LoginError>>>>;

/// Says whose credentials are: Twisted's `ICredentialsChecker`.
///
/// What takes long, as the hashing of passwords does, is a job for a
/// [thread](ropewalk_core::defer_to_thread). A checker should take as long for users whom it does not
/// know as for those whom it does, or it tells who is one.
pub trait CredentialsChecker: 'static {
    /// Whose `credentials` are. `from` is where they come from.
    fn request_avatar_id(&self, credentials: &Credentials, from: &Address) -> Checking;

    /// A number that changes when what was right before may be wrong now. For checkers that change.
    fn epoch(&self) -> u64 {
        0
    }
}

impl<C: CredentialsChecker + ?Sized> CredentialsChecker for Rc<C> {
    fn request_avatar_id(&self, credentials: &Credentials, from: &Address) -> Checking {
        (**self).request_avatar_id(credentials, from)
    }

    fn epoch(&self) -> u64 {
        (**self).epoch()
    }
}

impl Credentials {
    /// A name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::UsernamePassword {
            username: username.into(),
            password: password.into(),
        }
    }

    /// Who they say they are, if they say it openly.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::UsernamePassword { username, .. } => Some(username),
            Self::UsernameDigest(digest) => Some(&digest.username),
            Self::Token(_) | Self::Anonymous => None,
        }
    }
}

/// Shows no secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsernamePassword { username, .. } => {
                write!(f, "UsernamePassword({username:?}, ..)")
            }
            Self::UsernameDigest(digest) => write!(f, "UsernameDigest({:?}, ..)", digest.username),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Anonymous => f.write_str("Anonymous"),
        }
    }
}

impl AvatarId {
    /// The name of the user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::User(name) => Some(name),
            Self::Anonymous => None,
        }
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("the name or the password is wrong"),
            Self::Unhandled => f.write_str("credentials of this kind are not taken here"),
            Self::Insufficient(needed) => write!(f, "this needs more than was shown: {needed}"),
            Self::TooManyTries { retry_after } => write!(
                f,
                "too many logins have failed: the next may be tried in {} s",
                retry_after.as_secs() + 1
            ),
            Self::Unavailable(cause) => write!(f, "the login cannot be checked: {cause}"),
        }
    }
}

impl Error for LoginError {}
