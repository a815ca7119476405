//! Waiting for several Deferreds at once: what lists, gathering and races have in common.

use std::cell::Cell;
use std::fmt;
use std::ops::ControlFlow;
use std::rc::{Rc, Weak};

use super::{Deferred, Resolver};
use crate::Failure;
use crate::failure::Boxed;

/// Goes on waiting for the others, or ends it all with this result.
pub(super) type Verdict = ControlFlow<Result<(), Failure>>;

/// What happens to the others when the outcome is settled, and to all of them when it is
/// cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Those that are left are cancelled when it ends.
    pub(super) cancel_rest: bool,
    /// Failures that come after the end are forgotten, not reported.
    pub(super) consume_errors: bool,
    /// When it is cancelled, what the cancelled ones say is the outcome, not `Cancelled`.
    pub(super) outlives_cancel: bool,
}

/// Fires when all of its parts have, or one of them ends it.
///
/// Owned by the links on its parts, and so as long as the last of these lives.
pub(super) struct Join {
    left: Cell<usize>,
    outcome: Cell<Option<Resolver<()>>>,
    /// To cancel them by. Empty while they are being added.
    parts: Cell<Vec<Deferred<()>>>,
    manner: Manner,
}

/// A [`Join`] that parts are being added to.
pub(super) struct Joining {
    join: Rc<Join>,
    parts: Vec<Deferred<()>>,
    outcome: Deferred<()>,
}

impl Joining {
    /// Waits for `count` parts, each of which is to be [`add`](Self::add)ed.
    #[track_caller]
    pub(super) fn new(count: usize, manner: Manner) -> Self {
        let join = Rc::new(Join {
            left: Cell::new(count),
            outcome: Cell::default(),
            parts: Cell::default(),
            manner,
        });
        let weak = Rc::downgrade(&join);
        let (resolver, outcome) = Deferred::with_canceller(move || {
            if let Some(join) = Weak::upgrade(&weak) {
                join.cancel();
            }
        });
        join.outcome.set(Some(resolver));
        Self {
            join,
            parts: Vec::with_capacity(count),
            outcome,
        }
    }

    /// Adds a part, whose result goes to `judge`.
    pub(super) fn add<T: 'static>(
        &mut self,
        part: Deferred<T>,
        judge: impl FnOnce(Result<T, Failure>) -> Verdict + 'static,
    ) {
        let join = self.join.clone();
        let part = part.add_both(move |result| join.take(result, judge));
        self.parts.push(part);
    }

    /// What fires in the end: at once, if there are no parts.
    pub(super) fn done(self) -> Deferred<()> {
        let Self {
            join,
            parts,
            outcome,
        } = self;
        join.parts.set(parts);
        if join.left.get() == 0 {
            join.end(Ok(()));
        } else if join.is_over() {
            join.let_go();
        }
        outcome
    }
}

impl Join {
    fn take<T>(
        &self,
        result: Result<T, Failure>,
        judge: impl FnOnce(Result<T, Failure>) -> Verdict,
    ) -> Result<(), Failure> {
        self.left.set(self.left.get() - 1);
        if self.is_over() {
            return match result {
                Err(failure) if !self.manner.consume_errors => Err(failure),
                _ => Ok(()),
            };
        }
        match judge(result) {
            ControlFlow::Break(outcome) => self.end(outcome),
            ControlFlow::Continue(()) if self.left.get() == 0 => self.end(Ok(())),
            ControlFlow::Continue(()) => {}
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let outcome = self.outcome.take();
        let over = outcome.is_none();
        self.outcome.set(outcome);
        over
    }

    fn end(&self, outcome: Result<(), Failure>) {
        if let Some(resolver) = self.outcome.take() {
            let _ending = Ending(self);
            resolver.fire(outcome);
        }
    }

    /// Those that are left have nobody to tell any more.
    fn let_go(&self) {
        let parts = self.parts.take();
        if self.manner.cancel_rest {
            parts.iter().for_each(Deferred::cancel);
        }
        drop(parts);
    }

    fn cancel(&self) {
        if !self.manner.outlives_cancel {
            // Not to fire it now is to be cancelled.
            drop(self.outcome.take());
        }
        let parts = self.parts.take();
        parts.iter().for_each(Deferred::cancel);
    }
}

/// Lets the others go when the outcome is told: also when a callback of it panics.
struct Ending<'a>(&'a Join);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// The end of those who need all of them.
pub(super) fn first_error(index: usize, failure: Failure) -> Verdict {
    ControlFlow::Break(Err(FirstError::new(index, failure).into()))
}

/// A place for each result.
pub(super) fn slots<T>(count: usize) -> Rc<[Cell<Option<T>>]> {
    (0..count).map(|_| Cell::new(None)).collect()
}

/// One of several Deferreds failed, and the others' results are of no use without it.
#[derive(Clone, Debug)]
pub struct FirstError {
    index: usize,
    cause: Boxed,
}

impl FirstError {
    pub(super) fn new(index: usize, failure: Failure) -> Self {
        Self {
            index,
            cause: Boxed(failure),
        }
    }

    /// Which of them failed, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// How it failed. [`Failure::check`] finds it too.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.cause.0
    }
}

impl fmt::Display for FirstError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "number {} of the Deferreds waited for failed",
            self.index
        )
    }
}

impl std::error::Error for FirstError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
