//! Who fetches an answer for all who want it, and what is kept of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::store::{Outcome, Store};
use super::stored::{Head, Stored};
use crate::{Body, BoxError};

/// The store, as those who may live on other threads share it.
pub(super) type Shared = Arc<Mutex<Store>>;

pub(super) fn lock(store: &Shared) -> MutexGuard<'_, Store> {
    // Nothing panics while it is held.
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leads a flight. When it is dropped the flight is over.
#[derive(Debug)]
pub(super) struct Lead {
    store: Shared,
    key: Arc<str>,
    /// The headers of the request.
    asked: HeaderMap,
    /// Whether others wait for it.
    awaited: bool,
    outcome: Outcome,
}

impl Lead {
    pub(super) fn new(store: Shared, key: Arc<str>, asked: HeaderMap, awaited: bool) -> Self {
        Self {
            store,
            key,
            asked,
            awaited,
            outcome: Outcome::Abandoned,
        }
    }

    pub(super) fn asked(&self) -> &HeaderMap {
        &self.asked
    }

    pub(super) fn keep(self, head: Head, body: Bytes) {
        lock(&self.store).keep(&self.key, &self.asked, Stored { head, body });
        self.done();
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
        if !self.awaited {
            return;
        }
        let flight = lock(&self.store).land(&self.key);
        if let Some(flight) = flight {
            flight.end(self.outcome);
        }
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
        let (at_most, length) = (self.at_most, self.length);
        match &frame {
            None => self.keep(),
            Some(Ok(frame)) => match (frame.data_ref(), &mut self.kept) {
                (Some(data), Some((_, _, kept))) if kept.len() + data.len() <= at_most => {
                    kept.extend_from_slice(data);
                    if length == Some(kept.len() as u64) {
                        self.keep();
                    }
                }
                // It is too long, or has trailers.
                _ => self.give_up(),
            },
            Some(Err(_)) => self.give_up(),
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
