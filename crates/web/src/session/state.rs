//! What a handler and the layer around it share of one session: its values, and what is to become of
//! them. It may be used from any thread; the store, which may not, is the layer's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::error::SessionError;
use super::id::{SessionId, SessionKey};
use super::store::SessionRecord;

#[derive(Clone)]
pub(super) struct Handle {
    state: Arc<Mutex<State>>,
}

struct State {
    phase: Phase,
    /// What the client calls it, while the store may know it. In a cookie there is none.
    id: Option<SessionId>,
    /// A session that was there is in use; `None` if it is new.
    known: Option<SystemTime>,
    values: Map<String, Value>,
    /// A handler has asked for it.
    looked_at: bool,
    changed: bool,
    rotated: bool,
    destroyed: bool,
    limit: usize,
    /// Who waits for it to be loaded.
    waiting: Vec<Waker>,
    /// Who loads it.
    loader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unloaded,
    Wanted,
    Loaded,
    Failed,
    Answered,
}

/// What is to become of a session when its request is answered.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// Nobody looked at it.
    Unused,
    /// It was looked at, and there is none.
    Empty,
    /// It was looked at, and not changed.
    Touch {
        created: SystemTime,
    },
    Create {
        values: Map<String, Value>,
    },
    Save {
        created: SystemTime,
        values: Map<String, Value>,
        rotate: bool,
    },
    Delete,
    /// It is gone; what came after is another.
    Replace {
        values: Map<String, Value>,
    },
}

impl Handle {
    /// That of a client who says that this is its session.
    pub(super) fn unloaded(id: Option<SessionId>, limit: usize) -> Self {
        Self::new(Phase::Unloaded, id, limit)
    }

    /// That of a client who has none.
    pub(super) fn empty(limit: usize) -> Self {
        Self::new(Phase::Loaded, None, limit)
    }

    fn new(phase: Phase, id: Option<SessionId>, limit: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                phase,
                id,
                known: None,
                values: Map::new(),
                looked_at: false,
                changed: false,
                rotated: false,
                destroyed: false,
                limit,
                waiting: Vec::new(),
                loader: None,
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.lock().phase == Phase::Loaded
    }

    /// Whether it was neither loaded yet, nor did that fail.
    pub(super) fn is_to_come(&self) -> bool {
        matches!(self.lock().phase, Phase::Unloaded | Phase::Wanted)
    }

    /// For whoever wants it and cannot wait: whether it is there.
    pub(super) fn look(&self) -> bool {
        let mut state = self.lock();
        state.looked_at |= state.phase == Phase::Loaded;
        state.phase == Phase::Loaded
    }

    /// For whoever wants it: asks for it, and waits.
    pub(super) fn poll_loaded(&self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        let mut state = self.lock();
        state.looked_at = true;
        match state.phase {
            Phase::Loaded => Poll::Ready(Ok(())),
            Phase::Failed => Poll::Ready(Err(SessionError::Unavailable)),
            Phase::Answered => Poll::Ready(Err(SessionError::Answered)),
            Phase::Unloaded | Phase::Wanted => {
                state.phase = Phase::Wanted;
                if !state
                    .waiting
                    .iter()
                    .any(|waker| waker.will_wake(cx.waker()))
                {
                    state.waiting.push(cx.waker().clone());
                }
                let loader = state.loader.take();
                drop(state);
                if let Some(loader) = loader {
                    loader.wake();
                }
                Poll::Pending
            }
        }
    }

    /// For the layer: ready when it is to be loaded.
    pub(super) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.phase == Phase::Wanted {
            return Poll::Ready(());
        }
        let old = state.loader.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// For the layer: what the store had, `Err` if it has failed.
    pub(super) fn set_loaded(&self, found: Result<Option<SessionRecord>, ()>) {
        let mut state = self.lock();
        state.phase = match found {
            Ok(record) => {
                if let Some(record) = record {
                    state.known = Some(record.created);
                    state.values = record.values;
                } else {
                    // An identifier that nobody has given out is not adopted.
                    state.id = None;
                }
                Phase::Loaded
            }
            Err(()) => Phase::Failed,
        };
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// For the layer: the request is answered. What its client calls the session, and what is to
    /// become of it.
    pub(super) fn finish(&self) -> (Option<SessionId>, Outcome) {
        let mut state = self.lock();
        let is_used = state.phase == Phase::Loaded && state.looked_at;
        state.phase = Phase::Answered;
        let waiting = std::mem::take(&mut state.waiting);
        let id = state.id.take();
        let outcome = match is_used {
            true => state.outcome(),
            false => Outcome::Unused,
        };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        (id, outcome)
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        self.lock().values.get(name).cloned()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().values.keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().values.is_empty()
    }

    pub(super) fn is_new(&self) -> bool {
        self.lock().known.is_none()
    }

    pub(super) fn key(&self) -> Option<SessionKey> {
        let state = self.lock();
        state.id.as_ref().map(SessionId::key)
    }

    pub(super) fn insert(&self, name: &str, value: Value) -> Result<(), SessionError> {
        self.change(|state| {
            let old = state.values.insert(name.to_owned(), value);
            if json_length(&state.values) <= state.limit {
                return Ok(());
            }
            match old {
                Some(old) => state.values.insert(name.to_owned(), old),
                None => state.values.remove(name),
            };
            Err(SessionError::TooLarge {
                name: name.to_owned(),
                limit: state.limit,
            })
        })
    }

    pub(super) fn remove(&self, name: &str) -> Result<bool, SessionError> {
        self.change(|state| Ok(state.values.remove(name).is_some()))
    }

    pub(super) fn clear(&self) -> Result<(), SessionError> {
        self.change(|state| {
            state.values.clear();
            Ok(())
        })
    }

    pub(super) fn rotate(&self) -> Result<(), SessionError> {
        self.change(|state| {
            state.rotated = true;
            Ok(())
        })
    }

    pub(super) fn destroy(&self) -> Result<(), SessionError> {
        self.change(|state| {
            state.destroyed = true;
            state.values.clear();
            Ok(())
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let mut state = self.lock();
        if state.phase != Phase::Loaded {
            return Err(SessionError::Answered);
        }
        let changed = change(&mut state)?;
        state.changed = true;
        Ok(changed)
    }
}

impl State {
    fn outcome(&mut self) -> Outcome {
        let values = std::mem::take(&mut self.values);
        match (self.known, self.destroyed) {
            (Some(_), true) if values.is_empty() => Outcome::Delete,
            (Some(_), true) => Outcome::Replace { values },
            (Some(created), false) if self.changed => Outcome::Save {
                created,
                values,
                rotate: self.rotated,
            },
            (Some(created), false) => Outcome::Touch { created },
            (None, _) if values.is_empty() => Outcome::Empty,
            (None, _) => Outcome::Create { values },
        }
    }
}

/// How long `values` are as JSON.
fn json_length(values: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, values) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
