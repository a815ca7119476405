//! A call later, whose result is a Deferred.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use crate::{Deferred, DelayedCall, IntoDeferred, ReactorTime};

/// Calls `function` when `delay` has passed; fires with what it gives. Cancelling the Deferred
/// before then takes the timer away. With `|| ()`, it is a pause that can be awaited.
///
/// ```
/// use ropewalk_core::testing::Clock;
/// use ropewalk_core::{Deferred, defer_later};
/// use std::time::Duration;
///
/// let clock = Clock::new();
/// let answer: Deferred<u16> = defer_later(&clock, Duration::from_secs(2), || 220);
/// clock.advance(Duration::from_secs(1));
/// assert!(!answer.is_fired());
/// clock.advance(Duration::from_secs(1));
/// assert!(answer.is_fired());
/// ```
#[track_caller]
pub fn defer_later<T: 'static, R: IntoDeferred<T>>(
    reactor: &(impl ReactorTime + ?Sized),
    delay: Duration,
    function: impl FnOnce() -> R + 'static,
) -> Deferred<T> {
    let timer = Rc::new(OnceCell::<DelayedCall>::new());
    let to_cancel = timer.clone();
    let (resolver, later) = Deferred::with_canceller(move || {
        if let Some(timer) = to_cancel.get() {
            timer.cancel();
        }
    });
    let call = reactor.call_later(delay, Box::new(move || resolver.callback(())));
    // It is empty: this is the only place that sets it.
    let _ = timer.set(call);
    later.add_callback(move |()| function())
}
