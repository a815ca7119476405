//! The log of one test: all that its thread logs, kept, and passed on to whoever had it before.
//!
//! A subscriber of a thread does not see what other threads log. The jobs that a test gives to its
//! reactor's threads take it along (`ropewalk_reactor`'s ledger sees to that); threads of the
//! test's own do not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ropewalk_core::Failure;
use ropewalk_core::testing::FailureKind;
use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::LogEvent;

/// So many events are kept, the latest.
const EVENTS: usize = 10_000;

/// So many errors are kept that nobody has flushed. More are counted.
const ERRORS: usize = 1000;

thread_local! {
    /// Those that capture on this thread, the innermost last.
    static CAPTURES: RefCell<Vec<Arc<Store>>> = const { RefCell::new(Vec::new()) };
}

/// Captures what this thread logs, from `DEBUG` up, as long as it lives. `#[ropewalk::test]` has one
/// for each test; this is for tests that have no reactor.
///
/// What was there before to see the thread's events, sees them still.
///
/// ```
/// use ropewalk_core::{Deferred, Failure};
/// use ropewalk_trial::LogCapture;
///
/// let capture = LogCapture::start();
/// tracing::info!(ropes = 3, "twisting");
/// drop(Deferred::<()>::fail(Failure::msg("no rope left")));
///
/// let events = capture.logged();
/// assert_eq!((&*events[0].message, events[0].field("ropes")), ("twisting", Some("3")));
/// let errors = capture.flush_errors::<Failure>();
/// assert_eq!(errors[0].to_string(), "no rope left");
/// ```
#[must_use = "it captures as long as it lives"]
#[derive(Debug)]
pub struct LogCapture {
    store: Arc<Store>,
    _subscribed: DefaultGuard,
}

/// What was captured.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<LogEvent>,
    /// Errors that nobody has flushed, and how many more there were.
    errors: Vec<LogEvent>,
    more_errors: u64,
}

impl LogCapture {
    /// Begins to capture, on this thread.
    pub fn start() -> Self {
        keep_interest();
        let store = Arc::new(Store::default());
        let subscriber = Capture {
            store: Arc::clone(&store),
            before: dispatcher::get_default(before),
        };
        CAPTURES.with(|captures| captures.borrow_mut().push(Arc::clone(&store)));
        Self {
            store,
            _subscribed: dispatcher::set_default(&Dispatch::new(subscriber)),
        }
    }

    /// What was logged so far, flushed or not; the latest 10,000 events.
    #[must_use]
    pub fn logged(&self) -> Vec<LogEvent> {
        self.store.logged()
    }

    /// See [`flush_logged_errors`].
    pub fn flush_errors<E: FailureKind>(&self) -> Vec<Failure> {
        self.store.flush_errors::<E>()
    }

    /// See [`flush_logged_if`].
    pub fn flush_if(&self, test: impl FnMut(&LogEvent) -> bool) -> Vec<LogEvent> {
        self.store.flush_if(test)
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }
}

/// What a run has logged.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) events: Vec<LogEvent>,
    pub(crate) errors: Vec<LogEvent>,
    pub(crate) more_errors: u64,
}

impl Drop for LogCapture {
    fn drop(&mut self) {
        let forget = |captures: &RefCell<Vec<Arc<Store>>>| {
            let mut captures = captures.borrow_mut();
            captures.retain(|store| !Arc::ptr_eq(store, &self.store));
        };
        // The thread may be ending.
        let _ = CAPTURES.try_with(forget);
    }
}

/// What was logged so far in this test, from `DEBUG` up.
///
/// # Panics
/// No test of this kit, and no [`LogCapture`], captures on this thread.
#[must_use]
#[track_caller]
pub fn logged() -> Vec<LogEvent> {
    current().logged()
}

/// Takes the failures out of the log of this test that hold an `E`, and so says that they were
/// expected: Twisted's `flushLoggedErrors`. Errors that nobody takes fail the test. With [`Failure`]
/// for `E` it takes all failures.
///
/// Found are failures that were logged as such, and not as their text: those that nothing handles,
/// those that a [`FailureReporter`](ropewalk_core::FailureReporter) reports, panics
/// ([`Panicked`](ropewalk_core::Panicked)), and a program's own by
/// [`Failure::to_error`]. Other errors are taken by [`flush_logged_if`].
///
/// ```
/// # use ropewalk_trial as trial;
/// # mod ropewalk { pub(crate) use ropewalk_trial::run_when_called as test; }
/// use ropewalk_core::Deferred;
/// use std::num::ParseIntError;
/// use trial::flush_logged_errors;
///
/// #[ropewalk::test]
/// async fn a_number_is_no_word() {
///     drop(Deferred::<()>::fail("word".parse::<u8>().unwrap_err()));
///     let errors = flush_logged_errors::<ParseIntError>();
///     assert_eq!(errors.len(), 1);
/// }
/// # a_number_is_no_word();
/// ```
///
/// # Panics
/// As [`logged`].
#[track_caller]
pub fn flush_logged_errors<E: FailureKind>() -> Vec<Failure> {
    current().flush_errors::<E>()
}

/// Takes those of the test's errors that `test` is true for, and so says that they were expected.
///
/// ```
/// # use ropewalk_trial as trial;
/// # mod ropewalk { pub(crate) use ropewalk_trial::run_when_called as test; }
/// #[ropewalk::test]
/// async fn the_disk_is_full() {
///     tracing::error!(free = 0, "no room");
///     let flushed = trial::flush_logged_if(|event| event.message.contains("no room"));
///     assert_eq!(flushed[0].field("free"), Some("0"));
/// }
/// # the_disk_is_full();
/// ```
///
/// # Panics
/// As [`logged`].
#[track_caller]
pub fn flush_logged_if(test: impl FnMut(&LogEvent) -> bool) -> Vec<LogEvent> {
    current().flush_if(test)
}

#[track_caller]
fn current() -> Arc<Store> {
    let current = CAPTURES.with(|captures| captures.borrow().last().cloned());
    match current {
        Some(store) => store,
        None => panic!(
            "nothing captures the log of this thread: mark the test with #[ropewalk::test], or hold \
             a LogCapture"
        ),
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No code of others runs while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the errors that nobody has flushed, and all events.
    pub(crate) fn take(&self) -> Taken {
        let kept = mem::take(&mut *self.lock());
        Taken {
            events: kept.events.into(),
            errors: kept.errors,
            more_errors: kept.more_errors,
        }
    }

    fn add(&self, event: LogEvent) {
        let mut kept = self.lock();
        if event.level == Level::ERROR {
            match kept.errors.len() {
                ERRORS => kept.more_errors += 1,
                _ => kept.errors.push(event.clone()),
            }
        }
        let oldest = match kept.events.len() {
            EVENTS => kept.events.pop_front(),
            _ => None,
        };
        kept.events.push_back(event);
        drop(kept);
        // A failure's destructor may be anything.
        drop(oldest);
    }

    fn logged(&self) -> Vec<LogEvent> {
        self.lock().events.iter().cloned().collect()
    }

    fn flush_if(&self, mut test: impl FnMut(&LogEvent) -> bool) -> Vec<LogEvent> {
        // What `test` logs is new.
        let errors = mem::take(&mut self.lock().errors);
        let (flushed, mut left): (Vec<_>, Vec<_>) = errors.into_iter().partition(|e| test(e));
        let mut kept = self.lock();
        left.append(&mut kept.errors);
        kept.errors = left;
        flushed
    }

    fn flush_errors<E: FailureKind>(&self) -> Vec<Failure> {
        let is_meant = |event: &LogEvent| event.failure.as_ref().is_some_and(E::is_in);
        let flushed = self.flush_if(is_meant);
        flushed
            .into_iter()
            .filter_map(|event| event.failure)
            .collect()
    }
}

/// The subscriber. Spans are those of whoever was there before.
struct Capture {
    store: Arc<Store>,
    before: Dispatch,
}

/// Who saw the events before there was a capture: one within another has them for itself.
fn before(dispatch: &Dispatch) -> Dispatch {
    let capture = dispatch.downcast_ref::<Capture>();
    capture.map_or(dispatch, |capture| &capture.before).clone()
}

impl Capture {
    fn wants(metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::DEBUG
    }
}

impl Subscriber for Capture {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::wants(metadata) || self.before.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        if Self::wants(event.metadata()) {
            self.store.add(LogEvent::of(event));
        }
        if self.before.enabled(event.metadata()) {
            self.before.event(event);
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.before.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.before.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.before.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.before.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.before.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.before.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.before.try_close(span)
    }

    fn current_span(&self) -> Current {
        self.before.current_span()
    }
}

/// Keeps a subscriber alive that is asked about all events and wants none.
///
/// `tracing` remembers of each place in the code whether anybody wants its events. While there is
/// only one subscriber it asks that of the thread that comes by first: if this is another test's,
/// with no capture, the place would be silent for the captures of all. With two it asks both.
fn keep_interest() {
    static KEPT: OnceLock<Dispatch> = OnceLock::new();
    KEPT.get_or_init(|| Dispatch::new(Asked));
}

struct Asked;

impl Subscriber for Asked {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
