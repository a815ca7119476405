//! The same events for many readers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;

use super::{Event, LastEventId, Sse, SseWriter};
use crate::answer::Rejection;
use crate::broadcast::{BroadcastReport, Delivery, Members, SlowReader};

/// How many readers one broadcast has at most, unless told.
const READERS: usize = 10_000;

/// Writes events to all who read. A clone is the same broadcast.
///
/// An event is encoded once, however many there are. A reader for whom more than 64 KiB wait is too slow:
/// it is [skipped](SlowReader::Skip), or its stream is [ended](SlowReader::Drop). A browser then comes back,
/// with the id of the last event that it got, and is sent what it has missed, if that is still
/// [kept](Self::keep). [`websocket::Broadcast`](crate::websocket::Broadcast) is the same for WebSockets.
///
/// ```
/// use ropewalk_web::SlowReader;
/// use ropewalk_web::router::{Router, get};
/// use ropewalk_web::sse::{Broadcast, Event, LastEventId};
///
/// let news = Broadcast::new(SlowReader::Drop).keep(100);
/// let readers = news.clone();
/// let router = Router::builder()
///     .route("/news", get(move |last: LastEventId| readers.subscribe(&last)))
///     .build()?;
/// assert_eq!(news.send(&Event::new("Tea is ready").id("1")).sent, 0);
/// # Ok::<(), ropewalk_web::router::RouteError>(())
/// ```
#[derive(Clone)]
pub struct Broadcast {
    readers: Rc<Members<SseWriter>>,
    slow_reader: SlowReader,
    at_most: usize,
    /// The last events that had ids.
    kept: Rc<RefCell<VecDeque<(String, Bytes)>>>,
    keep: usize,
}

impl Broadcast {
    /// A broadcast with no readers, that keeps no events.
    #[must_use]
    pub fn new(slow_reader: SlowReader) -> Self {
        Self {
            readers: Rc::default(),
            slow_reader,
            at_most: READERS,
            kept: Rc::default(),
            keep: 0,
        }
    }

    /// Keeps so many of the last events that have an id, for readers that come back.
    #[must_use]
    pub fn keep(mut self, events: usize) -> Self {
        self.keep = events;
        self
    }

    /// How many readers there may be; 10,000 unless told.
    #[must_use]
    pub fn readers_at_most(mut self, readers: usize) -> Self {
        self.at_most = readers;
        self
    }

    /// One more reader: an answer with all events from now on; before them those that it has missed
    /// since `last`, as far as they are kept: all of them, if `last` is not kept any more. It leaves by itself when it ends.
    ///
    /// # Errors
    /// 503: there are as many readers as may be.
    pub fn subscribe(&self, last: &LastEventId) -> Result<Sse, Rejection> {
        if self.len() >= self.at_most {
            self.readers.retain(|reader| !reader.is_gone());
        }
        if self.len() >= self.at_most {
            let detail = "there are as many readers of these events as may be; come back later";
            return Err(Rejection::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        let (writer, answer) = Sse::channel();
        for event in self.missed_since(last) {
            // What does not fit is missed again, and asked for again.
            if writer.try_send_bytes(event).is_err() {
                return Ok(answer);
            }
        }
        self.readers.join(writer, SseWriter::is_gone);
        Ok(answer)
    }

    fn missed_since(&self, last: &LastEventId) -> Vec<Bytes> {
        let Some(last) = last.0.as_ref().filter(|id| !id.is_empty()) else {
            return Vec::new();
        };
        let kept = self.kept.borrow();
        let last = kept.iter().position(|(id, _)| id == last);
        let after = last.map_or(0, |at| at + 1);
        kept.range(after..)
            .map(|(_, event)| event.clone())
            .collect()
    }

    /// Sends to all readers.
    pub fn send(&self, event: &Event) -> BroadcastReport {
        let bytes = event.encode();
        if let Some(id) = event.its_id()
            && self.keep > 0
        {
            let mut kept = self.kept.borrow_mut();
            while kept.len() >= self.keep {
                kept.pop_front();
            }
            kept.push_back((id.to_owned(), bytes.clone()));
        }
        let deliver = |reader: &SseWriter| match reader.try_send_bytes(bytes.clone()) {
            Ok(()) => Delivery::Sent,
            Err(_) if reader.is_gone() => Delivery::Gone,
            Err(_) => Delivery::Slow,
        };
        // Who is no longer in it has nobody who writes: its stream ends.
        self.readers.send(self.slow_reader, deliver, |_| ())
    }

    /// How many readers there are. One that is gone counts until something is sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.readers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("readers", &self.len())
            .field("slow_reader", &self.slow_reader)
            .finish_non_exhaustive()
    }
}
