//! All results of many Deferreds, in order.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::join::{Joining, Manner, Verdict, first_error, slots};
use super::{Deferred, gather};
use crate::{Failure, FailureGroup};

/// Waits for many Deferreds of one type.
///
/// [`all`](Self::all) gives each one's result, in the order of the Deferreds, value or failure.
/// To have the values or a failure, see [`gather_results`](super::gather_results); to have the
/// first that succeeds and cancel the others, [`race`](super::race).
///
/// A failure that comes when the list has fired already has nobody to go to: it is reported,
/// unless [`consume_errors`](Self::consume_errors) is set. (In Twisted, failures that the results
/// hold are reported too. Here they are yours with the results.)
///
/// Cancelling what the list gives cancels each of its Deferreds.
///
/// ```
/// use ropewalk_core::{Deferred, DeferredList, Failure};
///
/// let (resolver, later) = Deferred::pair();
/// let list = DeferredList::new([later, Deferred::succeed(2), Deferred::fail(Failure::msg("lost"))]);
/// let report = list.all().add_callback(|results| {
///     let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
///     assert_eq!(ok, [true, true, false]);
/// });
/// resolver.callback(1);
/// # let report: Deferred<()> = report;
/// # assert!(report.is_fired());
/// ```
#[derive(Debug)]
#[must_use = "it waits for its Deferreds when it is asked for their results"]
pub struct DeferredList<T> {
    deferreds: Vec<Deferred<T>>,
    fire_on_one_errback: bool,
    consume_errors: bool,
}

impl<T: 'static> DeferredList<T> {
    /// A list of these.
    pub fn new(deferreds: impl IntoIterator<Item = Deferred<T>>) -> Self {
        Self {
            deferreds: deferreds.into_iter().collect(),
            fire_on_one_errback: false,
            consume_errors: false,
        }
    }

    /// The first failure ends it, with a [`FirstError`](super::FirstError). The others go on.
    pub fn fire_on_one_errback(mut self) -> Self {
        self.fire_on_one_errback = true;
        self
    }

    /// Failures that come when it has fired already are forgotten, not reported.
    pub fn consume_errors(mut self) -> Self {
        self.consume_errors = true;
        self
    }

    /// Each one's result, when all are there. At once, if there are none.
    #[track_caller]
    pub fn all(self) -> Deferred<Vec<Result<T, Failure>>> {
        let slots = slots(self.deferreds.len());
        let (filled, errback) = (slots.clone(), self.fire_on_one_errback);
        let joined = self.join(move |index, result| match result {
            Err(failure) if errback => first_error(index, failure),
            result => {
                filled[index].set(Some(result));
                ControlFlow::Continue(())
            }
        });
        joined.add_callback(move |()| slots.iter().filter_map(Cell::take).collect::<Vec<_>>())
    }

    /// The first value, and the index of its Deferred; the others go on. If all fail, so does
    /// this, with a [`FailureGroup`]; also if there are none.
    #[track_caller]
    pub fn fire_on_one_callback(self) -> Deferred<(usize, T)> {
        let errback = self.fire_on_one_errback;
        let manner = self.manner();
        first(self.deferreds, errback, manner)
    }

    /// The values, when all are there; the first failure ends it. As
    /// [`gather_results`](super::gather_results), which cannot consume errors.
    #[track_caller]
    pub fn gather_results(self) -> Deferred<Vec<T>> {
        let manner = self.manner();
        gather::values(self.deferreds, manner)
    }

    fn manner(&self) -> Manner {
        Manner {
            cancel_rest: false,
            consume_errors: self.consume_errors,
            outlives_cancel: true,
        }
    }

    #[track_caller]
    fn join(self, judge: impl Fn(usize, Result<T, Failure>) -> Verdict + 'static) -> Deferred<()> {
        let mut joining = Joining::new(self.deferreds.len(), self.manner());
        let judge = Rc::new(judge);
        for (index, deferred) in self.deferreds.into_iter().enumerate() {
            let judge = judge.clone();
            joining.add(deferred, move |result| judge(index, result));
        }
        joining.done()
    }
}

/// The first value of several Deferreds of one type, and the index of its Deferred. The others
/// are cancelled, and what they still say is forgotten.
///
/// It fails when all have, with a [`FailureGroup`] of their failures in order; also if there are
/// none. Cancelling it cancels all of them.
///
/// ```
/// use ropewalk_core::{Deferred, race};
///
/// let (_slow, first) = Deferred::<u16>::pair();
/// let (fast, second) = Deferred::<u16>::pair();
/// let winner = race([first, second]);
/// fast.callback(7);
/// # let winner: Deferred<()> =
/// winner.add_callback(|(index, value)| assert_eq!((index, value), (1, 7)));
/// # assert!(winner.is_fired());
/// ```
#[track_caller]
pub fn race<T: 'static>(deferreds: impl IntoIterator<Item = Deferred<T>>) -> Deferred<(usize, T)> {
    let manner = Manner {
        cancel_rest: true,
        consume_errors: true,
        outlives_cancel: false,
    };
    first(deferreds.into_iter().collect(), false, manner)
}

#[track_caller]
fn first<T: 'static>(
    deferreds: Vec<Deferred<T>>,
    fire_on_one_errback: bool,
    manner: Manner,
) -> Deferred<(usize, T)> {
    let count = deferreds.len();
    let failures = slots(count);
    let winner = Rc::new(Cell::new(None));
    let mut joining = Joining::new(count, manner);
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let (failures, winner) = (failures.clone(), winner.clone());
        joining.add(deferred, move |result| match result {
            Ok(value) => {
                winner.set(Some((index, value)));
                ControlFlow::Break(Ok(()))
            }
            Err(failure) if fire_on_one_errback => first_error(index, failure),
            Err(failure) => {
                failures[index].set(Some(failure));
                ControlFlow::Continue(())
            }
        });
    }
    (joining.done()).add_callback(move |()| {
        let all_failed = || FailureGroup::new(failures.iter().filter_map(Cell::take));
        winner.take().ok_or_else(all_failed)
    })
}
