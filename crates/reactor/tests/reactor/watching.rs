//! Files that are watched, on a real file system.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_reactor::{FileChange, FileEvents, FileWatcher, Reactor, WatchError, WatchOptions};
use tempfile::TempDir;

type Seen = Rc<RefCell<Vec<FileChange>>>;

fn quick() -> WatchOptions {
    WatchOptions {
        debounce: Duration::from_millis(1),
        ..WatchOptions::default()
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn events_of(seen: &[FileChange], path: &Path) -> FileEvents {
    let events = seen.iter().filter_map(|change| match change {
        FileChange::Changed { path: at, events } if at == path => Some(*events),
        _ => None,
    });
    events.fold(FileEvents::default(), |all, events| all | events)
}

/// Does `action` while `path` is watched, until `enough` says so of all that was seen.
fn watching(
    path: &Path,
    options: WatchOptions,
    action: impl FnOnce(),
    enough: impl Fn(&[FileChange]) -> bool + 'static,
) -> Vec<FileChange> {
    let reactor = Reactor::new().unwrap();
    let seen: Seen = Rc::default();
    let (all, stop) = (Rc::clone(&seen), reactor.handle());
    let watcher = FileWatcher::new(&reactor, options, move |changes| {
        assert!(!changes.is_empty());
        all.borrow_mut().extend_from_slice(changes);
        if enough(&all.borrow()) {
            stop.stop();
        }
    })
    .unwrap();
    watcher.watch(path).unwrap();
    action();
    reactor.run().unwrap();
    seen.take()
}

#[test]
fn what_happens_to_a_file_is_told() {
    let (_folder, path) = folder();
    let (file, moved) = (path.join("file"), path.join("moved"));
    let (f, m) = (file.clone(), moved.clone());
    let seen = watching(
        &path,
        quick(),
        || {
            fs::write(&file, "text").unwrap();
            fs::rename(&file, &moved).unwrap();
            fs::remove_file(&moved).unwrap();
        },
        move |seen| events_of(seen, &m).contains(FileEvents::REMOVED),
    );
    let of_file = events_of(&seen, &f);
    for event in [
        FileEvents::CREATED,
        FileEvents::MODIFIED,
        FileEvents::CLOSED_WRITE,
        FileEvents::MOVED_FROM,
    ] {
        assert!(of_file.contains(event), "{event:?} of {of_file:?}");
    }
    assert!(events_of(&seen, &moved).contains(FileEvents::MOVED_TO));
}

#[test]
fn only_what_is_asked_for_is_told() {
    let (_folder, path) = folder();
    let file = path.join("file");
    let options = WatchOptions {
        events: FileEvents::REMOVED,
        ..quick()
    };
    let seen = watching(
        &path,
        options,
        || {
            fs::write(&file, "text").unwrap();
            fs::remove_file(&file).unwrap();
        },
        |seen| !seen.is_empty(),
    );
    let (path, events) = (file, FileEvents::REMOVED);
    assert_eq!(seen, [FileChange::Changed { path, events }]);
}

#[test]
fn folders_within_are_watched_too_when_that_is_asked_for_even_new_ones() {
    let (_folder, path) = folder();
    let deep = path.join("a/b/c/file");
    let (sought, later) = (deep.clone(), deep.with_file_name("later"));
    let expected = later.clone();
    let options = WatchOptions {
        recursive: true,
        ..quick()
    };
    let written = RefCell::new(false);
    watching(
        &path,
        options,
        || {
            fs::create_dir_all(deep.parent().unwrap()).unwrap();
            fs::write(&deep, "text").unwrap();
        },
        move |seen| {
            if events_of(seen, &sought).intersects(FileEvents::ALL) && !written.replace(true) {
                // The new folder itself is watched by now.
                fs::write(&later, "text").unwrap();
            }
            events_of(seen, &expected).intersects(FileEvents::ALL)
        },
    );
}

#[test]
fn what_is_ignored_is_told_no_more() {
    let (_folder, path) = folder();
    let (one, other) = (path.join("one"), path.join("other"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&other).unwrap();
    let reactor = Reactor::new().unwrap();
    let seen: Seen = Rc::default();
    let (all, stop) = (Rc::clone(&seen), reactor.handle());
    let watcher = FileWatcher::new(&reactor, quick(), move |changes| {
        all.borrow_mut().extend_from_slice(changes);
        stop.stop();
    })
    .unwrap();
    watcher.watch(&one).unwrap();
    watcher.watch(&other).unwrap();
    watcher.ignore(&one).unwrap();
    let never = watcher.ignore(&one).unwrap_err();
    assert!(matches!(never, WatchError::NotWatched { .. }), "{never}");
    fs::write(one.join("file"), "text").unwrap();
    fs::write(other.join("file"), "text").unwrap();
    reactor.run().unwrap();
    assert!(
        seen.borrow()
            .iter()
            .all(|change| change.path().unwrap().starts_with(&other))
    );
}

#[test]
fn what_is_not_there_is_an_error_that_says_what_to_do() {
    let (_folder, path) = folder();
    let reactor = Reactor::new().unwrap();
    let watcher = FileWatcher::new(&reactor, quick(), |_| ()).unwrap();
    let error = watcher.watch(path.join("no-such-file")).unwrap_err();
    assert!(error.to_string().contains("watch the folder"), "{error}");
}

#[test]
fn more_than_is_kept_is_an_overflow() {
    let (_folder, path) = folder();
    let options = WatchOptions {
        queue_limit: 3,
        ..quick()
    };
    let seen = watching(
        &path,
        options,
        || {
            for number in 0..50 {
                fs::write(path.join(number.to_string()), "text").unwrap();
            }
        },
        |seen| seen.contains(&FileChange::Overflow),
    );
    assert!(seen.contains(&FileChange::Overflow));
}

#[test]
fn a_callback_may_watch_more_and_drop_the_watcher() {
    let (_folder, path) = folder();
    let reactor = Reactor::new().unwrap();
    let kept: Rc<RefCell<Option<FileWatcher>>> = Rc::default();
    let (own, stop, within) = (Rc::clone(&kept), reactor.handle(), path.clone());
    let watcher = FileWatcher::new(&reactor, quick(), move |_| {
        let watcher = own.borrow_mut().take().expect("it is told once");
        watcher.watch(within.join("sub")).unwrap();
        drop(watcher);
        let stop = stop.clone();
        // Were it told again, it would panic, and that is logged only.
        stop.clone()
            .call_later(Duration::from_millis(20), move || stop.stop());
    })
    .unwrap();
    watcher.watch(&path).unwrap();
    kept.replace(Some(watcher));
    fs::create_dir(path.join("sub")).unwrap();
    reactor.run().unwrap();
    assert!(kept.borrow().is_none());
}

#[test]
fn a_new_folder_with_more_in_it_than_is_kept_is_an_overflow() {
    let (_folder, path) = folder();
    let (_elsewhere, full) = folder();
    for number in 0..50 {
        fs::write(full.join(number.to_string()), "text").unwrap();
    }
    let (watched, new) = (path.clone(), path.join("new"));
    let options = WatchOptions {
        queue_limit: 10,
        recursive: true,
        ..quick()
    };
    let sought = new.clone();
    let seen = watching(
        &watched,
        options,
        || fs::rename(&full, &new).unwrap(),
        move |seen| events_of(seen, &sought).contains(FileEvents::MOVED_TO),
    );
    assert!(seen.contains(&FileChange::Overflow), "{seen:?}");
}
