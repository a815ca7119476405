//! The half that fires a Deferred, and the failures that come of not firing it.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::chain::{self, Node};
use crate::Failure;

/// Fires its [`Deferred`](super::Deferred), once: firing takes the Resolver.
///
/// The callbacks run before the firing call returns, except in a pile of some thirty firings
/// inside each other's callbacks: the deepest then wait for the outermost, to spare the stack.
///
/// Firing what was cancelled is quietly ignored, so an operation need not look first. A Resolver
/// dropped without firing fails its Deferred with [`Abandoned`].
pub struct Resolver<T> {
    /// `None` once it has fired.
    node: Option<Rc<dyn Node<T>>>,
}

impl<T: 'static> Resolver<T> {
    pub(super) fn new(node: Rc<dyn Node<T>>) -> Self {
        Self { node: Some(node) }
    }

    /// Fires with a value.
    pub fn callback(self, value: T) {
        self.fire(Ok(value));
    }

    /// Fires with a failure, or an error that becomes one here.
    #[track_caller]
    pub fn errback(self, failure: impl Into<Failure>) {
        self.fire(Err(failure.into()));
    }

    /// Fires with a result.
    pub fn fire(mut self, result: Result<T, Failure>) {
        if let Some(node) = self.node.take() {
            chain::fire(node, result);
        }
    }
}

impl<T> Resolver<T> {
    /// Whether the Deferred was cancelled. This is true already while the canceller runs.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.node
            .as_ref()
            .is_some_and(|node| node.core().is_cancelled())
    }
}

impl<T> Drop for Resolver<T> {
    fn drop(&mut self) {
        let Some(node) = self.node.take() else {
            return;
        };
        let core = node.core();
        // A canceller that forgets the operation drops its Resolver: that is not abandoning it.
        let failure = if core.is_cancelled() {
            Cancelled.into()
        } else {
            core.abandoned()
        };
        chain::fire(node, Err(failure));
    }
}

impl<T> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("Resolver");
        if let Some(node) = &self.node {
            tuple.field(node.core());
        }
        tuple.finish()
    }
}

/// No result will come: the [`Resolver`] was dropped without firing, or a callback further up
/// the chain panicked.
#[derive(Clone, Debug)]
pub struct Abandoned {
    made: &'static Location<'static>,
}

impl Abandoned {
    pub(super) fn new(made: &'static Location<'static>) -> Self {
        Self { made }
    }

    /// Where the Deferred was made whose result doesn't come.
    #[must_use]
    pub fn made_at(&self) -> &'static Location<'static> {
        self.made
    }
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no result will come for the Deferred made at {}: its Resolver was dropped without \
             firing, or its callback panicked",
            self.made
        )
    }
}

impl Error for Abandoned {}

/// The operation was cancelled by [`Deferred::cancel`](super::Deferred::cancel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operation was cancelled")
    }
}

impl Error for Cancelled {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deferred;
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// Where the failure of a Deferred goes.
    fn failure_of<T: 'static>(deferred: Deferred<T>) -> Rc<RefCell<Option<Failure>>> {
        let kept = Rc::new(RefCell::new(None));
        let failure = kept.clone();
        drop(deferred.add_both(move |result| *failure.borrow_mut() = result.err()));
        kept
    }

    fn is<E: Error + 'static>(failure: &Rc<RefCell<Option<Failure>>>) -> bool {
        let failure = failure.borrow();
        failure.as_ref().is_some_and(|f| f.check::<E>().is_some())
    }

    #[test]
    fn dropping_the_resolver_says_where_the_deferred_was_made() {
        let line = line!() + 1;
        let (resolver, deferred) = Deferred::<()>::pair();
        let failure = failure_of(deferred);
        drop(resolver);
        let failure = failure.take().unwrap();
        assert_eq!(failure.check::<Abandoned>().unwrap().made_at().line(), line);
        assert!(failure.to_string().contains("resolver.rs"));
    }

    #[test]
    fn errback_notes_where_it_was_called() {
        let (resolver, deferred) = Deferred::<()>::pair();
        let failure = failure_of(deferred);
        let line = line!() + 1;
        resolver.errback(Cancelled);
        assert_eq!(failure.take().unwrap().location().line(), line);
    }

    #[test]
    fn cancelling_runs_the_canceller_once_and_fails_with_cancelled() {
        let runs = Rc::new(Cell::new(0));
        let count = runs.clone();
        let (resolver, deferred) = Deferred::<()>::with_canceller(move || {
            count.set(count.get() + 1);
        });
        let deferred = deferred.add_callback(|()| -> () { panic!("called though cancelled") });
        let deferred: Deferred<()> = deferred;
        assert!(!resolver.is_cancelled());

        let line = line!() + 1;
        deferred.cancel();
        deferred.cancel();

        assert_eq!(runs.get(), 1);
        assert!(resolver.is_cancelled());
        let failure = failure_of(deferred).take().unwrap();
        assert!(failure.check::<Cancelled>().is_some());
        assert_eq!(failure.location().line(), line);
    }

    #[test]
    fn firing_what_was_cancelled_changes_nothing() {
        let (resolver, deferred) = Deferred::pair();
        deferred.cancel();
        resolver.callback(1);
        assert!(is::<Cancelled>(&failure_of(deferred)));
    }

    #[test]
    fn a_canceller_may_fire_the_resolver_itself() {
        let resolver = Rc::new(RefCell::new(None::<Resolver<u16>>));
        let in_canceller = resolver.clone();
        let (fires, deferred) = Deferred::with_canceller(move || {
            let resolver = in_canceller.take().unwrap();
            assert!(resolver.is_cancelled());
            resolver.callback(226);
        });
        *resolver.borrow_mut() = Some(fires);
        let result = Rc::new(Cell::new(0));
        let seen = result.clone();
        let deferred: Deferred<()> = deferred.add_callback(move |code: u16| seen.set(code));
        deferred.cancel();
        assert_eq!(result.get(), 226);
    }

    #[test]
    fn a_canceller_that_drops_the_resolver_cancels_and_does_not_abandon() {
        let resolver = Rc::new(RefCell::new(None));
        let in_canceller = resolver.clone();
        let (fires, deferred) = Deferred::<()>::with_canceller(move || drop(in_canceller.take()));
        *resolver.borrow_mut() = Some(fires);
        deferred.cancel();
        assert!(is::<Cancelled>(&failure_of(deferred)));
    }

    #[test]
    fn a_canceller_that_panics_still_cancels() {
        let (_resolver, deferred) = Deferred::<()>::with_canceller(|| resume_unwind(Box::new(1)));
        assert!(catch_unwind(AssertUnwindSafe(|| deferred.cancel())).is_err());
        assert!(is::<Cancelled>(&failure_of(deferred)));
    }

    #[test]
    fn cancelling_a_fired_deferred_does_nothing() {
        let (resolver, deferred) = Deferred::with_canceller(|| panic!("cancelled"));
        resolver.callback(());
        deferred.cancel();
        assert!(failure_of(deferred).borrow().is_none());
    }

    #[test]
    fn cancelling_reaches_the_deferred_that_a_callback_returned() {
        let (_inner, returned) = Deferred::<()>::pair();
        let (outer, deferred) = Deferred::with_canceller(|| panic!("cancelled the wrong one"));
        let returned = returned.add_errback(|failure| Err::<(), _>(failure.context("inner")));
        let deferred: Deferred<()> = deferred.add_callback(move |()| returned);
        outer.callback(());
        deferred.cancel();
        let failure = failure_of(deferred).take().unwrap();
        assert_eq!(failure.to_string(), "inner: the operation was cancelled");
    }

    #[test]
    fn cancelling_while_a_callback_runs_cancels_what_it_returns() {
        let last = Rc::new(RefCell::new(None::<Deferred<()>>));
        let in_callback = last.clone();
        let cancelled = Rc::new(Cell::new(false));
        let flag = cancelled.clone();
        let (_inner, returned) = Deferred::<()>::with_canceller(move || flag.set(true));
        let (outer, deferred) = Deferred::<()>::pair();
        *last.borrow_mut() = Some(deferred.add_callback(move |()| {
            in_callback.borrow().as_ref().unwrap().cancel();
            returned
        }));
        outer.callback(());
        assert!(cancelled.get());
        assert!(is::<Cancelled>(&failure_of(last.take().unwrap())));
    }

    #[test]
    fn a_resolver_dropped_by_a_panic_runs_errbacks_that_panic_too() {
        let (resolver, deferred) = Deferred::<()>::pair();
        let deferred = deferred.add_errback(|_| -> () { resume_unwind(Box::new("second")) });
        let payload = catch_unwind(AssertUnwindSafe(move || {
            let _resolver = resolver;
            resume_unwind(Box::new("first"));
        }))
        .unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"first"));
        assert!(is::<Abandoned>(&failure_of(deferred)));
    }
}
