//! Who fetches an answer for all who want it, and what is kept of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::store::{Flight, Outcome, Store};
use super::stored::{Head, Stored};
use crate::{Body, BoxError};

/// The store, as those who may live on other threads share it.
pub(super) type Shared = Arc<Mutex<Store>>;

pub(super) fn lock(store: &Shared) -> MutexGuard<'_, Store> {
    // Nothing panics while it is held.
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches an answer to be kept, and leads the flight of those who wait for it, if any may. When it is
/// dropped the flight is over.
#[derive(Debug)]
pub(super) struct Lead {
    store: Shared,
    key: Arc<str>,
    /// The headers of the request.
    asked: HeaderMap,
    flight: Option<Arc<Flight>>,
    outcome: Outcome,
    /// How many bytes of the store are set aside for it.
    room: usize,
}

impl Lead {
    pub(super) fn new(
        store: Shared,
        key: Arc<str>,
        asked: HeaderMap,
        flight: Option<Arc<Flight>>,
    ) -> Self {
        Self {
            store,
            key,
            asked,
            flight,
            outcome: Outcome::Abandoned,
            room: 0,
        }
    }

    pub(super) fn asked(&self) -> &HeaderMap {
        &self.asked
    }

    /// Keeps it. Who waits for an answer to this target, whoever fetches it, looks again.
    pub(super) fn keep(self, head: Head, body: Bytes) {
        let flight = {
            let mut store = lock(&self.store);
            store.keep(&self.key, &self.asked, Stored { head, body });
            store.land_any(&self.key)
        };
        if let Some(flight) = flight {
            flight.end(Outcome::Done);
        }
        self.done();
    }

    /// Nobody is to wait for it any more, for it may take long: its own client reads it as fast as it
    /// likes. It may be kept all the same.
    pub(super) fn land(&mut self) {
        self.outcome = Outcome::Done;
        self.end_flight();
    }

    /// Sets so many bytes of the store aside. Whether there was room: all that is on its way to be
    /// kept takes no more than what is kept.
    pub(super) fn set_aside(&mut self, bytes: usize) -> bool {
        let is_room = lock(&self.store).set_aside(bytes);
        if is_room {
            self.room += bytes;
        }
        is_room
    }

    fn end_flight(&mut self) {
        if let Some(flight) = self.flight.take() {
            lock(&self.store).land(&self.key, &flight);
            flight.end(self.outcome);
        }
    }

    /// Keeps nothing of it, and nothing that was kept before; and remembers that nobody is to wait
    /// for such an answer.
    pub(super) fn forget(self) {
        lock(&self.store).pass(&self.key);
        self.done();
    }

    /// There will be nothing to keep.
    pub(super) fn done(mut self) {
        self.outcome = Outcome::Done;
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.room > 0 {
            lock(&self.store).give_back(self.room);
        }
        self.end_flight();
    }
}

/// A body that is kept as it is sent, if it is no longer than so much and comes to its end.
pub(super) struct Keeping {
    body: Body,
    /// `None` when nothing will be kept of it.
    kept: Option<(Lead, Head, Vec<u8>)>,
    /// Its length, if that is known: then nobody may read as far as the end.
    length: Option<u64>,
    at_most: usize,
}

impl Keeping {
    pub(super) fn new(body: Body, lead: Lead, head: Head, at_most: usize) -> Self {
        let length = body.len().or(head.length());
        Self {
            body,
            kept: Some((lead, head, Vec::new())),
            length,
            at_most,
        }
    }

    /// Adds what has come. Whether that may be kept.
    fn add(&mut self, frame: &Frame<Bytes>) -> bool {
        let (Some(data), Some((lead, _, kept))) = (frame.data_ref(), &mut self.kept) else {
            return false;
        };
        if kept.len() + data.len() > self.at_most || !lead.set_aside(data.len()) {
            return false;
        }
        kept.extend_from_slice(data);
        if self.length == Some(kept.len() as u64) {
            self.keep();
        }
        true
    }

    /// It has come to its end.
    fn keep(&mut self) {
        if let Some((lead, head, bytes)) = self.kept.take() {
            lead.keep(head, bytes.into());
        }
    }

    fn give_up(&mut self) {
        if let Some((lead, ..)) = self.kept.take() {
            lead.done();
        }
    }
}

impl http_body::Body for Keeping {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.keep(),
            Some(Ok(frame)) if self.add(frame) => {}
            // It is too long, there is no room for it, it has trailers, or it breaks off.
            Some(_) => self.give_up(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // The end is to be seen here.
        self.kept.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
