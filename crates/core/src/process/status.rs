//! How a process has ended.

use std::error::Error;
use std::fmt;

use super::Signal;

/// How a process has ended.
///
/// ```
/// use ropewalk_core::{ExitStatus, Signal};
///
/// assert!(ExitStatus::Exited(0).success());
/// assert_eq!(ExitStatus::Exited(3).code(), Some(3));
/// let killed = ExitStatus::Killed { signal: Signal::Kill, core_dumped: false };
/// assert_eq!(killed.to_string(), "was killed by SIGKILL");
/// assert!(killed.check("sh").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It has exited by itself, with a code: 0 to 255.
    Exited(i32),
    /// A signal has ended it.
    Killed {
        /// The signal.
        signal: Signal,
        /// Whether the system has written its memory to a file.
        core_dumped: bool,
    },
    /// Nobody knows: the reactor ended before the process did, or something else in this program
    /// has taken the status (a `waitpid` for any child, or SIGCHLD being ignored).
    Unknown,
}

impl ExitStatus {
    /// Whether it has exited with the code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The code that it has exited with, if it has exited by itself.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that has ended it, if one has.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Killed { signal, .. } => Some(signal),
            _ => None,
        }
    }

    /// An error, unless it was a success. `program` is for the message.
    ///
    /// # Errors
    /// [`ProcessTerminated`].
    pub fn check(self, program: &str) -> Result<(), ProcessTerminated> {
        match self.success() {
            true => Ok(()),
            false => Err(ProcessTerminated {
                program: program.to_owned(),
                status: self,
            }),
        }
    }
}

/// As what follows the name of a program: `exited with code 1`.
impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed {
                signal,
                core_dumped: false,
            } => write!(f, "was killed by {signal}"),
            Self::Killed { signal, .. } => {
                write!(f, "was killed by {signal}, and its memory was written out")
            }
            Self::Unknown => f.write_str("has ended, and nobody knows how"),
        }
    }
}

/// A process has ended, and not well: Twisted's `ProcessTerminated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTerminated {
    /// What was run.
    pub program: String,
    /// How it has ended.
    pub status: ExitStatus,
}

impl fmt::Display for ProcessTerminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program, self.status)
    }
}

impl Error for ProcessTerminated {}
