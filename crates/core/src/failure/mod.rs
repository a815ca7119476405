//! What went wrong, where it was noticed, and why.
//!
//! A [`Failure`] carries any error across an asynchronous border, the way an exception crosses a
//! function call. It adds the place where the error was caught, the contexts that it passed
//! through, and a backtrace when backtraces are enabled (`RUST_BACKTRACE=1`). It is one pointer
//! wide and cheap to clone, so that one failure can be told to many.

mod group;
mod printing;
mod reporter;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use self::group::FailureGroup;
pub use self::reporter::{FailureReport, FailureReporter};

/// An error on its way to whoever handles it.
///
/// Made from any error by `?`, `.into()` or [`Failure::new`]; from words by [`Failure::msg`].
///
/// ```
/// use ropewalk_core::Failure;
///
/// fn parse(text: &str) -> Result<u16, Failure> {
///     Ok(text.parse::<u16>()?)
/// }
///
/// let failure = parse("many").unwrap_err().context("reading the port");
/// assert!(failure.check::<std::num::ParseIntError>().is_some());
/// assert_eq!(failure.to_string(), "reading the port: invalid digit found in string");
/// ```
#[derive(Clone)]
pub struct Failure {
    inner: Arc<Inner>,
}

struct Inner {
    cause: Cause,
    location: &'static Location<'static>,
    backtrace: Option<Backtrace>,
}

enum Cause {
    Error(Box<dyn Error + Send + Sync>),
    Message(Cow<'static, str>),
    Context(Cow<'static, str>, Failure),
    /// The first was raised because of the second.
    Raised(Failure, Failure),
}

impl Failure {
    /// Wraps `error`, and notes the caller's place.
    #[track_caller]
    pub fn new<E>(error: E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        match error.into().downcast::<Boxed>() {
            Ok(boxed) => boxed.0,
            Err(error) => Self::from_cause(Cause::Error(error)),
        }
    }

    /// A failure that is only a sentence, for when no type needs to be told apart from others.
    #[track_caller]
    pub fn msg(message: impl Into<Cow<'static, str>>) -> Self {
        Self::from_cause(Cause::Message(message.into()))
    }

    /// Says what was being done when this happened. The failure itself becomes the cause.
    #[track_caller]
    #[must_use]
    pub fn context(self, doing: impl Into<Cow<'static, str>>) -> Self {
        let location = Location::caller();
        Self {
            inner: Arc::new(Inner {
                cause: Cause::Context(doing.into(), self),
                location,
                backtrace: None,
            }),
        }
    }

    /// Notes that this came of `cause`, which `check`, `Display` and
    /// [`traceback`](Self::traceback) then find behind it.
    ///
    /// ```
    /// # use ropewalk_core::Failure;
    /// # use std::num::ParseIntError;
    /// let cause = "x".parse::<u16>().unwrap_err();
    /// let failure = Failure::msg("no port").caused_by(cause);
    /// assert!(failure.check::<ParseIntError>().is_some());
    /// assert_eq!(failure.to_string(), "no port: invalid digit found in string");
    /// ```
    #[track_caller]
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Self>) -> Self {
        let location = self.inner.location;
        Self {
            inner: Arc::new(Inner {
                cause: Cause::Raised(self, cause.into()),
                location,
                backtrace: None,
            }),
        }
    }

    /// Makes another error of an `E`, which becomes its cause; a failure without one stays as it
    /// is. For an errback that turns the errors of one layer into those of the next.
    ///
    /// ```
    /// # use ropewalk_core::{Deferred, Failure};
    /// # use std::{io, num::ParseIntError};
    /// # let page: Deferred<u16> = Deferred::from("x".parse::<u16>().map_err(Failure::from));
    /// let page: Deferred<u16> = page.add_errback(|failure| {
    ///     Err::<u16, _>(failure.convert(|_: &ParseIntError| io::Error::other("no such page")))
    /// });
    /// # let _ = page.add_errback(|failure| {
    /// #     assert!(failure.check::<io::Error>().is_some());
    /// #     assert!(failure.check::<ParseIntError>().is_some());
    /// #     0
    /// # });
    /// ```
    #[track_caller]
    #[must_use]
    pub fn convert<E, F>(self, into: impl FnOnce(&E) -> F) -> Self
    where
        E: Error + 'static,
        F: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.check::<E>().map(into) {
            Some(error) => Self::new(error).caused_by(self),
            None => self,
        }
    }

    #[track_caller]
    fn from_cause(cause: Cause) -> Self {
        // `capture` looks at the environment once per process and costs a load when disabled.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        Self {
            inner: Arc::new(Inner {
                cause,
                location: Location::caller(),
                backtrace,
            }),
        }
    }

    /// The error of type `E` in this failure, looked for through contexts and causes.
    #[must_use]
    pub fn check<E: Error + 'static>(&self) -> Option<&E> {
        match &self.inner.cause {
            Cause::Error(error) => find(&**error),
            Cause::Message(_) => None,
            Cause::Context(_, failure) => failure.check(),
            Cause::Raised(failure, cause) => failure.check().or_else(|| cause.check()),
        }
    }

    /// The error of type `E`, or this failure again, to be passed on with `?`.
    ///
    /// # Errors
    /// The failure itself, when it holds no `E`.
    ///
    /// ```
    /// # use ropewalk_core::Failure;
    /// # use std::num::ParseIntError;
    /// fn recover(failure: Failure) -> Result<u16, Failure> {
    ///     let error = failure.trap::<ParseIntError>()?;
    ///     assert_eq!(error.kind(), &std::num::IntErrorKind::Empty);
    ///     Ok(80)
    /// }
    /// let failure = "".parse::<u16>().unwrap_err().into();
    /// assert_eq!(recover(failure).unwrap(), 80);
    /// assert!(recover(Failure::msg("something else")).is_err());
    /// ```
    pub fn trap<E: Error + 'static>(&self) -> Result<&E, Self> {
        self.check::<E>().ok_or_else(|| self.clone())
    }

    /// The failure as an error that names it: for `tracing`, whose subscribers find the failure
    /// itself in it by [`Failure::in_error`], and not only its text.
    ///
    /// ```
    /// # use ropewalk_core::Failure;
    /// let failure = Failure::msg("no rope");
    /// tracing::error!(failure = &*failure.to_error(), "cannot twist");
    /// assert_eq!(failure.to_error().to_string(), "no rope");
    /// ```
    #[must_use]
    pub fn to_error(&self) -> Box<dyn Error + Send + Sync> {
        self.clone().into()
    }

    /// The failure that `error` was made of: see [`to_error`](Self::to_error).
    ///
    /// ```
    /// # use ropewalk_core::Failure;
    /// let error = Failure::new("x".parse::<u8>().unwrap_err()).to_error();
    /// let failure = Failure::in_error(&*error).unwrap();
    /// assert!(failure.check::<std::num::ParseIntError>().is_some());
    /// assert!(Failure::in_error(&std::fmt::Error).is_none());
    /// ```
    #[must_use]
    pub fn in_error(error: &(dyn Error + 'static)) -> Option<Self> {
        let Boxed(failure) = error.downcast_ref()?;
        Some(failure.clone())
    }

    /// Where the innermost failure was made.
    #[must_use]
    pub fn location(&self) -> &'static Location<'static> {
        match &self.inner.cause {
            Cause::Context(_, failure) | Cause::Raised(failure, _) => failure.location(),
            _ => self.inner.location,
        }
    }

    /// The backtrace of the place where it was made, if backtraces are enabled.
    #[must_use]
    pub fn backtrace(&self) -> Option<&Backtrace> {
        match &self.inner.cause {
            Cause::Context(_, failure) | Cause::Raised(failure, _) => failure.backtrace(),
            _ => self.inner.backtrace.as_ref(),
        }
    }
}

/// Any error becomes a failure by `?`. (So a `Failure` is not itself an `Error`: the two would
/// overlap.)
impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// For those who take any error by `Box<dyn Error>`, as `tower` does. The failure is found again
/// when the box is made into a [`Failure`].
impl From<Failure> for Box<dyn Error + Send + Sync> {
    fn from(failure: Failure) -> Self {
        Box::new(Boxed(failure))
    }
}

/// The `E` among `error` and its causes, of which one may be a failure.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(Boxed(failure)) = error.downcast_ref::<Boxed>() {
            return failure.check();
        }
        next = error.source();
    }
    None
}

/// A failure as an `Error`.
#[derive(Clone, Debug)]
pub(crate) struct Boxed(pub(crate) Failure);

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Boxed {}

/// On one line: the contexts, then the error and its causes.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.cause {
            Cause::Message(message) => f.write_str(message),
            Cause::Context(doing, failure) => write!(f, "{doing}: {failure}"),
            Cause::Raised(failure, cause) => write!(f, "{failure}: {cause}"),
            Cause::Error(error) => {
                write!(f, "{error}")?;
                let mut source = error.source();
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
        }
    }
}

/// As [`Display`](fmt::Display), with the place and the backtrace.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (at {})", self.location())?;
        match self.backtrace() {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn outer() -> Failure {
        Outer(io::Error::other("inner")).into()
    }

    #[test]
    fn check_finds_causes_behind_contexts() {
        let failure = outer().context("first").context("second");
        assert!(failure.check::<Outer>().is_some());
        assert!(failure.check::<io::Error>().is_some());
        assert!(failure.check::<fmt::Error>().is_none());
    }

    #[test]
    fn display_reads_from_the_outside_in() {
        let failure = outer().context("saving");
        assert_eq!(failure.to_string(), "saving: outer: inner");
    }

    #[test]
    fn the_location_is_where_the_failure_was_made_not_where_it_passed_through() {
        let line = line!() + 1;
        let failure = Failure::msg("lost").context("later");
        assert_eq!(failure.location().line(), line);
        assert!(format!("{failure:?}").contains("failure/mod.rs"));
    }

    #[test]
    fn trap_returns_the_same_failure_when_it_does_not_match() {
        let failure = outer();
        let passed_on = failure.trap::<fmt::Error>().unwrap_err();
        assert!(Arc::ptr_eq(&failure.inner, &passed_on.inner));
    }

    #[test]
    fn a_failure_comes_out_of_a_boxed_error_as_it_went_in() {
        let boxed: Box<dyn Error + Send + Sync> = outer().context("saving").into();
        assert_eq!(boxed.to_string(), "saving: outer: inner");
        assert!(Failure::new(boxed).check::<Outer>().is_some());
    }

    #[test]
    fn check_looks_through_a_failure_that_is_an_errors_cause() {
        #[derive(Debug)]
        struct Holds(Box<dyn Error + Send + Sync>);
        impl fmt::Display for Holds {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("holds")
            }
        }
        impl Error for Holds {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&*self.0)
            }
        }
        let failure = Failure::new(Holds(outer().context("saving").into()));
        assert!(failure.check::<Outer>().is_some());
        assert!(failure.check::<io::Error>().is_some());
        assert_eq!(failure.to_string(), "holds: saving: outer: inner");
    }

    #[test]
    fn a_converted_failure_is_found_by_both_types_and_placed_where_it_was_converted() {
        let line = line!() + 1;
        let failure = outer().convert(|_: &Outer| fmt::Error);
        assert_eq!(failure.location().line(), line);
        assert!(failure.check::<fmt::Error>().is_some());
        assert!(failure.check::<Outer>().is_some());
        let same = outer().convert(|_: &fmt::Error| -> fmt::Error { unreachable!() });
        assert_eq!(same.to_string(), "outer: inner");
    }

    #[test]
    fn one_failure_can_be_sent_to_other_threads() {
        fn assert_send_sync<T: Send + Sync>() {}
        assert_send_sync::<Failure>();
    }
}
