//! Why a process could not be started, or not be sent a signal.

use std::error::Error;
use std::fmt;
use std::io;

use super::Signal;

/// Why a process could not be started. None is left behind.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such program.
    NotFound {
        /// As it was asked for.
        program: String,
        /// Where it was looked for: the `PATH` of its environment, for a name with no slash.
        path: Option<String>,
        /// What the operating system said.
        source: io::Error,
    },
    /// It may not be executed, or what it was to run as may not be taken on.
    PermissionDenied {
        /// As it was asked for.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It was to run in a directory that is none.
    Directory {
        /// As it was asked for.
        program: String,
        /// Where it was to run.
        directory: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// What was asked for contradicts itself.
    Invalid {
        /// As it was asked for.
        program: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// There is no descriptor left for its pipes.
    NoDescriptors {
        /// As it was asked for.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The system starts no more processes.
    NoProcesses {
        /// As it was asked for.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else that the operating system said.
    Io {
        /// As it was asked for.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The reactor has ended.
    ReactorStopped,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound {
                program,
                path: Some(path),
                ..
            } => write!(
                f,
                "cannot run {program}: it is in no directory of PATH ({path}); install it, or \
                 give the path to it"
            ),
            Self::NotFound { program, .. } => write!(
                f,
                "cannot run {program}: there is no such file, or the interpreter that it names \
                 is missing; correct the path"
            ),
            Self::PermissionDenied { program, source } => write!(
                f,
                "cannot run {program}: {source}; make it executable, and see that this process \
                 may become the user and the groups that it is to run as"
            ),
            Self::Directory {
                program,
                directory,
                source,
            } => write!(
                f,
                "cannot run {program} in {directory}: {source}; create the directory, or choose \
                 another"
            ),
            Self::Invalid { program, message } => write!(f, "cannot run {program}: {message}"),
            Self::NoDescriptors { program, source } => write!(
                f,
                "cannot run {program}: {source}; close some files, or raise the limit (ulimit -n)"
            ),
            Self::NoProcesses { program, source } => write!(
                f,
                "cannot run {program}: {source}; run fewer processes at a time, or raise the \
                 limits of processes and memory (ulimit -u)"
            ),
            Self::Io { program, source } => write!(f, "cannot run {program}: {source}"),
            Self::ReactorStopped => f.write_str("cannot run a program: the reactor has ended"),
        }
    }
}

impl Error for SpawnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotFound { source, .. } => Some(source),
            // The others say their source in their own messages.
            _ => None,
        }
    }
}

/// Why a process could not be sent a signal.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignalError {
    /// It has ended: Twisted's `ProcessExitedAlready`.
    ProcessExitedAlready {
        /// What was not sent.
        signal: Signal,
    },
    /// This system has no such signal.
    NoSuchSignal {
        /// What was not sent.
        signal: Signal,
    },
    /// Anything else that the operating system said: the process has become another user's, for
    /// instance.
    Io {
        /// What was not sent.
        signal: Signal,
        /// The process.
        pid: u32,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcessExitedAlready { signal } => {
                write!(f, "cannot send {signal}: the process has ended already")
            }
            Self::NoSuchSignal { signal } => {
                write!(f, "cannot send {signal}: this system has no such signal")
            }
            Self::Io {
                signal,
                pid,
                source,
            } => write!(f, "cannot send {signal} to process {pid}: {source}"),
        }
    }
}

impl Error for SignalError {}
