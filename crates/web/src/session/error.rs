//! What may be wrong with a session, as handlers see it.

use std::error::Error;
use std::fmt;

use http::{Response, StatusCode};

use crate::Body;
use crate::answer::{IntoResponse, Rejection};

/// Why a session cannot be used, or not so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The request did not come through [`Sessions`](super::Sessions).
    NoLayer,
    /// The store has failed; the log says how. [`Sessions`](super::Sessions) answers 503 when a handler fails
    /// with it.
    Unavailable,
    /// The request was answered: what is changed now would not be saved.
    Answered,
    /// The session would be larger than it may be.
    TooLarge {
        /// The name of the value that did not fit.
        name: String,
        /// How many bytes it may have, as JSON.
        limit: usize,
    },
    /// A value cannot be made into JSON, or is not of the type that was asked for.
    Value {
        /// The name of the value.
        name: String,
        /// What `serde` says.
        cause: String,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLayer => f.write_str(
                "the request has no session: put the layer `Sessions` around the service",
            ),
            Self::Unavailable => {
                f.write_str("the session could not be loaded, since its store has failed")
            }
            Self::Answered => f.write_str(
                "the session cannot be changed any more, since the request was answered: change it \
                 before the response is returned",
            ),
            Self::TooLarge { name, limit } => write!(
                f,
                "the session has no room for the value {name}: it may have {limit} bytes as JSON; \
                 keep what is large elsewhere, and its name in the session"
            ),
            Self::Value { name, cause } => {
                write!(f, "the value {name} of the session does not fit: {cause}")
            }
        }
    }
}

impl Error for SessionError {}

impl SessionError {
    /// What is answered by a handler that fails with it. What is wrong stands in the log alone.
    pub(super) fn rejection(&self) -> Rejection {
        if *self == Self::Unavailable {
            // The layer has told the log why.
            let text = "the sessions cannot be reached at the moment; please try again";
            return Rejection::new(StatusCode::SERVICE_UNAVAILABLE, text);
        }
        tracing::error!(error = %self, "a handler cannot use its session");
        Rejection::failed()
    }
}

/// 503 where the store has failed; otherwise 500, and the log says why.
impl IntoResponse for SessionError {
    fn into_response(self) -> Response<Body> {
        self.rejection().into_response()
    }
}
