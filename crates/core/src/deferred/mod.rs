//! Results that come later.
//!
//! A [`Deferred`] is one result that will come: a value or a [`Failure`]. Its firing half is a
//! [`Resolver`]. Links are added to a Deferred like stages to a pipe, or it is awaited.
//!
//! Promised here: callbacks run in the order in which they were added, at once if the result is
//! there already; a failure that nothing handles is reported; no length of chain overflows the
//! stack; and a panic in a callback unwinds to whoever fired, while what follows it in the chain
//! fails with [`Abandoned`]. When to fire, and what cancelling means on the wire, is left to
//! those who make a Deferred.

mod chain;
mod event;
mod gather;
mod into_deferred;
mod join;
mod list;
mod lock;
mod pause;
mod queue;
mod resolver;
mod semaphore;
mod trampoline;
mod unhandled;
mod waiters;

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use self::chain::Node;
pub use self::event::DeferredEvent;
pub use self::gather::{Gather, gather_results};
pub use self::into_deferred::IntoDeferred;
pub use self::join::FirstError;
pub use self::list::{DeferredList, race};
pub use self::lock::DeferredLock;
pub use self::pause::{Paused, maybe_deferred};
pub use self::queue::{DeferredQueue, QueueOverflow, QueueUnderflow};
pub use self::resolver::{Abandoned, Cancelled, Resolver};
pub use self::semaphore::{DeferredSemaphore, Permit};
#[cfg(test)]
pub(crate) use self::unhandled::tests::logged_by;
pub use self::waiters::TooManyWaiters;
use crate::Failure;

/// A result that will come: a `T` or a [`Failure`].
///
/// Each link ([`add_callback`](Self::add_callback) and its sisters) takes the Deferred and gives
/// a new one, for what the callback makes of the result:
///
/// ```
/// use ropewalk_core::Deferred;
///
/// let (resolver, reply) = Deferred::pair();
/// let answered = reply
///     .add_callback(|line: &str| line.trim().parse::<u16>())
///     .add_callback(|code: u16| println!("the server said {code}"))
///     .add_errback(|failure| println!("no reply: {failure}"));
///
/// resolver.callback("220\r\n"); // prints "the server said 220"
/// # assert!(answered.is_fired());
/// ```
///
/// A callback returns a plain value, a `Result`, or another `Deferred` whose result is then
/// waited for (see [`IntoDeferred`]). A `Result` could also be meant as the value itself, so
/// something must say what the next link gets: the type in the next closure (`|code: u16|`
/// above), the type of a variable (`let code: Deferred<u16> = …`), or
/// `add_callback::<u16, _>(…)`.
///
/// A Deferred is also a future, of a `Result<T, Failure>`. As with any future, to drop it while
/// it is awaited cancels it; so a task that is cancelled stops what it waits for.
///
/// Dropping a Deferred that nobody awaits lets the operation go on; [`cancel`](Self::cancel)
/// stops it. A failure that reaches a dropped Deferred, or is dropped with it, is reported at
/// once as an error event of [`tracing`] with the target `ropewalk::unhandled`. [`Cancelled`] is
/// not: it was asked for.
///
/// A callback runs with the values and in the span that held where it was added
/// ([`ContextKey`](crate::ContextKey)).
///
/// A Deferred and its Resolver stay on one thread.
#[must_use = "the operation goes on without it, but nobody hears of the result: \
              add an errback, await it, or drop it to have a failure reported"]
pub struct Deferred<T> {
    inner: Inner<T>,
}

enum Inner<T> {
    Ready(Result<T, Failure>, &'static Location<'static>),
    Pending(Rc<dyn Node<T>>),
    /// Moved on into a link, or awaited to its end.
    Taken,
}

/// What a link's callback makes: a Deferred's contents, which nobody reports when they are
/// dropped.
enum State<T> {
    Fired(Result<T, Failure>),
    Pending(Rc<dyn Node<T>>),
}

impl<T: 'static> Deferred<T> {
    /// A Deferred without a result, and what will fire it.
    ///
    /// ```
    /// # use ropewalk_core::Deferred;
    /// let (resolver, deferred) = Deferred::pair();
    /// resolver.callback(7);
    /// let doubled = deferred.add_callback(|n| n * 2);
    /// # let _: Deferred<i32> = doubled;
    /// ```
    #[track_caller]
    pub fn pair() -> (Resolver<T>, Self) {
        Self::from_source(chain::source(Location::caller(), None::<fn()>))
    }

    /// Like [`pair`](Self::pair), for an operation that can be stopped: `canceller` runs, at
    /// most once, when the Deferred is cancelled before it has fired.
    ///
    /// The canceller may fire the Resolver itself, with a failure that says more than
    /// [`Cancelled`] or with a result that came in time. It lives as long as the operation, so
    /// it should hold only weak references to whatever keeps the Resolver.
    ///
    /// ```
    /// # use std::{cell::Cell, rc::Rc};
    /// # use ropewalk_core::{Cancelled, Deferred};
    /// let stopped = Rc::new(Cell::new(false));
    /// let flag = stopped.clone();
    /// let (_resolver, deferred) = Deferred::<()>::with_canceller(move || flag.set(true));
    ///
    /// deferred.cancel();
    /// assert!(stopped.get());
    /// let _ = deferred.add_errback(|failure| assert!(failure.check::<Cancelled>().is_some()));
    /// ```
    #[track_caller]
    pub fn with_canceller(canceller: impl FnOnce() + 'static) -> (Resolver<T>, Self) {
        Self::from_source(chain::source(Location::caller(), Some(canceller)))
    }

    /// A Deferred that has fired with `value`. It allocates nothing.
    #[track_caller]
    pub fn succeed(value: T) -> Self {
        Self::from(Ok(value))
    }

    /// A Deferred that has fired with `failure`.
    #[track_caller]
    pub fn fail(failure: impl Into<Failure>) -> Self {
        Self::from(Err(failure.into()))
    }

    fn from_source(source: Rc<dyn Node<T>>) -> (Resolver<T>, Self) {
        let deferred = Self {
            inner: Inner::Pending(source.clone()),
        };
        (Resolver::new(source), deferred)
    }

    /// Calls `callback` with the value; a failure passes it by.
    #[track_caller]
    pub fn add_callback<U: 'static, R>(self, callback: impl FnOnce(T) -> R + 'static) -> Deferred<U>
    where
        R: IntoDeferred<U>,
    {
        self.add_link(|result| match result {
            Ok(value) => callback(value).into_deferred().into_state(),
            Err(failure) => State::Fired(Err(failure)),
        })
    }

    /// Calls `errback` with the failure; a value passes it by. What it returns takes the place
    /// of the value: to let some failures pass, return a `Result`.
    ///
    /// ```
    /// # use ropewalk_core::{Deferred, Failure};
    /// # use std::num::ParseIntError;
    /// let port: Deferred<u16> = "".parse::<u16>().map_err(Failure::from).into();
    /// let port = port.add_errback(|failure| {
    ///     failure.trap::<ParseIntError>()?;
    ///     Ok::<_, Failure>(80)
    /// });
    /// # let _ = port.add_callback(|port| assert_eq!(port, 80));
    /// ```
    #[track_caller]
    pub fn add_errback<R>(self, errback: impl FnOnce(Failure) -> R + 'static) -> Self
    where
        R: IntoDeferred<T>,
    {
        self.add_link(|result| match result {
            Ok(value) => State::Fired(Ok(value)),
            Err(failure) => errback(failure).into_deferred().into_state(),
        })
    }

    /// Calls `callback` with the result, whichever it is.
    #[track_caller]
    pub fn add_both<U: 'static, R>(
        self,
        callback: impl FnOnce(Result<T, Failure>) -> R + 'static,
    ) -> Deferred<U>
    where
        R: IntoDeferred<U>,
    {
        self.add_link(|result| callback(result).into_deferred().into_state())
    }

    /// Calls `callback` with the value, or `errback` with the failure. Unlike two links one
    /// after the other, `errback` doesn't see a failure of `callback`.
    #[track_caller]
    pub fn add_callbacks<U: 'static, R, S>(
        self,
        callback: impl FnOnce(T) -> R + 'static,
        errback: impl FnOnce(Failure) -> S + 'static,
    ) -> Deferred<U>
    where
        R: IntoDeferred<U>,
        S: IntoDeferred<U>,
    {
        self.add_link(|result| match result {
            Ok(value) => callback(value).into_deferred().into_state(),
            Err(failure) => errback(failure).into_deferred().into_state(),
        })
    }

    /// Stops the operation that this waits for: the first of the chain, or the Deferred that a
    /// callback has returned.
    ///
    /// Its canceller runs; if that didn't fire it, it fails with [`Cancelled`], which comes down
    /// the chain like any failure. While a callback of the chain is running, the Deferred that
    /// it is going to return is cancelled instead. Nothing happens if this has fired.
    #[track_caller]
    pub fn cancel(&self) {
        if let Inner::Pending(node) = &self.inner {
            chain::cancel(node.clone());
        }
    }

    /// What cancels this later, whatever was added to it since; `None` if it has fired. It keeps
    /// nothing alive.
    pub(crate) fn weak_cancel(&self) -> Option<impl FnOnce() + 'static> {
        let Inner::Pending(node) = &self.inner else {
            return None;
        };
        let weak = Rc::downgrade(node);
        (!node.core().is_fired()).then_some(move || {
            if let Some(node) = weak.upgrade() {
                chain::cancel(node);
            }
        })
    }

    /// Whether the result is there.
    #[must_use]
    pub fn is_fired(&self) -> bool {
        match &self.inner {
            Inner::Pending(node) => node.core().is_fired(),
            Inner::Ready(..) | Inner::Taken => true,
        }
    }

    /// Looks at the result, if it is there.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Result<T, Failure>) -> R) -> Option<R> {
        match &self.inner {
            Inner::Ready(result, _) => Some(look(result)),
            Inner::Pending(node) => node.core().peek(look),
            Inner::Taken => None,
        }
    }

    /// Takes the result, if it is there.
    pub(crate) fn try_take(self) -> Result<Result<T, Failure>, Self> {
        match self.is_fired() {
            true => match self.into_state() {
                State::Fired(result) => Ok(result),
                State::Pending(node) => Err(Self {
                    inner: Inner::Pending(node),
                }),
            },
            false => Err(self),
        }
    }

    /// All links come down to this one.
    #[track_caller]
    fn add_link<U: 'static>(
        self,
        callback: impl FnOnce(Result<T, Failure>) -> State<U> + 'static,
    ) -> Deferred<U> {
        let here = Location::caller();
        let state = match self.into_state() {
            State::Fired(result) => callback(result),
            State::Pending(node) => State::Pending(chain::link(&node, here, callback)),
        };
        Deferred {
            inner: match state {
                State::Fired(result) => Inner::Ready(result, here),
                State::Pending(node) => Inner::Pending(node),
            },
        }
    }

    /// The result, or the node that waits for it. It is the caller's to handle from here on.
    // Always, as a result that is returned and then moved on costs more than all else of a link.
    #[inline(always)]
    fn into_state(mut self) -> State<T> {
        let inner = mem::replace(&mut self.inner, Inner::Taken);
        // Its Drop has nothing left to do.
        mem::forget(self);
        match inner {
            Inner::Ready(result, _) => State::Fired(result),
            Inner::Pending(node) => match node.core().take_result() {
                Some(result) => State::Fired(result),
                None => State::Pending(node),
            },
            Inner::Taken => panic!("a Deferred was used again after it was awaited to its end"),
        }
    }
}

impl<T> From<Result<T, Failure>> for Deferred<T> {
    #[track_caller]
    fn from(result: Result<T, Failure>) -> Self {
        Self {
            inner: Inner::Ready(result, Location::caller()),
        }
    }
}

impl<T> Unpin for Deferred<T> {}

/// # Panics
/// If it is polled again after it was ready.
impl<T> Future for Deferred<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Inner::Pending(node) = &self.inner {
            let Some(result) = node.core().take_result() else {
                node.core().wake_when_fired(context.waker());
                return Poll::Pending;
            };
            self.inner = Inner::Taken;
            return Poll::Ready(result);
        }
        match mem::replace(&mut self.inner, Inner::Taken) {
            Inner::Ready(result, _) => Poll::Ready(result),
            _ => panic!("a Deferred was polled again after it was ready"),
        }
    }
}

impl<T> Drop for Deferred<T> {
    fn drop(&mut self) {
        match &self.inner {
            Inner::Ready(Err(failure), made) => unhandled::report(failure, made),
            Inner::Pending(node) => {
                if node.core().detach() {
                    chain::cancel(node.clone());
                }
            }
            Inner::Ready(Ok(_), _) | Inner::Taken => {}
        }
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Ready(_, made) => write!(f, "Deferred(fired, made at {made})"),
            Inner::Pending(node) => node.core().fmt(f),
            Inner::Taken => f.write_str("Deferred(awaited)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fmt::Write;
    use std::num::ParseIntError;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    /// The result of a Deferred that has fired.
    fn result_of<T>(mut deferred: Deferred<T>) -> Result<T, Failure> {
        match Pin::new(&mut deferred).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("no result yet: {deferred:?}"),
        }
    }

    fn value_of<T>(deferred: Deferred<T>) -> T {
        result_of(deferred).unwrap()
    }

    fn failing() -> Deferred<u16> {
        Deferred::fail(Failure::msg("out of rope"))
    }

    #[test]
    fn callbacks_run_in_order_when_it_fires() {
        let log = Rc::new(RefCell::new(String::new()));
        let (first, second) = (log.clone(), log.clone());
        let (resolver, deferred) = Deferred::pair();
        let deferred: Deferred<()> = deferred
            .add_callback(move |n: u16| {
                write!(first.borrow_mut(), "first {n}").unwrap();
                n + 1
            })
            .add_callback(move |n: u16| write!(second.borrow_mut(), ", second {n}").unwrap());
        assert_eq!(*log.borrow(), "");
        assert!(!deferred.is_fired());

        resolver.callback(1);

        assert_eq!(*log.borrow(), "first 1, second 2");
        assert!(deferred.is_fired());
    }

    #[test]
    fn a_callback_on_a_fired_deferred_runs_at_once() {
        let (resolver, deferred) = Deferred::pair();
        resolver.callback(20);
        let added: Deferred<u16> = deferred.add_callback(|n: u16| n + 1);
        assert_eq!(value_of(added.add_callback(|n: u16| n * 2)), 42);
    }

    #[test]
    fn a_link_may_change_the_type() {
        let (resolver, deferred) = Deferred::<u16>::pair();
        let text = deferred.add_callback(|n| n.to_string());
        resolver.callback(7);
        assert_eq!(value_of(text.add_callback(|text: String| text.len())), 1);
    }

    #[test]
    fn an_error_that_a_callback_returns_skips_to_the_errback() {
        let (resolver, deferred) = Deferred::pair();
        let deferred = deferred
            .add_callback(|text: &str| text.parse::<u16>())
            .add_callback(|_: u16| -> u16 { panic!("called in spite of the failure") })
            .add_errback(|failure| {
                assert!(failure.check::<ParseIntError>().is_some());
                99
            })
            .add_callback(|n: u16| n + 1);
        resolver.callback("x");
        assert_eq!(value_of::<u16>(deferred), 100);
    }

    #[test]
    fn a_value_passes_an_errback_by() {
        let (resolver, deferred) = Deferred::<u16>::pair();
        let deferred = deferred.add_errback(|failure| -> u16 { panic!("called with {failure}") });
        resolver.callback(5);
        assert_eq!(value_of(deferred), 5);
    }

    #[test]
    fn an_errback_may_fail_again() {
        let (resolver, deferred) = Deferred::<u16>::pair();
        let deferred = deferred.add_errback(|failure| Err::<u16, _>(failure.context("again")));
        resolver.errback(Failure::msg("lost"));
        assert_eq!(result_of(deferred).unwrap_err().to_string(), "again: lost");
    }

    #[test]
    fn add_both_sees_values_and_failures() {
        let seen = |deferred: Deferred<u16>| value_of(deferred.add_both(|result| result.is_ok()));
        assert!(seen(Deferred::succeed(1)));
        assert!(!seen(failing()));
    }

    #[test]
    fn the_errback_of_add_callbacks_does_not_see_its_callbacks_failure() {
        let deferred: Deferred<u16> = Deferred::succeed("x").add_callbacks(
            |text: &str| text.parse::<u16>(),
            |failure| -> u16 { panic!("called with {failure}") },
        );
        assert!(result_of(deferred).is_err());
        let deferred: Deferred<u16> = failing().add_callbacks(
            |_| -> u16 { panic!("called in spite of the failure") },
            |_| 3,
        );
        assert_eq!(value_of(deferred), 3);
    }

    #[test]
    fn a_deferred_that_a_callback_returns_is_waited_for() {
        let (outer, deferred) = Deferred::<()>::pair();
        let (inner, returned) = Deferred::<u16>::pair();
        let deferred = deferred.add_callback(move |()| returned);
        let deferred: Deferred<u16> = deferred.add_callback(|n: u16| n + 1);

        outer.callback(());
        assert!(!deferred.is_fired());
        inner.callback(1);
        assert_eq!(value_of(deferred), 2);
    }

    #[test]
    fn a_returned_deferred_that_has_fired_is_not_waited_for() {
        let (outer, deferred) = Deferred::<()>::pair();
        let (inner, returned) = Deferred::<u16>::pair();
        inner.callback(1);
        let deferred: Deferred<u16> = deferred.add_callback(move |()| returned);
        outer.callback(());
        assert_eq!(value_of(deferred), 1);
    }

    #[test]
    fn a_panic_unwinds_to_who_fired_and_abandons_what_follows() {
        let (resolver, deferred) = Deferred::<()>::pair();
        let line = line!() + 1;
        let panicking: Deferred<u16> = deferred.add_callback(|()| -> u16 {
            resume_unwind(Box::new("slipped"));
        });
        let deferred = panicking
            .add_callback(|_: u16| -> u16 { panic!("called in spite of the panic") })
            .add_errback(|failure| failure.check::<Abandoned>().unwrap().made_at().line() as u16);

        let payload = catch_unwind(AssertUnwindSafe(|| resolver.callback(()))).unwrap_err();

        assert_eq!(payload.downcast_ref(), Some(&"slipped"));
        assert_eq!(u32::from(value_of(deferred)), line);
    }

    #[test]
    fn a_panic_inside_a_nested_firing_abandons_both_chains() {
        let (outer, deferred) = Deferred::<()>::pair();
        let (inner, nested) = Deferred::<()>::pair();
        let nested: Deferred<()> =
            nested.add_callback(|()| -> () { resume_unwind(Box::new("slipped")) });
        let nested: Deferred<bool> = nested.add_both(|result| result.is_err());
        let deferred: Deferred<()> = deferred.add_callback(move |()| inner.callback(()));
        let deferred: Deferred<bool> = deferred.add_both(|result| result.is_err());

        assert!(catch_unwind(AssertUnwindSafe(|| outer.callback(()))).is_err());

        assert!(value_of(nested));
        assert!(value_of(deferred));
    }

    #[test]
    fn callbacks_and_what_they_hold_are_freed_when_they_have_run() {
        let held = Rc::new(());
        let (resolver, deferred) = Deferred::<()>::pair();
        let (inner, returned) = Deferred::<()>::with_canceller({
            let held = held.clone();
            move || drop(held)
        });
        let (in_callback, in_last) = (held.clone(), held.clone());
        let deferred = deferred.add_callback(move |()| {
            drop(in_callback);
            returned
        });
        let deferred: Deferred<()> = deferred.add_callback(move |()| drop(in_last));
        assert_eq!(Rc::strong_count(&held), 4);

        resolver.callback(());
        assert_eq!(Rc::strong_count(&held), 3);
        inner.callback(());
        assert_eq!(Rc::strong_count(&held), 1);
        value_of(deferred);
    }

    #[test]
    fn a_chain_is_freed_with_its_two_ends() {
        let held = Rc::new(());
        let (resolver, deferred) = Deferred::<()>::pair();
        let mut deferred = deferred;
        for _ in 0..3 {
            let held = held.clone();
            deferred = deferred.add_callback(move |()| drop(held));
        }
        let deferred = deferred.add_errback(|_| ());
        drop(deferred);
        assert_eq!(Rc::strong_count(&held), 4);
        drop(resolver);
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn dropping_a_pending_deferred_lets_the_operation_go_on() {
        let ran = Rc::new(RefCell::new(false));
        let flag = ran.clone();
        let (resolver, deferred) = Deferred::<()>::with_canceller(|| panic!("cancelled"));
        drop(deferred.add_callback(move |()| *flag.borrow_mut() = true));
        assert!(!resolver.is_cancelled());
        resolver.callback(());
        assert!(*ran.borrow());
    }

    #[test]
    fn awaiting_wakes_the_task_that_asked_last() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let [early, late] = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
        let (resolver, mut deferred) = Deferred::pair();
        for count in [&early, &late, &late] {
            let waker = Waker::from(count.clone());
            let polled = Pin::new(&mut deferred).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }

        resolver.callback(8);

        assert_eq!(early.0.load(Ordering::Relaxed), 0);
        assert_eq!(late.0.load(Ordering::Relaxed), 1);
        assert_eq!(value_of(deferred), 8);
    }

    #[test]
    fn a_callback_may_be_added_after_a_poll() {
        let (resolver, mut deferred) = Deferred::<u16>::pair();
        let polled = Pin::new(&mut deferred).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        let deferred: Deferred<u16> = deferred.add_callback(|n| n + 1);
        resolver.callback(1);
        assert_eq!(value_of(deferred), 2);
    }

    #[test]
    #[should_panic(expected = "polled again after it was ready")]
    fn polling_again_after_the_end_panics() {
        let mut deferred = Deferred::succeed(1);
        for _ in 0..2 {
            let _ = Pin::new(&mut deferred).poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}
