//! What a stream and the protocol under it share.
//!
//! The protocol puts in what the connection is told, and wakes; the two halves take out. Nothing
//! is borrowed while a waker runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::task::{Context, Poll, Waker};

use crate::{Connection, ConnectionDone, Failure};

/// With so many bytes unread, the network is read no more.
const READ_HIGH: usize = 64 * 1024;

/// With so few bytes unread, the network is read again.
const READ_LOW: usize = 16 * 1024;

pub(super) struct State {
    connection: RefCell<Connection>,
    /// What has come and was not taken by the reader.
    inbound: Cell<Vec<u8>>,
    /// Bytes in `inbound`, and those that the reader has taken and not given to anyone.
    unread: Cell<usize>,
    paused: Cell<bool>,
    read_closed: Cell<bool>,
    /// The writer has shut its side down.
    pub(super) shut: Cell<bool>,
    draining: Cell<bool>,
    pub(super) read_while_draining: Cell<bool>,
    lost: RefCell<Option<Failure>>,
    pub(super) reader_gone: Cell<bool>,
    pub(super) writer_gone: Cell<bool>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
    drain_waiter: Cell<Option<Waker>>,
}

/// How reading goes on when there is nothing unread.
pub(super) enum ReadEnd {
    /// More may come.
    NotYet,
    /// The peer has sent all.
    Clean,
    Failed(Failure),
}

impl State {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection: RefCell::new(connection),
            inbound: Cell::default(),
            unread: Cell::new(0),
            paused: Cell::new(false),
            read_closed: Cell::new(false),
            shut: Cell::new(false),
            draining: Cell::new(false),
            read_while_draining: Cell::new(false),
            lost: RefCell::default(),
            reader_gone: Cell::new(false),
            writer_gone: Cell::new(false),
            reader: Cell::default(),
            writer: Cell::default(),
            drain_waiter: Cell::default(),
        }
    }

    pub(super) fn connection(&self) -> Connection {
        self.connection.borrow().clone()
    }

    /// The connection is another one's from here on: the stream acts on it no more.
    pub(super) fn disconnect(&self) {
        self.connection.take();
    }

    pub(super) fn received(&self, data: &[u8]) {
        if self.reader_gone.get() {
            return;
        }
        let mut inbound = self.inbound.take();
        inbound.extend_from_slice(data);
        self.inbound.set(inbound);
        self.unread.set(self.unread.get() + data.len());
        if self.unread.get() >= READ_HIGH && !self.paused.replace(true) {
            self.connection().pause_producing();
        }
        wake(&self.reader);
    }

    pub(super) fn read_closed(&self) {
        self.read_closed.set(true);
        wake(&self.reader);
    }

    pub(super) fn drained(&self) {
        wake(&self.writer);
    }

    pub(super) fn shutting_down(&self) {
        self.draining.set(true);
        wake(&self.reader);
        wake(&self.drain_waiter);
    }

    /// The connection is gone; the first reason stands.
    pub(super) fn lost(&self, reason: Failure) {
        if self.is_lost() {
            return;
        }
        self.lost.replace(Some(reason));
        wake(&self.reader);
        wake(&self.writer);
        wake(&self.drain_waiter);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    pub(super) fn loss(&self) -> Option<Failure> {
        self.lost.borrow().clone()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// All that has come and was not taken. It stays unread until [`consume`](Self::consume).
    pub(super) fn take_inbound(&self) -> Vec<u8> {
        self.inbound.take()
    }

    /// So many of the bytes taken were given to whoever reads.
    pub(super) fn consume(&self, count: usize) {
        self.unread.set(self.unread.get() - count);
        if self.unread.get() <= READ_LOW && self.paused.replace(false) {
            self.connection().resume_producing();
        }
    }

    pub(super) fn read_end(&self) -> ReadEnd {
        if self.read_closed.get() {
            ReadEnd::Clean
        } else if let Some(reason) = self.loss() {
            ReadEnd::Failed(reason)
        } else if self.draining.get() && !self.read_while_draining.get() {
            ReadEnd::Failed(Failure::msg("the program is shutting down"))
        } else {
            ReadEnd::NotYet
        }
    }

    /// The waker of the last poll is the one to wake, as futures promise.
    pub(super) fn wake_reader_later(&self, context: &Context<'_>) {
        self.reader.set(Some(context.waker().clone()));
    }

    pub(super) fn wake_writer_later(&self, context: &Context<'_>) {
        self.writer.set(Some(context.waker().clone()));
    }

    pub(super) fn poll_draining(&self, context: &Context<'_>) -> Poll<()> {
        if self.draining.get() || self.is_lost() {
            return Poll::Ready(());
        }
        self.drain_waiter.set(Some(context.waker().clone()));
        Poll::Pending
    }

    /// One half is dropped. The connection closes with the second one; and a half that is dropped
    /// by a panic takes all with it, since what it has written may be half of something.
    pub(super) fn half_dropped(&self, when_other_lives: impl FnOnce(&Connection)) {
        let connection = self.connection();
        if std::thread::panicking() {
            connection.abort_connection();
        } else if self.reader_gone.get() && self.writer_gone.get() {
            connection.lose_connection();
        } else {
            when_other_lives(&connection);
        }
    }

    /// Whether all that was written went out before the end.
    pub(super) fn is_lost_cleanly(&self) -> bool {
        let lost = self.lost.borrow();
        lost.as_ref()
            .is_some_and(|reason| reason.check::<ConnectionDone>().is_some())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("connection", &self.connection())
            .field("unread", &self.unread.get())
            .finish_non_exhaustive()
    }
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
