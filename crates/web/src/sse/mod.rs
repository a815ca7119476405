//! Server-sent events: an answer that does not end, and that browsers read as an `EventSource`
//! (WHATWG HTML, section 9.2).
//!
//! [`Sse::channel`] makes the answer to one reader and who writes it; [`Broadcast`] writes the same
//! events to many.
//!
//! ```
//! use ropewalk_core::ReactorCore;
//! use ropewalk_web::sse::{Event, LastEventId, Sse};
//! use std::rc::Rc;
//!
//! fn count(reactor: Rc<dyn ReactorCore>, last: LastEventId) -> Sse {
//!     let (mut writer, answer) = Sse::channel();
//!     let first = last.0.and_then(|id| id.parse().ok()).map_or(0, |id: u64| id + 1);
//!     reactor.spawn(Box::pin(async move {
//!         for number in first.. {
//!             let event = Event::new(number.to_string()).id(&number.to_string());
//!             // Waits when the reader is slow, and ends when it is gone.
//!             if writer.send(&event).await.is_err() {
//!                 return;
//!             }
//!         }
//!     }));
//!     answer
//! }
//! ```
//!
//! A comment is sent every 15 seconds, unless told otherwise, so that nobody between takes the
//! connection for dead, and a reader that is gone is noticed. Nobody may keep the answer
//! (`cache-control: no-store`). When the program shuts down, each stream is ended; browsers come back, to
//! whoever serves then.

mod broadcast;
mod event;
mod writer;

pub use broadcast::Broadcast;
pub use event::{Event, LastEventId};
pub use writer::{Sse, SseWriter};
