//! A file of users, which is read again when it has changed.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::ReactorCore;

/// The file is looked at no more often than this.
const LOOK: Duration = Duration::from_secs(1);

const MAX_FILE: u64 = 16 * 1024 * 1024;

/// What a file says, as of a second ago at most.
pub(super) struct WatchedFile<T> {
    reactor: Rc<dyn ReactorCore>,
    path: PathBuf,
    parse: Parse<T>,
    state: RefCell<State<T>>,
}

/// Reads a text that was found at a path.
type Parse<T> = Box<dyn Fn(&str, &Path) -> T>;

struct State<T> {
    contents: Rc<T>,
    stamp: Stamp,
    looked: Instant,
    epoch: u64,
}

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
pub struct PasswordFileError {
    path: PathBuf,
    source: io::Error,
}

impl<T> WatchedFile<T> {
    pub(super) fn open(
        reactor: Rc<dyn ReactorCore>,
        path: PathBuf,
        parse: impl Fn(&str, &Path) -> T + 'static,
    ) -> Result<Self, PasswordFileError> {
        let (stamp, text) = match read(&path) {
            Ok(read) => read,
            Err(source) => return Err(PasswordFileError { path, source }),
        };
        let state = State {
            contents: Rc::new(parse(&text, &path)),
            stamp,
            looked: reactor.now(),
            epoch: 0,
        };
        Ok(Self {
            reactor,
            path,
            parse: Box::new(parse),
            state: RefCell::new(state),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    pub(super) fn contents(&self) -> Rc<T> {
        let now = self.reactor.now();
        let known = {
            let mut state = self.state.borrow_mut();
            if now.saturating_duration_since(state.looked) < LOOK {
                return Rc::clone(&state.contents);
            }
            state.looked = now;
            state.stamp
        };
        let metadata = fs::metadata(&self.path);
        if !metadata.is_ok_and(|metadata| Stamp::of(&metadata) == known) {
            self.read_again();
        }
        Rc::clone(&self.state.borrow().contents)
    }

    /// A number that is another one when it says something else.
    pub(super) fn epoch(&self) -> u64 {
        self.contents();
        self.state.borrow().epoch
    }

    fn read_again(&self) {
        match read(&self.path) {
            Ok((stamp, text)) => {
                let contents = Rc::new((self.parse)(&text, &self.path));
                let mut state = self.state.borrow_mut();
                state.stamp = stamp;
                state.contents = contents;
                state.epoch += 1;
            }
            Err(error) => tracing::error!(
                path = %self.path.display(),
                %error,
                "a password file cannot be read any more; what it said before holds"
            ),
        }
    }
}

fn read(path: &Path) -> io::Result<(Stamp, String)> {
    let metadata = fs::metadata(path)?;
    if metadata.len() > MAX_FILE {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_FILE} bytes"
        )));
    }
    Ok((Stamp::of(&metadata), fs::read_to_string(path)?))
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

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "cannot read the password file {path}: {}", self.source)
    }
}

impl Error for PasswordFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
