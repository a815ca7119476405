//! Several failures as one error.

use std::error::Error;
use std::fmt;

use super::Failure;

/// How many of its failures a group's text shows.
const SHOWN: usize = 8;

/// Several failures of one operation, as one error: when all that was tried has failed.
///
/// [`Failure::check`] finds the group and doesn't look into it: ask the group itself.
///
/// ```
/// use ropewalk_core::{Failure, FailureGroup};
///
/// let group = FailureGroup::new(["refused", "no route"].map(Failure::msg));
/// let failure = Failure::new(group);
/// assert_eq!(failure.to_string(), "2 failures: refused; no route");
/// let group = failure.check::<FailureGroup>().unwrap();
/// assert_eq!(group.failures().len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct FailureGroup {
    failures: Vec<Failure>,
}

impl FailureGroup {
    /// A group of these failures, in this order.
    #[must_use]
    pub fn new(failures: impl IntoIterator<Item = Failure>) -> Self {
        Self {
            failures: failures.into_iter().collect(),
        }
    }

    /// All of them.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The errors of type `E` among them, one at most for each failure.
    pub fn find<E: Error + 'static>(&self) -> impl Iterator<Item = &E> {
        self.failures.iter().filter_map(Failure::check::<E>)
    }

    /// Takes out the failures that hold an `E`; what is left is another group, if anything is.
    ///
    /// ```
    /// # use ropewalk_core::{Failure, FailureGroup};
    /// # use std::num::ParseIntError;
    /// let parse = |text: &str| text.parse::<u8>().map_err(Failure::from).unwrap_err();
    /// let group = FailureGroup::new([parse("x"), Failure::msg("lost"), parse("")]);
    /// let (numbers, rest) = group.split::<ParseIntError>();
    /// assert_eq!(numbers.unwrap().failures().len(), 2);
    /// assert_eq!(rest.unwrap().to_string(), "1 failure: lost");
    /// ```
    #[must_use]
    pub fn split<E: Error + 'static>(self) -> (Option<Self>, Option<Self>) {
        let (found, rest): (Vec<_>, Vec<_>) =
            (self.failures.into_iter()).partition(|failure| failure.check::<E>().is_some());
        let group = |failures: Vec<_>| (!failures.is_empty()).then_some(Self { failures });
        (group(found), group(rest))
    }
}

/// On one line: how many, and the first eight.
impl fmt::Display for FailureGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.failures.len();
        write!(f, "{count} failure{}", if count == 1 { "" } else { "s" })?;
        for (index, failure) in self.failures.iter().take(SHOWN).enumerate() {
            write!(f, "{} {failure}", if index == 0 { ":" } else { ";" })?;
        }
        match count.saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl Error for FailureGroup {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn the_text_of_a_large_group_is_short() {
        let group = FailureGroup::new((0..1000).map(|n| Failure::msg(format!("f{n}"))));
        assert_eq!(
            group.to_string(),
            "1000 failures: f0; f1; f2; f3; f4; f5; f6; f7; and 992 more"
        );
        assert_eq!(FailureGroup::new([]).to_string(), "0 failures");
    }

    #[test]
    fn check_finds_the_group_and_not_what_is_in_it() {
        let inner = Failure::new(io::Error::other("disk full"));
        let failure = Failure::new(FailureGroup::new([inner])).context("saving");
        assert!(failure.check::<io::Error>().is_none());
        let group = failure.check::<FailureGroup>().unwrap();
        assert_eq!(group.find::<io::Error>().count(), 1);
        assert_eq!(group.find::<fmt::Error>().count(), 0);
    }
}
