//! The half of a stream that reads.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::error::StreamError;
use super::state::{ReadEnd, State};

/// What the peer sends, from [`ConnectionStream::into_split`](super::ConnectionStream::into_split).
///
/// Dropping it while the [`StreamWriter`](super::StreamWriter) lives stops reading from the network.
#[derive(Debug)]
pub struct StreamReader {
    pub(super) state: Rc<State>,
    /// What was taken from the state, read up to `at`.
    chunk: Vec<u8>,
    at: usize,
}

impl StreamReader {
    pub(super) fn new(state: Rc<State>) -> Self {
        Self {
            state,
            chunk: Vec::new(),
            at: 0,
        }
    }

    /// See [`ConnectionStream::read`](super::ConnectionStream::read).
    ///
    /// # Errors
    /// The connection ended before the peer had said that it sends no more.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read_into(context, buffer)).await
    }

    /// See [`ConnectionStream::read_exact`](super::ConnectionStream::read_exact).
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`ErrorKind::UnexpectedEof`].
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => {
                    let message = format!(
                        "reading from a stream: it ended after {filled} of {} bytes",
                        buffer.len()
                    );
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
                }
                read => filled += read,
            }
        }
        Ok(())
    }

    /// See [`ConnectionStream::fill_buf`](super::ConnectionStream::fill_buf).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        poll_fn(|context| self.poll_fill(context)).await?;
        Ok(&self.chunk[self.at..])
    }

    /// See [`ConnectionStream::consume`](super::ConnectionStream::consume).
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.chunk.len() - self.at);
        self.at += count;
        self.state.consume(count);
        if self.at == self.chunk.len() {
            // A stream that waits holds no memory for what it has read.
            self.chunk = Vec::new();
            self.at = 0;
        }
    }

    /// Ready when there is something in the chunk, or the end is reached.
    pub(super) fn poll_fill(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.at < self.chunk.len() {
            return Poll::Ready(Ok(()));
        }
        self.chunk = self.state.take_inbound();
        if !self.chunk.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.state.read_end() {
            ReadEnd::Clean => Poll::Ready(Ok(())),
            ReadEnd::Failed(reason) => {
                Poll::Ready(Err(StreamError::to_io("reading from a stream", reason)))
            }
            ReadEnd::NotYet => {
                self.state.wake_reader_later(context);
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_read_into(
        &mut self,
        context: &Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_fill(context))?;
        let unread = self.buffered();
        let count = unread.len().min(buffer.len());
        buffer[..count].copy_from_slice(&unread[..count]);
        self.consume(count);
        Poll::Ready(Ok(count))
    }

    /// What can be read without waiting, as far as it was taken.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.chunk[self.at..]
    }

    /// All that has come and was not read.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        let mut unread = std::mem::take(&mut self.chunk);
        unread.drain(..std::mem::take(&mut self.at));
        unread.append(&mut self.state.take_inbound());
        unread
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.state.reader_gone.set(true);
        drop(self.state.take_inbound());
        self.state.half_dropped(|connection| {
            connection.pause_producing();
        });
    }
}
