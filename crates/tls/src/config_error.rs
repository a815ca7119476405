//! Why a configuration of TLS cannot be used.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with the certificates, keys or roots that TLS was to use, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfigError {
    file: Option<PathBuf>,
    line: Option<usize>,
    message: String,
}

impl TlsConfigError {
    pub(crate) fn new(file: &Path, line: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            line,
            message: message.into(),
        }
    }

    /// About no file.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self {
            file: None,
            line: None,
            message: message.into(),
        }
    }

    /// The file, if it is about one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The line of the file, from 1, if it is about one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}, line {line}: ", file.display())?,
            (Some(file), None) => write!(f, "{} ", file.display())?,
            (None, _) => {}
        }
        f.write_str(&self.message)
    }
}

impl Error for TlsConfigError {}
