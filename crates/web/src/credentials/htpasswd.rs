//! A password file as Apache has it: `name:hash` in each line, written by `htpasswd`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_core::{
    Address, Deferred, DeferredSemaphore, Failure, Permit, ReactorCore, defer_to_thread,
};
use sha2::{Digest, Sha256};

use super::{AvatarId, Checking, Credentials, CredentialsChecker, LoginError, PasswordHash};

/// The file is looked at no more often than this.
const LOOK: Duration = Duration::from_secs(1);

const MAX_FILE: u64 = 16 * 1024 * 1024;

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
    path: PathBuf,
    allow_sha1: bool,
    state: RefCell<State>,
    hashing: DeferredSemaphore,
}

struct State {
    entries: Rc<Entries>,
    stamp: Stamp,
    looked: Instant,
    epoch: u64,
}

/// Users and their hashes.
type Entries = BTreeMap<String, PasswordHash>;

/// What is different when the file is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a password file cannot be used.
#[derive(Debug)]
pub struct HtpasswdError {
    path: PathBuf,
    source: io::Error,
}

impl HtpasswdFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is no text, or is longer than 16 MiB.
    pub fn new(
        reactor: Rc<dyn ReactorCore>,
        path: impl Into<PathBuf>,
    ) -> Result<Self, HtpasswdError> {
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
    ) -> Result<Self, HtpasswdError> {
        Self::open(reactor, path.into(), true)
    }

    fn open(
        reactor: Rc<dyn ReactorCore>,
        path: PathBuf,
        allow_sha1: bool,
    ) -> Result<Self, HtpasswdError> {
        let read = read(&path, allow_sha1);
        let (stamp, entries) = read.map_err(|source| HtpasswdError {
            path: path.clone(),
            source,
        })?;
        let state = State {
            entries: Rc::new(entries),
            stamp,
            looked: reactor.now(),
            epoch: 0,
        };
        Ok(Self {
            shared: Rc::new(Shared {
                reactor,
                path,
                allow_sha1,
                state: RefCell::new(state),
                hashing: DeferredSemaphore::with_max_waiters(AT_ONCE, MAX_WAITING),
            }),
        })
    }

    /// How many users it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.entries().len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    /// What the file says, as of a second ago at most.
    fn entries(&self) -> Rc<Entries> {
        let now = self.reactor.now();
        let known = {
            let mut state = self.state.borrow_mut();
            if now.saturating_duration_since(state.looked) < LOOK {
                return Rc::clone(&state.entries);
            }
            state.looked = now;
            state.stamp
        };
        let metadata = fs::metadata(&self.path);
        if !metadata.is_ok_and(|metadata| Stamp::of(&metadata) == known) {
            self.read_again();
        }
        Rc::clone(&self.state.borrow().entries)
    }

    fn read_again(&self) {
        match read(&self.path, self.allow_sha1) {
            Ok((stamp, entries)) => {
                let mut state = self.state.borrow_mut();
                state.stamp = stamp;
                state.entries = Rc::new(entries);
                state.epoch += 1;
            }
            Err(error) => tracing::error!(
                path = %self.path.display(),
                %error,
                "a password file cannot be read any more; what it said before holds"
            ),
        }
    }

    fn check(&self, username: &str, password: &str) -> Deferred<AvatarId> {
        let entries = self.entries();
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
        self.shared.entries();
        self.shared.state.borrow().epoch
    }
}

fn read(path: &Path, allow_sha1: bool) -> io::Result<(Stamp, Entries)> {
    let metadata = fs::metadata(path)?;
    if metadata.len() > MAX_FILE {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_FILE} bytes"
        )));
    }
    let text = fs::read_to_string(path)?;
    Ok((Stamp::of(&metadata), parse(&text, path, allow_sha1)))
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

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl fmt::Debug for HtpasswdFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HtpasswdFile")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for HtpasswdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "cannot read the password file {path}: {}", self.source)
    }
}

impl Error for HtpasswdError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
