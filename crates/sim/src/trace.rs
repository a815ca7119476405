//! What happened, in its order: a number that says whether two runs are the same, and the last of it
//! in words.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::rc::Rc;

use crate::machine::HostId;
use crate::net::Nanos;

/// How many events are kept for who reads them.
const KEPT: usize = 10_000;

/// What an event is. The numbers are part of the hash: they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum What {
    Started = 1,
    Stopped = 2,
    Crashed = 3,
    Killed = 4,
    Paused = 5,
    Listens = 10,
    Connecting = 11,
    Opened = 12,
    NotConnected = 13,
    Accepted = 14,
    Sent = 20,
    Received = 21,
    EndedWriting = 22,
    EndRead = 23,
    Closed = 24,
    Aborted = 25,
    Broken = 26,
    Lost = 30,
    Retried = 31,
    DatagramSent = 40,
    DatagramReceived = 41,
    DatagramOverflow = 42,
    JobBegan = 50,
    JobEnded = 51,
    Said = 60,
}

pub(crate) struct Trace {
    hash: u64,
    count: u64,
    last: VecDeque<Entry>,
}

struct Entry {
    at: Nanos,
    host: HostId,
    what: What,
    number: u64,
    amount: u64,
    text: Option<Rc<str>>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self {
            // FNV-1a, 64 bits: simple, and the same everywhere.
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            last: VecDeque::new(),
        }
    }

    pub(crate) fn add(&mut self, at: Nanos, host: HostId, what: What, number: u64, amount: u64) {
        self.note(Entry {
            at,
            host,
            what,
            number,
            amount,
            text: None,
        });
    }

    /// Something that is told in words.
    pub(crate) fn say(&mut self, at: Nanos, host: HostId, text: &str) {
        for byte in text.as_bytes() {
            self.mix(u64::from(*byte));
        }
        self.note(Entry {
            at,
            host,
            what: What::Said,
            number: 0,
            amount: text.len() as u64,
            text: Some(text.into()),
        });
    }

    fn note(&mut self, entry: Entry) {
        let kind = u64::from(entry.host.0) << 8 | entry.what as u64;
        for word in [entry.at, kind, entry.number, entry.amount] {
            self.mix(word);
        }
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(entry);
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        // The multiplication carries nothing down.
        self.hash ^= self.hash >> 29;
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The last events in words, a line each.
    pub(crate) fn print(&self, name: impl Fn(HostId) -> Rc<str>) -> String {
        let mut text = String::new();
        let missing = self.count - self.last.len() as u64;
        if missing > 0 {
            let _ = writeln!(text, "… {missing} events before …");
        }
        for entry in &self.last {
            let (seconds, rest) = (entry.at / 1_000_000_000, entry.at % 1_000_000_000);
            let host = name(entry.host);
            let _ = writeln!(text, "{seconds:>6}.{rest:09} {host:<12} {entry}");
        }
        text
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, amount, .. } = self;
        match self.what {
            What::Started => f.write_str("starts"),
            What::Stopped => f.write_str("has stopped"),
            What::Crashed => f.write_str("crashes"),
            What::Killed => f.write_str("is killed"),
            What::Paused => write!(f, "stands still for {} ms", amount / 1_000_000),
            What::Listens => write!(f, "listens on port {amount}"),
            What::Connecting => write!(f, "#{number} connects to port {amount}"),
            What::Opened => write!(f, "#{number} is connected"),
            What::NotConnected => write!(f, "#{number} cannot connect"),
            What::Accepted => write!(f, "#{number} is accepted"),
            What::Sent => write!(f, "#{number} sends {amount} bytes"),
            What::Received => write!(f, "#{number} receives {amount} bytes"),
            What::EndedWriting => write!(f, "#{number} ends its side"),
            What::EndRead => write!(f, "#{number} reads the end"),
            What::Closed => write!(f, "#{number} is closed"),
            What::Aborted => write!(f, "#{number} is aborted"),
            What::Broken => write!(f, "#{number} is broken"),
            What::Lost => write!(f, "#{number} loses a packet of {amount} bytes"),
            What::Retried => write!(f, "#{number} sends again"),
            What::DatagramSent => write!(f, "port {number} sends {amount} bytes"),
            What::DatagramReceived => write!(f, "port {number} receives {amount} bytes"),
            What::DatagramOverflow => write!(f, "port {number} has no room"),
            What::JobBegan => write!(f, "thread {number} begins a job"),
            What::JobEnded => write!(f, "thread {number} ends a job"),
            What::Said => f.write_str(self.text.as_deref().unwrap_or_default()),
        }
    }
}
