//! The same events for many readers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;

use super::{Event, LastEventId, Sse, SseWriter};
use crate::answer::Rejection;

/// How many readers one broadcast has at most, unless told.
const READERS: usize = 10_000;

/// Writes events to all who read. An event is encoded once, however many these are.
///
/// A reader for whom more than 64 KiB wait is too slow: its stream is ended, and its browser comes
/// back, with the id of the last event that it got. What it has missed is sent to it then, if it is
/// still [kept](Self::keep). A clone is the same broadcast.
///
/// ```
/// use ropewalk_web::router::{Router, get};
/// use ropewalk_web::sse::{Broadcast, Event, LastEventId};
///
/// let news = Broadcast::new().keep(100);
/// let readers = news.clone();
/// let router = Router::builder()
///     .route("/news", get(move |last: LastEventId| readers.subscribe(&last)))
///     .build()?;
/// assert_eq!(news.send(&Event::new("Tea is ready").id("1")), 0);
/// # Ok::<(), ropewalk_web::router::RouteError>(())
/// ```
#[derive(Clone, Default)]
pub struct Broadcast(Rc<RefCell<Readers>>);

struct Readers {
    writers: Vec<SseWriter>,
    at_most: usize,
    /// The last events that had ids.
    kept: VecDeque<(String, Bytes)>,
    keep: usize,
}

impl Default for Readers {
    fn default() -> Self {
        Self {
            writers: Vec::new(),
            at_most: READERS,
            kept: VecDeque::new(),
            keep: 0,
        }
    }
}

impl Broadcast {
    /// A broadcast with no readers, that keeps no events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps so many of the last events that have an id, for readers that come back.
    #[must_use]
    pub fn keep(self, events: usize) -> Self {
        self.0.borrow_mut().keep = events;
        self
    }

    /// How many readers there may be; 10,000 unless told.
    #[must_use]
    pub fn readers_at_most(self, readers: usize) -> Self {
        self.0.borrow_mut().at_most = readers;
        self
    }

    /// One more reader: an answer with all events from now on; before them those that it has missed
    /// since `last`, as far as they are kept.
    ///
    /// # Errors
    /// 503: there are as many readers as may be.
    pub fn subscribe(&self, last: &LastEventId) -> Result<Sse, Rejection> {
        let mut readers = self.0.borrow_mut();
        if readers.writers.len() >= readers.at_most {
            let comment = Bytes::from_static(b":\n\n");
            readers
                .writers
                .retain(|writer| writer.try_send_bytes(comment.clone()).is_ok());
        }
        if readers.writers.len() >= readers.at_most {
            let detail = "there are as many readers of these events as may be; come back later";
            return Err(Rejection::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        let (writer, answer) = Sse::channel();
        let known = last
            .0
            .as_ref()
            .and_then(|last| readers.kept.iter().position(|(id, _)| id == last));
        if let Some(known) = known {
            for (_, event) in readers.kept.iter().skip(known + 1) {
                // What does not fit is missed again, and asked for again.
                if writer.try_send_bytes(event.clone()).is_err() {
                    return Ok(answer);
                }
            }
        }
        readers.writers.push(writer);
        Ok(answer)
    }

    /// Writes `event` to all readers. How many there are now; those who were gone or too slow are
    /// none any more.
    pub fn send(&self, event: &Event) -> usize {
        let bytes = event.encode();
        let mut readers = self.0.borrow_mut();
        if let Some(id) = event.its_id()
            && readers.keep > 0
        {
            while readers.kept.len() >= readers.keep {
                readers.kept.pop_front();
            }
            let kept = (id.to_owned(), bytes.clone());
            readers.kept.push_back(kept);
        }
        // Whoever is woken may come back here.
        let writers = std::mem::take(&mut readers.writers);
        drop(readers);
        let (mut left, ended): (Vec<_>, Vec<_>) = writers
            .into_iter()
            .partition(|writer| writer.try_send_bytes(bytes.clone()).is_ok());
        drop(ended);
        let mut readers = self.0.borrow_mut();
        left.append(&mut readers.writers);
        readers.writers = left;
        readers.writers.len()
    }

    /// How many readers there are. One that is gone counts until something is sent.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.0.borrow().writers.len()
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("readers", &self.readers())
            .finish_non_exhaustive()
    }
}
