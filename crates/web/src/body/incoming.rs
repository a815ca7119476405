//! A body that comes piece by piece, and waits for its reader in a bounded buffer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

use super::BODY_BUFFER;
use super::error::{BodyError, BoxError};

/// Pieces are joined up to this length. Alone, each of a byte would take a hundred times its size.
const JOINED: usize = 1024;

/// The end of a received body that its reader holds.
pub(crate) struct Received {
    shared: Arc<Mutex<Incoming>>,
}

/// The end of a received body that the connection holds.
pub(crate) struct BodySender {
    shared: Arc<Mutex<Incoming>>,
}

struct Incoming {
    chunks: VecDeque<Bytes>,
    buffered: usize,
    trailers: Option<HeaderMap>,
    /// How it ended; `None` while more may come.
    end: Option<Result<(), BodyError>>,
    /// The length that the head declared, if it did, and what has come of it.
    declared: Option<u64>,
    received: u64,
    /// Bytes that the reader has taken.
    taken: u64,
    limit: u64,
    /// The reader has asked for it at least once.
    wanted: bool,
    /// The reader has dropped it.
    dropped: bool,
    reader: Option<Waker>,
    /// Whoever tells the connection that there is room again.
    watcher: Option<Waker>,
}

/// A received body: the end for its reader, and the end for the connection.
pub(crate) fn incoming(declared: Option<u64>, limit: u64) -> (BodySender, Received) {
    let shared = Arc::new(Mutex::new(Incoming {
        chunks: VecDeque::new(),
        buffered: 0,
        trailers: None,
        end: None,
        declared,
        received: 0,
        taken: 0,
        limit,
        wanted: false,
        dropped: false,
        reader: None,
        watcher: None,
    }));
    let reader = Arc::clone(&shared);
    (BodySender { shared }, Received { shared: reader })
}

impl Incoming {
    fn remaining(&self) -> Option<u64> {
        self.declared
            .map(|declared| declared.saturating_sub(self.taken))
    }

    fn append(&mut self, data: Bytes) {
        let is_short = |last: &Bytes| last.len() + data.len() <= JOINED;
        let joins = self.chunks.back().is_some_and(is_short);
        let last = joins.then(|| self.chunks.pop_back()).flatten();
        self.chunks.push_back(match last {
            None => data,
            Some(last) => join(last, &data),
        });
    }

    fn is_finished(&self) -> bool {
        self.chunks.is_empty() && self.end == Some(Ok(())) && self.trailers.is_none()
    }

    fn over_limit(&self) -> bool {
        self.received > self.limit || self.declared.is_some_and(|length| length > self.limit)
    }
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, Incoming> {
        lock(&self.shared)
    }

    /// The length that is still to be read, where it was declared.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.lock().remaining()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.lock().is_finished()
    }

    pub(super) fn set_limit(&self, bytes: u64) {
        self.lock().limit = bytes;
    }

    pub(super) fn poll_frame(
        &self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut incoming = self.lock();
        if incoming.over_limit() {
            let limit = incoming.limit;
            incoming.chunks.clear();
            incoming.buffered = 0;
            incoming.end = Some(Err(BodyError::TooLarge { limit }));
        }
        let mut watcher = None;
        if !incoming.wanted {
            incoming.wanted = true;
            watcher = incoming.watcher.take();
        }
        let mut old = None;
        let frame = if let Some(chunk) = incoming.chunks.pop_front() {
            incoming.buffered -= chunk.len();
            incoming.taken += chunk.len() as u64;
            if incoming.chunks.is_empty() {
                watcher = watcher.or_else(|| incoming.watcher.take());
            }
            Poll::Ready(Some(Ok(Frame::data(chunk))))
        } else {
            match incoming.end {
                Some(Ok(())) => {
                    let trailers = incoming.trailers.take();
                    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
                None => {
                    old = incoming.reader.replace(cx.waker().clone());
                    Poll::Pending
                }
            }
        };
        drop(incoming);
        wake(watcher);
        drop(old);
        frame
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let mut incoming = self.lock();
        incoming.dropped = true;
        incoming.chunks.clear();
        incoming.buffered = 0;
        let watcher = incoming.watcher.take();
        drop(incoming);
        wake(watcher);
    }
}

impl BodySender {
    pub(crate) fn another(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Incoming> {
        lock(&self.shared)
    }

    /// More of it has come.
    pub(crate) fn push(&self, data: &[u8]) {
        self.push_with(data.len(), || Bytes::copy_from_slice(data));
    }

    /// As [`push`](Self::push), for those who have the bytes for themselves.
    pub(crate) fn push_bytes(&self, data: Bytes) {
        self.push_with(data.len(), || data);
    }

    /// `data` is made only where somebody is to read it.
    fn push_with(&self, len: usize, data: impl FnOnce() -> Bytes) {
        let mut incoming = self.lock();
        incoming.received += len as u64;
        if len > 0 && !incoming.dropped && !incoming.over_limit() {
            incoming.append(data());
            incoming.buffered += len;
        }
        let reader = incoming.reader.take();
        drop(incoming);
        wake(reader);
    }

    /// It is complete, or will never be.
    pub(crate) fn finish(&self, end: Result<Option<HeaderMap>, BodyError>) {
        let mut incoming = self.lock();
        if incoming.end.is_none() {
            incoming.end = Some(end.map(|trailers| incoming.trailers = trailers));
        }
        let reader = incoming.reader.take();
        drop(incoming);
        wake(reader);
    }

    /// Whether the peer is to be slowed down.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().buffered >= BODY_BUFFER
    }

    /// Whether the reader has asked for it, and it may come.
    pub(crate) fn is_wanted(&self) -> bool {
        let incoming = self.lock();
        incoming.wanted && !incoming.dropped && incoming.end.is_none()
    }

    /// Whether more of it may come now: its reader has asked for it and there is room, or has
    /// dropped it.
    pub(crate) fn calls_for_more(&self) -> bool {
        let incoming = self.lock();
        let called = incoming.dropped || incoming.wanted && incoming.buffered < BODY_BUFFER;
        called && incoming.end.is_none()
    }

    /// Whether its reader has asked for it, and has taken all that has come.
    pub(crate) fn is_hungry(&self) -> bool {
        let incoming = self.lock();
        incoming.wanted && incoming.end.is_none() && incoming.chunks.is_empty()
    }

    /// Whether nobody will read what is still to come.
    pub(crate) fn is_dropped(&self) -> bool {
        self.lock().dropped
    }

    /// Wakes `watcher` once, when the reader asks for the body, has emptied it, or drops it.
    pub(crate) fn watch(&self, watcher: &Waker) {
        let old = self.lock().watcher.replace(watcher.clone());
        drop(old);
    }
}

fn join(first: Bytes, second: &[u8]) -> Bytes {
    let copied = |first: Bytes| BytesMut::from(&first[..]);
    let mut joined = first.try_into_mut().unwrap_or_else(copied);
    joined.extend_from_slice(second);
    joined.freeze()
}

fn lock(shared: &Mutex<Incoming>) -> MutexGuard<'_, Incoming> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To be called without the lock: a waker may run whatever it likes.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts the wakes at which the body was not locked.
    struct Looker {
        shared: Arc<Mutex<Incoming>>,
        unlocked: AtomicUsize,
    }

    impl Wake for Looker {
        fn wake(self: Arc<Self>) {
            let free = self.shared.try_lock().is_ok();
            self.unlocked
                .fetch_add(usize::from(free), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_body_that_was_thrown_away_is_not_full() {
        let (sender, received) = incoming(None, u64::MAX);
        sender.push(&[0; BODY_BUFFER]);
        assert!(sender.is_full());
        received.lock().limit = 10;
        let read = received.poll_frame(&Context::from_waker(Waker::noop()));
        assert!(matches!(read, Poll::Ready(Some(Err(_)))));
        assert!(!sender.is_full());
    }

    #[test]
    fn pieces_of_a_byte_are_joined() {
        let (sender, received) = incoming(None, u64::MAX);
        let sent: Vec<u8> = (0..5000).map(|at| at as u8).collect();
        for byte in &sent {
            sender.push(&[*byte]);
        }
        assert_eq!(received.lock().chunks.len(), 5);
        assert_eq!(received.lock().chunks.make_contiguous().concat(), sent);
        // One that somebody else holds, too, stays as it is.
        let kept = Bytes::from_static(b"kept");
        sender.push_bytes(kept.clone());
        sender.push(b"!");
        assert_eq!(kept, "kept");
        assert!(received.lock().chunks.back().unwrap().ends_with(b"kept!"));
    }

    #[test]
    fn whoever_is_woken_may_use_the_body_at_once() {
        let (sender, received) = incoming(None, 100);
        let looker = Arc::new(Looker {
            shared: Arc::clone(&sender.shared),
            unlocked: AtomicUsize::new(0),
        });
        let waker = Waker::from(Arc::clone(&looker));
        let cx = Context::from_waker(&waker);

        sender.watch(&waker);
        assert!(received.poll_frame(&cx).is_pending()); // Asks for it, and
        sender.push(b"data"); // wakes the reader,
        sender.watch(&waker);
        assert!(received.poll_frame(&cx).is_ready()); // empties it,
        assert!(received.poll_frame(&cx).is_pending());
        sender.finish(Ok(None)); // wakes the reader,
        sender.watch(&waker);
        drop(received); // and drops it.

        assert_eq!(looker.unlocked.load(Ordering::Relaxed), 5);
    }
}
