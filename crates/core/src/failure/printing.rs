//! A failure as text, at three lengths: its own words, its way in brief, and all that is known.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::{Cause, Failure};

impl Failure {
    /// The words of the error itself, without its contexts and causes. (`Display` has those.)
    ///
    /// ```
    /// # use ropewalk_core::Failure;
    /// let failure = Failure::msg("no such page").context("reading page 7");
    /// assert_eq!(failure.error_message(), "no such page");
    /// assert_eq!(failure.to_string(), "reading page 7: no such page");
    /// ```
    #[must_use]
    pub fn error_message(&self) -> String {
        match &self.inner.cause {
            Cause::Error(error) => error.to_string(),
            Cause::Message(message) => message.to_string(),
            Cause::Context(_, failure) | Cause::Raised(failure, _) => failure.error_message(),
        }
    }

    /// One line for the error, and one for each place that it is known to have passed, outermost
    /// first.
    ///
    /// ```
    /// # use ropewalk_core::Failure;
    /// let failure = Failure::msg("no such page").context("reading page 7");
    /// let text = failure.brief_traceback().to_string();
    /// let lines: Vec<&str> = text.lines().collect();
    /// assert_eq!(lines[0], "Traceback: no such page");
    /// assert!(lines[1].ends_with(": reading page 7"));
    /// assert!(lines[2].ends_with(": no such page"));
    /// assert_eq!(lines.len(), 3);
    /// ```
    #[must_use]
    pub fn brief_traceback(&self) -> impl fmt::Display + '_ {
        Traceback {
            failure: self,
            full: false,
        }
    }

    /// As [`brief_traceback`](Self::brief_traceback), with the causes, and the backtrace if
    /// backtraces are enabled.
    ///
    /// ```
    /// # use ropewalk_core::Failure;
    /// let failure = Failure::msg("no page").caused_by(Failure::msg("disk full"));
    /// assert!(failure.traceback().to_string().contains("\n  caused by:\n"));
    /// ```
    #[must_use]
    pub fn traceback(&self) -> impl fmt::Display + '_ {
        Traceback {
            failure: self,
            full: true,
        }
    }
}

struct Traceback<'a> {
    failure: &'a Failure,
    full: bool,
}

impl fmt::Display for Traceback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traceback: {}", self.failure.error_message())?;
        self.places(self.failure, f)?;
        match self.failure.backtrace().filter(|_| self.full) {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

impl Traceback<'_> {
    fn places(&self, failure: &Failure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = failure.inner.location;
        match &failure.inner.cause {
            Cause::Message(message) => place(f, here, message),
            Cause::Context(doing, failure) => {
                place(f, here, doing)?;
                self.places(failure, f)
            }
            Cause::Raised(failure, cause) => {
                self.places(failure, f)?;
                if self.full {
                    f.write_str("\n  caused by:")?;
                    self.places(cause, f)?;
                }
                Ok(())
            }
            Cause::Error(error) => {
                place(f, here, error)?;
                if self.full {
                    causes(&**error, f)?;
                }
                Ok(())
            }
        }
    }
}

fn place(f: &mut fmt::Formatter<'_>, at: &Location<'_>, what: impl fmt::Display) -> fmt::Result {
    write!(f, "\n  {at}: {what}")
}

fn causes(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut source = error.source();
    while let Some(error) = source {
        write!(f, "\n  caused by: {error}")?;
        source = error.source();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::num::ParseIntError;

    #[test]
    fn the_full_text_has_each_cause_with_its_place() {
        let first = line!() + 1;
        let cause: Failure = io::Error::other("disk full").into();
        let second = line!() + 1;
        let failure = Failure::msg("page lost").caused_by(cause);
        let third = line!() + 1;
        let failure = failure.context("saving");

        let text = failure.traceback().to_string();

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Traceback: page lost");
        for (line, number, words) in [
            (lines[1], third, "saving"),
            (lines[2], second, "page lost"),
            (lines[4], first, "disk full"),
        ] {
            assert!(line.contains(&format!("printing.rs:{number}:")), "{text}");
            assert!(line.ends_with(words), "{text}");
        }
        assert_eq!(lines[3], "  caused by:");
        assert_eq!(text.matches("caused by").count(), 1);
        assert_eq!(failure.brief_traceback().to_string().lines().count(), 3);
    }

    #[test]
    fn the_sources_of_an_error_are_printed_in_full_only() {
        let parsed: ParseIntError = "x".parse::<u8>().unwrap_err();
        let failure = Failure::new(io::Error::new(io::ErrorKind::InvalidData, Outer(parsed)));
        let text = failure.traceback().to_string();
        assert!(text.contains("caused by: invalid digit"), "{text}");
        assert!(!failure.brief_traceback().to_string().contains("caused by"));
        assert_eq!(failure.error_message(), "outer");
    }

    #[derive(Debug)]
    struct Outer(ParseIntError);
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
}
