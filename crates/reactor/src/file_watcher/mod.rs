//! Files and folders that are watched: what happens to them is told on the loop.
//!
//! The system's own interface (inotify on Linux) is read by a thread of the `notify` crate, which
//! notes what happens in a bounded queue and wakes a task of the loop. That waits a little, so that
//! what belongs together is told together, and tells it.

mod change;
mod error;
mod queue;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use ropewalk_core::{Task, defer_later};

use crate::event_loop::guard;
use crate::reactor::Handle;
pub use change::{FileChange, FileEvents};
pub use error::WatchError;
use queue::Queue;

/// Which changes are told, and how.
///
/// ```
/// use ropewalk_reactor::{FileEvents, WatchOptions};
/// use std::time::Duration;
///
/// let options = WatchOptions {
///     events: FileEvents::CLOSED_WRITE | FileEvents::MOVED_TO,
///     debounce: Duration::from_millis(10),
///     ..WatchOptions::default()
/// };
/// assert_eq!(options.queue_limit, 8192);
/// ```
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// What is told. All, unless told otherwise.
    pub events: FileEvents,
    /// Whether what is in the folders of a folder is watched too, and so on, those that are made
    /// later as well. It is not, unless told otherwise.
    pub recursive: bool,
    /// How long is waited after the first change, for those that belong to it. 50 ms. A file that
    /// changes all the time is told of as often.
    pub debounce: Duration,
    /// How many files are kept that were not told of. Of more there is an
    /// [`Overflow`](FileChange::Overflow). 8192.
    pub queue_limit: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            events: FileEvents::ALL,
            recursive: false,
            debounce: Duration::from_millis(50),
            queue_limit: 8192,
        }
    }
}

/// Watches files and folders: Twisted's `INotify`. When it is dropped, and when the run of its
/// reactor ends, nothing is told any more.
///
/// Of a folder, what happens to what is in it is told. A file that is watched by its own name is
/// lost when another one is put in its place, as editors and deployments do: watch its folder.
///
/// ```
/// use ropewalk_reactor::{FileChange, FileWatcher, Reactor, WatchOptions};
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("news");
/// let reactor = Reactor::new()?;
/// let (stop, expected) = (reactor.handle(), file.clone());
/// let told = move |changes: &[FileChange]| {
///     assert_eq!(changes[0].path(), Some(expected.as_path()));
///     stop.stop();
/// };
/// let watcher = FileWatcher::new(&reactor, WatchOptions::default(), told)?;
/// watcher.watch(folder.path())?;
/// std::fs::write(&file, "read all about it")?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileWatcher {
    inner: Rc<Inner>,
    task: Task,
}

type Callback = Box<dyn FnMut(&[FileChange])>;

struct Inner {
    watcher: RefCell<RecommendedWatcher>,
    options: WatchOptions,
    queue: Arc<Queue>,
    /// `None` while it runs.
    callback: RefCell<Option<Callback>>,
}

impl FileWatcher {
    /// Tells `callback`, on the loop, what happens to what is [watched](Self::watch): never with
    /// an empty list. A panic in it is logged.
    ///
    /// # Errors
    /// The operating system gave no watcher.
    pub fn new(
        reactor: &Handle,
        options: WatchOptions,
        callback: impl FnMut(&[FileChange]) + 'static,
    ) -> Result<Self, WatchError> {
        let queue = Arc::new(Queue::new(options.events, options.queue_limit));
        let noted = Arc::clone(&queue);
        let watcher = notify::recommended_watcher(move |event| noted.note(event))
            .map_err(|error| WatchError::new(None, error))?;
        let inner = Rc::new(Inner {
            watcher: RefCell::new(watcher),
            options,
            queue,
            callback: RefCell::new(Some(Box::new(callback))),
        });
        let task = reactor.spawn(tell(reactor.clone(), Rc::downgrade(&inner)));
        Ok(Self { inner, task })
    }

    /// Watches a file or a folder. To watch it again changes nothing.
    ///
    /// The folders of a recursive watch are gone through before this returns.
    ///
    /// # Errors
    /// It does not exist, or the system watches no more.
    pub fn watch(&self, path: impl AsRef<Path>) -> Result<(), WatchError> {
        let path = path.as_ref();
        let mode = match self.inner.options.recursive {
            true => RecursiveMode::Recursive,
            false => RecursiveMode::NonRecursive,
        };
        let watched = self.inner.watcher.borrow_mut().watch(path, mode);
        watched.map_err(|error| WatchError::new(Some(path), error))
    }

    /// Watches it no more: Twisted's `ignore`. What has happened before may still be told.
    ///
    /// # Errors
    /// It is not watched.
    pub fn ignore(&self, path: impl AsRef<Path>) -> Result<(), WatchError> {
        let path = path.as_ref();
        let ignored = self.inner.watcher.borrow_mut().unwatch(path);
        ignored.map_err(|error| WatchError::new(Some(path), error))
    }
}

impl Drop for FileWatcher {
    fn drop(&mut self) {
        self.task.cancel();
    }
}

impl fmt::Debug for FileWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWatcher")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

/// Waits for changes, and tells them, until the watcher is dropped.
async fn tell(reactor: Handle, watcher: Weak<Inner>) {
    loop {
        let Some((queue, debounce)) = watcher
            .upgrade()
            .map(|inner| (Arc::clone(&inner.queue), inner.options.debounce))
        else {
            return;
        };
        poll_fn(|context| queue.poll_any(context.waker())).await;
        drop(queue);
        // It ends early only with the reactor, and this with it.
        let waited = defer_later(&reactor, debounce, || ());
        let _: Result<(), _> = waited.await;
        let Some(inner) = watcher.upgrade() else {
            return;
        };
        inner.tell();
    }
}

impl Inner {
    fn tell(&self) {
        let mut changes = self.queue.take();
        if self.options.recursive {
            self.look_into_new_folders(&changes);
            changes.extend(self.queue.take());
        }
        if changes.is_empty() {
            return;
        }
        let Some(mut callback) = self.callback.take() else {
            return;
        };
        guard("the callback of a FileWatcher", || callback(&changes));
        *self.callback.borrow_mut() = Some(callback);
    }

    /// What was put into a folder before it was watched is told as created, too.
    fn look_into_new_folders(&self, changes: &[FileChange]) {
        let known: BTreeSet<&Path> = changes.iter().filter_map(FileChange::path).collect();
        let mut folders: Vec<PathBuf> = changes
            .iter()
            .filter_map(|change| match change {
                FileChange::Changed { path, events } => {
                    let new = FileEvents::CREATED | FileEvents::MOVED_TO;
                    events.intersects(new).then(|| path.clone())
                }
                FileChange::Overflow => None,
            })
            .collect();
        let mut looked = 0;
        while let Some(folder) = folders.pop() {
            // A link is no folder, so that this comes to an end.
            let is_folder = fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir());
            let Some(entries) = is_folder.then(|| fs::read_dir(&folder).ok()).flatten() else {
                continue;
            };
            for entry in entries.flatten() {
                looked += 1;
                if looked > self.options.queue_limit {
                    return self.queue.overflow();
                }
                if !known.contains(entry.path().as_path()) {
                    self.queue.add(entry.path(), FileEvents::CREATED);
                    folders.push(entry.path());
                }
            }
        }
    }
}
