//! What all loops of one process have in common.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What the loops of one process share: one value of each type that somebody wants to share, and the
/// time of day, for those who have no loop at hand.
///
/// A `static` would do the same in a program; but a simulated host is a process of its own, among
/// others on one thread, and what one of them remembers must not reach another.
///
/// ```
/// use ropewalk_core::{ReactorNet, testing::MemoryReactor};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// #[derive(Default)]
/// struct Visits(AtomicU32);
///
/// let (one, other) = (MemoryReactor::new(), MemoryReactor::new());
/// let visits = one.commons().get::<Visits>();
/// visits.0.fetch_add(1, Ordering::Relaxed);
/// assert_eq!(one.commons().get::<Visits>().0.load(Ordering::Relaxed), 1);
/// assert_eq!(other.commons().get::<Visits>().0.load(Ordering::Relaxed), 0);
/// ```
pub struct Commons {
    kept: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    clock: Clock,
}

enum Clock {
    Read(fn() -> SystemTime),
    /// As it was last told: nanoseconds since 1970.
    Told(AtomicU64),
}

impl Commons {
    /// Of a process whose time of day `clock` reads.
    #[must_use]
    pub fn new(clock: fn() -> SystemTime) -> Self {
        Self {
            kept: Mutex::default(),
            clock: Clock::Read(clock),
        }
    }

    /// Of a process that is told its time of day, by [`tell_wall_clock`](Self::tell_wall_clock).
    #[must_use]
    pub fn told(wall_clock: SystemTime) -> Self {
        Self {
            kept: Mutex::default(),
            clock: Clock::Told(AtomicU64::new(nanos(wall_clock))),
        }
    }

    /// The value of this type, which is made when it is first asked for.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let value = kept
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::<T>::default());
        let value = Arc::clone(value).downcast::<T>();
        value.expect("it is kept under its type")
    }

    /// The time of day. It may jump.
    #[must_use]
    pub fn wall_clock(&self) -> SystemTime {
        match &self.clock {
            Clock::Read(read) => read(),
            Clock::Told(nanos) => {
                let since = Duration::from_nanos(nanos.load(Ordering::Relaxed));
                SystemTime::UNIX_EPOCH + since
            }
        }
    }

    /// For those who implement a reactor whose time is its own: the time of day is this. Of a process
    /// that reads a clock it changes nothing.
    pub fn tell_wall_clock(&self, wall_clock: SystemTime) {
        if let Clock::Told(told) = &self.clock {
            told.store(nanos(wall_clock), Ordering::Relaxed);
        }
    }
}

fn nanos(wall_clock: SystemTime) -> u64 {
    let since = wall_clock.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Commons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commons")
            .field("wall_clock", &self.wall_clock())
            .finish_non_exhaustive()
    }
}
