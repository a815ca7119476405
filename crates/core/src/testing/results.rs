//! What a Deferred has come to by now: Twisted's `successResultOf`, `failureResultOf` and
//! `assertNoResult`.

use std::any::type_name;
use std::error::Error;

use crate::{Deferred, Failure};

/// Which failures are meant: those that hold an error of this type, or by [`Failure`] itself all
/// of them.
pub trait FailureKind: 'static {
    /// Whether `failure` is meant.
    fn is_in(failure: &Failure) -> bool;
}

impl<E: Error + 'static> FailureKind for E {
    fn is_in(failure: &Failure) -> bool {
        failure.check::<E>().is_some()
    }
}

impl FailureKind for Failure {
    fn is_in(_: &Failure) -> bool {
        true
    }
}

/// The value that `deferred` has now.
///
/// ```
/// use ropewalk_core::Deferred;
/// use ropewalk_core::testing::success_result_of;
///
/// let sum: Deferred<u8> = Deferred::succeed(2).add_callback(|n: u8| n + 2);
/// assert_eq!(success_result_of(sum), 4);
/// ```
///
/// # Panics
/// It has no result yet, or has failed.
#[track_caller]
pub fn success_result_of<T: 'static>(deferred: Deferred<T>) -> T {
    match deferred.try_take() {
        Ok(Ok(value)) => value,
        Ok(Err(failure)) => panic!(
            "a value was expected, and it has failed:\n{}",
            failure.traceback()
        ),
        Err(pending) => panic!("a value was expected, and there is no result yet: {pending:?}"),
    }
}

/// The failure that `deferred` has now, which holds an `E`. With [`Failure`] for `E` it may be
/// any.
///
/// ```
/// use ropewalk_core::testing::failure_result_of;
/// use ropewalk_core::{Deferred, Failure};
/// use std::num::ParseIntError;
///
/// let port: Deferred<u16> = "".parse::<u16>().map_err(Failure::from).into();
/// let failure = failure_result_of::<ParseIntError>(port);
/// assert!(failure.to_string().contains("empty string"));
///
/// let lost = Deferred::<()>::fail(Failure::msg("lost"));
/// assert_eq!(failure_result_of::<Failure>(lost).to_string(), "lost");
/// ```
///
/// # Panics
/// It has no result yet, has a value, or has failed with something else.
#[track_caller]
pub fn failure_result_of<E: FailureKind>(deferred: Deferred<impl Sized + 'static>) -> Failure {
    let expected = type_name::<E>();
    match deferred.try_take() {
        Ok(Err(failure)) if E::is_in(&failure) => failure,
        Ok(Err(failure)) => panic!(
            "a failure with {expected} was expected, and it has failed with another:\n{}",
            failure.traceback()
        ),
        Ok(Ok(_)) => panic!("a failure with {expected} was expected, and there is a value"),
        Err(pending) => panic!(
            "a failure with {expected} was expected, and there is no result yet: {pending:?}"
        ),
    }
}

/// Sees that `deferred` has no result yet.
///
/// ```
/// use ropewalk_core::Deferred;
/// use ropewalk_core::testing::{assert_no_result, success_result_of};
///
/// let (resolver, reply) = Deferred::pair();
/// assert_no_result(&reply);
/// resolver.callback("250 OK");
/// assert_eq!(success_result_of(reply), "250 OK");
/// ```
///
/// # Panics
/// It has one.
#[track_caller]
pub fn assert_no_result<T: 'static>(deferred: &Deferred<T>) {
    if !deferred.is_fired() {
        return;
    }
    let failed = deferred.peek(|result| {
        let failure = result.as_ref().err();
        failure.map(|failure| failure.traceback().to_string())
    });
    match failed.flatten() {
        Some(text) => panic!("no result was expected yet, and it has failed:\n{text}"),
        None => panic!("no result was expected yet, and there is one: {deferred:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deferred::logged_by;
    use std::fmt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// What `action` says when it panics.
    fn panic_of(action: impl FnOnce()) -> String {
        let payload = catch_unwind(AssertUnwindSafe(action)).expect_err("a panic");
        match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => panic!("the panic has no formatted text"),
        }
    }

    fn lost() -> Deferred<u8> {
        Deferred::fail(Failure::msg("lost").context("reading"))
    }

    #[test]
    fn results_come_from_chains_that_were_fired_before_and_after_their_links() {
        let (resolver, deferred) = Deferred::<u8>::pair();
        let next: Deferred<u8> = deferred.add_callback(|n: u8| n + 1);
        assert_no_result(&next);
        resolver.callback(1);
        assert_eq!(success_result_of(next), 2);
        assert_eq!(success_result_of(Deferred::succeed(3)), 3);
    }

    #[test]
    fn a_wrong_end_is_told_with_the_failure_and_its_way() {
        let text = panic_of(|| _ = success_result_of(lost()));
        assert!(text.contains("Traceback: lost"), "{text}");
        assert!(text.contains("results.rs"), "{text}");
        assert!(text.contains(": reading"), "{text}");
        let text = panic_of(|| drop(failure_result_of::<fmt::Error>(lost())));
        assert!(text.contains("core::fmt::Error was expected"), "{text}");
        assert!(text.contains("Traceback: lost"), "{text}");
        let text = panic_of(|| drop(failure_result_of::<Failure>(Deferred::succeed(1))));
        assert!(text.contains("there is a value"), "{text}");
        let text = panic_of(|| assert_no_result(&lost().add_errback(|_| 1)));
        assert!(text.contains("there is one: Deferred(fired"), "{text}");
        let text = panic_of(|| assert_no_result(&lost()));
        assert!(text.contains("it has failed:\nTraceback: lost"), "{text}");
    }

    #[test]
    fn a_result_that_has_not_come_is_told_with_the_place_where_it_was_asked_for() {
        let (_resolver, deferred) = Deferred::<u8>::pair();
        let line = line!() - 1;
        let text = panic_of(|| _ = success_result_of(deferred));
        assert!(text.contains(&format!("results.rs:{line}")), "{text}");
        let (_resolver, deferred) = Deferred::<u8>::pair();
        let text = panic_of(|| drop(failure_result_of::<Failure>(deferred)));
        assert!(text.contains("there is no result yet"), "{text}");
    }

    #[test]
    fn a_failure_that_was_taken_is_handled_and_one_that_was_looked_at_is_not() {
        let log = logged_by(|| {
            drop(failure_result_of::<Failure>(lost()));
            panic_of(|| _ = success_result_of(lost()));
        });
        assert_eq!(log, "");
        let log = logged_by(|| drop(panic_of(|| assert_no_result(&lost()))));
        assert_eq!(log.matches("ropewalk::unhandled").count(), 1, "{log}");
        let (resolver, deferred) = Deferred::<u8>::pair();
        resolver.errback(Failure::msg("kept"));
        panic_of(|| assert_no_result(&deferred));
        let failure = failure_result_of::<Failure>(deferred);
        assert_eq!(failure.to_string(), "kept");
    }
}
