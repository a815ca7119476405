//! A Deferred that is not waited for longer than so long.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::{Cancelled, Deferred, Failure, ReactorTime, TimedOut};

impl<T: 'static> Deferred<T> {
    /// Cancels this if it has not fired `after` so long. It then fails with [`TimedOut`], unless
    /// the operation, as it is cancelled, says something else.
    ///
    /// The timer is gone as soon as the result is there.
    ///
    /// ```
    /// use ropewalk_core::testing::Clock;
    /// use ropewalk_core::{Deferred, TimedOut};
    /// use std::time::Duration;
    ///
    /// let clock = Clock::new();
    /// let (_resolver, reply) = Deferred::<()>::pair();
    /// let reply = reply.add_timeout(Duration::from_secs(5), &clock);
    /// clock.advance(Duration::from_secs(5));
    /// assert!(reply.is_fired());
    /// drop(reply.add_errback(|failure| {
    ///     assert!(failure.check::<TimedOut>().is_some());
    ///     assert_eq!(failure.to_string(), "waiting 5s for a result: timed out");
    /// }));
    /// ```
    #[track_caller]
    pub fn add_timeout(self, after: Duration, reactor: &(impl ReactorTime + ?Sized)) -> Self {
        let Some(cancel) = self.weak_cancel() else {
            return self;
        };
        let timed_out = Rc::new(Cell::new(false));
        let flag = timed_out.clone();
        let timer = reactor.call_later(
            after,
            Box::new(move || {
                flag.set(true);
                cancel();
            }),
        );
        self.add_both(move |result| {
            timer.cancel();
            result.map_err(|failure| match failure.check::<Cancelled>() {
                Some(_) if timed_out.get() => {
                    Failure::new(TimedOut).context(format!("waiting {after:?} for a result"))
                }
                _ => failure,
            })
        })
    }
}
