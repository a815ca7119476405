//! The answer to one reader, and who writes it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use ropewalk_core::{Connection, Deferred, DelayedCall, ReactorCore};

use super::Event;
use crate::answer::IntoResponse;
use crate::body::{Body, BodyDropped, BodyWriter};
use crate::current::current_connection;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// An answer of events: its writer has more to say for as long as it lives. When the program shuts down,
/// it ends at once, and its writer is told that the reader is gone; a browser then comes back.
pub struct Sse {
    body: Body,
    stream: Weak<Stream>,
    heartbeat: Option<Duration>,
}

/// Writes the events of an [`Sse`]. Dropping it ends the stream; a browser then comes back.
pub struct SseWriter(Rc<Stream>);

struct Stream {
    /// Only borrowed between two polls, and never while a user's code runs. `None` when the stream was
    /// ended from here.
    body: RefCell<Option<BodyWriter>>,
    heartbeat: Cell<Option<DelayedCall>>,
    draining: Cell<Option<Deferred<()>>>,
}

impl Sse {
    /// An answer, and who writes it: 64 KiB may wait for the reader, and one event more.
    #[must_use]
    pub fn channel() -> (SseWriter, Self) {
        let (writer, body) = Body::channel();
        let stream = Rc::new(Stream {
            body: RefCell::new(Some(writer)),
            heartbeat: Cell::new(None),
            draining: Cell::new(None),
        });
        let answer = Self {
            body,
            stream: Rc::downgrade(&stream),
            heartbeat: Some(HEARTBEAT),
        };
        (SseWriter(stream), answer)
    }

    /// How often a comment is sent, or that none is. Unless told, it is every 15 s. The time is that
    /// of the reactor of the request that is answered; outside of a [`Site`](crate::Site) there is
    /// none.
    #[must_use]
    pub fn heartbeat(mut self, interval: Option<Duration>) -> Self {
        self.heartbeat = interval;
        self
    }
}

impl SseWriter {
    /// Waits until there is room, and writes an event.
    ///
    /// # Errors
    /// The reader is gone.
    pub async fn send(&mut self, event: &Event) -> Result<(), BodyDropped> {
        let mut bytes = event.encode();
        loop {
            self.ready().await?;
            match self.try_send_bytes(bytes) {
                Ok(()) => return Ok(()),
                Err(unsent) => bytes = unsent,
            }
        }
    }

    /// Writes an event if there is room.
    ///
    /// # Errors
    /// The reader is slow, or gone.
    pub fn try_send(&mut self, event: &Event) -> Result<(), Bytes> {
        self.try_send_bytes(event.encode())
    }

    pub(super) fn try_send_bytes(&self, bytes: Bytes) -> Result<(), Bytes> {
        self.0.try_send(bytes)
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// The reader is gone.
    pub async fn ready(&mut self) -> Result<(), BodyDropped> {
        poll_fn(|cx| match &mut *self.0.body.borrow_mut() {
            Some(body) => pin!(body.ready()).poll(cx),
            None => Poll::Ready(Err(BodyDropped)),
        })
        .await
    }

    pub(super) fn is_gone(&self) -> bool {
        let body = self.0.body.borrow();
        body.as_ref().is_none_or(BodyWriter::is_dropped)
    }

    /// Waits until the reader is gone.
    pub async fn gone(&mut self) {
        poll_fn(|cx| match &mut *self.0.body.borrow_mut() {
            Some(body) => pin!(body.dropped()).poll(cx),
            None => Poll::Ready(()),
        })
        .await;
    }
}

impl Stream {
    fn try_send(&self, bytes: Bytes) -> Result<(), Bytes> {
        match &mut *self.body.borrow_mut() {
            Some(body) => body.try_send(bytes),
            None => Err(bytes),
        }
    }

    /// Ends the stream, though its writer may have more to say.
    fn end(&self) {
        let body = self.body.take();
        self.stop_beating();
        drop(body);
    }

    fn stop_beating(&self) {
        if let Some(call) = self.heartbeat.take() {
            call.cancel();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop_beating();
        if let Some(draining) = self.draining.take() {
            draining.cancel();
        }
    }
}

/// Ends `stream` when the program shuts down.
fn end_with(connection: &Connection, stream: &Weak<Stream>) {
    let Some(live) = stream.upgrade() else { return };
    let weak = Weak::clone(stream);
    let draining = connection.draining().add_both(move |told| {
        if let (Ok(()), Some(stream)) = (told, weak.upgrade()) {
            stream.end();
        }
    });
    live.draining.set(Some(draining));
}

/// Sends a comment when `interval` has passed, and again.
fn beat(reactor: &Rc<dyn ReactorCore>, stream: &Weak<Stream>, interval: Duration) {
    let Some(live) = stream.upgrade() else { return };
    let (again, weak) = (Rc::clone(reactor), Weak::clone(stream));
    let call = reactor.call_later(
        interval,
        Box::new(move || {
            let Some(stream) = weak.upgrade() else { return };
            // Where something waits for the reader already, no comment is needed.
            let _ = stream.try_send(Bytes::from_static(b":\n\n"));
            drop(stream);
            beat(&again, &weak, interval);
        }),
    );
    live.heartbeat.set(Some(call));
}

impl IntoResponse for Sse {
    fn into_response(self) -> Response<Body> {
        if let Some(connection) = current_connection() {
            if let (Some(reactor), Some(interval)) = (
                connection.act(|transport| transport.reactor()),
                self.heartbeat,
            ) {
                beat(&reactor, &self.stream, interval);
            }
            end_with(&connection, &self.stream);
        }
        let mut response = Response::new(self.body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse")
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SseWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseWriter").finish_non_exhaustive()
    }
}
