//! Sessions in memory, for the loops of one process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::ready;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::ReactorCore;

use super::id::SessionKey;
use super::store::{SessionRecord, SessionStore, StoreContext, Storing};

const MAX_SESSIONS: usize = 100_000;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What the maps take for a session beside its content.
const OVERHEAD: usize = 512;

/// The timer does not look for what has expired more often than this.
const SWEEP: Duration = Duration::from_secs(1);

/// Keeps sessions in memory: at most 100,000 of them, and 64 MiB. When there is no room for another, the one
/// that was unused for longest ends.
///
/// Clones are the same store, which the loops of several threads may share. Times are those of the
/// loop's clock, so a change of the time of day ends no session. What has expired is removed within a
/// second by a timer of the loop, and whoever [wants to know](Self::notify_on_expire) is told.
///
/// ```
/// use ropewalk_web::session::{MemoryStore, SessionEnd};
///
/// let store = MemoryStore::new(10_000, 8 << 20);
/// store.notify_on_expire(|key, record, end| {
///     println!("session {key} with {} values: {end:?}", record.values.len());
/// });
/// assert_eq!(store.len(), 0);
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// Why a session is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// Its time was over.
    Expired,
    /// It was destroyed.
    Destroyed,
    /// There was no room for it any more.
    Evicted,
}

type Listener = Arc<dyn Fn(&SessionKey, &SessionRecord, SessionEnd) + Send + Sync>;

struct Shared {
    kept: Mutex<Kept>,
    max_sessions: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Kept {
    sessions: BTreeMap<SessionKey, Entry>,
    by_use: BTreeMap<u64, SessionKey>,
    by_expiry: BTreeSet<(Instant, SessionKey)>,
    uses: u64,
    bytes: usize,
    listeners: Vec<Listener>,
    /// Some loop has a timer that will look for what has expired.
    is_watched: bool,
}

struct Entry {
    record: SessionRecord,
    size: usize,
    created: Instant,
    expires: Instant,
    used: u64,
}

type Ended = Vec<(SessionKey, SessionRecord, SessionEnd)>;

impl MemoryStore {
    /// A store with other bounds. The bytes are those of the content as JSON, and 512 for each session.
    #[must_use]
    pub fn new(max_sessions: usize, max_bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                kept: Mutex::default(),
                max_sessions,
                max_bytes,
            }),
        }
    }

    /// Calls `listener` with each session that ends from now on, and why: Twisted's
    /// `notifyOnExpire`. It is called on the thread of the loop that noticed, and may use the store.
    pub fn notify_on_expire(
        &self,
        listener: impl Fn(&SessionKey, &SessionRecord, SessionEnd) + Send + Sync + 'static,
    ) {
        self.shared.lock().listeners.push(Arc::new(listener));
    }

    /// How many sessions there are, with those that have expired and were not noticed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they take, as [`new`](Self::new) counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// Works on the sessions, tells of those that ended by it, and sees that there is a timer.
    fn work<T>(&self, context: &StoreContext, work: impl FnOnce(&mut Kept, &mut Ended) -> T) -> T {
        let mut ended = Ended::new();
        let mut kept = self.shared.lock();
        kept.sweep(context.reactor.now(), &mut ended);
        let result = work(&mut kept, &mut ended);
        let watch = !kept.is_watched && !kept.sessions.is_empty();
        kept.is_watched |= watch;
        drop(kept);
        if watch {
            Watch(Arc::downgrade(&self.shared)).wait(&context.reactor);
        }
        self.shared.tell(&ended);
        result
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MAX_SESSIONS, MAX_BYTES)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl SessionStore for MemoryStore {
    fn load(&self, context: &StoreContext, key: SessionKey) -> Storing<Option<SessionRecord>> {
        let found = self.work(context, |kept, _| {
            kept.use_again(context, key);
            kept.sessions.get(&key).map(|entry| entry.record.clone())
        });
        Box::pin(ready(Ok(found)))
    }

    fn create(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<()> {
        self.work(context, |kept, ended| {
            kept.insert(context, key, record, context.reactor.now());
            self.shared.make_room(kept, ended);
        });
        Box::pin(ready(Ok(())))
    }

    fn save(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        self.rotate(context, key, key, record)
    }

    fn touch(&self, context: &StoreContext, key: SessionKey, _: SystemTime) -> Storing<bool> {
        let found = self.work(context, |kept, _| kept.use_again(context, key));
        Box::pin(ready(Ok(found)))
    }

    fn rotate(
        &self,
        context: &StoreContext,
        old: SessionKey,
        new: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        let found = self.work(context, |kept, ended| {
            let old = kept.remove(old);
            old.is_some_and(|old| {
                kept.insert(context, new, record, old.created);
                self.shared.make_room(kept, ended);
                true
            })
        });
        Box::pin(ready(Ok(found)))
    }

    fn delete(&self, context: &StoreContext, key: SessionKey) -> Storing<()> {
        self.work(context, |kept, ended| {
            let removed = kept.remove(key);
            ended.extend(removed.map(|entry| (key, entry.record, SessionEnd::Destroyed)));
        });
        Box::pin(ready(Ok(())))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self, kept: &mut Kept, ended: &mut Ended) {
        while kept.sessions.len() > self.max_sessions || kept.bytes > self.max_bytes {
            let Some(key) = kept.by_use.first_key_value().map(|(_, key)| *key) else {
                return;
            };
            let removed = kept.remove(key);
            ended.extend(removed.map(|entry| (key, entry.record, SessionEnd::Evicted)));
        }
    }

    /// To be called without the lock: a listener may use the store.
    fn tell(&self, ended: &Ended) {
        if ended.is_empty() {
            return;
        }
        let listeners = self.lock().listeners.clone();
        for (key, record, end) in ended {
            for listener in &listeners {
                listener(key, record, *end);
            }
        }
    }
}

impl Kept {
    fn insert(
        &mut self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
        created: Instant,
    ) {
        let json = serde_json::to_vec(&record.values).map_or(0, |json| json.len());
        let size = json + OVERHEAD;
        let expires = expires(context, created);
        self.remove(key);
        self.uses += 1;
        self.by_use.insert(self.uses, key);
        self.by_expiry.insert((expires, key));
        self.bytes += size;
        let used = self.uses;
        self.sessions.insert(
            key,
            Entry {
                record,
                size,
                created,
                expires,
                used,
            },
        );
    }

    fn remove(&mut self, key: SessionKey) -> Option<Entry> {
        let entry = self.sessions.remove(&key)?;
        self.by_use.remove(&entry.used);
        self.by_expiry.remove(&(entry.expires, key));
        self.bytes -= entry.size;
        Some(entry)
    }

    fn use_again(&mut self, context: &StoreContext, key: SessionKey) -> bool {
        let Some(entry) = self.sessions.get_mut(&key) else {
            return false;
        };
        self.by_use.remove(&entry.used);
        self.by_expiry.remove(&(entry.expires, key));
        self.uses += 1;
        entry.used = self.uses;
        entry.expires = expires(context, entry.created);
        self.by_use.insert(entry.used, key);
        self.by_expiry.insert((entry.expires, key));
        true
    }

    fn sweep(&mut self, now: Instant, ended: &mut Ended) {
        while let Some((expires, key)) = self.by_expiry.first().copied()
            && expires <= now
        {
            let removed = self.remove(key);
            ended.extend(removed.map(|entry| (key, entry.record, SessionEnd::Expired)));
        }
    }
}

fn expires(context: &StoreContext, created: Instant) -> Instant {
    let idle = context.reactor.now() + context.idle;
    idle.min(created + context.absolute)
}

/// The timer of a store. Dropping it, as the end of its loop does, lets another loop have one.
struct Watch(Weak<Shared>);

impl Watch {
    /// Looks again when the first session will have expired.
    fn wait(self, reactor: &Rc<dyn ReactorCore>) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let next = shared.lock().by_expiry.first().map(|(at, _)| *at);
        let Some(next) = next else {
            return;
        };
        let delay = next.saturating_duration_since(reactor.now()).max(SWEEP);
        let lent = Rc::downgrade(reactor);
        let look = move || {
            let (Some(reactor), Some(shared)) = (lent.upgrade(), self.0.upgrade()) else {
                return;
            };
            let mut ended = Ended::new();
            shared.lock().sweep(reactor.now(), &mut ended);
            self.wait(&reactor);
            shared.tell(&ended);
        };
        reactor.call_later(delay, Box::new(look));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lock().is_watched = false;
        }
    }
}
