//! What a callback may return.

use super::Deferred;
use crate::Failure;

/// What a callback may return to give the next link a `U`: a `U`, a `Result<U, E>` of any error,
/// or a `Deferred<U>`, which is waited for.
///
/// ```
/// use ropewalk_core::{Deferred, IntoDeferred};
///
/// fn later<U>(outcome: impl IntoDeferred<U>) -> Deferred<U> {
///     outcome.into_deferred()
/// }
///
/// let plain: Deferred<u16> = later(80);
/// let parsed: Deferred<u16> = later("80".parse::<u16>());
/// let waited_for: Deferred<u16> = later(Deferred::succeed(80));
/// # drop((plain, parsed, waited_for));
/// ```
pub trait IntoDeferred<U> {
    /// The outcome as a Deferred, fired already unless it was one that isn't.
    fn into_deferred(self) -> Deferred<U>;
}

impl<U: 'static> IntoDeferred<U> for U {
    #[track_caller]
    fn into_deferred(self) -> Deferred<U> {
        Deferred::succeed(self)
    }
}

impl<U: 'static, E: Into<Failure>> IntoDeferred<U> for Result<U, E> {
    #[track_caller]
    fn into_deferred(self) -> Deferred<U> {
        Deferred::from(self.map_err(Into::into))
    }
}

impl<U: 'static> IntoDeferred<U> for Deferred<U> {
    fn into_deferred(self) -> Deferred<U> {
        self
    }
}
