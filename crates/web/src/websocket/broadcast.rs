//! One message to many WebSockets, at nobody's cost but the slow ones'.

use std::cell::{Cell, RefCell};
use std::fmt;

use super::{PreparedMessage, WebSocket};

/// What becomes of a WebSocket whose peer does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// It does not get this message: for news of which the next one matters as much.
    #[default]
    Skip,
    /// Its connection is ended: for messages of which none may be missing.
    Drop,
}

/// A group of WebSockets that are sent the same messages.
///
/// A message is encoded once; what is unsent for one of them has a bound, so that
/// one that does not read costs no more than that.
///
/// ```
/// use ropewalk_web::websocket::{Broadcast, PreparedMessage, SlowReader};
///
/// let room = Broadcast::new(SlowReader::Drop);
/// // In `negotiation_finished` of each: room.join(socket);
/// let report = room.send(&PreparedMessage::new("hello, all"));
/// assert_eq!(report.sent, 0);
/// ```
pub struct Broadcast {
    members: RefCell<Vec<WebSocket>>,
    slow_reader: SlowReader,
    unsent: u64,
    /// With so many, those that have ended are looked for.
    prune_at: Cell<usize>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BroadcastReport {
    /// So many were sent it.
    pub sent: usize,
    /// So many were not, because they do not keep up.
    pub skipped: usize,
    /// So many were ended for that.
    pub dropped: usize,
}

impl Broadcast {
    /// A group with nobody in it, whose members may have 1 MiB unsent.
    #[must_use]
    pub fn new(slow_reader: SlowReader) -> Self {
        Self {
            members: RefCell::default(),
            slow_reader,
            unsent: 1024 * 1024,
            prune_at: Cell::new(64),
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
        let mut members = self.members.borrow_mut();
        if members.len() >= self.prune_at.get() {
            members.retain(WebSocket::is_connected);
            self.prune_at.set((members.len() * 2).max(64));
        }
        members.push(socket.clone());
    }

    /// Takes one out. `false` if it was not there.
    pub fn leave(&self, socket: &WebSocket) -> bool {
        let mut members = self.members.borrow_mut();
        let at = members.iter().position(|member| member == socket);
        at.map(|at| members.remove(at)).is_some()
    }

    /// How many there are; some of them may have ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.borrow().is_empty()
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
        wants: impl Fn(&WebSocket) -> bool,
    ) -> BroadcastReport {
        let mut report = BroadcastReport::default();
        // Nobody's code runs within this.
        self.members.borrow_mut().retain(|member| {
            if !member.is_connected() {
                return false;
            }
            if !wants(member) {
                return true;
            }
            if member.unsent().is_none_or(|unsent| unsent <= self.unsent) {
                let is_sent = member.send_prepared(message);
                report.sent += usize::from(is_sent);
                return is_sent;
            }
            match self.slow_reader {
                SlowReader::Skip => report.skipped += 1,
                SlowReader::Drop => {
                    report.dropped += 1;
                    member.abort_connection();
                }
            }
            self.slow_reader == SlowReader::Skip
        });
        report
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
