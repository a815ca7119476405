//! How the command ends when it does not end well: one line on standard error, and a code.
//!
//! | code | |
//! |---|---|
//! | 0 | done, or stopped by a signal after finishing what was in flight |
//! | 1 | the arguments make sense, but could not be carried out |
//! | 2 | the arguments make no sense |

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;

/// Why the command ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What clap has to say: help and version too.
    Arguments(clap::Error),
    /// A sentence that says what could not be done, and what to do about it.
    Failed(String),
}

impl Stop {
    /// Standard output could not be written to.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(crate) fn output(error: io::Error) -> Self {
        Self::Failed(format!("cannot write to standard output: {error}"))
    }

    /// Tells the user, and gives the code to exit with.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Arguments(error) => match error.kind() {
                ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    // Whoever closed the pipe has read enough of the help.
                    let _ = error.print();
                    ExitCode::from(u8::from(error.use_stderr()) * 2)
                }
                _ => {
                    eprintln!("ropewalk: {}", one_line(&error.to_string()));
                    ExitCode::from(2)
                }
            },
            Self::Failed(message) => {
                eprintln!("ropewalk: {message}");
                ExitCode::from(1)
            }
        }
    }
}

/// What clap says in a paragraph, a usage and a hint, as one line.
fn one_line(rendered: &str) -> String {
    let mut line = String::new();
    for part in rendered.lines().map(str::trim) {
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            break;
        }
        let (separator, part) = match part.strip_prefix("tip: ") {
            Some(tip) => ("; ", tip),
            None => (" ", part.strip_prefix("error: ").unwrap_or(part)),
        };
        if !part.is_empty() {
            if !line.is_empty() {
                line.push_str(separator);
            }
            line.push_str(part);
        }
    }
    line.push_str("; --help tells more");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;

    fn line(args: &[&str]) -> String {
        let args = [&["ropewalk"], args].concat();
        one_line(&Args::try_parse_from(args).unwrap_err().to_string())
    }

    #[test]
    fn a_missing_argument_is_one_line() {
        assert_eq!(
            line(&["web"]),
            "the following required arguments were not provided: --path <DIR>; --help tells more"
        );
    }

    #[test]
    fn a_misspelt_option_is_one_line_with_the_one_that_was_meant() {
        assert_eq!(
            line(&["web", "--path", "p", "--lisen", "tcp:80"]),
            "unexpected argument '--lisen' found; a similar argument exists: '--listen'; --help \
             tells more"
        );
    }

    #[test]
    fn a_bad_value_is_one_line_with_those_that_are_possible() {
        assert_eq!(
            line(&["--log-format", "xml", "web", "--path", "p"]),
            "invalid value 'xml' for '--log-format <FORMAT>' [possible values: text, json]; \
             --help tells more"
        );
    }
}
