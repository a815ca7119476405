//! One message to many WebSockets, at nobody's cost but the slow ones'.

use std::fmt;
use std::rc::Rc;

use super::{PreparedMessage, WebSocket};
use crate::broadcast::{BroadcastReport, Delivery, Members, SlowReader, UNSENT};

/// A group of WebSockets that are sent the same messages. A clone is the same group.
///
/// A message is encoded once, and what is unsent has a bound for each of them, so that
/// one that does not read costs no more than that. [`sse::Broadcast`](crate::sse::Broadcast) is the
/// same for streams of events.
///
/// ```
/// use ropewalk_web::SlowReader;
/// use ropewalk_web::websocket::{Broadcast, PreparedMessage};
///
/// let room = Broadcast::new(SlowReader::Drop);
/// // In `negotiation_finished` of each: room.join(socket);
/// let report = room.send(&PreparedMessage::new("hello, all"));
/// assert_eq!(report.sent, 0);
/// ```
#[derive(Clone)]
pub struct Broadcast {
    members: Rc<Members<WebSocket>>,
    slow_reader: SlowReader,
    unsent: u64,
}

impl Broadcast {
    /// A group with nobody in it. Whoever has more than 64 KiB unsent when one more message is sent
    /// is too slow.
    #[must_use]
    pub fn new(slow_reader: SlowReader) -> Self {
        Self {
            members: Rc::default(),
            slow_reader,
            unsent: UNSENT,
        }
    }

    /// Sets how many bytes may be unsent for one that is sent one more message.
    #[must_use]
    pub fn unsent(mut self, bytes: u64) -> Self {
        self.unsent = bytes;
        self
    }

    /// Adds one. It leaves by itself when it ends. (One that joins twice is sent all twice.)
    pub fn join(&self, socket: &WebSocket) {
        self.members
            .join(socket.clone(), |member| !member.is_connected());
    }

    /// Takes one out. `false` if it was not there.
    pub fn leave(&self, socket: &WebSocket) -> bool {
        self.members.leave(socket)
    }

    /// How many there are. One that has ended counts until something is sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends to all.
    pub fn send(&self, message: &PreparedMessage) -> BroadcastReport {
        self.send_if(message, |_| true)
    }

    /// Sends to all but one: who said it.
    pub fn send_except(&self, message: &PreparedMessage, one: &WebSocket) -> BroadcastReport {
        self.send_if(message, |member| member != one)
    }

    fn send_if(
        &self,
        message: &PreparedMessage,
        is_meant: impl Fn(&WebSocket) -> bool,
    ) -> BroadcastReport {
        let deliver = |member: &WebSocket| match member.unsent() {
            None => Delivery::Gone,
            Some(_) if !is_meant(member) => Delivery::Unwanted,
            Some(unsent) if unsent > self.unsent => Delivery::Slow,
            Some(_) if member.send_prepared(message) => Delivery::Sent,
            Some(_) => Delivery::Gone,
        };
        let end = |member: &WebSocket| {
            member.abort_connection();
        };
        self.members.send(self.slow_reader, deliver, end)
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("members", &self.len())
            .field("slow_reader", &self.slow_reader)
            .field("unsent", &self.unsent)
            .finish()
    }
}
