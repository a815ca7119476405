//! What a stream says when its connection has ended: an [`io::Error`] with the reason in it.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use crate::failure::Boxed;
use crate::{ConnectionAborted, ConnectionDone, ConnectionLost, Failure, TimedOut, WriteStalled};

/// Why a stream cannot go on: what an [`io::Error`] of a stream holds.
///
/// ```
/// use ropewalk_core::{ConnectionStream, StreamError, TimedOut};
///
/// async fn timed_out(stream: &mut ConnectionStream) -> bool {
///     let Err(error) = stream.read(&mut [0; 1024]).await else { return false };
///     let reason = error.get_ref().and_then(|error| error.downcast_ref::<StreamError>());
///     reason.is_some_and(|reason| reason.failure().check::<TimedOut>().is_some())
/// }
/// # let _ = timed_out;
/// ```
#[derive(Debug)]
pub struct StreamError {
    doing: &'static str,
    failure: Boxed,
}

impl StreamError {
    /// What the connection ended with, or what the stream cannot do any more.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure.0
    }

    /// `failure`, met while `doing`, in the words of `std::io`.
    pub(super) fn to_io(doing: &'static str, failure: Failure) -> io::Error {
        let kind = kind(&failure);
        let failure = Boxed(failure);
        io::Error::new(kind, Self { doing, failure })
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What ended it has its words in the chain of sources.
        write!(f, "{}: the connection has ended", self.doing)
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.failure)
    }
}

fn kind(failure: &Failure) -> ErrorKind {
    if let Some(ConnectionLost(error)) = failure.check() {
        error.kind()
    } else if failure.check::<ConnectionAborted>().is_some() {
        ErrorKind::ConnectionAborted
    } else if failure.check::<ConnectionDone>().is_some() {
        ErrorKind::BrokenPipe
    } else if failure.check::<TimedOut>().is_some() || failure.check::<WriteStalled>().is_some() {
        ErrorKind::TimedOut
    } else {
        ErrorKind::Other
    }
}
