//! Signals, by their names. The numbers of most differ between systems, and are the reactor's.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

macro_rules! signals {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// What a process can be sent (POSIX.1-2024, `<signal.h>`).
        ///
        /// ```
        /// use ropewalk_core::Signal;
        ///
        /// assert_eq!("TERM".parse(), Ok(Signal::Term));
        /// assert_eq!("sigusr1".parse(), Ok(Signal::Usr1));
        /// assert_eq!("34".parse(), Ok(Signal::Number(34)));
        /// assert_eq!(Signal::Kill.to_string(), "SIGKILL");
        /// assert!("TERMINATE".parse::<Signal>().is_err());
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Signal {
            $($(#[$doc])* $variant,)*
            /// One by its number, which is that of the system.
            Number(i32),
        }

        impl Signal {
            /// All that have a name here.
            pub const NAMED: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name without `SIG`, unless it is a number.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($name),)*
                    Self::Number(_) => None,
                }
            }
        }
    };
}

signals! {
    /// The terminal is gone; many daemons read their configuration again.
    Hup "HUP",
    /// Ctrl-C.
    Int "INT",
    /// Ctrl-\.
    Quit "QUIT",
    /// Please end.
    Term "TERM",
    /// End now; it cannot be caught.
    Kill "KILL",
    /// `abort` was called.
    Abrt "ABRT",
    /// A bad address.
    Segv "SEGV",
    /// An access that memory cannot answer.
    Bus "BUS",
    /// An instruction that does not exist.
    Ill "ILL",
    /// A division by zero, for instance.
    Fpe "FPE",
    /// A write that nobody reads.
    Pipe "PIPE",
    /// A timer of the process.
    Alrm "ALRM",
    /// A processor time limit was passed.
    Xcpu "XCPU",
    /// A file size limit was passed.
    Xfsz "XFSZ",
    /// What the program makes of it.
    Usr1 "USR1",
    /// What the program makes of it.
    Usr2 "USR2",
    /// Go on after a stop.
    Cont "CONT",
    /// Stop; it cannot be caught.
    Stop "STOP",
    /// Ctrl-Z.
    Tstp "TSTP",
    /// Reading from a terminal in the background.
    Ttin "TTIN",
    /// Writing to a terminal in the background.
    Ttou "TTOU",
    /// The terminal has another size.
    Winch "WINCH",
}

/// As `SIGTERM`, or `signal 34`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.name()) {
            (_, Some(name)) => write!(f, "SIG{name}"),
            (Self::Number(number), None) => write!(f, "signal {number}"),
            (_, None) => f.write_str("a signal"),
        }
    }
}

/// From a name, with or without `SIG` and in any case, or from a number.
impl FromStr for Signal {
    type Err = ParseSignalError;

    fn from_str(text: &str) -> Result<Self, ParseSignalError> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let mut named = Self::NAMED.iter().copied();
        named
            .find(|signal| signal.name() == Some(name))
            .ok_or_else(|| ParseSignalError(text.to_owned()))
    }
}

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSignalError(String);

impl fmt::Display for ParseSignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no signal; write a name such as `TERM` or `HUP`, or a number",
            self.0.escape_debug()
        )
    }
}

impl Error for ParseSignalError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for signal in Signal::NAMED {
            assert_eq!(signal.to_string().parse(), Ok(*signal));
            assert_eq!(signal.name().unwrap().to_lowercase().parse(), Ok(*signal));
        }
    }
}
