//! A file that has not come whole: `.name.part`, beside the place where it will be.
//!
//! All of this blocks, and is for threads.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::files::conditional::{Preconditions, Validators};
use crate::files::validators;

/// Where a file goes: its folder, and its name in it.
pub(super) struct Place {
    folder: OwnedFd,
    name: OsString,
    /// The system's, which made the times of files.
    wall_clock: fn() -> SystemTime,
}

/// A file that is being written. It is locked for as long as this lives.
pub(super) struct Partial {
    place: Place,
    file: File,
    received: u64,
    conditions: Preconditions,
}

/// What came of a file that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// There was none of its name.
    Created,
    /// It took the place of another.
    Replaced,
    /// What is there is not as the request says, and stays. The new one is gone.
    Refused,
}

/// How much of a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) bytes: u64,
    pub(super) complete: bool,
}

/// Why a file cannot be written.
#[derive(Debug)]
pub(super) enum OpenError {
    /// What is there is not as the request says.
    Refused,
    /// Somebody else does.
    Busy,
    /// So much of it has come, and the piece begins behind it.
    Gap(u64),
    Io(io::Error),
}

impl Place {
    pub(super) fn new(folder: OwnedFd, name: &[u8], wall_clock: fn() -> SystemTime) -> Self {
        Self {
            folder,
            name: OsStr::from_bytes(name).to_owned(),
            wall_clock,
        }
    }

    fn partial_name(&self) -> OsString {
        OsString::from_vec([b".", self.name.as_bytes(), b".part"].concat())
    }

    /// How much of it has come: of the one that is under way, otherwise of the one that is there.
    pub(super) fn received(&self) -> io::Result<Option<Received>> {
        for (name, complete) in [(self.partial_name(), false), (self.name.clone(), true)] {
            match rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
                    return Ok(Some(Received { bytes, complete }));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// What is known of the version of the file that is there, if one is. Of a link, and of what cannot be
    /// opened, nothing is.
    fn current(&self) -> io::Result<Option<Validators>> {
        match rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty());
        let metadata = file.ok().map(|file| File::from(file).metadata());
        Ok(Some(match metadata.transpose()? {
            Some(metadata) => validators(&metadata, (self.wall_clock)()),
            None => Validators::default(),
        }))
    }

    fn allows(&self, conditions: &Preconditions) -> io::Result<bool> {
        Ok(conditions.is_empty() || conditions.hold(self.current()?.as_ref()))
    }

    /// Opens it, to go on at `first`, if `conditions` hold. What has come behind that is thrown away.
    pub(super) fn open(self, first: u64, conditions: Preconditions) -> Result<Partial, OpenError> {
        if !self.allows(&conditions)? {
            return Err(OpenError::Refused);
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.folder, self.partial_name(), flags, mode);
        let file = File::from(file.map_err(|error| OpenError::Io(error.into()))?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Busy),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io(error)),
        }
        // Whoever held the lock may have completed the file that was opened.
        if !self.is_partial(&file)? {
            return Err(OpenError::Busy);
        }
        let received = file.metadata()?.len();
        if first > received {
            if received == 0 {
                // None was under way.
                rustix::fs::unlinkat(&self.folder, self.partial_name(), AtFlags::empty())
                    .map_err(io::Error::from)?;
            }
            return Err(OpenError::Gap(received));
        }
        file.set_len(first)?;
        Ok(Partial {
            place: self,
            file,
            received: first,
            conditions,
        })
    }

    /// Whether `file` is what the name of the partial file stands for.
    fn is_partial(&self, file: &File) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        let name = self.partial_name();
        match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok((stat.st_dev, stat.st_ino) == (metadata.dev(), metadata.ino())),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Partial {
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Writes what follows.
    pub(super) fn write(mut self, data: &[u8]) -> io::Result<Self> {
        self.file.write_all_at(data, self.received)?;
        self.received += data.len() as u64;
        Ok(self)
    }

    /// It is complete: puts it to its place, when it is on the disk, if what is there is still as the
    /// request says.
    pub(super) fn complete(self) -> io::Result<Completed> {
        self.file.sync_data()?;
        let Place { folder, name, .. } = &self.place;
        let is_there = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => true,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error.into()),
        };
        let partial = self.place.partial_name();
        let renamed = match self.place.allows(&self.conditions)? {
            false => Err(Errno::EXIST),
            true if self.conditions.forbid_to_replace() => rename_new(folder, &partial, name),
            true => rustix::fs::renameat(folder, &partial, folder, name),
        };
        match renamed {
            Ok(()) if is_there => Ok(Completed::Replaced),
            Ok(()) => Ok(Completed::Created),
            Err(Errno::EXIST) if !self.conditions.is_empty() => {
                rustix::fs::unlinkat(folder, &partial, AtFlags::empty())?;
                Ok(Completed::Refused)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Renames a file, unless there is one of that name, whoever made it a moment ago.
fn rename_new(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{RenameFlags, renameat_with};
        match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
            // Not every file system can: NFS cannot.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return renamed,
        }
    }
    rustix::fs::renameat(folder, from, folder, to)
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{HeaderMap, IF_MATCH, IF_NONE_MATCH};

    use super::*;

    /// When all files have been at rest for long.
    fn later() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 34)
    }

    fn place(folder: &tempfile::TempDir) -> Place {
        let folder = File::open(folder.path()).unwrap();
        Place::new(folder.into(), b"a", later)
    }

    #[test]
    fn the_version_that_the_client_has_seen_is_replaced_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "old").unwrap();
        let tag = || place(&folder).current().unwrap().unwrap().etag.unwrap();
        let begin = |tag: &http::HeaderValue| {
            let conditions = Preconditions::of(&HeaderMap::from_iter([(IF_MATCH, tag.clone())]));
            place(&folder).open(0, conditions)
        };
        let seen = tag();
        let new = begin(&seen).unwrap().write(b"new").unwrap();
        assert_eq!(new.complete().unwrap(), Completed::Replaced);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert!(matches!(begin(&seen), Err(OpenError::Refused)));

        let newer = begin(&tag()).unwrap().write(b"newer").unwrap();
        std::fs::write(&path, "theirs").unwrap();
        assert_eq!(newer.complete().unwrap(), Completed::Refused);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_made_a_moment_ago_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["from", "to"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let descriptor = File::open(folder.path()).unwrap().into();
        let [from, to] = ["from", "to"].map(OsStr::new);
        assert_eq!(rename_new(&descriptor, from, to), Err(Errno::EXIST));
        assert_eq!(rename_new(&descriptor, from, OsStr::new("new")), Ok(()));
        let any = HeaderMap::from_iter([(IF_NONE_MATCH, "*".parse().unwrap())]);
        assert!(Preconditions::of(&any).forbid_to_replace());
    }
}
