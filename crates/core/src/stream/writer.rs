//! The half of a stream that writes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::error::StreamError;
use super::state::State;
use crate::Transport;
use crate::transport::{CLOSING, WRITE_CLOSING};

const DOING: &str = "writing to a stream";

/// What goes to the peer, from [`ConnectionStream::into_split`](super::ConnectionStream::into_split).
///
/// Dropping it while the [`StreamReader`](super::StreamReader) lives tells the peer, when all that
/// was written is sent, that nothing more will come.
#[derive(Debug)]
pub struct StreamWriter {
    pub(super) state: Rc<State>,
}

/// What came of asking the connection.
enum Answer<T> {
    Done(T),
    /// It will tell when.
    Later,
    /// This side takes nothing more.
    Closed,
}

impl StreamWriter {
    /// See [`ConnectionStream::write_all`](super::ConnectionStream::write_all).
    ///
    /// # Errors
    /// The connection has ended, or its writing side is closed.
    pub async fn write_all(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let taken =
                poll_fn(|context| self.poll_write_from(context, &[IoSlice::new(data)])).await?;
            data = &data[taken..];
        }
        Ok(())
    }

    /// See [`ConnectionStream::flush`](super::ConnectionStream::flush).
    ///
    /// # Errors
    /// The connection ended before all was sent.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flushed(context)).await
    }

    /// See [`ConnectionStream::shutdown`](super::ConnectionStream::shutdown).
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_shut(context)).await
    }

    /// Takes from the front of `slices` as much as there is room for: something, or it waits.
    pub(super) fn poll_write_from(
        &mut self,
        context: &Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.ask(context, |transport| {
            let high = transport.shared.limits.high_water.max(1);
            let unsent = usize::try_from(transport.unsent()).unwrap_or(usize::MAX);
            if unsent >= high {
                transport.await_drain();
                return Answer::Later;
            }
            let mut taken = 0;
            for slice in slices {
                let count = slice.len().min(high - unsent - taken);
                transport.write(&slice[..count]);
                taken += count;
            }
            Answer::Done(taken)
        })
    }

    pub(super) fn poll_flushed(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.state.shut.get() || self.state.is_lost_cleanly() {
            return Poll::Ready(Ok(()));
        }
        self.ask(context, |transport| {
            if transport.unsent() == 0 {
                return Answer::Done(());
            }
            transport.await_flush();
            Answer::Later
        })
    }

    pub(super) fn poll_shut(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flushed(context))?;
        self.state.shut.set(true);
        let shut = Transport::lose_write_connection;
        self.state.connection().act(shut);
        Poll::Ready(Ok(()))
    }

    /// Asks the connection, if it takes anything more. What ended it is known in this turn, and
    /// until then it is waited for.
    fn ask<T>(
        &self,
        context: &Context<'_>,
        action: impl FnOnce(&mut Transport) -> Answer<T>,
    ) -> Poll<io::Result<T>> {
        if let Some(reason) = self.state.loss() {
            return Poll::Ready(Err(StreamError::to_io(DOING, reason)));
        }
        let answer = self.state.connection().act(|transport| {
            match transport.shared.is(CLOSING | WRITE_CLOSING) {
                true => Answer::Closed,
                false => action(transport),
            }
        });
        match answer {
            Some(Answer::Done(value)) => Poll::Ready(Ok(value)),
            Some(Answer::Closed) => {
                let message = format!("{DOING}: this side of the connection is closed");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, message)))
            }
            Some(Answer::Later) | None => {
                self.state.wake_writer_later(context);
                Poll::Pending
            }
        }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.state.writer_gone.set(true);
        self.state.half_dropped(|connection| {
            connection.act(Transport::lose_write_connection);
        });
    }
}
