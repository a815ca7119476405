//! What happens to files.

use std::fmt;
use std::ops::BitOr;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind};

/// A set of what may happen to a file: the mask of Twisted's `inotify`.
///
/// ```
/// use ropewalk_reactor::FileEvents;
///
/// let wanted = FileEvents::CREATED | FileEvents::CLOSED_WRITE;
/// assert!(wanted.contains(FileEvents::CREATED));
/// assert!(!wanted.contains(FileEvents::REMOVED));
/// assert_eq!(format!("{wanted:?}"), "CREATED | CLOSED_WRITE");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FileEvents(u8);

impl FileEvents {
    /// It was created.
    pub const CREATED: Self = Self(1);
    /// Something was written to it.
    pub const MODIFIED: Self = Self(1 << 1);
    /// One who had it open for writing has closed it: what was written is all there.
    pub const CLOSED_WRITE: Self = Self(1 << 2);
    /// Its mode, owner or times have changed.
    pub const METADATA: Self = Self(1 << 3);
    /// It was given another name, or moved away.
    pub const MOVED_FROM: Self = Self(1 << 4);
    /// It was given this name, or moved here: what was here before is gone.
    pub const MOVED_TO: Self = Self(1 << 5);
    /// It was removed.
    pub const REMOVED: Self = Self(1 << 6);
    /// Something of which the system does not say what.
    pub const OTHER: Self = Self(1 << 7);
    /// All of these.
    pub const ALL: Self = Self(u8::MAX);

    const NAMES: [(Self, &str); 8] = [
        (Self::CREATED, "CREATED"),
        (Self::MODIFIED, "MODIFIED"),
        (Self::CLOSED_WRITE, "CLOSED_WRITE"),
        (Self::METADATA, "METADATA"),
        (Self::MOVED_FROM, "MOVED_FROM"),
        (Self::MOVED_TO, "MOVED_TO"),
        (Self::REMOVED, "REMOVED"),
        (Self::OTHER, "OTHER"),
    ];

    /// Whether all of `other` are among these.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is among these.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for FileEvents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for FileEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES
            .iter()
            .filter(|(event, _)| self.contains(*event));
        let names: Vec<_> = named.map(|(_, name)| *name).collect();
        match names.is_empty() {
            true => f.write_str("(nothing)"),
            false => f.write_str(&names.join(" | ")),
        }
    }
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileChange {
    /// Something has happened to a file or a folder: all of it, in no order, since the last call.
    Changed {
        /// Which one.
        path: PathBuf,
        /// What has happened.
        events: FileEvents,
    },
    /// More has happened than was kept: look at everything anew.
    Overflow,
}

impl FileChange {
    /// Which file or folder, unless it is an overflow.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Changed { path, .. } => Some(path),
            Self::Overflow => None,
        }
    }
}

/// What an event means for each of its paths.
pub(super) fn read(event: Event) -> Vec<(PathBuf, FileEvents)> {
    let events = match event.kind {
        EventKind::Create(_) => FileEvents::CREATED,
        EventKind::Modify(ModifyKind::Metadata(_)) => FileEvents::METADATA,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => FileEvents::MOVED_FROM,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => FileEvents::MOVED_TO,
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            let both = [FileEvents::MOVED_FROM, FileEvents::MOVED_TO];
            return event.paths.into_iter().zip(both).collect();
        }
        EventKind::Modify(_) => FileEvents::MODIFIED,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => FileEvents::CLOSED_WRITE,
        EventKind::Access(_) => return Vec::new(),
        EventKind::Remove(_) => FileEvents::REMOVED,
        EventKind::Any | EventKind::Other => FileEvents::OTHER,
    };
    let paths = event.paths.into_iter();
    paths.map(|path| (path, events)).collect()
}
