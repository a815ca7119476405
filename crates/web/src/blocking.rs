//! Calls to the file system that may take their time, on a thread.
//!
//! Writing goes to the page cache, and mostly takes microseconds. But a kernel that has too much to
//! write back makes the writer wait, for seconds on a slow disk, and a loop that waits answers
//! nobody. So what is written for a request is written on a thread of the reactor's pool.

use std::io;

use ropewalk_core::{Failure, defer_to_thread};

use crate::current::current_connection;

/// Runs `job` on a thread of the reactor that the request at hand came by, and waits for it; where
/// there is none, as in a test that calls a service itself, at once.
pub(crate) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let connection = current_connection();
    match connection.and_then(|connection| connection.act(|transport| transport.reactor())) {
        Some(reactor) => defer_to_thread(&*reactor, job).await,
        None => job().map_err(Failure::from),
    }
}
