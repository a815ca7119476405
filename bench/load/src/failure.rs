//! What ends a run, and what ends only one connection of it.

use std::{fmt, io, net::SocketAddr};

/// Why a run has no result.
#[derive(Debug)]
pub enum Failure {
    /// The server could not be reached when the run began.
    Connect {
        /// Where to.
        to: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The server answered something else than it must.
    Wrong(String),
    /// The system refused something that the generator needs.
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl Failure {
    /// For `map_err`: says what was being done.
    pub(crate) fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { doing, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { to, error } => write!(
                f,
                "cannot connect to {to}: {error}; does the server run, and does it listen there?"
            ),
            Self::Wrong(what) => write!(f, "wrong answer: {what}"),
            Self::System { doing, error } => write!(f, "{doing}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What can happen to one connection.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It ended too early. Counted as an error; the run goes on.
    Lost(String),
    /// It said something wrong. Ends the run.
    Wrong(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}
