//! The connection as the `h2` crate sees it: a stream whose frames are watched.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ropewalk_core::{ConnectionStream, ReactorCore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::alarm::Alarm;
use super::governor::{Excess, Governor};
use super::overruns::Overruns;

/// How long a peer that was told to go may be silent before the connection is closed. (Closing at
/// once would reset the connection when the peer sends more, as it does to make room for the answers that
/// are under way; and these, and the GOAWAY, would be lost.)
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// So much more it may send, within this time, if it has done nothing in excess.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

/// A connection, and who watches it.
pub(super) struct Governed {
    io: ConnectionStream,
    watch: Rc<Watch>,
    /// This side has sent its last.
    shut: bool,
    linger: Alarm,
    /// What may still come, and until when.
    unheard: usize,
    hears_until: Option<Instant>,
    /// What is in excess is an error, since nobody looks for it.
    fails: bool,
}

/// What is known of the bytes that went by: shared with who drives the connection.
pub(super) struct Watch {
    governor: RefCell<Governor>,
    excess: Cell<Option<Excess>>,
    reactor: Weak<dyn ReactorCore>,
    heard: Cell<Instant>,
    data_sent_at: Cell<Instant>,
    draining: Cell<bool>,
    overruns: Overruns,
}

impl Governed {
    pub(super) fn new(io: ConnectionStream, watch: Rc<Watch>) -> Self {
        let linger = Alarm::new(watch.reactor.clone());
        Self {
            io,
            watch,
            shut: false,
            linger,
            unheard: LINGER_BYTES,
            hears_until: None,
            fails: false,
        }
    }

    /// For clients: what is in excess ends the connection at once.
    pub(super) fn failing(mut self) -> Self {
        self.fails = true;
        self
    }

    /// The peer goes on: it may for a while.
    fn heard(&mut self, count: usize) {
        let Some(reactor) = self.watch.reactor.upgrade() else {
            return;
        };
        let now = reactor.now();
        let until = *self.hears_until.get_or_insert(now + LINGER_AT_MOST);
        self.unheard = self.unheard.saturating_sub(count);
        if now < until && self.unheard > 0 && self.watch.excess().is_none() {
            self.linger.set(LINGER);
        }
    }

    fn stop(&self) -> Poll<io::Result<()>> {
        match self.watch.excess().filter(|_| self.fails) {
            Some(excess) => Poll::Ready(Err(io::Error::other(excess))),
            // Who drives the connection looks for it after each poll, and ends it.
            None => Poll::Pending,
        }
    }
}

impl Watch {
    pub(super) fn new(governor: Governor, reactor: &Rc<dyn ReactorCore>) -> Self {
        Self {
            governor: RefCell::new(governor),
            excess: Cell::new(None),
            reactor: Rc::downgrade(reactor),
            heard: Cell::new(reactor.now()),
            data_sent_at: Cell::new(reactor.now()),
            draining: Cell::new(false),
            overruns: Overruns::default(),
        }
    }

    /// What the peer did too often. Nothing is read after it.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.excess.get()
    }

    pub(super) fn governor<R>(&self, look: impl FnOnce(&Governor) -> R) -> R {
        look(&self.governor.borrow())
    }

    /// When something came last.
    pub(super) fn heard(&self) -> Instant {
        self.heard.get()
    }

    /// When content was sent last, on any stream.
    pub(super) fn data_sent_at(&self) -> Instant {
        self.data_sent_at.get()
    }

    pub(super) fn reactor(&self) -> Weak<dyn ReactorCore> {
        self.reactor.clone()
    }

    /// Whether the program is shutting down.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(super) fn overruns(&self) -> &Overruns {
        &self.overruns
    }

    /// How much of `data` may be worked on.
    fn received(&self, data: &[u8]) -> usize {
        let Some(reactor) = self.reactor.upgrade() else {
            return data.len();
        };
        self.heard.set(reactor.now());
        let mut governor = self.governor.borrow_mut();
        let admitted = governor.received(reactor.now(), data);
        self.excess.set(admitted.err());
        if let Some(stream) = governor.take_overrun() {
            self.overruns.tell(stream);
        }
        admitted.err().map_or(data.len(), |excess| excess.at())
    }

    fn sent(&self, data: &[u8]) {
        let mut governor = self.governor.borrow_mut();
        let before = governor.data_sent();
        governor.sent(data);
        if governor.data_sent() > before
            && let Some(reactor) = self.reactor.upgrade()
        {
            self.data_sent_at.set(reactor.now());
        }
    }
}

impl AsyncRead for Governed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.excess().is_some() {
            return self.stop();
        }
        // A shutdown wakes who reads.
        self.watch.draining.set(self.io.is_draining());
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let admitted = self.watch.received(&buffer.filled()[before..]);
        buffer.set_filled(before + admitted);
        if admitted == 0 && self.watch.excess().is_some() {
            return self.stop();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Governed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, data))?;
        self.watch.sent(&data[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        let mut left = count;
        for slice in slices {
            let sent = slice.len().min(left);
            self.watch.sent(&slice[..sent]);
            left -= sent;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The loop sends what was written by itself, and `poll_write` waits while much is unsent.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends the last, and hears the peer out for a moment.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.shut = true;
            self.linger.set(LINGER);
        }
        let mut waste = [0; 4096];
        while self.linger.poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.heard(buffer.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
