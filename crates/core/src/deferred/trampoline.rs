//! Runs chains with a bounded stack, and to their end even when a callback panics.
//!
//! A chain itself needs no recursion: each node gives the next one to the loop in [`run`]. What
//! is bounded here is firing inside a callback inside a firing, and so on, as when each holder of
//! a lock releases it to the next.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread;

use crate::inherited;

/// What can be run: a node that holds a result.
pub(super) trait Deliver {
    /// Passes the result that this holds to what was waiting for it. Returns the node to deliver
    /// next, if that now holds one.
    fn deliver(self: Rc<Self>) -> Option<Rc<dyn Deliver>>;
}

/// How many firings may stand inside each other before the next ones wait for the outermost.
/// Low, as the frames of the callbacks between them can be large.
const MAX_NESTED: usize = 32;

thread_local! {
    static NESTED: Cell<usize> = const { Cell::new(0) };
    static WAITING: RefCell<VecDeque<Rc<dyn Deliver>>> = const { RefCell::new(VecDeque::new()) };
}

/// Delivers the result that `node` holds, and what comes of it, down to the end of the chain.
///
/// The first panic of a callback unwinds from here, when all there is to run has run.
pub(super) fn run(node: Rc<dyn Deliver>) {
    let _outside = inherited::leave();
    let nested = NESTED.get();
    let mut next = Some(node);
    if nested >= MAX_NESTED {
        // Without a queue, which is so while the thread ends, it runs here.
        next = next.and_then(queue);
    }
    let mut panicked = None;
    NESTED.set(nested + 1);
    while let Some(node) = next {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let mut next = Some(node);
            while let Some(node) = next {
                next = node.deliver();
            }
        }));
        if let Err(payload) = outcome {
            panicked.get_or_insert(payload);
        }
        next = if nested == 0 { dequeue() } else { None };
    }
    NESTED.set(nested);
    if let Some(payload) = panicked
        && !thread::panicking()
    {
        panic::resume_unwind(payload);
    }
}

/// Leaves `node` to the outermost [`run`] of this thread, or gives it back if there is no queue.
pub(super) fn queue(node: Rc<dyn Deliver>) -> Option<Rc<dyn Deliver>> {
    let mut node = Some(node);
    let _ = WAITING.try_with(|waiting| waiting.borrow_mut().extend(node.take()));
    node
}

fn dequeue() -> Option<Rc<dyn Deliver>> {
    WAITING
        .try_with(|waiting| waiting.borrow_mut().pop_front())
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use crate::{Abandoned, Cancelled, Deferred, Resolver};
    use std::cell::Cell;
    use std::panic::{self, AssertUnwindSafe};
    use std::rc::Rc;
    use std::thread;

    const LINKS: u64 = 200_000;

    /// Runs `test` on a stack that has no room for a frame per link.
    fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
        let thread = thread::Builder::new().stack_size(256 * 1024).spawn(test);
        if let Err(payload) = thread.unwrap().join() {
            panic::resume_unwind(payload);
        }
    }

    fn long_chain() -> (Resolver<u64>, Deferred<u64>) {
        let (resolver, mut deferred) = Deferred::pair();
        for _ in 0..LINKS {
            deferred = deferred.add_callback(|n: u64| n + 1);
        }
        (resolver, deferred)
    }

    #[test]
    fn a_long_chain_fires() {
        on_a_small_stack(|| {
            let (resolver, deferred) = long_chain();
            resolver.callback(0);
            assert!(deferred.is_fired());
            drop(deferred.add_callback(|n| assert_eq!(n, LINKS)));
        });
    }

    #[test]
    fn a_long_chain_is_cancelled() {
        on_a_small_stack(|| {
            let (_resolver, deferred) = long_chain();
            deferred.cancel();
            assert!(deferred.is_fired());
            drop(deferred.add_both(|result| {
                assert!(result.unwrap_err().check::<Cancelled>().is_some());
            }));
        });
    }

    #[test]
    fn a_long_chain_is_dropped_from_either_end() {
        on_a_small_stack(|| {
            let (resolver, deferred) = long_chain();
            drop(resolver);
            assert!(deferred.is_fired());
            drop(deferred);
            let (resolver, deferred) = long_chain();
            drop(deferred);
            drop(resolver);
        });
    }

    #[test]
    fn a_long_chain_of_returned_deferreds_fires() {
        on_a_small_stack(|| {
            let (resolver, mut deferred) = Deferred::<u64>::pair();
            for _ in 0..LINKS {
                let (outer, waits) = Deferred::<()>::pair();
                let waits = waits.add_callback(move |()| deferred);
                outer.callback(());
                deferred = waits;
            }
            resolver.callback(1);
            assert!(deferred.is_fired());
        });
    }

    /// As many Deferreds, each of which fires the next in its callback.
    fn row() -> (Resolver<u64>, Deferred<u64>) {
        let (first, mut waits) = Deferred::<u64>::pair();
        for _ in 0..LINKS {
            let (resolver, next) = Deferred::pair();
            drop(waits.add_callback(move |n| resolver.callback(n + 1)));
            waits = next;
        }
        (first, waits)
    }

    #[test]
    fn firing_inside_a_firing_inside_a_firing_ends_before_the_outermost_returns() {
        on_a_small_stack(|| {
            let (first, last) = row();
            first.callback(0);
            assert!(last.is_fired());
            drop(last.add_callback(|n| assert_eq!(n, LINKS)));
        });
    }

    #[test]
    fn resolvers_that_are_dropped_with_a_callback_are_dropped_without_recursion() {
        on_a_small_stack(|| {
            let (first, last) = row();
            drop(first);
            assert!(last.is_fired());
            drop(last.add_both(|result| {
                assert!(result.unwrap_err().check::<Abandoned>().is_some());
            }));
        });
    }

    #[test]
    fn a_chain_of_panics_ends_and_the_first_one_unwinds() {
        on_a_small_stack(|| {
            let panics = Rc::new(Cell::new(0));
            let (resolver, mut deferred) = Deferred::<()>::pair();
            for _ in 0..1000 {
                let panics = panics.clone();
                deferred = deferred.add_both(move |_| -> () {
                    panics.set(panics.get() + 1);
                    panic::resume_unwind(Box::new(panics.get()));
                });
            }
            let payload = panic::catch_unwind(AssertUnwindSafe(|| resolver.callback(())));
            assert_eq!(payload.unwrap_err().downcast_ref(), Some(&1));
            assert_eq!(panics.get(), 1000);
            drop(deferred.add_errback(|_| ()));
        });
    }
}
