//! What the watching thread has seen and the loop was not told yet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::change::{self, FileChange, FileEvents};

pub(super) struct Queue {
    kinds: FileEvents,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// With the number of its first event, so that they are told in the order of those.
    changed: BTreeMap<PathBuf, (u64, FileEvents)>,
    count: u64,
    overflow: bool,
    /// Wakes who waits for the first one.
    waker: Option<Waker>,
}

impl Queue {
    pub(super) fn new(kinds: FileEvents, limit: usize) -> Self {
        let state = Mutex::default();
        Self {
            kinds,
            limit,
            state,
        }
    }

    /// Notes an event: on the watching thread.
    pub(super) fn note(&self, event: notify::Result<notify::Event>) {
        match event {
            Ok(event) if event.need_rescan() => self.overflow(),
            Ok(event) => {
                for (path, events) in change::read(event) {
                    self.add(path, events);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "files are watched no more, in part or at all");
                self.overflow();
            }
        }
    }

    pub(super) fn add(&self, path: PathBuf, events: FileEvents) {
        let events = events.and(self.kinds);
        if events.is_empty() {
            return;
        }
        let mut state = self.state();
        let has_room = state.changed.len() < self.limit;
        state.count += 1;
        let number = state.count;
        if let Some((_, known)) = state.changed.get_mut(&path) {
            *known = *known | events;
        } else if has_room {
            state.changed.insert(path, (number, events));
        } else {
            state.overflow = true;
        }
        wake(state);
    }

    /// Notes that something was not kept.
    pub(super) fn overflow(&self) {
        let mut state = self.state();
        state.overflow = true;
        wake(state);
    }

    /// Whether there is something to tell; otherwise `waker` is woken when there is.
    pub(super) fn poll_any(&self, waker: &Waker) -> Poll<()> {
        let mut state = self.state();
        if state.overflow || !state.changed.is_empty() {
            return Poll::Ready(());
        }
        state.waker = Some(waker.clone());
        Poll::Pending
    }

    /// All there is to tell, an overflow first.
    pub(super) fn take(&self) -> Vec<FileChange> {
        let mut state = self.state();
        let overflow = std::mem::take(&mut state.overflow);
        let changed = std::mem::take(&mut state.changed);
        drop(state);
        let mut changed: Vec<_> = changed.into_iter().collect();
        changed.sort_by_key(|(_, (number, _))| *number);
        let overflow = overflow.then_some(FileChange::Overflow);
        let changed = changed
            .into_iter()
            .map(|(path, (_, events))| FileChange::Changed { path, events });
        overflow.into_iter().chain(changed).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(path: &str, events: FileEvents) -> FileChange {
        let path = path.into();
        FileChange::Changed { path, events }
    }

    #[test]
    fn what_happens_to_one_file_is_told_once_and_files_in_the_order_of_their_first_event() {
        let queue = Queue::new(FileEvents::ALL, 10);
        queue.add("b".into(), FileEvents::CREATED);
        queue.add("a".into(), FileEvents::CREATED);
        queue.add("b".into(), FileEvents::REMOVED);
        let both = FileEvents::CREATED | FileEvents::REMOVED;
        let expected = [changed("b", both), changed("a", FileEvents::CREATED)];
        assert_eq!(queue.take(), expected);
        assert_eq!(queue.take(), []);
    }

    #[test]
    fn what_is_too_much_is_an_overflow_and_what_was_kept_is_told() {
        let queue = Queue::new(FileEvents::ALL, 2);
        for path in ["a", "b", "c", "a"] {
            queue.add(path.into(), FileEvents::MODIFIED);
        }
        let told = queue.take();
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], FileChange::Overflow);
    }

    #[test]
    fn what_is_not_asked_for_is_not_kept() {
        let queue = Queue::new(FileEvents::REMOVED, 2);
        queue.add("a".into(), FileEvents::MODIFIED);
        assert_eq!(queue.poll_any(Waker::noop()), Poll::Pending);
        queue.add("a".into(), FileEvents::MODIFIED | FileEvents::REMOVED);
        assert_eq!(queue.poll_any(Waker::noop()), Poll::Ready(()));
        assert_eq!(queue.take(), [changed("a", FileEvents::REMOVED)]);
    }

    #[test]
    fn an_overflow_of_the_system_is_told() {
        let queue = Queue::new(FileEvents::ALL, 2);
        let event = notify::Event::new(notify::EventKind::Other);
        queue.note(Ok(event.set_flag(notify::event::Flag::Rescan)));
        assert_eq!(queue.take(), [FileChange::Overflow]);
    }
}
