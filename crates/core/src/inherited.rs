//! What work inherits from whoever asked for it: values, and the span of [`tracing`].
//!
//! A [`ContextKey`] names a value that holds while a closure runs, and on in all that is asked
//! for meanwhile, whenever that runs: callbacks that are added, tasks that are spawned, timed
//! calls. The span that is current goes with them. Other work (a job for a thread) takes them
//! along by a [`ContextSnapshot`].
//!
//! Nothing is allocated and nothing grows where no value is set and no span is entered.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Span, dispatcher};

/// Each key's value. A flat list: keys are statics, so it stays short, and one that is set again
/// takes its old place.
type Values = Arc<Vec<(usize, Arc<dyn Any + Send + Sync>)>>;

thread_local! {
    static CURRENT: RefCell<Option<Values>> = const { RefCell::new(None) };
}

/// The name of a value that work inherits: a typed, task-local variable. It is to be a `static`.
///
/// ```
/// use ropewalk_core::{ContextKey, Deferred};
///
/// static USER: ContextKey<String> = ContextKey::new();
///
/// let (resolver, reply) = Deferred::<u16>::pair();
/// let greeting = USER.with_value("ada".to_owned(), || {
///     reply.add_callback(|code| format!("{code} for {}", USER.get().unwrap()))
/// });
/// assert!(USER.get().is_none());
/// resolver.callback(220);
/// # let greeting: Deferred<String> = greeting;
/// # drop(greeting.add_callback(|text| assert_eq!(text, "220 for ada")));
/// ```
pub struct ContextKey<T> {
    /// 0 until it is first set.
    number: AtomicUsize,
    holds: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> ContextKey<T> {
    /// A key. Two are never the same, whatever their types.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            number: AtomicUsize::new(0),
            holds: PhantomData,
        }
    }

    /// Runs `call`, and all that is asked for within it, with `value` under this key.
    pub fn with_value<R>(&'static self, value: T, call: impl FnOnce() -> R) -> R {
        let number = self.number();
        let mut values = current().as_deref().cloned().unwrap_or_default();
        values.retain(|(other, _)| *other != number);
        values.push((number, Arc::new(value)));
        let _entered = Entered::new(Some(Arc::new(values)));
        call()
    }

    /// The value that holds here, if one was set.
    #[must_use]
    pub fn get(&'static self) -> Option<Arc<T>> {
        let number = self.number.load(Ordering::Relaxed);
        let values = current()?;
        let (_, value) = values.iter().find(|(other, _)| *other == number)?;
        value.clone().downcast().ok()
    }

    fn number(&self) -> usize {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let set = |number| {
            let old =
                (self.number).compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
            old.map_or_else(|other| other, |_| number)
        };
        match self.number.load(Ordering::Relaxed) {
            0 => set(LAST.fetch_add(1, Ordering::Relaxed) + 1),
            number => number,
        }
    }
}

impl<T: Send + Sync + 'static> Default for ContextKey<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for ContextKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextKey({})", self.number.load(Ordering::Relaxed))
    }
}

/// The values and the span that hold at one place, to be taken elsewhere, on any thread.
///
/// ```
/// use ropewalk_core::{ContextKey, ContextSnapshot};
///
/// static USER: ContextKey<&str> = ContextKey::new();
///
/// let job = USER.with_value("ada", || {
///     let snapshot = ContextSnapshot::capture();
///     move || snapshot.run(|| USER.get().map(|user| *user))
/// });
/// let seen = std::thread::spawn(job).join().unwrap();
/// assert_eq!(seen, Some("ada"));
/// ```
#[derive(Clone)]
pub struct ContextSnapshot {
    values: Option<Values>,
    span: Span,
}

impl ContextSnapshot {
    /// What holds here.
    #[must_use]
    pub fn capture() -> Self {
        Self {
            values: current(),
            // With no subscriber there are no spans to look for.
            span: match dispatcher::has_been_set() {
                true => Span::current(),
                false => Span::none(),
            },
        }
    }

    /// What holds here, if it is anything: where there is nothing, work need not be wrapped.
    ///
    /// ```
    /// use ropewalk_core::ContextSnapshot;
    /// assert!(ContextSnapshot::capture_any().is_none(), "no value is set, and no span entered");
    /// ```
    #[must_use]
    #[inline]
    pub fn capture_any() -> Option<Self> {
        // Nearly always there is nothing, and each link of each chain asks.
        if !dispatcher::has_been_set() && !is_any_set() {
            return None;
        }
        let snapshot = Self::capture();
        (!snapshot.is_empty()).then_some(snapshot)
    }

    /// Whether no value was set and no span was entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_none() && self.span.is_none()
    }

    /// Runs `call` with these values and no others, within the span. (A span that is entered
    /// already stays so, and has this one within it.)
    pub fn run<R>(&self, call: impl FnOnce() -> R) -> R {
        let _span = self.span.enter();
        let _entered = Entered::new(self.values.clone());
        call()
    }
}

impl fmt::Debug for ContextSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextSnapshot")
            .field("values", &self.values.as_ref().map_or(0, |v| v.len()))
            .field("span", &self.span)
            .finish()
    }
}

/// Leaves all values, until it is dropped: for who runs work that brings its own, or has none.
pub(crate) fn leave() -> Option<impl Sized> {
    is_any_set().then(|| Entered::new(None))
}

/// Other values hold as long as this lives.
struct Entered {
    before: Option<Values>,
}

impl Entered {
    fn new(values: Option<Values>) -> Self {
        Self {
            before: replace(values),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // What comes out may be dropped by this, with no borrow held.
        drop(replace(self.before.take()));
    }
}

/// While the thread ends there are no values.
fn replace(values: Option<Values>) -> Option<Values> {
    let swap = |current: &RefCell<Option<Values>>| mem::replace(&mut *current.borrow_mut(), values);
    CURRENT.try_with(swap).ok().flatten()
}

fn is_any_set() -> bool {
    let any = CURRENT.try_with(|current| current.borrow().is_some());
    any.unwrap_or(false)
}

fn current() -> Option<Values> {
    let values = CURRENT.try_with(|current| current.borrow().clone());
    values.ok().flatten()
}
