//! A file of digests as Apache has it: `name:realm:digest` in each line, written by `htdigest`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::{Address, ReactorCore};

use super::watched_file::{PasswordFileError, WatchedFile};
use super::{
    AvatarId, Checking, Credentials, CredentialsChecker, DigestAlgorithm, DigestCredentials,
    LoginError,
};

/// Checks digests by a file of `htdigest`, for
/// [`DigestCredentialFactory`](crate::auth::DigestCredentialFactory).
///
/// - **Digests**: a line has [`ha1`](DigestAlgorithm::ha1) for one realm, MD5 as `htdigest` writes it, or
///   SHA-256 in the same way; a name may have a line of each. Who can read the file can come in with what
///   it says, for that realm, even without the passwords.
/// - **Passwords as they are** (Basic) are not taken.
/// - **Changes** and wrong lines: as for [`HtpasswdFile`](super::HtpasswdFile).
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::credentials::{DigestAlgorithm, HtdigestFile};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("htdigest");
/// let ha1 = DigestAlgorithm::Sha256.ha1("ada", "the engine", "lovelace");
/// std::fs::write(&path, format!("ada:the engine:{ha1}\n"))?;
/// let reactor = MemoryReactor::new();
/// let checker = HtdigestFile::new(reactor.handle(), &path)?;
/// assert_eq!(checker.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HtdigestFile {
    file: Rc<WatchedFile<Entries>>,
}

/// Digests by function, realm and name.
type Entries = BTreeMap<(DigestAlgorithm, String, String), String>;

impl HtdigestFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is no text, or is longer than 16 MiB.
    pub fn new(
        reactor: Rc<dyn ReactorCore>,
        path: impl Into<PathBuf>,
    ) -> Result<Self, PasswordFileError> {
        let file = WatchedFile::open(reactor, path.into(), parse)?;
        Ok(Self {
            file: Rc::new(file),
        })
    }

    /// How many digests it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.file.contents().len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self, shown: &DigestCredentials) -> Result<AvatarId, LoginError> {
        let entries = self.file.contents();
        let key = (shown.algorithm, shown.realm.clone(), shown.username.clone());
        let known = entries.get(&key);
        // For nobody it takes as long.
        let is_right = shown.check_hash(known.map_or("", String::as_str));
        match known.is_some() & is_right {
            true => Ok(AvatarId::User(Arc::from(&*shown.username))),
            false => Err(LoginError::Unauthorized),
        }
    }
}

impl CredentialsChecker for HtdigestFile {
    fn request_avatar_id(&self, credentials: &Credentials, _: &Address) -> Checking {
        let checked = match credentials {
            Credentials::UsernameDigest(shown) => self.check(shown),
            _ => Err(LoginError::Unhandled),
        };
        Box::pin(std::future::ready(checked))
    }

    fn epoch(&self) -> u64 {
        self.file.epoch()
    }
}

fn parse(text: &str, path: &Path) -> Entries {
    let mut entries = Entries::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok((key, digest)) => {
                entries.entry(key).or_insert(digest);
            }
            Err(why) => {
                let (path, line) = (path.display(), number + 1);
                tracing::warn!(%path, line, "a line of a file of digests is passed over: {why}");
            }
        }
    }
    entries
}

fn parse_line(line: &str) -> Result<((DigestAlgorithm, String, String), String), &'static str> {
    // Neither a name nor a digest has a colon in it.
    let ends = line.split_once(':').zip(line.rsplit_once(':'));
    let Some(((name, _), (start, digest))) = ends else {
        return Err("it has no `:`");
    };
    let Some(realm) = start.get(name.len() + 1..) else {
        return Err("it has no realm");
    };
    let algorithm = match digest.len() {
        32 => DigestAlgorithm::Md5,
        64 => DigestAlgorithm::Sha256,
        _ => return Err("its digest is neither MD5 nor SHA-256 in hexadecimal digits"),
    };
    if !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("its digest has other than hexadecimal digits");
    }
    let key = (algorithm, realm.to_owned(), name.to_owned());
    Ok((key, digest.to_ascii_lowercase()))
}

impl fmt::Debug for HtdigestFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HtdigestFile")
            .field("path", &self.file.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_a_realm_and_a_digest() {
        let digest = "0123456789ABCDEF0123456789abcdef";
        let ((algorithm, realm, name), kept) =
            parse_line(&format!("ada:the: engine:{digest}")).unwrap();
        assert_eq!(algorithm, DigestAlgorithm::Md5);
        assert_eq!((&realm[..], &name[..]), ("the: engine", "ada"));
        assert_eq!(kept, digest.to_ascii_lowercase());
        for wrong in [
            "",
            "ada",
            "ada:",
            &format!("ada:{digest}"),
            "ada:x:12",
            "ada:x:",
        ] {
            assert!(parse_line(wrong).is_err(), "{wrong}");
        }
    }
}
