//! A password file as Apache has it: `name:hash` in each line, written by `htpasswd`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::{
    Address, Deferred, DeferredSemaphore, Failure, Permit, ReactorCore, defer_to_thread,
};
use sha2::{Digest, Sha256};

use super::watched_file::{PasswordFileError, WatchedFile};
use super::{AvatarId, Checking, Credentials, CredentialsChecker, LoginError, PasswordHash};

/// So many passwords are hashed at a time, so that logins leave threads to others, and so many wait.
const AT_ONCE: usize = 4;
const MAX_WAITING: usize = 256;

/// Checks names and passwords by a file of `htpasswd`. The hashes that it takes are those of
/// [`PasswordHash`].
///
/// - **Hashing** is slow on purpose, so it is done by the reactor's threads: four at a time, while 256
///   others wait; those who come then are [refused for the moment](LoginError::Unavailable). Put a
///   [`LoginCache`](super::LoginCache) around it where each request brings its password along.
/// - **Changes**: the file is looked at when somebody logs in, once a second at most, and read again when it is
///   another. If it cannot be read then, what was read before holds, and the log tells.
/// - **Lines** that are wrong are passed over, and the log tells which. Of several with one name the first counts,
///   as for Apache.
/// - **Users whom the file does not have** take as long as those whom it has: their password is hashed as
///   that of one of the others.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::credentials::HtpasswdFile;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("htpasswd");
/// std::fs::write(&path, "ada:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n")?;
/// let reactor = MemoryReactor::new();
/// let checker = HtpasswdFile::new(reactor.handle(), &path)?;
/// assert_eq!(checker.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HtpasswdFile {
    shared: Rc<Shared>,
}

struct Shared {
    reactor: Rc<dyn ReactorCore>,
    file: WatchedFile<Entries>,
    hashing: DeferredSemaphore,
}

/// Users and their hashes.
type Entries = BTreeMap<String, PasswordHash>;

impl HtpasswdFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is no text, or is longer than 16 MiB.
    pub fn new(
        reactor: Rc<dyn ReactorCore>,
        path: impl Into<PathBuf>,
    ) -> Result<Self, PasswordFileError> {
        Self::open(reactor, path.into(), false)
    }

    /// As [`new`](Self::new), and `{SHA}` is taken as well, with a warning in the log. Such hashes have no salt
    /// and are fast to make: whoever reads the file has the passwords.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn allow_sha1(
        reactor: Rc<dyn ReactorCore>,
        path: impl Into<PathBuf>,
    ) -> Result<Self, PasswordFileError> {
        Self::open(reactor, path.into(), true)
    }

    fn open(
        reactor: Rc<dyn ReactorCore>,
        path: PathBuf,
        allow_sha1: bool,
    ) -> Result<Self, PasswordFileError> {
        let parse = move |text: &str, path: &Path| parse(text, path, allow_sha1);
        let file = WatchedFile::open(Rc::clone(&reactor), path, parse)?;
        Ok(Self {
            shared: Rc::new(Shared {
                reactor,
                file,
                hashing: DeferredSemaphore::with_max_waiters(AT_ONCE, MAX_WAITING),
            }),
        })
    }

    /// How many users it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.file.contents().len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn check(&self, username: &str, password: &str) -> Deferred<AvatarId> {
        let entries = self.file.contents();
        let known = entries.get(username);
        let Some(hash) = known.or_else(|| stand_in(&entries, username)).cloned() else {
            return Deferred::fail(Failure::new(LoginError::Unauthorized));
        };
        let (is_known, password) = (known.is_some(), password.to_owned());
        let reactor = Rc::clone(&self.reactor);
        let user: Arc<str> = Arc::from(username);
        self.hashing.acquire().add_callback(move |permit: Permit| {
            let verified = defer_to_thread(&*reactor, move || hash.verify(&password));
            verified.add_callback(move |is_right: bool| {
                drop(permit);
                match is_right && is_known {
                    true => Ok(AvatarId::User(user)),
                    false => Err(Failure::new(LoginError::Unauthorized)),
                }
            })
        })
    }
}

/// The hash of one of the others: the same for the same name, so that it takes the same time each time.
fn stand_in<'a>(entries: &'a Entries, username: &str) -> Option<&'a PasswordHash> {
    let digest: [u8; 32] = Sha256::digest(username).into();
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let at = number as usize % entries.len().max(1);
    entries.values().nth(at)
}

impl CredentialsChecker for HtpasswdFile {
    fn request_avatar_id(&self, credentials: &Credentials, _: &Address) -> Checking {
        let Credentials::UsernamePassword { username, password } = credentials else {
            return Box::pin(async { Err(LoginError::Unhandled) });
        };
        let checking = self.shared.check(username, password);
        Box::pin(async move {
            checking
                .await
                .map_err(|failure| match failure.check::<LoginError>() {
                    Some(error) => error.clone(),
                    None => LoginError::Unavailable(failure),
                })
        })
    }

    fn epoch(&self) -> u64 {
        self.shared.file.epoch()
    }
}

fn parse(text: &str, path: &Path, allow_sha1: bool) -> Entries {
    let mut entries = Entries::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |why: &str| {
            let (path, line) = (path.display(), number + 1);
            tracing::warn!(%path, line, "a line of a password file is passed over: {why}");
        };
        let Some((name, hash)) = line.split_once(':') else {
            refuse("it has no `:`");
            continue;
        };
        // What Apache's own tools may write behind the hash is a comment.
        let hash = hash.split(':').next().unwrap_or_default();
        match hash.parse::<PasswordHash>() {
            Ok(hash) if hash.is_sha1() && !allow_sha1 => {
                refuse("its hash is a SHA-1 without salt, which is not taken unless it is allowed");
            }
            Ok(hash) => {
                if hash.is_sha1() {
                    let (path, line) = (path.display(), number + 1);
                    tracing::warn!(%path, line, "a hash is a SHA-1 without salt: replace it by `htpasswd -B`");
                }
                entries.entry(name.to_owned()).or_insert(hash);
            }
            Err(error) => refuse(&error.to_string()),
        }
    }
    entries
}

impl fmt::Debug for HtpasswdFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HtpasswdFile")
            .field("path", &self.shared.file.path())
            .finish_non_exhaustive()
    }
}
