//! A file that has not come whole: `.name.part`, beside the place where it will be.
//!
//! All of this blocks, and is for threads.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Where a file goes: its folder, and its name in it.
pub(super) struct Place {
    folder: OwnedFd,
    name: OsString,
}

/// A file that is being written. It is locked for as long as this lives.
pub(super) struct Partial {
    place: Place,
    file: File,
    received: u64,
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
    /// Somebody else does.
    Busy,
    /// So much of it has come, and the piece begins behind it.
    Gap(u64),
    Io(io::Error),
}

impl Place {
    pub(super) fn new(folder: OwnedFd, name: &[u8]) -> Self {
        Self {
            folder,
            name: OsStr::from_bytes(name).to_owned(),
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

    /// Opens it, to go on at `first`. What has come behind that is thrown away.
    pub(super) fn open(self, first: u64) -> Result<Partial, OpenError> {
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

    /// It is complete: puts it to its place, when it is on the disk. Whether it took another's.
    pub(super) fn complete(self) -> io::Result<bool> {
        self.file.sync_data()?;
        let Place { folder, name } = &self.place;
        let replaced = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => true,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error.into()),
        };
        rustix::fs::renameat(folder, self.place.partial_name(), folder, name)?;
        Ok(replaced)
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
