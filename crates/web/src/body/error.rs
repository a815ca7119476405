//! Why a body cannot be read to its end.

use std::error::Error;
use std::fmt;

use crate::h1::RequestError;

/// Any error, as the `tower` ecosystem passes it on.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a received body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// It is longer than the limit. Answered with 413 if the handler passes the error on.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The peer went away, or was too slow.
    Disconnected,
    /// Whoever wrote it gave it up.
    Abandoned,
    /// Its coding is malformed.
    Malformed(RequestError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the request body is longer than the {limit} bytes allowed"
                )
            }
            Self::Disconnected => f.write_str("the peer went away before the body was complete"),
            Self::Abandoned => f.write_str("the body broke off: whoever wrote it gave it up"),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl Error for BodyError {}
