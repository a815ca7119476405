//! A Deferred that is held back for a while, one that feeds another, and a call made into one.

use super::{Deferred, IntoDeferred, Resolver};

impl<T: 'static> Deferred<T> {
    /// Holds the result back: what is added to the Deferred that this gives waits until
    /// [`Paused::unpause`], though the result may be there before.
    ///
    /// Cancelling it while the result is held back throws the result away.
    ///
    /// ```
    /// use ropewalk_core::Deferred;
    ///
    /// let (paused, held) = Deferred::succeed(7).pause();
    /// let done: Deferred<()> = held.add_callback(|n| assert_eq!(n, 7));
    /// assert!(!done.is_fired());
    /// paused.unpause();
    /// assert!(done.is_fired());
    /// ```
    #[track_caller]
    pub fn pause(self) -> (Paused, Self) {
        let (resolver, gate) = Deferred::<()>::pair();
        let held = self.add_both(move |result| gate.add_callback::<T, _>(move |()| result));
        (Paused(Some(resolver)), held)
    }

    /// Gives the result to another Deferred, by its Resolver. Cancelling that one doesn't cancel
    /// this.
    ///
    /// ```
    /// use ropewalk_core::Deferred;
    ///
    /// let (resolver, answer) = Deferred::pair();
    /// Deferred::succeed(42).chain_deferred(resolver);
    /// # let answer: Deferred<()> =
    /// answer.add_callback(|n| assert_eq!(n, 42));
    /// # assert!(answer.is_fired());
    /// ```
    #[track_caller]
    pub fn chain_deferred(self, resolver: Resolver<T>) {
        drop(self.add_both::<(), _>(move |result| resolver.fire(result)));
    }
}

/// What a [paused](Deferred::pause) Deferred waits for. Dropping it lets the result go on too.
#[derive(Debug)]
#[must_use = "dropping it lets the result go on"]
pub struct Paused(Option<Resolver<()>>);

impl Paused {
    /// Lets the result go on.
    pub fn unpause(self) {
        drop(self);
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Some(resolver) = self.0.take() {
            resolver.callback(());
        }
    }
}

/// Calls `function`, which may return a value, a `Result` or a Deferred, and gives a Deferred in
/// each case: for those who call what others wrote.
///
/// What Twisted does with an exception is done with an `Err`. A panic is a mistake in the program
/// and stays one: it unwinds to the caller, since what it left half done can't be known.
///
/// ```
/// use ropewalk_core::{Deferred, maybe_deferred};
///
/// let port: Deferred<u16> = maybe_deferred(|| "x".parse::<u16>());
/// # let port: Deferred<u16> =
/// port.add_errback(|failure| {
///     assert_eq!(failure.to_string(), "invalid digit found in string");
///     80
/// });
/// # assert!(port.is_fired());
/// ```
#[track_caller]
pub fn maybe_deferred<T, R: IntoDeferred<T>>(function: impl FnOnce() -> R) -> Deferred<T> {
    function().into_deferred()
}
