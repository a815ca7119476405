//! Which events are logged.

use std::error::Error;
use std::fmt;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// A filter that makes sense, from its text.
pub(super) fn parse(text: &str) -> Result<EnvFilter, FilterError> {
    // To the filter, a single word that is no level is a part of the program, so that a typing
    // error in a level would silence everything else.
    let is_word = !text.contains(['=', ',', '[']);
    if text.is_empty() || (is_word && text.parse::<LevelFilter>().is_err()) {
        return Err(FilterError(
            "write error, warn, info, debug, trace or off, or a filter such as \
             `warn,ropewalk_web=debug`"
                .to_owned(),
        ));
    }
    let parsed = EnvFilter::builder().parse(text);
    parsed.map_err(|error| FilterError(error.to_string()))
}

/// Whether `text` is a filter, for those who take it from a user.
///
/// ```
/// use ropewalk_service::logging::check_filter;
/// assert!(check_filter("warn,ropewalk_web=debug").is_ok());
/// assert!(check_filter("inof").is_err());
/// ```
///
/// # Errors
/// It is none.
pub fn check_filter(text: &str) -> Result<(), FilterError> {
    parse(text).map(drop)
}

/// A text that is no filter of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError(String);

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for FilterError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_accepted() {
        for text in [
            "error",
            "warn",
            "info",
            "debug",
            "trace",
            "off",
            "INFO",
            "warn,ropewalk_web=debug",
            "ropewalk_web=trace",
        ] {
            assert_eq!(check_filter(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for text in ["inof", "", "verbose", "ropewalk_web=loud"] {
            assert!(check_filter(text).is_err(), "{text}");
        }
    }
}
