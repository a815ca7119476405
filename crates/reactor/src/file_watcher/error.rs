//! Why something cannot be watched.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why something cannot be watched.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// There is nothing of this name.
    NotFound {
        /// What was to be watched.
        path: PathBuf,
    },
    /// It is not watched.
    NotWatched {
        /// What was to be ignored.
        path: PathBuf,
    },
    /// The system watches no more files for this user.
    TooMany {
        /// What was to be watched.
        path: PathBuf,
    },
    /// Anything else that the operating system said.
    Other {
        /// What was to be watched, if it came to that.
        path: Option<PathBuf>,
        /// What was said.
        source: notify::Error,
    },
}

impl WatchError {
    pub(super) fn new(path: Option<&Path>, source: notify::Error) -> Self {
        use std::io::ErrorKind;
        let owned = || path.map(Path::to_path_buf);
        match (&source.kind, owned()) {
            (notify::ErrorKind::PathNotFound, Some(path)) => Self::NotFound { path },
            (notify::ErrorKind::Io(error), Some(path)) if error.kind() == ErrorKind::NotFound => {
                Self::NotFound { path }
            }
            (notify::ErrorKind::WatchNotFound, Some(path)) => Self::NotWatched { path },
            (notify::ErrorKind::MaxFilesWatch, Some(path)) => Self::TooMany { path },
            (_, path) => Self::Other { path, source },
        }
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { path } => write!(
                f,
                "cannot watch {}: it does not exist; watch the folder that it will be in",
                path.display()
            ),
            Self::NotWatched { path } => write!(f, "{} is not watched", path.display()),
            Self::TooMany { path } => write!(
                f,
                "cannot watch {}: this user watches as many files as it may; watch fewer folders, \
                 or raise the limit (on Linux fs.inotify.max_user_watches)",
                path.display()
            ),
            Self::Other {
                path: Some(path), ..
            } => write!(f, "cannot watch {}", path.display()),
            Self::Other { path: None, .. } => f.write_str(
                "cannot watch files; are too many watchers open (on Linux \
                 fs.inotify.max_user_instances)?",
            ),
        }
    }
}

impl Error for WatchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Other { source, .. } => Some(source),
            _ => None,
        }
    }
}
