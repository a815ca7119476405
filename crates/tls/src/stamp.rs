//! What a file looks like from outside.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is other when a file was changed or replaced: its time, number and size; `None` when there
/// is no file.
pub(crate) type Stamp = Option<(i64, i64, u64, u64)>;

pub(crate) fn of(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.mtime(), file.mtime_nsec(), file.ino(), file.len()))
}
