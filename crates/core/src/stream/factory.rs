//! A server of streams: one task for each connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::ConnectionStream;
use super::protocol::StreamProtocol;
use crate::{Address, ConnectionLimits, Factory, Failure, IntoDeferred, Protocol, Transport};

/// Serves each connection by a task of its own, which gets it as a [`ConnectionStream`].
///
/// A task that panics ends itself and its connection, which is reset. What it returns is `()`, or
/// a `Result` whose error is logged: as a warning, or for those who look for it (`debug`) when the
/// connection had ended anyway. A task that is done with its stream may go on without it.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{ConnectionStream, StreamFactory};
/// use std::rc::Rc;
///
/// async fn shout(mut stream: ConnectionStream) -> std::io::Result<()> {
///     let mut buffer = [0; 1024];
///     loop {
///         match stream.read(&mut buffer).await? {
///             0 => return Ok(()),
///             count => stream.write_all(&buffer[..count].to_ascii_uppercase()).await?,
///         }
///     }
/// }
///
/// let reactor = MemoryReactor::new();
/// reactor.listen(&"tcp:7".parse().unwrap(), Rc::new(StreamFactory::new(shout))).unwrap();
/// ```
pub struct StreamFactory {
    serve: Rc<Serve>,
    limits: ConnectionLimits,
}

type Serve = dyn Fn(ConnectionStream) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

impl StreamFactory {
    /// Runs the future that `serve` returns for each connection.
    #[must_use]
    pub fn new<F, T>(serve: F) -> Self
    where
        F: Fn(ConnectionStream) -> T + 'static,
        T: Future<Output: IntoDeferred<()>> + 'static,
    {
        let serve = Rc::new(serve);
        Self {
            serve: Rc::new(move |stream| {
                let task = serve(stream);
                Box::pin(async move { task.await.into_deferred().await })
            }),
            limits: ConnectionLimits::default(),
        }
    }

    /// Sets the bounds of the connections.
    #[must_use]
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }
}

impl Factory for StreamFactory {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        let serve = Rc::clone(&self.serve);
        let start = move |stream: ConnectionStream, transport: &mut Transport| {
            let (peer, state) = (transport.peer(), Rc::clone(&stream.reader.state));
            let task = serve(stream);
            transport.reactor().spawn(Box::pin(async move {
                if let Err(failure) = task.await {
                    report(&peer, &failure, state.is_lost());
                }
            }));
        };
        Some(Box::new(StreamProtocol::starting(Box::new(start))))
    }

    fn limits(&self) -> ConnectionLimits {
        self.limits.clone()
    }
}

/// Peers come and go; that alone is nothing to warn of.
fn report(peer: &Address, failure: &Failure, is_lost: bool) {
    if is_lost {
        tracing::debug!(%peer, %failure, "the task of a connection ended with it");
    } else {
        tracing::warn!(%peer, %failure, "the task of a connection failed");
    }
}

impl fmt::Debug for StreamFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamFactory")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
