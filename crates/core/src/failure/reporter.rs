//! Reports of failures that do not flood: the same one is told once in a while, with its count.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::Failure;

/// How many kinds of failures a reporter keeps apart.
const KINDS: usize = 256;

/// How much of a message tells kinds apart, in bytes.
const MESSAGE: usize = 128;

/// Tells failures on: each kind at once when it first comes, and then at most once an interval,
/// with how many there were. Those that are ignored are counted and not told.
///
/// Of one kind are failures that were made at the same place with the same words
/// ([`Failure::error_message`], its first 128 bytes). A reporter keeps 256 kinds apart; beyond
/// that it forgets the one that it has not seen for longest, and tells what it held back of it.
///
/// It has no clock: the time comes with each failure.
///
/// ```
/// use ropewalk_core::{ConnectionDone, Failure, FailureReporter};
/// use std::time::{Duration, Instant};
///
/// let mut lines = Vec::new();
/// let mut reporter = FailureReporter::with_sink(Duration::from_secs(60), |report| {
///     lines.push(report.to_string());
/// })
/// .ignore::<ConnectionDone>();
///
/// let now = Instant::now();
/// for second in 0..100 {
///     let failure = Failure::msg("no rope").context(format!("order {second}"));
///     reporter.report(&failure, now + Duration::from_secs(second));
/// }
/// reporter.report(&ConnectionDone.into(), now);
/// assert_eq!(reporter.ignored(), 1);
/// reporter.flush();
/// drop(reporter);
/// assert_eq!(
///     lines,
///     ["order 0: no rope", "order 60: no rope (60 times)", "order 99: no rope (39 times)"],
/// );
/// ```
pub struct FailureReporter<'a> {
    interval: Duration,
    sink: Box<dyn FnMut(&FailureReport) + 'a>,
    ignore: Vec<Test<'a>>,
    /// The one seen last stands last.
    kinds: Vec<Kind>,
    ignored: u64,
}

type Test<'a> = Box<dyn Fn(&Failure) -> bool + 'a>;

struct Kind {
    place: &'static Location<'static>,
    message: String,
    told: Instant,
    /// What came since, and the last of it.
    held_back: u64,
    last: Failure,
}

/// What a [`FailureReporter`] tells: a failure, and how many of its kind there were since the last
/// report, this one included.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailureReport {
    /// The latest of them.
    pub failure: Failure,
    /// How many there were.
    pub count: u64,
}

impl<'a> FailureReporter<'a> {
    /// A reporter that makes error events of [`tracing`] with the target `ropewalk::failure`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self::with_sink(interval, |report| {
            tracing::error!(
                target: "ropewalk::failure",
                failure = &*report.failure.to_error(),
                failed_at = %report.failure.location(),
                count = report.count,
                "failed",
            );
        })
    }

    /// A reporter that tells `sink`.
    #[must_use]
    pub fn with_sink(interval: Duration, sink: impl FnMut(&FailureReport) + 'a) -> Self {
        Self {
            interval,
            sink: Box::new(sink),
            ignore: Vec::new(),
            kinds: Vec::new(),
            ignored: 0,
        }
    }

    /// Ignores failures that hold an `E`.
    #[must_use]
    pub fn ignore<E: Error + 'static>(self) -> Self {
        self.ignore_if(|failure| failure.check::<E>().is_some())
    }

    /// Ignores failures that `test` is true for.
    #[must_use]
    pub fn ignore_if(mut self, test: impl Fn(&Failure) -> bool + 'a) -> Self {
        self.ignore.push(Box::new(test));
        self
    }

    /// Takes a failure that came at `now`.
    pub fn report(&mut self, failure: &Failure, now: Instant) {
        if self.ignore.iter().any(|test| test(failure)) {
            self.ignored += 1;
            return;
        }
        let place = failure.location();
        let mut message = failure.error_message();
        message.truncate(message.floor_char_boundary(MESSAGE));
        let known = |kind: &Kind| kind.place == place && kind.message == message;
        let Some(index) = self.kinds.iter().rposition(known) else {
            self.first(Kind {
                place,
                message,
                told: now,
                held_back: 0,
                last: failure.clone(),
            });
            return;
        };
        self.kinds[index..].rotate_left(1);
        let last = self.kinds.len() - 1;
        let kind = &mut self.kinds[last];
        kind.held_back += 1;
        kind.last = failure.clone();
        if now.saturating_duration_since(kind.told) >= self.interval {
            kind.told = now;
            kind.tell(&mut self.sink);
        }
    }

    /// Tells what is held back: before the program ends, or now and then.
    pub fn flush(&mut self) {
        for kind in &mut self.kinds {
            kind.tell(&mut self.sink);
        }
    }

    /// How many were ignored.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn first(&mut self, mut kind: Kind) {
        if self.kinds.len() == KINDS {
            self.kinds.remove(0).tell(&mut self.sink);
        }
        kind.held_back = 1;
        kind.tell(&mut self.sink);
        self.kinds.push(kind);
    }
}

impl Kind {
    fn tell(&mut self, sink: &mut dyn FnMut(&FailureReport)) {
        if self.held_back > 0 {
            sink(&FailureReport {
                failure: self.last.clone(),
                count: self.held_back,
            });
            self.held_back = 0;
        }
    }
}

impl fmt::Debug for FailureReporter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureReporter")
            .field("kinds", &self.kinds.len())
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}

/// The failure on one line, and how often it came.
impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => self.failure.fmt(f),
            count => write!(f, "{} ({count} times)", self.failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const MINUTE: Duration = Duration::from_secs(60);

    fn lost(number: usize) -> Failure {
        Failure::msg(format!("lost {number}"))
    }

    #[test]
    fn many_kinds_take_bounded_memory_and_no_count_is_lost() {
        let counted = RefCell::new(0);
        let mut reporter = FailureReporter::with_sink(MINUTE, |report| {
            *counted.borrow_mut() += report.count;
        });
        let now = Instant::now();
        for number in 0..10 * KINDS {
            for _ in 0..3 {
                reporter.report(&lost(number), now);
            }
        }
        assert_eq!(reporter.kinds.len(), KINDS);
        reporter.flush();
        assert_eq!(*counted.borrow(), 3 * 10 * KINDS as u64);
    }

    #[test]
    fn the_kind_that_was_not_seen_for_longest_is_forgotten() {
        let told = RefCell::new(Vec::new());
        let mut reporter = FailureReporter::with_sink(MINUTE, |report| {
            told.borrow_mut().push(report.to_string());
        });
        let now = Instant::now();
        for number in 0..KINDS {
            reporter.report(&lost(number), now);
        }
        reporter.report(&lost(0), now);
        reporter.report(&lost(KINDS), now);
        told.borrow_mut().clear();
        reporter.report(&lost(0), now);
        assert_eq!(told.borrow().len(), 0, "still known");
        reporter.report(&lost(1), now);
        assert_eq!(*told.borrow(), ["lost 1"], "told as new");
    }

    #[test]
    fn the_same_words_from_two_places_are_two_kinds() {
        let told = RefCell::new(0);
        let mut reporter = FailureReporter::with_sink(MINUTE, |_| *told.borrow_mut() += 1);
        let now = Instant::now();
        reporter.report(&Failure::msg("lost"), now);
        reporter.report(&Failure::msg("lost"), now);
        assert_eq!(*told.borrow(), 2);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut reporter = FailureReporter::with_sink(MINUTE, |_| ());
        let failure = Failure::msg("ä".repeat(MESSAGE) + "x");
        reporter.report(&failure, Instant::now());
        let failure = Failure::msg("x".to_owned() + &"ä".repeat(MESSAGE));
        reporter.report(&failure, Instant::now());
        assert!(
            reporter
                .kinds
                .iter()
                .all(|kind| kind.message.len() <= MESSAGE)
        );
    }

    #[test]
    fn without_a_sink_it_logs() {
        let log = crate::deferred::logged_by(|| {
            FailureReporter::new(MINUTE).report(&lost(1), Instant::now());
        });
        assert!(log.contains("ropewalk::failure"), "{log}");
        assert!(log.contains("failure=lost 1"), "{log}");
    }
}
