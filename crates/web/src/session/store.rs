//! Where sessions are kept.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use ropewalk_core::{Failure, ReactorCore};
use serde_json::{Map, Value};

use super::id::SessionKey;

/// A store's work: a future on the loop's thread.
pub type Storing<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>>>>;

/// Keeps sessions for [`Sessions`](super::Sessions).
///
/// A store ends sessions by itself: when one was neither saved nor touched for
/// [`StoreContext::idle`], and [`StoreContext::absolute`] after it was created. It never
/// makes a session of a key that it does not have but in [`create`](Self::create), so that one that was ended does not
/// come back.
///
/// A future may be dropped before it is ready; what it was to do may then be done or not.
pub trait SessionStore: 'static {
    /// What is kept under `key`.
    fn load(&self, context: &StoreContext, key: SessionKey) -> Storing<Option<SessionRecord>>;

    /// Keeps a new session.
    fn create(&self, context: &StoreContext, key: SessionKey, record: SessionRecord)
    -> Storing<()>;

    /// Replaces what is kept under `key`. `false` if nothing was: then nothing is.
    fn save(&self, context: &StoreContext, key: SessionKey, record: SessionRecord)
    -> Storing<bool>;

    /// The session is in use: its idle time begins anew. `false` if there is none.
    fn touch(&self, context: &StoreContext, key: SessionKey, created: SystemTime) -> Storing<bool>;

    /// Keeps `record` under `new`, and nothing under `old` any more. `false` if nothing was kept
    /// under `old`: then nothing is under either. The session is as old as it was.
    fn rotate(
        &self,
        context: &StoreContext,
        old: SessionKey,
        new: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool>;

    /// Ends the session, if there is one.
    fn delete(&self, context: &StoreContext, key: SessionKey) -> Storing<()>;
}

/// What a store may need to know: the loop, and how long sessions live.
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreContext {
    /// The loop that asks.
    pub reactor: Rc<dyn ReactorCore>,
    /// A session ends when it was not used for so long.
    pub idle: Duration,
    /// A session ends when it is so old.
    pub absolute: Duration,
}

impl StoreContext {
    /// For those who call a store themselves.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorCore>, idle: Duration, absolute: Duration) -> Self {
        Self {
            reactor,
            idle,
            absolute,
        }
    }

    /// How long a session that began at `created` may still live when it is used now, by the time
    /// of day; `None` if it is over. One that began in the future, as a clock that was set back has it,
    /// begins now.
    #[must_use]
    pub fn remaining(&self, created: SystemTime) -> Option<Duration> {
        let left = self.until_end(created).min(self.idle);
        (!left.is_zero()).then_some(left)
    }

    /// How long a session that began at `created` may live if it is always in use.
    pub(super) fn until_end(&self, created: SystemTime) -> Duration {
        let age = self.reactor.wall_clock().duration_since(created);
        self.absolute.saturating_sub(age.unwrap_or_default())
    }
}

impl fmt::Debug for StoreContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreContext")
            .field("idle", &self.idle)
            .field("absolute", &self.absolute)
            .finish_non_exhaustive()
    }
}

/// What is kept of a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// When it began, by the time of day.
    pub created: SystemTime,
    /// Its values by their names.
    pub values: Map<String, Value>,
}

impl SessionRecord {
    /// A session with these values.
    #[must_use]
    pub fn new(created: SystemTime, values: Map<String, Value>) -> Self {
        Self { created, values }
    }
}

/// A store could not do what it was asked for.
#[derive(Clone, Debug)]
pub struct StoreError {
    action: &'static str,
    cause: Failure,
}

impl StoreError {
    /// `action` is what was being done ("load a session"), `cause` what was in its way.
    #[must_use]
    pub fn new(action: &'static str, cause: Failure) -> Self {
        Self { action, cause }
    }

    /// What was in the way.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.cause
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.action, self.cause)
    }
}

impl Error for StoreError {}
