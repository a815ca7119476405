//! A folder of files that are served, whose content follows from their names.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ropewalk_core::FileRegion;
use tempfile::TempDir;

use crate::content::content;

/// The lengths of the files, which are called `0`, `1` and so on: none, one that a cache takes, and
/// one that it doesn't.
pub(crate) const LENGTHS: [usize; 3] = [0, 5000, 90_000];

pub(crate) struct Files {
    folder: TempDir,
    largest: Arc<File>,
}

impl Files {
    pub(crate) fn new() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (number, len) in LENGTHS.iter().enumerate() {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, content(number as u64, 0, *len))?;
            File::options()
                .write(true)
                .open(&path)?
                .set_modified(long_ago)?;
        }
        let largest = Arc::new(File::open(folder.path().join("2"))?);
        Ok(Self { folder, largest })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The first bytes of the largest.
    pub(crate) fn region(&self, len: u64) -> FileRegion {
        FileRegion {
            file: Arc::clone(&self.largest),
            offset: 0,
            len,
        }
    }
}
